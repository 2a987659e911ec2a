package proxy

import (
	"encoding/hex"
	"maps"
	"time"

	"weir/internal/figures"
	"weir/internal/head"
	"weir/trace"
)

// Tracer makes spans of what happens to exchanges. Its methods are called by many goroutines at once
// and must not wait for anything.
type Tracer interface {
	// Begin sets x.Trace, when the head of the request was read and its client is known.
	Begin(x *Exchange)
	// Attempt is called when an attempt is about to send h, in which it puts the context of the
	// attempt.
	Attempt(x *Exchange, h *head.Head) AttemptTrace
	// Tried is called when an attempt has ended whose spans are kept, perhaps after its exchange.
	Tried(t Tried)
	// Part is called for what is no attempt of an exchange whose spans are kept, when it has ended. began
	// and ended are times since x.Start.
	Part(x *Exchange, p TracePart, began, ended time.Duration)
	// End is called when x has ended. It is also called for exchanges that weir makes itself.
	End(x *Exchange)
}

// TracePart is a part of an exchange that traces show besides its attempts.
type TracePart uint8

const (
	// TraceCache is the look-up in the cache, and the wait for the fetch of another exchange.
	TraceCache TracePart = iota
	// TraceQueue is the wait for a place at a target.
	TraceQueue
)

// Trace is what an exchange is in traces.
type Trace struct {
	// Context is that of the exchange's own span.
	trace.Context
	// Parent is the span of whoever sent the request; zero for none.
	Parent trace.SpanID
	// Link is the context that the request had, if the exchange is not in that trace.
	Link trace.Context
	// Restarted says that nothing of the request's context goes on to targets.
	Restarted bool
}

// AttemptTrace is what an attempt is in traces.
type AttemptTrace struct {
	trace.Context
	Parent trace.SpanID
	// Number counts the attempts of the exchange from 1. Hedge says that this one was sent because the
	// one before was slow.
	Number int
	Hedge  bool
}

// sub is the Trace of an exchange that weir makes itself on behalf of that of t.
func (t *Trace) sub() Trace {
	s := Trace{Context: t.Context, Parent: t.SpanID, Restarted: t.Restarted}
	s.SpanID = trace.NewSpanID()
	return s
}

// appendTraceID appends the digits of the trace's id, nothing without a trace.
func (t *Trace) appendTraceID(dst []byte) []byte {
	if t.TraceID == (trace.TraceID{}) {
		return dst
	}
	return hex.AppendEncode(dst, t.TraceID[:])
}

// FromTrusted says whether the request came from a proxy that is trusted.
func (x *Exchange) FromTrusted() bool { return x.proxy.forwarder.Trusts(x.Client.Peer) }

// Background says that no client waits for the exchange, which validates a stored response.
func (x *Exchange) Background() bool { return x.cached.background }

// traceNow is the time since Start, or 0 for an exchange whose spans are not kept.
func (x *Exchange) traceNow() time.Duration {
	if !x.Trace.Sampled {
		return 0
	}
	return x.since()
}

// tracePart tells of a part that ends now; began is what traceNow was.
func (x *Exchange) tracePart(p TracePart, began time.Duration) {
	if began > 0 {
		x.proxy.tracer.Part(x, p, began, x.since())
	}
}

// traceLookUp tells, once, how the look-up in the cache has ended.
func (x *Exchange) traceLookUp() {
	x.tracePart(TraceCache, x.moments.asked)
	x.moments.asked = 0
}

// AddExemplar makes the trace of the exchange, which has ended, one that its duration is an example of.
func (x *Exchange) AddExemplar() {
	if x.sample.Untimed {
		return // it is not in the histogram
	}
	r := x.proxy.metrics.unrouted
	if x.Route != nil {
		r = x.Route.metrics
	}
	if r.exemplars.Load() == nil {
		r.exemplars.CompareAndSwap(nil, new(figures.Exemplars))
	}
	r.exemplars.Load().Note(x.Trace.TraceID, x.sample.Duration, x.Result.End)
}

// Exemplars calls f with the name of each series that has an exemplar, and that in the syntax of
// OpenMetrics.
func (m *Metrics) Exemplars(f func(series, exemplar string)) {
	m.mu.Lock()
	series := maps.Clone(m.series)
	m.mu.Unlock()
	for labels, s := range series {
		if s.route == nil {
			continue
		}
		if e := s.route.exemplars.Load(); e != nil {
			e.Each("weir_request_duration_seconds", labels, f)
		}
	}
}

// Failed says that a call failed because of its server (as the conventions of OpenTelemetry have it).
func (s GRPCStatus) Failed() bool {
	switch int(s) - 1 {
	case grpcUnknown, grpcDeadlineExceeded, grpcUnimplemented, grpcInternal, grpcUnavailable, grpcDataLoss:
		return true
	}
	return false
}
