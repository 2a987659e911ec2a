package proxy

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"time"

	"weir/cache"
	"weir/internal/header"
	"weir/internal/match"
	"weir/internal/transport"
	"weir/internal/wire"
	"weir/lb"
)

// forward sends the exchange to a target of its upstream, and to another one
// if that fails before anything was answered and repeating is safe.
func (p *Proxy) forward(x *Exchange) {
	now := time.Now()
	x.pick.Now = lb.MonotonicAt(now)
	x.Upstream.Set.Retry().Budget.Deposit(x.pick.Now)
	x.bound()
	x.steer(x.Upstream)
	p.prepare(x)
	if x.cached.fill != nil {
		x.cached.fill.Condition(&x.Request)
	}
	x.hold()
	p.attempts(x, now)
}

// attempts makes attempts, the first one from now on, until one has ended the
// exchange.
func (p *Proxy) attempts(x *Exchange, now time.Time) {
	budget := x.Upstream.Set.Retry().Budget
	var last *attemptError
	for {
		t, err := x.acquire()
		if err != nil {
			none := noTarget(err)
			switch {
			case last == nil:
				last = none
			case last.status != 0:
				last.cause = none.cause // its response is gone
				fallthrough
			default:
				budget.Refund(last.grantedAt)
			}
			x.failAttempt(last)
			return
		}
		x.Chosen = t
		x.pick.Now = 0
		x.holdsTarget, x.learned = true, false
		x.Attempts++
		if x.Attempts > 1 || x.Upstream.queues {
			now = time.Now()
		}
		last = p.attempt(x, t, now)
		if last == nil {
			return
		}
		if !last.granted && !x.mayRetry(last) {
			x.failAttempt(last)
			return
		}
		if last.wait > 0 && !x.pause(last.wait) {
			budget.Refund(last.grantedAt)
			x.failAttempt(clientGone(false))
			return
		}
	}
}

// mayRetry decides whether e is followed by another attempt, which it takes from
// the budget.
func (x *Exchange) mayRetry(e *attemptError) bool {
	now := time.Now()
	if x.late(now) && !e.final {
		e.cause = CauseTotal
		return false
	}
	retry := x.Upstream.Set.Retry()
	e.grantedAt = lb.Monotonic()
	try := x.try(e)
	refusal, wait := retry.Judge(try), time.Duration(0)
	switch {
	case refusal != lb.RetryAllowed:
	case !x.Upstream.Set.Spare(&x.pick):
		// Neither a wait nor giving up a response would be worth it.
		refusal = lb.RetryNoTarget
	default:
		wait, refusal = retry.Next(try, e.grantedAt, now, rand.Uint64())
	}
	if refusal == lb.RetryAllowed && x.late(now.Add(wait)) {
		retry.Budget.Refund(e.grantedAt)
		refusal = lb.RetryTooLate
	}
	x.proxy.metrics.judged(x, try, refusal)
	e.wait, e.granted = wait, refusal == lb.RetryAllowed
	return e.granted
}

// acquire takes a target. A client that leaves gives up its place in the queue.
func (x *Exchange) acquire() (*lb.Target, error) {
	set := x.Upstream.Set
	if !x.Upstream.queues || x.Attempts > 0 {
		return set.Acquire(&x.pick)
	}
	x.pick.Cancel = x.Watch.wait(x.Start)
	t, err := set.Acquire(&x.pick)
	x.pick.Cancel = nil
	x.Watch.end()
	return t, err
}

// try tells the retry policy about a failed attempt.
func (x *Exchange) try(e *attemptError) lb.Try {
	kind := e.kind()
	if errors.Is(e.err, transport.ErrNoConn) {
		// No fault of the target, which has no connection to spare, but no
		// connection either.
		kind = lb.ConnectFailed
	}
	return lb.Try{
		Attempt:    x.Attempts,
		Kind:       kind,
		Status:     e.status,
		Sent:       e.sent,
		Repeatable: x.repeatable(),
		Answered:   x.began || e.final,
		BodyGone:   !x.replayable(),
		RetryAfter: e.retryAfter,
	}
}

func (x *Exchange) repeatable() bool {
	return lb.Idempotent(x.Request.Method()) || len(x.Request.Peek("Idempotency-Key")) > 0
}

// noTarget says why no target was chosen.
func noTarget(err error) *attemptError {
	switch {
	case errors.Is(err, lb.ErrNoTarget):
		return &attemptError{cause: CauseNoTarget, err: err}
	case errors.Is(err, lb.ErrBreakerOpen):
		return &attemptError{cause: CauseBreaker, err: err}
	case errors.Is(err, lb.ErrCanceled):
		return clientGone(false)
	}
	return &attemptError{cause: CauseBusy, err: err}
}

// failAttempt tells the client how the last attempt failed, unless the cache
// has an answer that is better than none.
func (x *Exchange) failAttempt(e *attemptError) {
	if e.cause != CauseClientGone && x.proxy.answerStale(x, cache.FailedConnection) {
		return
	}
	x.Err = e.err
	status := e.cause.status()
	if e.status != 0 {
		status = e.status
	}
	x.fail(status, e.cause)
}

// attempt makes one attempt at t, which it gives back. It returns nil if the
// exchange has ended, well or not; an error means that the client has got
// nothing yet.
func (p *Proxy) attempt(x *Exchange, t *lb.Target, began time.Time) *attemptError {
	if p.hooks.OnUpstream != nil {
		p.hooks.OnUpstream(x)
	}
	e := x.roundTrip(p, t, began)
	if e == nil {
		x.FirstByte = time.Since(began)
		switch e = x.unwelcome(); {
		case e != nil:
		case x.rhead.Status == 101:
			p.join(x)
			return nil
		default:
			p.relay(x)
			return nil
		}
	}
	x.giveBack(e.outcome(), e.status, time.Since(began), e.cause)
	return e
}

// giveBack returns connection (to be closed) and target of a failed attempt.
func (x *Exchange) giveBack(kind lb.Kind, status int, latency time.Duration, cause Cause) {
	if x.conn != nil {
		x.Watch.end()
		x.stopUpload()
		transportOf(x.Chosen).Release(x.conn, false)
		x.conn = nil
	}
	if x.holdsTarget {
		x.settleAttempt(kind, status, latency, cause)
	}
}

// settleAttempt gives the target back and says how the attempt went.
func (x *Exchange) settleAttempt(kind lb.Kind, status int, latency time.Duration, cause Cause) {
	if x.learned && (kind == lb.Success || kind == lb.Canceled) {
		kind = lb.AlreadyReported
	}
	x.holdsTarget = false
	x.Upstream.Set.Release(x.Chosen, lb.Outcome{Kind: kind, Status: status, Latency: latency})
	x.proxy.metrics.attempt(x.Upstream, x.Chosen, cause, latency)
}

// streamAfter is how long a response may take before the balancer is told that
// it goes well, without waiting for its end.
const streamAfter = time.Second

// learn tells the balancer about a response whose end may be far away.
func (x *Exchange) learn() {
	if !x.learned {
		x.learned = true
		x.Upstream.Set.Report(x.Chosen, lb.Outcome{Kind: lb.Success, Status: x.rhead.Status, Latency: x.FirstByte})
	}
}

// endless says that a response is one that has no end by intention.
func (x *Exchange) endless() bool {
	return x.rbody.Left() < 0 && bytes.HasPrefix(x.Response.ContentType(), []byte("text/event-stream"))
}

// abandon gives back what a panic left behind.
func (x *Exchange) abandon() {
	if x.Chosen != nil {
		x.giveBack(lb.Canceled, 0, 0, CausePanic)
	}
}

// unwelcome decides whether a response is one that the retry policy would
// rather have from another target.
func (x *Exchange) unwelcome() *attemptError {
	if !x.Upstream.Set.Retry().OnStatus(x.rhead.Status) {
		return nil
	}
	e := &attemptError{
		cause: CauseOK, status: x.rhead.Status, sent: true,
		retryAfter: bytes.Clone(x.Response.Peek("Retry-After")),
		err:        errUnwelcome,
	}
	// Decided while the response is there, which is the better answer if there
	// is no other attempt.
	if !x.mayRetry(e) {
		return nil
	}
	return e
}

var errUnwelcome = errors.New("status that is to be tried again")

// prepare makes the request head what targets get.
func (p *Proxy) prepare(x *Exchange) {
	h, r := &x.Request, x.Route
	fields := x.Head.Fields
	if fields&wire.FieldExpect != 0 && x.Head.Minor == 0 {
		h.Del("Expect")
	}
	header.CleanRequest(h, fields)
	if x.upgrading {
		header.UpgradeRequest(h, x.protocol)
	}
	// The framing towards the target is our own: fasthttp loses that of a chunked
	// GET, whose body the target would then take for the next request.
	h.ResetConnectionClose()
	switch x.Body.Framing() {
	case wire.FramingChunked:
		h.SetContentLength(-1)
	case wire.FramingLength:
		h.SetContentLength(int(x.Head.Length))
	}
	p.forwarder.Apply(h, fields, x.Peer, x.RequestID)
	if x.Head.Minor == 0 {
		h.SetProtocol("HTTP/1.1") // after Via, which names what the client spoke
	}
	x.setTarget(r)
	r.requestRules.Apply(h, x.lookup)
	if r.hostHeader == hostFixed {
		h.SetHost(r.hostValue)
	}
}

// setTarget changes the request target as the route says; without a rule it
// stays as it came, byte for byte.
func (x *Exchange) setTarget(r *Route) {
	if !r.stripPrefix && r.addPrefix == "" && r.rewrite.IsZero() {
		return
	}
	path := match.RemoveDots(x.Path) // a prefix is what matching saw
	if r.stripPrefix {
		path = match.StripPrefix(path, x.Captures.Slashes())
		if len(path) == 0 {
			path = []byte("/")
		}
	}
	b := append(x.scratch[:0], r.addPrefix...)
	b = append(b, path...)
	query := true
	if !r.rewrite.IsZero() {
		b = match.Encode(r.rewrite.Append(b[:0], x.lookup))
		query = bytes.IndexByte(b, '?') < 0
	}
	if query && x.Query != nil {
		b = append(append(b, '?'), x.Query...)
	}
	x.scratch = b
	x.Request.SetRequestURIBytes(b)
}

// hold keeps a body that has arrived whole, so that it leaves with the head in
// one write and can be sent again.
func (x *Exchange) hold() {
	x.held = x.held[:0]
	if x.Body.Done() || x.Body.Framing() != wire.FramingLength || !x.Body.Whole() {
		return
	}
	for !x.Body.Done() {
		piece, err := x.Body.Next(nil)
		if err != nil {
			panic("BUG: a whole body cannot be read: " + err.Error())
		}
		x.held = append(x.held, piece...)
	}
}

// replayable says that nothing of the body is lost if the request is sent again:
// what was read of it is held, and all of it was if an upload has read.
func (x *Exchange) replayable() bool {
	if u := &x.upload; u.started {
		select {
		case <-u.done:
		default:
			return false // it reads at this moment
		}
		if !u.ended.Load() || !x.Body.Done() {
			return false
		}
	}
	return x.Body.Seen() == int64(len(x.held))
}

// appendHeld appends the part of the request's body that is held, framed.
func (x *Exchange) appendHeld(dst []byte) []byte {
	if x.Body.Framing() != wire.FramingChunked {
		return append(dst, x.held...)
	}
	if !x.Body.Done() {
		return dst // nothing of it was read
	}
	if len(x.held) > 0 {
		dst = wire.AppendChunkHead(dst, len(x.held))
		dst = append(append(dst, x.held...), '\r', '\n')
	}
	return wire.AppendLastChunk(dst, x.Body.Trailer())
}

// relay gives the target's response to the client.
func (p *Proxy) relay(x *Exchange) {
	h := &x.Response
	head := &x.rhead
	bodyless := x.Request.IsHead() || head.Status == 204 || head.Status == 304
	framing, length := responseFraming(head, bodyless)
	closes := h.ConnectionClose() && !(bodyless && head.Minor == 1 && head.Fields&wire.FieldConnection == 0)
	if head.Fields&wire.FieldContentLength != 0 && head.Length == wire.LengthChunked {
		closes = true // who knows where this target thinks that it ends (RFC 9112 section 6.3)
	}
	x.rbody.Reset(x.conn.Reader, framing, length)

	h.ResetConnectionClose()
	header.CleanResponse(h, head.Fields)
	p.forwarder.ApplyResponse(h, head.Fields)
	h.SetProtocol(nil)
	if p.hooks.OnResponse != nil {
		p.hooks.OnResponse(x)
	}
	if x.Cache.Asked && p.keep(x, bodyless, closes) {
		return
	}
	x.stick()
	if x.Route.responseRules != nil {
		x.Route.responseRules.Apply(h, x.lookup)
	}
	if p.hooks.OnReply != nil {
		p.hooks.OnReply(x)
	}
	if x.upload.running() || !x.upload.started && !x.Body.Done() {
		// The answer came before the request's end: what is left of it cannot
		// be told from a next request.
		x.Front.CloseAfter()
	}

	x.began = true
	x.Status = h.StatusCode()
	latency := x.FirstByte
	if x.endless() {
		x.learn()
	}
	err := x.Front.Start(h, x.rbody.Left(), bodyless)
	if err == nil {
		err = x.copyBody()
	}
	uploaded := x.stopUpload()
	gone := x.Watch.end()
	reusable := err == nil && uploaded && !closes && !gone && x.rbody.Proven()
	transportOf(x.Chosen).Release(x.conn, reusable)
	x.conn = nil
	if err == nil {
		err = x.Front.Finish(x.rbody.Trailer())
	}

	kind, cause := lb.Success, CauseOK
	switch {
	case err == nil:
	case gone:
		x.clientFailed(errClientGone)
		kind = lb.Canceled
	case x.upload.failure() != nil && x.rbodyErr != nil:
		e := x.upload.failure()
		x.Cause, x.Err, kind = e.cause, e.err, lb.Canceled
		x.Front.Abort()
	case x.rbodyErr != nil:
		cause = x.bodyCause(err)
		x.Err = err
		x.fail(0, cause)
		kind = (&attemptError{cause: cause}).outcome()
	default:
		x.clientFailed(err)
		kind = lb.Canceled
	}
	x.settleAttempt(kind, head.Status, latency, cause)
}

var errClientGone = errors.New("client went away")

// clientGone is the end of an exchange whose client did not wait for it.
func clientGone(sent bool) *attemptError {
	return &attemptError{cause: CauseClientGone, err: errClientGone, sent: sent, final: true}
}

// responseFraming applies RFC 9112 section 6.3.
func responseFraming(h *wire.Head, bodyless bool) (wire.Framing, int64) {
	switch {
	case bodyless:
		return wire.FramingNone, 0
	case h.Length == wire.LengthChunked:
		return wire.FramingChunked, 0
	case h.Length >= 0:
		return wire.FramingLength, h.Length
	}
	return wire.FramingClose, 0
}

// spliceMin is the number of bytes from which moving a body inside the kernel
// pays for its set-up.
const spliceMin = 32 << 10

// copyBody moves the response body. It sets rbodyErr if the target failed; any
// other error is the client's.
func (x *Exchange) copyBody() error {
	body := &x.rbody
	var began time.Time
	var buf []byte
	for !body.Done() {
		if !body.Ready() {
			if err := x.Front.Flush(); err != nil {
				return err
			}
			if body.Left() >= spliceMin && x.conn.Stream() != nil && x.deadline.IsZero() {
				if err := x.splice(); err != errors.ErrUnsupported {
					return err
				}
			}
			if buf == nil {
				b := copyBuffers.Get().(*[copyBuffer]byte)
				defer copyBuffers.Put(b)
				buf = b[:]
			}
			now := time.Now()
			if began.IsZero() {
				began = now
			} else if now.Sub(began) > streamAfter {
				x.learn()
			}
			x.limitRead(x.conn, now, x.limits.idle)
		}
		piece, err := body.Next(buf)
		if err != nil {
			if body.Done() {
				return nil
			}
			x.rbodyErr = err
			return err
		}
		x.BytesOut += int64(len(piece))
		if err := x.Front.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// splice moves the rest of the body from socket to socket. The error is
// errors.ErrUnsupported if that is not possible between these two.
func (x *Exchange) splice() error {
	body := &x.rbody
	moved, srcErr, err := x.Front.Splice(x.conn.Stream(), body.Left(), x.limits.idle)
	if err == errors.ErrUnsupported {
		return err
	}
	x.conn.Unlimit()
	x.BytesOut += moved
	body.Skipped(moved)
	if srcErr != nil {
		x.rbodyErr = srcErr
		return srcErr
	}
	return err
}
