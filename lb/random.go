package lb

import (
	"math/bits"
	"sort"
)

// random picks by chance, each target as often as its weight says.
type random struct {
	lot lot
}

func newRandom(in Input) (Picker, error) {
	return &random{newLot(in)}, nil
}

// Pick implements Picker.
func (r *random) Pick(p *Pick) *Target {
	if t := r.lot.draw(p); t != nil {
		return t
	}
	return r.lot.any(p)
}

// drawTries is how often a draw that hit a target that is out is repeated.
// Beyond it so many are out that looking at each is cheaper.
const drawTries = 16

// lot draws targets by their weight.
type lot struct {
	targets []*Target
	// ends are the sums of the weights up to each target; nil if all are equal.
	ends []uint64
	rand func() uint64
}

func newLot(in Input) lot {
	l := lot{targets: in.Targets, rand: in.Rand}
	ends, sum, equal := make([]uint64, len(in.Targets)), uint64(0), true
	for i, t := range in.Targets {
		sum += uint64(t.weight)
		ends[i] = sum
		equal = equal && t.weight == in.Targets[0].weight
	}
	if !equal {
		l.ends = ends
	}
	return l
}

// at returns the index of the target that a random number stands for.
func (l *lot) at(draw uint64) int {
	if l.ends == nil {
		i, _ := bits.Mul64(draw, uint64(len(l.targets)))
		return int(i)
	}
	ticket, _ := bits.Mul64(draw, l.ends[len(l.ends)-1])
	return sort.Search(len(l.ends), func(i int) bool { return l.ends[i] > ticket })
}

// draw returns a random target that p admits, or nil after some vain tries.
func (l *lot) draw(p *Pick) *Target {
	for range drawTries {
		ticket := l.rand()
		if t := l.targets[l.at(ticket)]; p.takes(t, ticket) {
			return t
		}
	}
	return nil
}

// any draws among exactly those that p admits, whatever it costs, or returns nil.
func (l *lot) any(p *Pick) *Target {
	sum := uint64(0)
	for _, t := range l.targets {
		if p.Admits(t) {
			sum += uint64(t.weight)
		}
	}
	ticket, _ := bits.Mul64(l.rand(), sum)
	for _, t := range l.targets {
		if !p.Admits(t) {
			continue
		}
		w := uint64(t.weight)
		if ticket < w {
			return t
		}
		ticket -= w
	}
	return p.first(l.targets, 0)
}
