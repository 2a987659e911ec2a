package proxy

import (
	"strconv"
	"time"

	"weir/config"
	"weir/internal/head"
	"weir/internal/transport"
)

// limits bound the time of an exchange with an upstream. 0 means no bound.
type limits struct {
	total, try, firstByte, idle time.Duration
}

func upstreamLimits(u *config.Upstream) limits {
	return limits{
		total:     u.Timeouts.Total.D(),
		try:       u.Retry.TryTimeout.D(),
		firstByte: u.Timeouts.FirstByte.D(),
		idle:      u.Timeouts.Idle.D(),
	}
}

func routeLimits(t *config.RouteTimeouts) limits {
	return limits{total: t.Total.D(), try: t.Try.D(), firstByte: t.FirstByte.D(), idle: t.Idle.D()}
}

// over returns l where it says something, else what base says.
func (l limits) over(base limits) limits {
	or := func(a, b time.Duration) time.Duration {
		if a != 0 {
			return a
		}
		return b
	}
	return limits{or(l.total, base.total), or(l.try, base.try), or(l.firstByte, base.firstByte), or(l.idle, base.idle)}
}

// head bounds the wait for a response's head.
func (l limits) head() time.Duration {
	if l.try > 0 && (l.firstByte == 0 || l.try < l.firstByte) {
		return l.try
	}
	return l.firstByte
}

// clock is the time that an exchange may take.
type clock struct {
	limits   limits
	deadline time.Time // zero: none
}

// bound sets the clock of x for its route and upstream.
func (x *Exchange) bound() {
	x.time.limits = x.limits()
	x.time.deadline = time.Time{}
	if x.grpc {
		x.boundCall()
	}
	if total := x.time.limits.total; total > 0 {
		x.time.deadline = x.Start.Add(total)
	}
}

// limits are those of the exchange's route and upstream.
func (x *Exchange) limits() limits { return x.Route.limits.over(x.Upstream.limits) }

// Limits are the bounds of the whole exchange, of the wait for a response's head in one attempt, and
// of a target's silence in a body; 0 is no bound. The exchange has a route and an upstream.
func (x *Exchange) Limits() (total, firstByte, idle time.Duration) {
	l := x.limits()
	return l.total, l.head(), l.idle
}

// late says whether all of the time has passed by now.
func (c *clock) late(now time.Time) bool { return !c.deadline.IsZero() && !now.Before(c.deadline) }

// left is how much time there is at now, at least a millisecond; 0 means that
// nothing bounds it.
func (c *clock) left(now time.Time) time.Duration {
	if c.deadline.IsZero() {
		return 0
	}
	return max(c.deadline.Sub(now), time.Millisecond)
}

// limitRead bounds the coming reads of s by limit, and by what is left of the time.
func (c *clock) limitRead(s transport.Stream, now time.Time, limit time.Duration) {
	// A limit may be a quarter late; the deadline is exact.
	if left := c.left(now); left > 0 && (limit <= 0 || left < limit+limit/4) {
		s.ReadUntil(c.deadline)
		return
	}
	s.LimitRead(now, limit)
}

// tellDeadline puts what is left of the exchange's time into a request for u.
func (x *Exchange) tellDeadline(h *head.Head, u *Upstream, now time.Time) {
	h.Del(u.deadlineHeader) // a client's own says nothing
	if left := x.time.left(now); left > 0 {
		var text [20]byte
		h.Set(u.deadlineHeader, strconv.AppendInt(text[:0], left.Milliseconds(), 10))
	}
}

// pause waits before another attempt. It returns false if the client went away
// meanwhile.
func (x *Exchange) pause(wait time.Duration) bool {
	gone := x.Client.Cancel.channel(x.Start)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-gone:
	}
	return !x.Client.Cancel.noticeGone()
}
