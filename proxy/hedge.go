package proxy

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"weir/internal/head"
	"weir/internal/sock"
	"weir/internal/transport"
	"weir/lb"
)

// hedgeResult is what became of a second attempt that was sent because the first
// was slow.
type hedgeResult uint8

const (
	// hedgeWon: it answered first.
	hedgeWon hedgeResult = iota
	// hedgeLost: the first attempt answered first after all.
	hedgeLost
	// hedgeFailed: it failed, or answered with a status that is to be tried again.
	hedgeFailed
	// hedgeRefused: the budget or the lack of another target forbade it.
	hedgeRefused

	hedgeResults
)

func (r hedgeResult) String() string {
	return [hedgeResults]string{"won", "lost", "failed", "refused"}[r]
}

// hedgeDelay says whether, and after which time, a second attempt may be sent:
// only during the first, of a request that is safe to repeat and held whole.
func (x *Exchange) hedgeDelay() (time.Duration, bool) {
	if x.Upstream.hedges && !x.tied && x.Result.Attempts == 1 && len(x.upgrade) == 0 && x.repeatable() && x.replayable() {
		return x.Upstream.Set.HedgeDelay(lb.Monotonic())
	}
	return 0, false
}

// waitHead reads the response's head, or returns errSlow if it does not begin to come
// within delay.
func (a *attempt) waitHead(delay time.Duration) *attemptError {
	s := a.stream
	s.ReadUntil(time.Now().Add(delay)) // from now on: connecting alone may have taken longer than delay
	if a.x.cancel().Canceled() {
		return clientGone(s.Sent()) // as in readHead
	}
	err := s.Await()
	if err != nil && !sock.TimedOut(err) {
		return a.x.inWords(headFailure(s, err, false))
	}
	until := a.x.headUntil(a.began)
	s.ReadUntil(until)
	if err == nil {
		return a.readHead()
	}
	if a.x.cancel().Canceled() || !until.IsZero() && !time.Now().Before(until) {
		return a.x.inWords(headFailure(s, err, false))
	}
	return errSlow
}

// headUntil is when the head of a response to an attempt that began then must be
// there; zero for no bound.
func (x *Exchange) headUntil(began time.Time) time.Time {
	if limit := x.time.limits.head(); limit > 0 && !x.time.late(began.Add(limit)) {
		return began.Add(limit)
	}
	return x.time.deadline
}

// hedge sends a second attempt, if it may, and makes the one that answers first the
// attempt of the exchange. If both fail, the first one's failure counts.
func (x *Exchange) hedge(first *attempt) *attemptError {
	var e *attemptError
	if t := x.hedgeTarget(first); t != nil {
		e = x.race(first, t)
	} else {
		x.proxy.metrics.hedged(x.Upstream, hedgeRefused)
		e = first.readHead()
	}
	if e != nil {
		return x.attempt.blame(e)
	}
	return nil
}

// hedgeTarget takes another target, out of the budget; nil if there is to be
// no hedge.
func (x *Exchange) hedgeTarget(first *attempt) *lb.Target {
	budget := x.Upstream.Set.Retry().Budget
	now := lb.Monotonic()
	if !budget.Withdraw(now) {
		return nil
	}
	x.pick.NoWait = true
	t, err := x.Upstream.Set.Acquire(&x.pick)
	x.pick.NoWait = false
	if err == nil && !t.Same(first.target) {
		return t
	}
	if err == nil {
		x.Upstream.Set.Release(t, lb.Outcome{Kind: lb.Canceled})
	}
	budget.Refund(now)
	return nil
}

// racer is one of two attempts at the same exchange. The exchange may be over before a
// hedge that lost has noticed, so a hedge uses nothing of the exchange.
type racer struct {
	*attempt
	until time.Time // for the response's head; zero: no bound

	mu   sync.Mutex
	lost bool // the exchange does not wait for it any more
	// The rest is set when it has ended.
	ended   bool
	started bool // a part of a head came
	err     error
}

// race sends the request to t while the first attempt waits.
func (x *Exchange) race(a *attempt, t *lb.Target) *attemptError {
	p := x.proxy
	first, second := &racer{attempt: a}, x.newHedge(t)
	results := make(chan *racer, 2)
	gone := x.cancel().channel(x.Start)
	over := make(chan struct{})
	go p.recovered(func() {
		defer func() { close(over); results <- first }()
		first.run(first.receive)
	})
	p.background(func() {
		defer func() { results <- second }()
		p.recovered(func() { second.run(second.exchange) })
	})

	var winner *racer
	running, left := 2, false
	for winner == nil && running > 0 && !left {
		select {
		case r := <-results:
			running--
			if r.good() {
				winner = r
			}
		case <-gone:
			left = true
		}
	}
	left = x.unwatch() || left
	if winner != second || left {
		p.metrics.hedged(x.Upstream, second.lose())
	}
	if winner != first {
		a.stream.Interrupt()
		<-over
	}
	switch {
	case left:
		return clientGone(true)
	case winner != second:
		x.watch(a.stream, x.Start)
		return a.acceptHead(first.started, first.err) // it is there, or failed as it did
	}
	p.metrics.hedged(x.Upstream, hedgeWon)
	first.endBeaten()
	second.x = x
	x.attempt, x.Result.Target = second.attempt, t
	x.watch(second.stream, x.Start)
	return second.acceptHead(true, nil)
}

// good says that the racer has a head that may be the client's.
func (r *racer) good() bool {
	return r.err == nil && r.status() != 0 && !r.upstream.Set.Retry().OnStatus(r.judged(), r.out.Call)
}

// endBeaten gives back what the first attempt had. What it found out about its
// target before the hedge won is told.
func (r *racer) endBeaten() {
	e := ending{kind: lb.Canceled, cause: CauseHedge, status: r.judged()}
	switch {
	case r.err == nil:
		e.kind, e.cause = lb.Success, CauseOK
	case !sock.TimedOut(r.err): // a deadline has passed because the hedge won
		f := headFailure(r.stream, r.err, false)
		e.kind, e.cause, e.err = f.outcome(), f.cause, f.err
	}
	r.giveUp(e)
}

// newHedge makes a second attempt, at t, with a request of its own.
func (x *Exchange) newHedge(t *lb.Target) *racer {
	a := new(attempt)
	first := x.attempt
	x.attempt = a // for hooks
	a.begin(x, t, time.Now())
	a.address()
	a.trace.Hedge = true
	x.attempt, x.Result.Target = first, first.target
	request := new(head.Head)
	a.request.Clone(request)
	a.request = request
	a.out = transport.Request{
		Head: request, Held: bytes.Clone(x.held), Chunked: x.chunked(), Trailer: cloneHead(x.requestTrailer()),
		Crowded: x.Client.Crowded, Call: x.grpc,
	}
	a.x = nil
	return &racer{attempt: a, until: x.headUntil(first.began)}
}

func cloneHead(h *head.Head) *head.Head {
	if h == nil {
		return nil
	}
	c := new(head.Head)
	h.Clone(c)
	return c
}

var errHedgeLost = errors.New("the first attempt answered first")

var errRacerPanicked = errors.New("panic in one of two attempts")

// run calls exchange, which makes the attempt or what is left of it, and notes how that
// ended, in a panic too. A racer that has lost meanwhile gives back what it holds.
func (r *racer) run(exchange func() (started bool, err error)) {
	started, err := false, errRacerPanicked
	defer func() { r.finish(started, err) }()
	started, err = exchange()
}

// finish notes how the racer ended.
func (r *racer) finish(started bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started, r.err, r.ended = started, err, true
	if r.lost {
		r.endLost()
	}
}

// exchange sends the request and reads the response's head.
func (r *racer) exchange() (started bool, err error) {
	within := time.Duration(0)
	if !r.until.IsZero() {
		within = max(time.Until(r.until), time.Millisecond)
	}
	s, err := r.transport().Open(within, r.version)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	lost := r.lost
	r.stream = s
	r.mu.Unlock()
	if lost {
		return false, errHedgeLost
	}
	now := time.Now()
	if !s.Reused() {
		r.connecting = now.Sub(r.began)
	}
	s.LimitWrite(now, r.upstream.write)
	s.ReadUntil(r.until)
	if _, err := s.Send(&r.out); err != nil {
		return false, err
	}
	if started, err = r.receive(); err == nil {
		r.firstByte = max(time.Since(r.asked), 1)
	}
	return started, err
}

// lose says that the exchange does not wait for r any more, and reports what became of r.
func (r *racer) lose() hedgeResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := hedgeLost
	if r.ended {
		result = hedgeFailed
	}
	if r.lost {
		return result
	}
	r.lost = true
	switch {
	case r.ended:
		r.endLost()
	case r.stream != nil:
		r.stream.Interrupt()
	}
	return result
}

// endLost gives stream and target back. What r had found out about its target
// before it lost is told. r.mu is held.
func (r *racer) endLost() {
	e := ending{kind: lb.Canceled, cause: CauseHedge}
	switch {
	case r.err == errRacerPanicked:
		e.cause = CausePanic
	case r.stream == nil && cutShort(r.err):
		// A hedge begins late: it says nothing about the target that the rest of the time was too short.
	case r.stream == nil && r.err != nil:
		f := dialFailure(r.err)
		e.kind, e.cause, e.err = f.outcome(), f.cause, f.err
	case r.err == nil && r.status() != 0:
		e.kind, e.status, e.cause = lb.Success, r.judged(), CauseOK
	}
	r.end(e)
}
