package lb

import (
	"math"
	"sync/atomic"
)

// latency is a peak-sensitive moving average of the time to a response's head:
// it jumps to a slower sample at once and follows faster ones by their age.
type latency struct {
	bits  atomic.Uint64 // of a float64, in nanoseconds; 0 means no sample yet
	stamp atomic.Int64
}

// latencyMemory is how long a sample matters, in nanoseconds: after it, 1/e of it is left.
const latencyMemory = 5e9

// observe adds a sample. Two at once may lose one, which does not matter.
func (l *latency) observe(sample float64, now int64) {
	old := math.Float64frombits(l.bits.Load())
	then := l.stamp.Swap(now)
	if sample < old {
		keep := math.Exp(-math.Max(0, float64(now-then)) / latencyMemory)
		sample += (old - sample) * keep
	}
	l.bits.Store(math.Float64bits(math.Max(sample, 1)))
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
	keep := math.Exp(-math.Max(0, float64(now-l.stamp.Load())) / latencyMemory)
	return all + (v-all)*keep
}
