package balance

import (
	"container/heap"
	"math"
	"slices"
	"strings"

	"weir/lb"
)

// maglev sends equal keys to the same target (Eisenbud and others, "Maglev",
// NSDI 2016, section 3.4): a table of a prime size in which each target has as
// many slots as its weight says. The table knows all targets, so that health
// changes nothing in it: a key whose target is out draws another slot, and
// another, and comes back as soon as the target does; no other key moves. A
// change of the set moves little more than the keys it must. The table depends
// on the targets' URLs and weights only, so that several weirs agree.
type maglev struct {
	targets []*lb.Target
	table   []uint32
	lot     lot
	// bound is how many times its part of the running exchanges a target may have; 0 means any.
	bound   float64
	weights float64
	running func() int64
}

// maglevSizes are primes just below powers of two.
var maglevSizes = [...]uint64{1021, 4093, 16381, 65521, 262139, 1048573, 4194301}

// maglevTries is how many slots a key draws before all targets are looked at.
const maglevTries = 32

func newHash(in lb.Input) (lb.Picker, error) {
	m := &maglev{
		targets: in.Targets,
		table:   maglevTable(in.Targets),
		lot:     newLot(in),
		bound:   in.Config.Hash.BoundedLoad,
		running: in.Running,
	}
	for _, t := range in.Targets {
		m.weights += float64(t.Weight())
	}
	return m, nil
}

// Pick implements lb.Picker.
func (m *maglev) Pick(p *lb.Pick) *lb.Target {
	key, ok := p.Key()
	if !ok {
		return m.lot.pick(p)
	}
	var admitted *lb.Target
	slot := key
	for range maglevTries {
		t := m.targets[m.table[slot%uint64(len(m.table))]]
		// The slot also decides which keys come to a target that warms up,
		// so that those that came stay.
		if p.Takes(t, slot) {
			if m.bound == 0 || m.fits(t) {
				return t
			}
			if admitted == nil {
				admitted = t
			}
		}
		slot = lb.Mix(slot + 0x9e3779b97f4a7c15)
	}
	if admitted != nil {
		return admitted
	}
	return first(p, m.targets, int(key%uint64(len(m.targets))))
}

// fits says whether t may have one more running exchange.
func (m *maglev) fits(t *lb.Target) bool {
	average := float64(m.running()) * float64(t.Weight()) / m.weights
	return float64(t.InFlight()+1) <= math.Ceil(m.bound*average)
}

// maglevTable fills a table with indexes of targets.
func maglevTable(targets []*lb.Target) []uint32 {
	sum, least, most := 0, math.MaxInt, 0
	for _, t := range targets {
		sum += t.Weight()
		least, most = min(least, t.Weight()), max(most, t.Weight())
	}
	size := maglevSize(uint64(sum/least), uint64(len(targets)))

	// The order of the configuration must not matter.
	order := make([]int, len(targets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(targets[a].URL(), targets[b].URL()) })
	next, skip := make([]uint64, len(targets)), make([]uint64, len(targets))
	for i, t := range targets {
		h := lb.Hash(t.URL())
		next[i], skip[i] = h%size, lb.Mix(h+1)%(size-1)+1
	}

	const free = math.MaxUint32
	table := make([]uint32, size)
	for i := range table {
		table[i] = free
	}
	// In each round the heaviest target fills a slot, and the others by their weights: the k-th
	// slot of one is filled in round k*most/weight. Rounds in which nothing is filled are not
	// walked through.
	rounds := turns{less: func(a, b *turn) bool { return a.to < b.to || a.to == b.to && a.index < b.index }}
	for place, i := range order {
		t := &turn{index: uint32(place), weight: targets[i].Weight()}
		t.next(most)
		rounds.list = append(rounds.list, t)
	}
	heap.Init(&rounds)
	for range size {
		t := rounds.list[0]
		i := order[t.index]
		for table[next[i]] != free {
			next[i] = (next[i] + skip[i]) % size
		}
		table[next[i]] = uint32(i)
		t.next(most)
		heap.Fix(&rounds, 0)
	}
	return table
}

// maglevSize returns how many slots a table needs for so many shares, where
// the smallest weight is one share: a hundred each if that is not too much,
// but at least some for each target.
func maglevSize(shares, targets uint64) uint64 {
	const enough = 262139
	for _, size := range maglevSizes {
		if size >= 100*shares || size >= enough && size >= 20*targets {
			return size
		}
	}
	return maglevSizes[len(maglevSizes)-1]
}
