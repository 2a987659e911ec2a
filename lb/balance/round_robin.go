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

// maxWalk bounds how many positions a pick walks before it looks at the targets themselves.
const maxWalk = 64

// Pick implements lb.Picker.
func (r *roundRobin) Pick(p *lb.Pick) *lb.Target {
	n := len(r.targets)
	if r.schedule != nil {
		n = len(r.schedule)
	}
	at := uint64(0)
	for range min(n, maxWalk) {
		at = r.position.Add(1) - 1
		if t := r.at(at); p.Takes(t, at) {
			return t
		}
	}
	// Most are out or busy, or other goroutines moved the position while this one walked.
	return byWeight(p, r.targets, lb.Mix(at))
}

// byWeight returns a target that p admits, by the chance that draw stands for, or nil.
func byWeight(p *lb.Pick, targets []*lb.Target, draw uint64) *lb.Target {
	sum := uint64(0)
	for _, t := range targets {
		if p.Admits(t) {
			sum += uint64(t.Weight())
		}
	}
	if sum == 0 {
		return nil
	}
	draw %= sum
	for _, t := range targets {
		if !p.Admits(t) {
			continue
		}
		if w := uint64(t.Weight()); draw >= w {
			draw -= w
			continue
		}
		return t
	}
	return first(p, targets, 0) // other goroutines took places meanwhile
}

// at returns the target at a position.
func (r *roundRobin) at(position uint64) *lb.Target {
	if r.schedule == nil {
		return r.targets[position%uint64(len(r.targets))]
	}
	return r.targets[r.schedule[position%uint64(len(r.schedule))]]
}

// schedule returns the order in which targets of unequal weight take their
// turns, as indexes, or nil if all weights are equal. The k-th turn of a target
// with weight w of the sum W comes at position (k-1)W/w or later and before kW/w, and of
// the turns that may come that one does which must come first; of several, that of the
// heaviest target, whose next turn is the nearest. That keeps every target within one turn
// of its share at any time (Baruah and others, "Proportionate progress", 1996).
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
	size := total / divisor
	coming := turns{less: func(a, b *turn) bool { return a.from < b.from || a.from == b.from && a.index < b.index }}
	due := turns{less: func(a, b *turn) bool {
		return a.to < b.to || a.to == b.to && (a.weight > b.weight || a.weight == b.weight && a.index < b.index)
	}}
	for i := range targets {
		t := &turn{index: uint32(i), weight: weights[i] / divisor}
		t.next(size)
		coming.list = append(coming.list, t)
	}
	heap.Init(&coming)
	order := make([]uint32, 0, size)
	for at := range size {
		for len(coming.list) > 0 && coming.list[0].from <= at {
			heap.Push(&due, heap.Pop(&coming))
		}
		t := heap.Pop(&due).(*turn)
		order = append(order, t.index)
		t.next(size)
		heap.Push(&coming, t)
	}
	return order
}

// turn is the next turn of a target: the positions from which on it may come, and by which
// it must.
type turn struct {
	index    uint32
	weight   int
	count    int
	from, to int
}

// next moves to the turn after this one.
func (t *turn) next(size int) {
	t.from = t.count * size / t.weight
	t.count++
	t.to = (t.count*size + t.weight - 1) / t.weight
}

// turns is a heap.
type turns struct {
	list []*turn
	less func(a, b *turn) bool
}

func (t turns) Len() int           { return len(t.list) }
func (t turns) Less(i, j int) bool { return t.less(t.list[i], t.list[j]) }
func (t turns) Swap(i, j int)      { t.list[i], t.list[j] = t.list[j], t.list[i] }
func (t *turns) Push(x any)        { t.list = append(t.list, x.(*turn)) }
func (t *turns) Pop() any {
	last := t.list[len(t.list)-1]
	t.list = t.list[:len(t.list)-1]
	return last
}

// gcd returns the greatest common divisor; that of 0 and b is b.
func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
