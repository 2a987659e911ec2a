package balance

import (
	"container/heap"
	"sync/atomic"

	"weir/lb"
)

// roundRobin walks an endless schedule in which each target stands as often as
// its weight says, as evenly spread as can be. The position is one counter. A
// target that is out is passed over by taking the next position rather than
// the next target, so that its share goes to all others and not to its
// neighbour.
type roundRobin struct {
	targets  []*lb.Target
	schedule []uint32 // indexes of targets; nil if all weights are equal
	position *atomic.Uint64
}

// maxSchedule bounds the length of a schedule that exact weights would need;
// beyond it they are rounded.
const maxSchedule = 1 << 16

func newRoundRobin(in lb.Input) (lb.Picker, error) {
	return &roundRobin{targets: in.Targets, schedule: schedule(in.Targets), position: in.Position}, nil
}

// Pick implements lb.Picker.
func (r *roundRobin) Pick(p *lb.Pick) *lb.Target {
	n := len(r.targets)
	if r.schedule != nil {
		n = len(r.schedule)
	}
	for range n {
		at := r.position.Add(1) - 1
		if t := r.at(at); p.Takes(t, at) {
			return t
		}
	}
	// Other goroutines moved the position while this one walked, so that it
	// may have passed over some.
	return first(p, r.targets, 0)
}

// at returns the target at a position.
func (r *roundRobin) at(position uint64) *lb.Target {
	if r.schedule == nil {
		return r.targets[position%uint64(len(r.targets))]
	}
	return r.targets[r.schedule[position%uint64(len(r.schedule))]]
}

// schedule returns the order in which targets of unequal weight take their
// turns, as indexes, or nil if all weights are equal. The target whose next turn
// is due first has it: the k-th turn of a target with weight w is due at
// (k-1/2)/w. That keeps every target within one turn of its share at any time.
func schedule(targets []*lb.Target) []uint32 {
	weights := make([]int, len(targets))
	divisor, total, equal := 0, 0, true
	for i, t := range targets {
		weights[i] = t.Weight()
		divisor = gcd(divisor, t.Weight())
		total += t.Weight()
		equal = equal && t.Weight() == targets[0].Weight()
	}
	if equal {
		return nil
	}
	if total/divisor > maxSchedule {
		scale := float64(max(maxSchedule-len(targets), len(targets))) / float64(total)
		divisor, total = 1, 0
		for i := range weights {
			weights[i] = 1 + int(float64(weights[i])*scale)
			total += weights[i]
		}
	}
	turns := make(turns, len(targets))
	for i := range turns {
		w := weights[i] / divisor
		turns[i] = turn{due: 0.5 / float64(w), step: 1 / float64(w), index: uint32(i)}
	}
	heap.Init(&turns)
	order := make([]uint32, 0, total/divisor)
	for range total / divisor {
		order = append(order, turns[0].index)
		turns[0].due += turns[0].step
		heap.Fix(&turns, 0)
	}
	return order
}

// turn is when a target is next in the schedule.
type turn struct {
	due, step float64
	index     uint32
}

// turns is a heap by due time, then by the order of the configuration.
type turns []turn

func (t turns) Len() int { return len(t) }
func (t turns) Less(i, j int) bool {
	return t[i].due < t[j].due || t[i].due == t[j].due && t[i].index < t[j].index
}
func (t turns) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *turns) Push(any)     { panic("BUG: the schedule's heap only turns") }
func (t *turns) Pop() any     { panic("BUG: the schedule's heap only turns") }

// gcd returns the greatest common divisor; that of 0 and b is b.
func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
