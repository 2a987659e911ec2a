package proxy

import (
	"strconv"
	"time"

	"weir/config"
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

// bound sets the limits of x for its route and upstream.
func (x *Exchange) bound() {
	x.limits = x.Route.limits.over(x.Upstream.limits)
	x.deadline = time.Time{}
	if x.limits.total > 0 {
		x.deadline = x.Start.Add(x.limits.total)
	}
}

// late says whether all of the exchange's time has passed by now.
func (x *Exchange) late(now time.Time) bool { return !x.deadline.IsZero() && !now.Before(x.deadline) }

// left is how much of its time there is at now, at least a millisecond; 0 means
// that nothing bounds it.
func (x *Exchange) left(now time.Time) time.Duration {
	if x.deadline.IsZero() {
		return 0
	}
	return max(x.deadline.Sub(now), time.Millisecond)
}

// limitRead bounds the coming reads of c by limit, and by what is left of the
// exchange's time.
func (x *Exchange) limitRead(c *transport.Conn, now time.Time, limit time.Duration) {
	// A limit may be a quarter late; the deadline is exact.
	if left := x.left(now); left > 0 && (limit <= 0 || left < limit+limit/4) {
		c.ReadUntil(x.deadline)
		return
	}
	c.LimitRead(now, limit)
}

// tellDeadline puts what is left of the exchange's time into the request.
func (x *Exchange) tellDeadline(now time.Time) {
	name := x.Upstream.deadlineHeader
	if name == "" {
		return
	}
	x.Request.Del(name) // a client's own says nothing
	if left := x.left(now); left > 0 {
		x.scratch = strconv.AppendInt(x.scratch[:0], left.Milliseconds(), 10)
		x.Request.SetBytesV(name, x.scratch)
	}
}

// pause waits before another attempt. It returns false if the client went away
// meanwhile.
func (x *Exchange) pause(wait time.Duration) bool {
	gone := x.Watch.wait(x.Start)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-gone:
	}
	return !x.Watch.end()
}
