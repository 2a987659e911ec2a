package proxy

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"time"

	"weir/cache/rule"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/match"
	"weir/internal/transport"
	"weir/lb"
)

// forward sends the exchange to a target of its upstream, and to another one
// if that fails before anything was answered and repeating is safe.
func (x *Exchange) forward() {
	if a := x.attempt; a != nil && a.running() { // ServeAhead has begun it
		x.tryAll(a)
		return
	}
	x.traceLookUp()
	x.attempts(x.aim())
}

// aim prepares the request and what the balancer is told, and returns the time.
func (x *Exchange) aim() (now time.Time) {
	now = x.now()
	pick := &x.pick
	pick.Now = lb.MonotonicAt(now)
	x.bound()
	x.setAffinity()
	if x.tied {
		x.Client.Bond.prefer(pick)
	}
	if x.Pin != nil {
		pick.Prefer = append(pick.Prefer, x.Pin.Prefer...)
	}
	x.sentHead()
	if f := x.cached.fetch; f != nil {
		f.Condition(&x.outgoing)
	}
	x.hold()
	pick.Once = x.Upstream.Set.Retry().Attempts == 1 || !x.Body.Done() || !x.repeatable()
	return now
}

// attempts makes attempts, the first one from now on, until one has ended the
// exchange.
func (x *Exchange) attempts(now time.Time) {
	a, err := x.beginAttempt(now)
	if err != nil {
		x.failAttempt(x.noTarget(err))
		return
	}
	x.tryAll(a)
}

// tryAll makes the attempt a, which has begun, and others after it, until one has ended the exchange.
func (x *Exchange) tryAll(a *attempt) {
	budget := x.Upstream.Set.Retry().Budget
	for {
		last := x.try(a)
		if last == nil {
			return
		}
		if !last.retry.granted && !x.mayRetry(last) {
			x.failAttempt(last)
			return
		}
		if last.retry.wait > 0 && !x.pause(last.retry.wait) {
			budget.Refund(last.retry.at)
			x.failAttempt(clientGone(false))
			return
		}
		var err error
		if a, err = x.beginAttempt(time.Now()); err != nil {
			budget.Refund(last.retry.at)
			x.failAttempt(x.noRetry(last, err))
			return
		}
	}
}

// noRetry says how an exchange ends that could not have another target after last because of err.
func (x *Exchange) noRetry(last *attemptError, err error) *attemptError {
	e := x.noTarget(err)
	switch {
	case e.cause == CauseClientGone, e.cause == CauseTotal:
		return e // it has waited for one
	case last.status != 0:
		last.cause, last.err = e.cause, e.err // its response is gone
	}
	return last
}

// beginAttempt begins an attempt at a target that the balancer chooses.
func (x *Exchange) beginAttempt(now time.Time) (*attempt, error) {
	at := x.pick.Now
	t, err := x.acquire()
	if err != nil {
		return nil, err
	}
	if x.Result.Attempts == 0 {
		x.Upstream.Set.Retry().Budget.Deposit(at)
	}
	x.pick.Now = 0
	if x.Upstream.queues {
		now = time.Now() // the exchange may have waited
	}
	a := &x.room.attempt
	x.attempt = a
	a.begin(x, t, now)
	a.address()
	return a, nil
}

// try makes an attempt that has begun, and gives its target back. It returns nil if the exchange has
// ended, well or not; an error means that the client has got nothing yet.
func (x *Exchange) try(a *attempt) *attemptError {
	e := a.roundTrip()
	if e == errSlow {
		e = x.hedge(a)
		a = x.attempt
	}
	if e == nil {
		e = x.retryStatus(a)
	}
	x.noteAttempt(a)
	if e != nil {
		a.fail(e)
		return e
	}
	x.Result.FirstByte = a.firstByte
	if a.response.Status == 101 {
		x.join(a)
	} else {
		x.relay(a)
	}
	return nil
}

// mayRetry decides whether e is followed by another attempt, which it takes from
// the budget.
func (x *Exchange) mayRetry(e *attemptError) bool {
	now := time.Now()
	if e.final() {
		return false // it is the client's fault, or weir's, and no other attempt was wanted
	}
	if x.time.late(now) {
		e.cause = CauseTotal
		return false
	}
	policy := x.Upstream.Set.Retry()
	e.retry.at = lb.Monotonic()
	try := x.describe(e)
	refusal, wait := policy.Judge(try), time.Duration(0)
	switch {
	case refusal != lb.RetryAllowed:
	case !x.Upstream.Set.Spare(&x.pick):
		// Neither a wait nor giving up a response would be worth it.
		refusal = lb.RetryNoTarget
	default:
		wait, refusal = policy.Next(try, e.retry.at, now, rand.Uint64())
	}
	if refusal == lb.RetryAllowed && x.time.late(now.Add(wait)) {
		policy.Budget.Refund(e.retry.at)
		refusal = lb.RetryTooLate
	}
	x.proxy.metrics.judged(x, try, refusal)
	e.retry.wait, e.retry.granted = wait, refusal == lb.RetryAllowed
	return e.retry.granted
}

// acquire takes a target. A client that leaves gives up its place in the queue, where no exchange
// waits for longer than it may take.
func (x *Exchange) acquire() (*lb.Target, error) {
	set, pick := x.Upstream.Set, &x.pick
	if !x.Upstream.queues {
		return set.Acquire(pick)
	}
	pick.Queued, pick.Within = false, x.time.left(x.now())
	pick.Cancel = x.Client.Cancel.channel(x.Start)
	began := x.traceNow()
	t, err := set.Acquire(pick)
	pick.Cancel = nil
	if !pick.Queued {
		x.Client.Cancel.disarm()
		return t, err
	}
	x.tracePart(TraceQueue, began)
	if x.Client.Cancel.noticeGone() && err == nil {
		set.Release(t, lb.Outcome{Kind: lb.Canceled})
		return nil, lb.ErrCanceled
	}
	return t, err
}

// describe tells the retry policy about a failed attempt.
func (x *Exchange) describe(e *attemptError) lb.Try {
	kind := e.kind()
	if errors.Is(e.err, transport.ErrNoConn) {
		// No fault of the target, which has no connection to spare, but no
		// connection either.
		kind = lb.ConnectFailed
	}
	return lb.Try{
		Attempt:    x.Result.Attempts,
		Kind:       kind,
		Status:     e.status,
		Sent:       e.sent,
		Repeatable: x.repeatable(),
		Call:       x.grpc,
		Answered:   x.phase >= phaseReplying || e.final(),
		BodyGone:   !x.replayable(),
		RetryAfter: e.retryAfter,
	}
}

// repeatable says that sending the request twice does no harm (RFC 9110 section 9.2.2).
func (x *Exchange) repeatable() bool {
	return lb.Idempotent(x.Request.Method()) || len(x.Request.Get(head.IdempotencyKey)) > 0
}

// noTarget says why no target was chosen.
func (x *Exchange) noTarget(err error) *attemptError {
	switch {
	case errors.Is(err, lb.ErrNoTarget):
		return &attemptError{cause: CauseNoTarget, err: x.Upstream.Set.Why()}
	case errors.Is(err, lb.ErrBreakerOpen):
		return &attemptError{cause: CauseBreaker, err: x.Upstream.Set.WhyOpen()}
	case errors.Is(err, lb.ErrCanceled):
		return clientGone(false)
	case x.time.late(time.Now()):
		return &attemptError{cause: CauseTotal, err: err}
	}
	return &attemptError{cause: CauseBusy, err: err}
}

var errClientGone = errors.New("client went away")

// clientGone is the end of an exchange whose client did not wait for it.
func clientGone(sent bool) *attemptError {
	return &attemptError{cause: CauseClientGone, err: errClientGone, sent: sent, fault: faultClient}
}

// failAttempt tells the client how the last attempt failed, unless the cache
// has an answer that is better than an error.
func (x *Exchange) failAttempt(e *attemptError) {
	x.Upstream.Set.Leave(&x.pick) // others need not wait until this client has its answer
	if e.cause != CauseClientGone && x.answerStale(rule.FailedConnection) {
		return
	}
	x.Result.Err = e.err
	status := e.cause.status()
	if e.status != 0 {
		status = e.status
	}
	x.fail(status, e.cause)
}

// retryStatus decides whether a response is one that the retry policy would
// rather have from another target.
func (x *Exchange) retryStatus(a *attempt) *attemptError {
	status := a.judged()
	if !x.Upstream.Set.Retry().OnStatus(status, x.grpc) {
		return nil
	}
	e := &attemptError{
		cause: CauseOK, status: status, sent: true,
		retryAfter: bytes.Clone(a.response.Get(head.RetryAfter)),
		err:        errRetryStatus,
	}
	// Decided while the response is there, which is the better answer if there
	// is no other attempt.
	if !x.mayRetry(e) {
		return nil
	}
	if a.stopUpload(); !x.replayable() {
		// The upload has read more than is kept since it was asked.
		x.Upstream.Set.Retry().Budget.Refund(e.retry.at)
		return nil
	}
	return e
}

var errRetryStatus = errors.New("status that is to be tried again")

// sentHead is outgoing, made if that was not done yet.
func (x *Exchange) sentHead() *head.Head {
	if !x.prepared {
		x.prepare()
		x.prepared = true
	}
	return &x.outgoing
}

// prepare makes outgoing what targets get.
func (x *Exchange) prepare() {
	h, r := &x.outgoing, x.Route
	x.Request.CopyTo(h)
	if h.Version == head.HTTP10 {
		h.Del(head.Expect)
	}
	forward.Clean(h)
	if x.web != nil {
		x.web.prepare(h)
	}
	if r.auth != nil && !r.auth.pass {
		h.Del(head.Authorization)
	}
	r.ambiguous.Clean(h, x.Upstream.deadlineHeader)
	if len(x.upgrade) > 0 {
		forward.Upgrade(h, x.upgrade)
	}
	// The framing towards the target is weir's own; a head that came in frames need not
	// say how long its body is.
	if length := x.length(); length != head.LengthNone {
		h.SetFraming(length)
	}
	if x.buffered || x.Body.Seen() > 0 {
		h.Del(head.Expect) // the client was told to go on
	}
	if x.buffered {
		h.Del(head.Trailer) // a body with a length has no trailer section
	}
	x.proxy.forwarder.Apply(h, x.Client.Peer, x.RequestID)
	x.rewriteTarget(h)
	if r.cache != nil && r.cache.FoldsEncodings() && x.usesCache() {
		x.room.scratch = rule.AppendEncodings(x.room.scratch[:0], h)
		h.Set(head.AcceptEncoding, x.room.scratch)
	}
	x.room.scratch = r.requestCookies.Apply(h, x.room.scratch)
	r.requestRules.Apply(h, x.room.lookup)
	if r.hostHeader == hostFixed {
		h.Set(head.Host, r.hostValue)
	}
}

// rewriteTarget changes the request target as the route says; without a rule it
// stays as it came, byte for byte.
func (x *Exchange) rewriteTarget(h *head.Head) {
	r := x.Route
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
	b := append(x.room.scratch[:0], r.addPrefix...)
	b = append(b, path...)
	query := true
	if !r.rewrite.IsZero() {
		b = r.rewrite.Append(append(b[:0], '/'), x.room.lookup)
		b = match.Encode(dropBareMark(squeezeSlashes(b)))
		query = bytes.IndexByte(b, '?') < 0
	}
	if query && x.Query != nil {
		b = append(append(b, '?'), x.Query...)
	}
	x.room.scratch = b
	h.SetTarget(b)
}

// hold keeps a body that has arrived whole, so that it leaves with the head in
// one write and can be sent again.
func (x *Exchange) hold() {
	if x.buffered {
		return
	}
	if x.Body.Seen() == 0 {
		x.held = x.held[:0]
	}
	if x.Body.Done() || x.chunked() || !x.Body.Whole() {
		return
	}
	for !x.Body.Done() {
		piece, err := x.Body.Next(nil)
		if err != nil {
			panic("BUG: a whole body cannot be read: " + err.Error())
		}
		x.taps.see(ToTarget, piece)
		x.held = append(x.held, piece...)
	}
	x.taps.end(ToTarget)
}

// replayable says that nothing of the body is lost if the request is sent again: what was read of it is
// held. The next attempt goes on with the rest.
func (x *Exchange) replayable() bool {
	if a := x.attempt; a != nil && a.upload.started() && !a.upload.ended() {
		return !a.upload.lost.Load() // it reads at this moment
	}
	return x.Body.Seen() == int64(len(x.held))
}

// relay gives the target's response to the client.
func (x *Exchange) relay(a *attempt) {
	h := &a.response
	bodyless := x.bodyless(h.Status)
	closes := closesAfter(h)
	x.tieByResponse(h)
	x.proxy.dates.Complete(h, a.asked.Add(a.firstByte))
	forward.Clean(h)
	x.proxy.forwarder.Via(h)
	x.Response = h
	x.runHooks(x.proxy.hooks.onResponse)
	if x.Result.Cache.Asked && x.offerToCache(a, bodyless, closes) {
		return
	}
	x.addStickyCookie()
	if x.relayPage(a, closes) {
		return
	}
	if a.endless() {
		a.report()
	}
	x.replyFrom(a, bodyless, closes)
}

// closesAfter says that the connection cannot be used after the response.
func closesAfter(h *head.Head) bool {
	// With both framing fields the target may think that its response ends elsewhere
	// (RFC 9112 section 6.3).
	return h.Present()&head.Framing == head.Framing || !h.Persistent()
}
