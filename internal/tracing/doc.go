// Package tracing makes spans of exchanges: it takes over or begins the trace of a request (W3C Trace
// Context), tells targets of it, decides which traces are kept, and hands their spans to a collector's
// exporter without ever waiting for it.
//
// A Plan (plan.go) is the proxy.Tracer of one configuration; spans.go says what is in a span. A Collector
// (collector.go) has the queue of spans and the goroutine that sends them; plans share it for as long as its
// settings stay.
package tracing
