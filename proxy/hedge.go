package proxy

import (
	"errors"
	"sync"
	"time"

	"weir/internal/sock"
	"weir/internal/transport"
	"weir/internal/wire"
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
	if x.Upstream.hedges && x.Attempts == 1 && !x.upgrading && x.repeatable() && x.replayable() {
		return x.Upstream.Set.HedgeDelay(lb.Monotonic())
	}
	return 0, false
}

var errHedgeLost = errors.New("the first attempt answered first")

// racer is one of two attempts at the same exchange. Nothing of it belongs to
// the exchange, which may be over before a racer that lost has noticed.
type racer struct {
	proxy    *Proxy
	upstream *Upstream
	target   *lb.Target
	out      []byte // the request
	began    time.Time
	until    time.Time // for the response's head; zero: no bound

	mu   sync.Mutex
	conn *transport.Conn
	lost bool // nobody waits for it any more
	// The rest is set when it has ended.
	ended bool
	head  wire.Head
	err   error
}

// waitHead reads the response's head. If it does not come within delay, a hedge
// is sent, and what comes first is used.
func (x *Exchange) waitHead(p *Proxy, c *transport.Conn, began time.Time, delay time.Duration) *attemptError {
	c.ReadUntil(began.Add(delay))
	err := c.Await()
	if err != nil && !sock.TimedOut(err) {
		return headFailure(c, err, false)
	}
	until := x.deadline
	if limit := x.limits.head(); limit > 0 && !x.late(began.Add(limit)) {
		until = began.Add(limit)
	}
	c.ReadUntil(until)
	if err == nil {
		return x.readHead(c)
	}
	if !until.IsZero() && !time.Now().Before(until) {
		return headFailure(c, err, false)
	}
	t := x.hedgeTarget()
	if t == nil {
		p.metrics.hedged(x.Upstream, hedgeRefused)
		return x.readHead(c)
	}
	return x.race(p, c, t, until)
}

// hedgeTarget takes another target, out of the budget; nil if there is to be
// no hedge.
func (x *Exchange) hedgeTarget() *lb.Target {
	budget := x.Upstream.Set.Retry().Budget
	now := lb.Monotonic()
	if !budget.Withdraw(now) {
		return nil
	}
	t, err := x.Upstream.Set.Acquire(&x.pick)
	if err == nil && !t.Same(x.Chosen) {
		return t
	}
	if err == nil {
		x.Upstream.Set.Release(t, lb.Outcome{Kind: lb.Canceled})
	}
	budget.Refund(now)
	return nil
}

// race sends the request to t while the first attempt waits on c, and makes the
// one that answers first the exchange's attempt. If both fail, the first one's
// failure counts.
func (x *Exchange) race(p *Proxy, c *transport.Conn, t *lb.Target, until time.Time) *attemptError {
	x.Attempts++
	first := &racer{conn: c}
	second := &racer{proxy: p, upstream: x.Upstream, target: t, out: x.hedgeRequest(p, t), began: time.Now(), until: until}
	results := make(chan *racer, 2)
	gone := x.Watch.wait(x.Start)
	over := make(chan struct{})
	go p.attend(func() {
		defer func() { close(over); results <- first }()
		_, err := fill(c, &first.head)
		first.end(err)
	})
	p.background(func() {
		defer func() { results <- second }()
		p.attend(second.run)
	})

	good := func(r *racer) bool {
		return r.err == nil && r.head.Status != 0 && !x.Upstream.Set.Retry().OnStatus(r.head.Status)
	}
	var winner *racer
	running, left := 2, false
	for winner == nil && running > 0 && !left {
		select {
		case r := <-results:
			running--
			if good(r) {
				winner = r
			}
		case <-gone:
			left = true
		}
	}
	left = x.Watch.end() || left
	if winner != second || left {
		p.metrics.hedged(x.Upstream, second.lose())
	}
	if winner != first {
		c.SetDeadline(sock.LongAgo)
		<-over
	}
	switch {
	case left:
		return clientGone(true)
	case winner != second:
		x.Watch.begin(c, x.Start)
		return x.readHead(c) // it is there, or fails as it did
	}
	p.metrics.hedged(x.Upstream, hedgeWon)
	x.endFirst(c, first)
	x.conn, x.Chosen, x.holdsTarget = second.conn, t, true
	x.Watch.begin(second.conn, x.Start)
	return x.readHead(second.conn)
}

// endFirst gives back what the first attempt had. What it found out about its
// target before the hedge won is told.
func (x *Exchange) endFirst(c *transport.Conn, first *racer) {
	kind, cause := lb.Canceled, CauseHedge
	switch {
	case first.err == nil:
		kind, cause = lb.Success, CauseOK
	case !sock.TimedOut(first.err): // a deadline has passed because we wanted it to
		e := headFailure(c, first.err, false)
		kind, cause = e.outcome(), e.cause
	}
	x.giveBack(kind, first.head.Status, time.Since(x.Start), cause)
}

// hedgeRequest is the request as t gets it.
func (x *Exchange) hedgeRequest(p *Proxy, t *lb.Target) []byte {
	first := x.Chosen
	x.Chosen = t
	x.address(t)
	x.tellDeadline(time.Now())
	if p.hooks.OnUpstream != nil {
		p.hooks.OnUpstream(x)
	}
	x.Chosen = first
	return x.appendHeld(x.Request.AppendBytes(nil))
}

// run makes the attempt. If nobody waits for it any more, it also clears up.
func (r *racer) run() {
	r.end(r.exchange())
}

func (r *racer) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.ended = err, true
	if r.lost {
		r.clearLocked()
	}
}

// exchange sends the request and reads the response's head.
func (r *racer) exchange() error {
	within := time.Duration(0)
	if !r.until.IsZero() {
		within = max(time.Until(r.until), time.Millisecond)
	}
	c, err := transportOf(r.target).Acquire(within)
	if err != nil {
		return err
	}
	r.mu.Lock()
	lost := r.lost
	r.conn = c
	r.mu.Unlock()
	if lost {
		return errHedgeLost
	}
	c.LimitWrite(time.Now(), r.upstream.write)
	c.ReadUntil(r.until)
	if err := c.Send(r.out); err != nil {
		return err
	}
	_, err = fill(c, &r.head)
	return err
}

// lose says that nobody waits for r, and reports what became of it.
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
		r.clearLocked()
	case r.conn != nil:
		r.conn.SetDeadline(sock.LongAgo)
	}
	return result
}

// clearLocked gives connection and target back. What r had found out about its
// target before it lost is told.
func (r *racer) clearLocked() {
	o := lb.Outcome{Kind: lb.Canceled, Latency: time.Since(r.began)}
	cause := CauseHedge
	switch {
	case r.conn == nil && r.err != nil:
		e := dialFailure(r.err)
		o.Kind, cause = e.outcome(), e.cause
	case r.err == nil && r.head.Status != 0:
		o.Kind, o.Status, cause = lb.Success, r.head.Status, CauseOK
	}
	if r.conn != nil {
		transportOf(r.target).Release(r.conn, false)
	}
	r.upstream.Set.Release(r.target, o)
	r.proxy.metrics.attempt(r.upstream, r.target, cause, o.Latency)
}
