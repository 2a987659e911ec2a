package inspect

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/admin"
	"weir/internal/encode"
	"weir/internal/head"
	"weir/proxy"
)

// recording is an exchange while it runs. It belongs to the exchange, but for the bodies, which
// taps write on other goroutines.
type recording struct {
	plan  *Plan
	route *routePlan
	masker
	// text has the heads that were taken so far, messages where in it.
	text     []byte
	messages [parts]span
	tries    []admin.Try
	start    time.Time
	// timing is that of the last attempt, which began at begun.
	timing admin.Timing
	begun  time.Time
	bodies [2]taped
	// kind and coding are those of the response's body as the tap sees it.
	kind, coding string
	replayOf     string
	// result, if not nil, gets what is kept.
	result chan<- *admin.ExchangeDetail
	// scratch is for bodies that are decoded and masked.
	scratch []byte
}

// span is where a head is in text: its first line, its fields.
type span struct {
	start, fields, end int
	there              bool
}

// taped is what a tap has seen of a body.
type taped struct {
	recorder *Recorder
	kept     []byte
	limit    int
	// over says that there was more; full that the memory for bodies that pass was used up.
	over, full bool
	// watch is see, as a value that is made once.
	watch proxy.Tap
}

var recordings = sync.Pool{New: func() any {
	r := new(recording)
	for i := range r.bodies {
		r.bodies[i].watch = r.bodies[i].see
	}
	return r
}}

// maxPooled is how large a buffer may be that waits to be used again.
const maxPooled = 64 << 10

func newRecording(p *Plan, route *routePlan, start time.Time) *recording {
	r := recordings.Get().(*recording)
	r.plan, r.route, r.start, r.masker.names = p, route, start, p.names
	for i := range r.bodies {
		r.bodies[i].recorder = p.recorder
	}
	return r
}

// release gives r back.
func (r *recording) release() {
	keep := func(b []byte) []byte {
		if cap(b) > maxPooled {
			return nil
		}
		return b[:0]
	}
	var bodies [2]taped
	for i := range r.bodies {
		b := &r.bodies[i]
		r.plan.recorder.passing.Add(-int64(len(b.kept)))
		bodies[i] = taped{kept: keep(b.kept), watch: b.watch}
	}
	*r = recording{text: keep(r.text), scratch: keep(r.scratch), bodies: bodies}
	recordings.Put(r)
}

// see takes the next bytes of the body.
func (b *taped) see(piece []byte, _ bool) {
	if room := b.limit - len(b.kept); len(piece) > room {
		piece, b.over = piece[:room], true
	}
	if len(piece) == 0 || b.full {
		return
	}
	if !b.recorder.reserve(int64(len(piece))) {
		b.full, b.over = true, true
		return
	}
	b.kept = append(b.kept, piece...)
}

// watchRequest taps the request's body.
func (r *recording) watchRequest(x *proxy.Exchange) { r.tap(x, proxy.ToTarget) }

func (r *recording) tap(x *proxy.Exchange, d proxy.Direction) {
	if r.route == nil || r.route.body == 0 {
		return
	}
	b := &r.bodies[d]
	b.limit = r.route.body
	x.Tap(d, int64(b.limit)+1, b.watch)
}

// watchResponse taps the response's body. It may be called again, if an answer was not given
// after all.
func (r *recording) watchResponse(x *proxy.Exchange) {
	r.kind, r.coding = string(x.Response.Get(head.ContentType)), string(x.Response.Get(head.ContentEncoding))
	if r.bodies[proxy.ToClient].limit == 0 {
		r.tap(x, proxy.ToClient)
	}
}

// take copies a head.
func (r *recording) take(p part, h *head.Head, line func(dst []byte) []byte) {
	r.at = partNames[p]
	s := span{start: len(r.text), there: true}
	r.text = line(r.text)
	s.fields = len(r.text)
	r.text = r.appendFields(r.text, h)
	s.end = len(r.text)
	r.messages[p] = s
}

func (r *recording) takeRequest(p part, h *head.Head, version head.Version) {
	r.take(p, h, func(dst []byte) []byte {
		dst = append(append(dst, h.Method()...), ' ')
		dst = append(r.appendTarget(dst, h.Target()), ' ')
		return append(dst, version.String()...)
	})
}

func (r *recording) takeResponse(p part, h *head.Head, version string) {
	r.take(p, h, func(dst []byte) []byte {
		dst = append(append(dst, version...), ' ')
		dst = strconv.AppendInt(dst, int64(h.Status), 10)
		if phrase := h.Phrase(); len(phrase) > 0 {
			dst = append(append(dst, ' '), phrase...)
		}
		return dst
	})
}

// received takes the head of a target's response.
func (r *recording) received(x *proxy.Exchange) {
	if x.Response.Status > 0 {
		r.takeResponse(partReceived, x.Response, x.Response.Version.String())
	}
}

// maxTries bounds the attempts that are noted.
const maxTries = 20

// Tried implements proxy.Record.
func (r *recording) Tried(t proxy.Tried) {
	r.takeRequest(partForwarded, t.Request, t.Version)
	now := time.Now()
	r.begun, r.timing = t.Began, timingOf(&t, now)
	if t.FirstByte == 0 {
		r.messages[partReceived] = span{}
	}
	if len(r.tries) < maxTries {
		try := admin.Try{
			Target: t.Target.Name(), Start: seconds(max(t.Began.Sub(r.start), 0)), Connect: r.timing.Connect, FirstByte: r.timing.FirstByte, Duration: seconds(now.Sub(t.Began)),
			Status: t.Status, Cause: t.Cause.String(), Error: r.sentence(t.Err), Reused: t.Reused,
		}
		r.tries = append(r.tries, try)
	}
}

// timingOf splits the time of an attempt that ends now.
func timingOf(t *proxy.Tried, now time.Time) (s admin.Timing) {
	last := t.Began
	until := func(at time.Time) float64 {
		if at.Before(last) {
			return 0
		}
		d := at.Sub(last)
		last = at
		return seconds(d)
	}
	if t.Opened.IsZero() {
		s.Connect = until(now)
		return s
	}
	s.Connect = until(t.Opened)
	s.Send = until(t.Asked)
	if t.FirstByte > 0 {
		s.FirstByte = until(t.Asked.Add(t.FirstByte))
	} else {
		s.FirstByte = until(now)
	}
	return s
}

func seconds(d time.Duration) float64 { return float64(d/time.Microsecond) / 1e6 }

// sentence is an error without secrets.
func (r *recording) sentence(err error) string {
	if err == nil {
		return ""
	}
	r.at = "error"
	return string(r.appendText(nil, []byte(err.Error())))
}

// done keeps the exchange, which has ended. complete says that it was recorded from its beginning.
func (r *recording) done(x *proxy.Exchange, complete bool) {
	k := new(kept)
	k.Kind = kindOf(x, r.route)
	k.ReplayOf = r.replayOf
	r.describe(&k.Exchange, x)
	k.Complete = complete
	k.timing = r.split(x)
	k.why = r.why(x)
	r.heads(k, x)
	r.keepBodies(k, x)
	k.masked = r.places
	if len(r.tries) > 0 {
		k.tries = append([]admin.Try(nil), r.tries...)
	}
	r.notes(k, x)
	r.plan.recorder.keep(k)
	if r.result != nil {
		r.result <- k.detail()
	}
	r.release()
}

// describe fills what lists show.
func (r *recording) describe(e *admin.Exchange, x *proxy.Exchange) {
	result := &x.Result
	e.Time = x.Start.UTC()
	e.RequestID = string(x.RequestID)
	if x.Trace.TraceID != [16]byte{} {
		e.TraceID, e.SpanID = hex.EncodeToString(x.Trace.TraceID[:]), hex.EncodeToString(x.Trace.SpanID[:])
	}
	e.Listener = x.Client.Listener.Name
	if x.ClientAddr.IsValid() {
		e.Client = x.ClientAddr.String()
	}
	e.User = string(x.User)
	e.Method, e.Scheme, e.Host = string(x.Request.Method()), string(x.Scheme), string(x.Host)
	r.at = "request"
	e.Target = string(r.appendTarget(nil, x.RequestTarget))
	e.Version = x.Request.Version.String()
	if x.Route != nil {
		e.Route = x.Route.Name
	}
	if x.Upstream != nil {
		e.Upstream = x.Upstream.Set.Name()
	}
	if result.Target != nil {
		e.TargetURL = result.Target.Name()
	}
	e.Attempts, e.Status, e.Cause, e.OK = result.Attempts, result.Status, result.Cause.String(), ok(x)
	e.Error = r.sentence(result.Err)
	e.Cache = result.Cache.String()
	e.BytesIn, e.BytesOut = result.BytesIn, result.BytesOut
	if result.Status > 0 {
		e.Type = string(x.Response.Get(head.ContentType))
	}
	e.Duration = seconds(result.End.Sub(x.Start))
}

// split splits the time of the whole exchange.
func (r *recording) split(x *proxy.Exchange) admin.Timing {
	t := r.timing
	t.Total = seconds(x.Result.End.Sub(x.Start))
	if r.begun.IsZero() { // no attempt
		t.Wait = t.Total
		return t
	}
	t.Wait = seconds(max(r.begun.Sub(x.Start), 0))
	t.Body = max(t.Total-t.Wait-t.Connect-t.Send-t.FirstByte, 0)
	return t
}

// heads puts the heads into k.
func (r *recording) heads(k *kept, x *proxy.Exchange) {
	if len(x.Request.Method()) > 0 {
		r.takeRequest(partRequest, &x.Request, x.Request.Version)
	}
	if x.Result.Status > 0 {
		r.takeResponse(partResponse, x.Response, x.Request.Version.String())
	}
	text := string(r.text)
	for p, s := range r.messages {
		if s.there {
			k.messages[p] = &message{line: text[s.start:s.fields], fields: text[s.fields:s.end]}
		}
	}
}

// keepBodies puts the beginnings of the bodies into k.
func (r *recording) keepBodies(k *kept, x *proxy.Exchange) {
	r.at = "request.body"
	if m := k.messages[partRequest]; m != nil {
		m.body = r.keepBody(&r.bodies[proxy.ToTarget], string(x.Request.Get(head.ContentType)), string(x.Request.Get(head.ContentEncoding)), x.Result.BytesIn)
	}
	r.at = "response.body"
	if m := k.messages[partResponse]; m != nil {
		m.body = r.keepBody(&r.bodies[proxy.ToClient], r.kind, r.coding, x.Result.BytesOut)
	}
}

// keepBody decodes and masks what was taken of a body of which size bytes passed; nil if nothing
// passed.
func (r *recording) keepBody(b *taped, kind, coding string, size int64) *bodyPart {
	if len(b.kept) == 0 && !b.over || b.limit == 0 {
		return nil
	}
	p := &bodyPart{kept: len(b.kept), size: max(size, int64(len(b.kept))), truncated: b.over, kind: kind, coding: coding}
	text := b.kept
	switch c := codingNamed(coding); {
	case c == encode.Identity && !isIdentity(coding):
		return p // its secrets cannot be seen
	case c != encode.Identity:
		plain, over, err := encode.Decode(c, text, b.limit)
		if err != nil && !b.over && len(plain) == 0 {
			return p
		}
		text, p.truncated, p.decoded = plain, p.truncated || over, true
	}
	before := len(r.places)
	r.scratch = r.appendBody(r.scratch[:0], kind, text)
	p.text, p.masked = string(r.scratch), len(r.places) > before
	return p
}

// codingNamed is the coding of a Content-Encoding; Identity too for one that is not known.
func codingNamed(name string) encode.Coding {
	name = strings.ToLower(strings.TrimSpace(name))
	if name == "x-gzip" { // RFC 9110 section 8.4.1.3
		return encode.Gzip
	}
	return encode.Named(name)
}

func isIdentity(name string) bool {
	name = strings.TrimSpace(name)
	return name == "" || strings.EqualFold(name, "identity")
}

// endless says that a response has no end by intention.
func endless(x *proxy.Exchange) bool {
	return x.Result.Cause == proxy.CauseUpgraded || x.Result.Cause == proxy.CauseTunnelIdle || x.Result.Cause == proxy.CausePassed ||
		bytes.HasPrefix(x.Response.Get(head.ContentType), []byte("text/event-stream"))
}
