package tracing

import (
	"math/rand/v2"
	"time"

	"weir/config"
	"weir/internal/head"
	"weir/proxy"
	"weir/trace"
)

// Plan makes the spans of one configuration.
type Plan struct {
	collector *Collector // nil: contexts go on, and spans to no collector
	accept    string
	// below is the bound for random numbers that choose a trace.
	below uint64
	// paths are those of the routes, by proxy.Route.Index.
	paths []config.Strings
}

// NewPlan makes the plan of a configuration, which was found to be valid and has tracing; its spans go to
// c, or nowhere if c is nil.
func NewPlan(cfg *config.Config, c *Collector) *Plan {
	p := &Plan{
		collector: c, accept: cfg.Tracing.Accept, below: uint64(cfg.Tracing.Sample * (1 << 63)),
		paths: make([]config.Strings, len(cfg.Routes)),
	}
	for i := range cfg.Routes {
		p.paths[i] = cfg.Routes[i].Path
	}
	return p
}

var (
	traceparent = head.NewName("traceparent")
	tracestate  = head.NewName("tracestate")
)

// Begin implements proxy.Tracer.
func (p *Plan) Begin(x *proxy.Exchange) {
	t := &x.Trace
	came, ok := contextOf(&x.Request)
	t.SpanID = trace.NewSpanID()
	trusted := ok && x.FromTrusted()
	switch {
	case !ok || p.accept == config.AcceptNone || p.accept == config.AcceptTrusted && !trusted:
		t.TraceID, t.Sampled = trace.NewTraceID(), p.chooses()
		t.Link, t.Restarted = came, true
	case trusted:
		t.TraceID, t.Parent, t.Sampled = came.TraceID, came.SpanID, came.Sampled
	default:
		// Anybody may say that nothing is kept of a request, but not how much is kept.
		t.TraceID, t.Parent, t.Sampled = came.TraceID, came.SpanID, came.Sampled && p.chooses()
	}
}

// chooses says whether a trace is kept that begins here. The trace's id has no say, because clients choose it.
func (p *Plan) chooses() bool { return p.below > 0 && rand.Uint64()>>1 < p.below }

// contextOf returns the context that a request has; ok is false without one, or with more than one.
func contextOf(h *head.Head) (c trace.Context, ok bool) {
	lines := 0
	var text []byte
	for line := range h.Lines(traceparent) {
		text = line
		lines++
	}
	if lines != 1 {
		return c, false
	}
	return trace.Parse(text)
}

// Attempt implements proxy.Tracer.
func (p *Plan) Attempt(x *proxy.Exchange, h *head.Head) proxy.AttemptTrace {
	a := proxy.AttemptTrace{Context: x.Trace.Context, Parent: x.Trace.SpanID, Number: x.Result.Attempts}
	if a.Sampled {
		a.SpanID = trace.NewSpanID()
	}
	var room [64]byte
	h.Set(traceparent, a.Context.Append(room[:0]))
	if h.Count(tracestate) > 0 && (x.Trace.Restarted || !trace.ValidState(h.Joined(tracestate))) {
		h.Del(tracestate)
	}
	return a
}

// Tried implements proxy.Tracer.
func (p *Plan) Tried(t proxy.Tried) {
	if p.collector.room() {
		p.collector.add(attemptSpan(&t, time.Now()))
	}
}

// Part implements proxy.Tracer.
func (p *Plan) Part(x *proxy.Exchange, part proxy.TracePart, began, ended time.Duration) {
	if p.collector.room() {
		p.collector.add(partSpan(x, part, began, ended))
	}
}

// End implements proxy.Tracer.
func (p *Plan) End(x *proxy.Exchange) {
	if !x.Trace.Sampled {
		return
	}
	if !x.Background() {
		x.AddExemplar()
	}
	if p.collector.room() {
		p.collector.add(exchangeSpan(x, p.route(x)))
	}
}

// route is the path template of the route that the exchange took; empty without one.
func (p *Plan) route(x *proxy.Exchange) string {
	if x.Route == nil {
		return ""
	}
	if paths := p.paths[x.Route.Index]; x.Pattern < len(paths) {
		return paths[x.Pattern]
	}
	return ""
}
