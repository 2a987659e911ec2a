package lb

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// latency is a peak-sensitive moving average of the time to a response's head:
// it jumps to a slower sample at once and follows faster ones by their age.
type latency struct {
	bits  atomic.Uint64 // of a float64, in nanoseconds; 0 means no sample yet
	stamp atomic.Int64
}

// latencyMemory is how long a sample matters, in nanoseconds: after it, 1/e of it is left.
const latencyMemory = 5e9

// observe adds a sample and returns the age of the one before. Two at once may lose one,
// which does not matter.
func (l *latency) observe(sample float64, now int64) (age float64) {
	old := math.Float64frombits(l.bits.Load())
	age = max(0, float64(now-l.stamp.Swap(now)))
	if sample < old {
		sample += (old - sample) * fade(age)
	}
	l.bits.Store(math.Float64bits(max(sample, 1)))
	return age
}

// fade is what is left after age of a sample. For a small age, which a busy target's samples have, it is good to one in ten thousand.
func fade(age float64) float64 {
	x := age / latencyMemory
	if x < 1./64 {
		return 1 - x
	}
	return math.Exp(-x)
}

// value returns the average in nanoseconds; 0 means that there was no sample yet.
func (l *latency) value() float64 { return math.Float64frombits(l.bits.Load()) }

// at returns the average as it counts at now: with nothing new known it fades
// into the average of all targets, so that a target that once was slow gets
// another chance.
func (l *latency) at(now int64, all float64) float64 {
	v := l.value()
	if v == 0 {
		return all
	}
	keep := fade(max(0, float64(now-l.stamp.Load())))
	return all + (v-all)*keep
}

// quantiles estimates quantiles of recent latencies, without a lock: two
// histograms, of which one is filled and both are read, change places every ten
// seconds. A bucket is an eighth of a power of two wide, so that an estimate is
// at most 12.5 % off.
type quantiles struct {
	slice  atomic.Int64
	counts [2][quantileBuckets]atomic.Uint32

	// cached is the last estimate in nanoseconds and when to make a new one.
	cached atomic.Int64
	until  atomic.Int64
}

const (
	quantileSlice = int64(10 * time.Second)
	// quantileFirst is the exponent of the first bucket: 2^15 ns are 33 µs.
	quantileFirst   = 15
	quantileBuckets = 8 * 22 // up to 137 s
	// quantileLeast is how many samples make an estimate.
	quantileLeast = 100
	// quantileHold is how long an estimate is used.
	quantileHold = int64(100 * time.Millisecond)
)

// observe counts a latency.
func (q *quantiles) observe(latency time.Duration, now int64) {
	slice := now / quantileSlice
	if last := q.slice.Load(); slice != last && q.slice.CompareAndSwap(last, slice) {
		q.forget(slice)
		if slice > last+1 {
			q.forget(slice + 1) // the other one is too old as well
		}
	}
	q.counts[slice&1][bucket(latency)].Add(1)
}

func (q *quantiles) forget(slice int64) {
	for i := range q.counts[slice&1] {
		q.counts[slice&1][i].Store(0)
	}
}

// estimate returns a latency that the given share of exchanges was no slower
// than, or 0 if there were too few to say.
func (q *quantiles) estimate(share float64, now int64) time.Duration {
	until := q.until.Load()
	if now < until || !q.until.CompareAndSwap(until, now+quantileHold) {
		return time.Duration(q.cached.Load())
	}
	var total uint64
	for i := range q.counts[0] {
		total += uint64(q.counts[0][i].Load()) + uint64(q.counts[1][i].Load())
	}
	found := int64(0)
	if total >= quantileLeast {
		need, seen := uint64(share*float64(total)), uint64(0)
		for i := range q.counts[0] {
			seen += uint64(q.counts[0][i].Load()) + uint64(q.counts[1][i].Load())
			if seen >= need {
				found = bucketEnd(i)
				break
			}
		}
	}
	q.cached.Store(found)
	return time.Duration(found)
}

// bucket returns the index of the bucket that latency is in.
func bucket(latency time.Duration) int {
	v := uint64(max(latency, 1<<quantileFirst))
	exponent := bits.Len64(v) - 1
	return min((exponent-quantileFirst)*8+int(v>>(exponent-3)&7), quantileBuckets-1)
}

// bucketEnd returns where bucket i ends, in nanoseconds.
func bucketEnd(i int) int64 {
	return int64(9+i%8) << (quantileFirst + i/8 - 3)
}

// HedgeDelay returns how long to wait for a response's head before a second
// attempt is sent to another target, or false if none shall be: hedging is off,
// or too few exchanges are known.
func (u *Upstream) HedgeDelay(now int64) (time.Duration, bool) {
	if u.cfg.Retry.Hedge <= 0 || u.cfg.Retry.Attempts < 2 {
		return 0, false
	}
	d := u.core.quantiles.estimate(u.cfg.Retry.Hedge, now)
	return max(d, u.cfg.Retry.HedgeMin.D()), d > 0
}

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
