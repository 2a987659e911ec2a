package lb

import (
	"math"
	"sync/atomic"
)

// adaptive is an in-flight limit that follows a target's latency: while the
// latency of a window is about the long-term one the limit grows, while it is
// above, because requests queue up in the target, the limit shrinks by the
// ratio of both (the gradient).
type adaptive struct {
	limit atomic.Uint64 // of a float64; 0 means that nothing was learnt yet

	// The window that is being filled.
	until   atomic.Int64
	sum     atomic.Int64
	count   atomic.Int64
	dropped atomic.Int64
	peak    atomic.Int64

	long atomic.Uint64 // of a float64: the long-term latency in nanoseconds
}

// The values of limits.adaptive.
const (
	adaptiveOff      = "off"
	adaptiveGradient = "gradient"
)

const (
	// adaptiveCeiling bounds the limit if the configuration does not.
	adaptiveCeiling = 1000

	adaptiveStart  = 20.0
	adaptiveWindow = 100e6 // nanoseconds
	adaptiveSample = 10    // fewer exchanges say nothing
	// adaptiveSlack is how much above the long-term latency a window may be.
	adaptiveSlack = 1.5
)

// current returns the limit, at most ceiling.
func (a *adaptive) current(ceiling int64) int64 {
	l := math.Float64frombits(a.limit.Load())
	if l == 0 {
		l = adaptiveStart
	}
	return max(1, min(int64(l), ceiling))
}

// observe adds an exchange that ended while inFlight were running.
func (a *adaptive) observe(latency int64, dropped bool, inFlight, ceiling, now int64) {
	a.sum.Add(latency)
	if dropped {
		a.dropped.Add(1)
	}
	if inFlight > a.peak.Load() {
		a.peak.Store(inFlight)
	}
	if a.count.Add(1) < adaptiveSample {
		return
	}
	until := a.until.Load()
	if now < until || !a.until.CompareAndSwap(until, now+adaptiveWindow) {
		return
	}
	count := a.count.Swap(0)
	short := float64(a.sum.Swap(0)) / float64(max(count, 1))
	lost, peak := a.dropped.Swap(0), a.peak.Swap(0)
	limit, long := a.next(short, lost > 0, float64(peak), float64(ceiling))
	a.limit.Store(math.Float64bits(limit))
	a.long.Store(math.Float64bits(long))
}

// next returns the limit and the long-term latency after a window.
func (a *adaptive) next(short float64, lost bool, peak, ceiling float64) (limit, long float64) {
	limit, long = math.Float64frombits(a.limit.Load()), math.Float64frombits(a.long.Load())
	if limit == 0 {
		limit = min(adaptiveStart, ceiling)
	}
	switch {
	case long == 0 || short < long/2:
		long = short
	default:
		long += (short - long) / 100
	}
	if lost {
		return max(1, limit*0.9), long
	}
	if peak < limit/2 {
		return limit, long // the limit was not felt, so nothing was learnt about it
	}
	gradient := max(0.5, min(1, adaptiveSlack*long/short))
	return max(1, min(ceiling, limit*gradient+math.Sqrt(limit)*0.5)), long
}

// targetLimit returns how many exchanges may run on t; the upstream must have a ceiling.
func (u *Upstream) targetLimit(t *Target) int64 {
	if u.adaptive {
		return t.live.limit.current(u.ceiling)
	}
	return u.ceiling
}

// Limit returns how many exchanges may run on t now; 0 means that there is no bound.
func (u *Upstream) Limit(t *Target) int {
	if u.ceiling == 0 {
		return 0
	}
	return int(u.targetLimit(t))
}
