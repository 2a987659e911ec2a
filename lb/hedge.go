package lb

import (
	"math/bits"
	"sync/atomic"
	"time"
)

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
