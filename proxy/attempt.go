package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/body"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/internal/sock"
	"weir/internal/transport"
	"weir/lb"
)

// attemptState is how far an attempt has come.
type attemptState uint8

const (
	// attemptUnused: it holds nothing.
	attemptUnused attemptState = iota
	// attemptChosen: it holds a target, and perhaps a stream.
	attemptChosen
	// attemptAsked: its request was sent ahead, and the answer is to be read.
	attemptAsked
	// attemptReported: the balancer was told before the end that it goes well.
	attemptReported
	// attemptEnded: it has given everything back.
	attemptEnded
)

// attempt is one try to have a target answer an exchange. It holds the target and a
// stream to it until end.
type attempt struct {
	trial
	// own is a head for request that only this attempt has changed; nil until an attempt needs it.
	own *head.Head
	out transport.Request
	// upload is how the request's body is sent.
	upload upload

	// received is the response; nil before it begins.
	*received
}

// trial is what an attempt knows, without buffers: reset forgets all of it at once.
type trial struct {
	x        *Exchange
	proxy    *Proxy
	upstream *Upstream
	target   *lb.Target
	stream   transport.Stream // nil unless one is lent
	state    attemptState
	// began is when the attempt began, asked too, or, of a body that was streamed, when the last
	// byte came: the time that a client takes is not the target's. firstByte is how long it
	// took from asked to the response's head. upload.mu guards asked until upload.answered.
	began, asked time.Time
	firstByte    time.Duration
	// opened is when the attempt had its stream; only for exchanges with a Record.
	opened time.Time
	// connecting is how long it took to have a stream; 0 for one that was open.
	connecting time.Duration
	trace      AttemptTrace // zero without a Tracer

	// request is the head that is sent: the exchange's outgoing one, or own.
	request *head.Head
	version transport.Version
	// attend says that a goroutine is to wait at the connection to the target from the end of the attempt on.
	attend bool
	// informed says that an interim response has come.
	informed bool
}

// received is the response of an attempt. It is taken when the response begins, so that
// attempts that wait hold none, and the memory that many of them use one after the
// other stays in the processor's cache.
type received struct {
	response head.Head
	body     responseBody
}

var responses = sync.Pool{New: func() any { return new(received) }}

// reset makes a ready for another attempt. It keeps buffers.
func (a *attempt) reset() {
	if a.state == attemptUnused {
		return
	}
	if a.own != nil && a.request == a.own {
		a.own.Reset()
	}
	a.trial = trial{}
	a.out = transport.Request{Room: a.out.Room[:0]}
	a.upload.reset()
	if a.received != nil {
		a.body.reset()
		responses.Put(a.received)
		a.received = nil
	}
}

// reset forgets an upload that is over.
func (u *upload) reset() {
	if !u.started() {
		return
	}
	u.state.Store(uploadNone)
	u.stopping.Store(false)
	u.lost.Store(false)
	u.done, u.answered, u.keep, u.err, u.whole = nil, false, 0, nil, false
}

// begin makes a an attempt of x at t, which was acquired for it.
func (a *attempt) begin(x *Exchange, t *lb.Target, now time.Time) {
	a.reset()
	x.Response = &x.room.reply // that of an attempt before is gone
	a.x, a.proxy, a.upstream, a.target = x, x.proxy, x.Upstream, t
	a.state, a.began, a.asked, a.firstByte, a.connecting = attemptChosen, now, now, 0, 0
	x.Result.Target = t
	x.Result.Attempts++
}

// running says that a has begun and has not ended.
func (a *attempt) running() bool { return a.state != attemptUnused && a.state != attemptEnded }

// ending says how an attempt ended.
type ending struct {
	kind   lb.Kind
	cause  Cause
	status int
	// err is why the attempt failed.
	err error
	// reusable says that the stream ended by its framing on both sides.
	reusable bool
	// keeps says that the exchange keeps its place in the upstream: another attempt may follow.
	keeps bool
}

// end gives back stream and target, once, and says how the attempt went. An upload
// must have been stopped.
func (a *attempt) end(e ending) {
	if !a.running() {
		return
	}
	if a.trace.Sampled || a.x != nil && a.x.Record != nil {
		a.tell(&e)
	}
	if a.stream != nil {
		a.giveBack(e.reusable)
	}
	if a.state == attemptReported && (e.kind == lb.Success || e.kind == lb.Canceled) {
		e.kind = lb.AlreadyReported
	}
	a.state = attemptEnded
	latency := a.firstByte
	if latency == 0 {
		latency = time.Since(a.began)
	}
	countAttempt(a.target, e.cause, latency) // before the target may go, and its figures with it
	o := lb.Outcome{Kind: e.kind, Status: e.status, Latency: latency, Err: e.err}
	if e.keeps {
		a.upstream.Set.ReleaseBetween(a.target, &a.x.pick, o)
	} else {
		a.upstream.Set.Release(a.target, o)
	}
}

// tell tells those who follow the exchange how the attempt ended. It is a function of its own because
// it needs much more of the stack than end does.
//
//go:noinline
func (a *attempt) tell(e *ending) {
	if a.x != nil && a.x.Record != nil {
		a.x.Record.Tried(a.tried(e))
	}
	if a.trace.Sampled {
		a.proxy.tracer.Tried(a.tried(e))
	}
}

// giveUp ends an attempt whose response the client does not get.
func (a *attempt) giveUp(e ending) {
	if a.stream != nil {
		a.x.unwatch()
		a.stopUpload()
	}
	a.end(e)
}

// fail ends an attempt that failed.
func (a *attempt) fail(e *attemptError) {
	a.giveUp(ending{kind: e.outcome(), cause: e.cause, status: e.status, err: e.err, keeps: true})
}

// reportAfter is how long a response may take before the balancer is told that
// it goes well, without waiting for its end.
const reportAfter = time.Second

// report tells the balancer about a response whose end may be far away.
func (a *attempt) report() {
	if a.state == attemptChosen {
		a.state = attemptReported
		a.upstream.Set.Report(a.target, lb.Outcome{Kind: lb.Success, Status: a.response.Status, Latency: a.firstByte})
	}
}

// address makes the head that this attempt sends: with a copy of its own where the attempt
// changes anything.
func (a *attempt) address() {
	x := a.x
	a.version = x.version()
	h := &x.outgoing
	mode := x.Route.hostHeader
	own := mode == hostTarget || mode == hostPass && len(x.Host) == 0 // HTTP/1.0 allows that, HTTP/1.1 does not
	tells := !a.upstream.deadlineHeader.IsZero()
	if own || tells || len(a.proxy.hooks.onUpstream) > 0 || a.proxy.tracer != nil {
		if a.own == nil {
			a.own = new(head.Head)
		}
		x.outgoing.CopyTo(a.own)
		h = a.own
	}
	a.request = h
	if own {
		h.Set(head.Host, []byte(a.transport().Host()))
	}
	if tells {
		x.tellDeadline(h, a.upstream, a.began)
	}
	if a.proxy.tracer != nil {
		a.trace = a.proxy.tracer.Attempt(x, h)
	}
	x.runHooks(a.proxy.hooks.onUpstream)
}

// version is the version of HTTP that the exchange can do with towards its target.
func (x *Exchange) version() transport.Version {
	switch {
	case x.tied || len(x.upgrade) > 0:
		return transport.OnlyHTTP1
	case x.grpc:
		return transport.PreferHTTP2
	}
	return transport.AnyVersion
}

func (a *attempt) transport() transport.Transport { return transport.Of(a.target.Transport()) }

// maxInterim bounds the interim responses to one request.
const maxInterim = 64

// maxStale is how many pooled connections of a target may turn out dead in a
// row before that counts as a failure of the target.
const maxStale = 2

// errSlow says that the head of the response has not begun to come in the time after
// which a hedge is sent. The attempt goes on.
var errSlow = &attemptError{}

// roundTrip sends the request and reads the head of the response. On success the
// body of the response comes next.
func (a *attempt) roundTrip() *attemptError {
	shared := a.mayShare()
	for stale := 0; ; {
		var e *attemptError
		if a.state == attemptAsked {
			a.state = attemptChosen
			e = a.readHead()
		} else {
			a.upload.reset() // of a stream that was dropped; what the upload read is held
			if e = a.open(shared); e != nil {
				return e
			}
			e = a.exchangeHeads()
		}
		if e == nil && stale < maxStale && a.crossed() {
			e = &attemptError{cause: CauseReset, err: errCrossed, sent: true, stale: true}
		}
		if e == nil || e == errSlow {
			return e
		}
		e = a.blame(e)
		switch {
		case errors.Is(e.err, transport.ErrAlone):
			// The shared connection was given up before the answer came. That says nothing
			// about this request, so it does not count as an attempt.
			a.began = time.Now() // for the limits of what begins now
			a.asked = a.began
			if a.x.time.late(a.began) {
				e.cause = CauseTotal
				return e
			}
			shared = false
			a.drop()
		case !e.stale || e.sent && !a.x.repeatable() || !a.x.replayable():
			return e
		case stale == maxStale:
			e.stale = false
			return e
		default:
			stale++
			if e.sent {
				countResend(a.target)
			}
			a.drop()
			if transport.WantsHTTP1(e.err) {
				a.version = transport.OnlyHTTP1
			}
			// Where one unused connection is dead the others most likely are too.
			a.transport().CloseIdle()
		}
	}
}

var errCrossed = errors.New("the target has timed out while the connection was unused")

// crossed says that the response most likely answers no request: the target gave up the connection, which was unused for too
// long, as the request was on its way. Then it may be sent again (RFC 9110 section 15.5.9).
func (a *attempt) crossed() bool {
	return a.response.Status == 408 && !a.informed && a.stream.Reused() && !a.response.Persistent() && a.x.repeatable() && a.x.replayable()
}

// blame finds out whether the client or the upload is the reason why the heads were
// not exchanged.
func (a *attempt) blame(e *attemptError) *attemptError {
	if a.x.unwatch() {
		e = clientGone(true)
	}
	a.stopUpload()
	if f := a.uploadError(); f != nil {
		e = f // the attempt failed because of it
	}
	return e
}

// drop gives the stream back, to take another one.
func (a *attempt) drop() {
	a.x.unwatch()
	a.stream.Release(false)
	a.stream = nil
}

// open takes a stream.
func (a *attempt) open(shared bool) *attemptError {
	x := a.x
	left := x.time.left(a.began)
	if shared {
		a.stream = a.transport().Share(left, a.upstream.write)
	}
	if x.tied {
		a.stream = x.Client.Bond.lend(a.target.Identity())
	}
	if a.stream == nil {
		s, err := a.transport().Open(left, a.version)
		if err != nil {
			return a.fairlyDialed(dialFailure(err), left)
		}
		a.stream = s
		if a.attend {
			transport.Attend(s)
		}
		if !s.Reused() {
			a.connecting = time.Since(a.began)
		}
	}
	if x.Record != nil {
		a.opened = time.Now()
	}
	x.watch(a.stream, a.began)
	return nil
}

// mayShare says whether the exchange may share its connection to the target: it
// must be safe to repeat, and nothing it sends or gets may have an end that can be
// mistaken, which rules out HEAD.
func (a *attempt) mayShare() bool {
	x := a.x
	return a.upstream.pipelines && !x.tied && x.Result.Attempts == 1 && string(x.Request.Method()) == "GET" &&
		len(x.upgrade) == 0 && x.length() == head.LengthNone && !x.Request.Has(expects)
}

var expects = head.SetOf(head.Expect)

// exchangeHeads writes the request and reads the response's head.
func (a *attempt) exchangeHeads() *attemptError {
	x, s, write := a.x, a.stream, a.upstream.write
	if x.grpc {
		write = 0 // a stream may have to wait for any time
	}
	a.fillRequest()
	s.Expect(x.memory())
	s.LimitWrite(a.began, write)
	n, err := s.Send(&a.out)
	limit := x.time.limits.head()
	if !a.out.More {
		if err != nil && !s.Sent() {
			return x.inWords(writeFailure(s, err))
		}
		if delay, ok := x.hedgeDelay(); ok {
			return a.waitHead(delay)
		}
		x.time.limitRead(s, a.began, limit)
		return a.readHead()
	}
	switch {
	case err != nil && (n == 0 || sock.TimedOut(err)):
		return x.inWords(writeFailure(s, err))
	case err != nil:
		// A target that refuses a request may answer and close before it has
		// read all of it: the answer counts.
		x.time.limitRead(s, a.began, limit)
	default:
		// While the body moves, its own limits hold; the upload arms the limit
		// for the first byte at its end.
		x.time.limitRead(s, a.began, 0)
		a.startUpload(write, limit)
	}
	return a.readHead()
}

// memory is what the exchange uses to answer.
func (x *Exchange) memory() prefetch.Regions {
	return prefetch.Regions{prefetch.Of(x), x.Client.Memory[0], x.Client.Memory[1]}
}

// fillRequest makes out what the stream sends.
func (a *attempt) fillRequest() {
	x := a.x
	// All but Room, without a copy of the whole.
	a.out.Head, a.out.Held, a.out.Trailer = a.request, x.held, x.requestTrailer()
	a.out.Chunked, a.out.More, a.out.Crowded = x.chunked(), !x.Body.Done(), x.Client.Crowded
	a.out.Call = x.grpc
}

// requestTrailer is the trailer section of the request as targets may have it; nil if there is none.
func (x *Exchange) requestTrailer() *head.Head {
	t := x.Body.Trailer()
	if t != nil {
		x.Route.ambiguous.CleanTrailer(t)
	}
	return t
}

// writeFailure says why a request could not be written.
func writeFailure(s transport.Stream, err error) *attemptError {
	if sock.TimedOut(err) {
		return &attemptError{cause: CauseWriteTimeout, err: err, sent: true}
	}
	return &attemptError{cause: CauseReset, err: err, stale: s.Reused()}
}

// headFailure says why no response head could be read; started says that a part
// of one came.
func headFailure(s transport.Stream, err error, started bool) *attemptError {
	if de := (*transport.DialError)(nil); err == transport.ErrNoConn || errors.As(err, &de) {
		return dialFailure(err) // a shared connection is made when it is needed
	}
	if err == errRacerPanicked {
		return &attemptError{cause: CausePanic, err: err, sent: true, fault: faultOurs}
	}
	return &attemptError{
		cause: headCause(err, started),
		err:   err,
		sent:  s.Sent(),
		stale: s.Reused() && !started && !sock.TimedOut(err),
	}
}

// status is that of the response; 0 if no head of it was read.
func (a *attempt) status() int {
	if a.received == nil {
		return 0
	}
	return a.response.Status
}

// receive waits for the response and reads its first head, perhaps an interim one. started
// says that at least one byte of it came.
func (a *attempt) receive() (started bool, err error) {
	if err := a.stream.Await(); err != nil {
		return false, err
	}
	if a.received == nil {
		a.received = responses.Get().(*received)
	}
	return a.stream.ReadHead(&a.response)
}

// readHead reads response heads until the final one and passes interim ones on. It looks for a client that has
// left: the limit of reading that was set before has taken back the interruption by its Cancel.
func (a *attempt) readHead() *attemptError {
	if a.x.cancel().Canceled() {
		return clientGone(a.stream.Sent())
	}
	started, err := a.receive()
	return a.acceptHead(started, err)
}

// acceptHead takes the head that was read into response, or could not be, and goes on
// reading as long as it is an interim one.
func (a *attempt) acceptHead(started bool, err error) *attemptError {
	x := a.x
	for range maxInterim {
		if err != nil {
			e := a.fairly(x.inWords(headFailure(a.stream, err, started)))
			if a.informed { // the target has the request, whatever it says now, and the client a part of what it answers
				e.sent, e.stale = true, false
			}
			return e
		}
		h := &a.response
		switch {
		case h.Status >= 200, h.Status == 101 && len(x.upgrade) > 0:
			if len(x.upgrade) > 0 && h.Status >= 200 && h.Status < 300 && x.Request.Version >= head.HTTP2 {
				return &attemptError{cause: CauseBadResponse, err: errNotSwitched, sent: true}
			}
			a.headSeen()
			a.firstByte = max(time.Since(a.asked), 1)
			return a.openBody()
		case h.Status == 101:
			return &attemptError{cause: CauseBadResponse, err: errUnasked, sent: true}
		}
		a.informed = true
		forward.Clean(h)
		h.SetFraming(head.LengthNone) // RFC 9110 section 8.6, RFC 9112 section 6.1
		if err := x.Client.Front.Inform(h); err != nil {
			return &attemptError{cause: CauseClientGone, err: err, sent: true, fault: faultClient}
		}
		started, err = a.stream.ReadHead(h)
	}
	return &attemptError{cause: CauseBadResponse, err: errInterim, sent: true}
}

var (
	errUnasked = errors.New("101 without a request for an upgrade")
	// errNotSwitched: to a client of HTTP/2 such an answer is the agreement to a tunnel.
	errNotSwitched = errors.New("2xx instead of 101")
	errInterim     = fmt.Errorf("more than %d interim responses", maxInterim)
)

// responseBody is the body of an attempt's response: it bounds each wait for the
// target.
type responseBody struct {
	body.Source
	a      *attempt
	reader body.Reader
	// reading is when the first wait began.
	reading time.Time
	// stopped is set to end the body early, by the exchange that stores it or by Fetches.Cut. It is nil for a body that only
	// the client waits for, who ends it by going away.
	stopped *atomic.Bool
	// err is the target's fault in the body.
	err error
}

func (b *responseBody) reset() {
	b.Source, b.a, b.reading, b.stopped, b.err = nil, nil, time.Time{}, nil, nil
}

// openBody makes a.body deliver what comes after the response's head. A body that is known to break off
// fails the attempt while the client has got nothing, so that another attempt or an error can answer. That of a call of gRPC
// does not: the messages that came before count.
func (a *attempt) openBody() *attemptError {
	if a.response.Status == 101 {
		return nil
	}
	a.body.reset()
	a.body.a = a
	src, err := a.stream.Response(&a.response, a.x.bodyless(a.response.Status), &a.body.reader)
	if a.body.Source = src; err != nil && !a.x.grpc {
		cause := a.x.bodyCause(err)
		return &attemptError{cause: cause, err: a.x.bodyError(cause, err), sent: true}
	}
	return nil
}

// Next implements body.Source. An error that is not io.EOF stays in err.
func (b *responseBody) Next(buf []byte) ([]byte, error) {
	if !b.Ready() {
		if err := b.wait(); err != nil {
			b.err = err
			return nil, err
		}
	}
	p, err := b.Source.Next(buf)
	return p, b.judge(err)
}

// NextHere is Next without a wait: it returns sock.ErrAgain, which is not final, unless more has most likely come.
func (b *responseBody) NextHere(buf []byte) ([]byte, error) {
	if b.Source != body.Source(&b.reader) || !b.reader.More() {
		return nil, sock.ErrAgain
	}
	if err := b.wait(); err != nil {
		b.err = err
		return nil, err
	}
	p, err := b.reader.NextHere(buf)
	if err == sock.ErrAgain {
		return nil, err
	}
	return p, b.judge(err)
}

// judge notes that the target broke off the body.
func (b *responseBody) judge(err error) error {
	if err != nil && !b.Done() {
		if b.stopped != nil && b.stopped.Load() {
			err = errNotWanted // the target did nothing wrong
		}
		b.err = err
	}
	return err
}

// wait bounds the wait for the next bytes.
func (b *responseBody) wait() error {
	a := b.a
	now := time.Now()
	switch {
	case b.reading.IsZero():
		b.reading = now
		a.upstream.Set.Heard(a.target, a.firstByte)
	case now.Sub(b.reading) > reportAfter:
		a.report()
	}
	a.x.time.limitRead(a.stream, now, a.x.time.limits.idle)
	switch {
	case b.stopped != nil:
		if b.stopped.Load() {
			return errNotWanted
		}
	case a.x.cancel().Canceled():
		return errClientGone // noticed since the last wait
	}
	return nil
}

// Kernel implements body.Source.
func (b *responseBody) Kernel() body.Kernel {
	k := b.Source.Kernel()
	switch {
	case k.Socket == nil:
	case !b.a.x.time.deadline.IsZero():
		return body.Kernel{} // nothing bounds the whole of such a move
	default:
		k.Wait = b.a.x.time.limits.idle
		b.a.upstream.Set.Heard(b.a.target, b.a.firstByte)
	}
	return k
}

// Moved implements body.Source.
func (b *responseBody) Moved(n int64) {
	b.Source.Moved(n)
	b.a.stream.ReadUntil(time.Time{}) // the bounds of writing are the upload's, which may still be running
}

// endless says that the response is one that has no end by intention.
func (a *attempt) endless() bool {
	return a.body.Left() < 0 && bytes.HasPrefix(a.response.Get(head.ContentType), []byte("text/event-stream"))
}
