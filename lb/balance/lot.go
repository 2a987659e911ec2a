package balance

import (
	"math/bits"
	"sort"

	"weir/lb"
)

// drawTries is how often a draw that hit a target that is out is repeated.
// Beyond it so many are out that looking at each is cheaper.
const drawTries = 16

// lot draws targets by their weight.
type lot struct {
	targets []*lb.Target
	// ends are the sums of the weights up to each target; nil if all are equal.
	ends []uint64
	rand func() uint64
}

func newLot(in lb.Input) lot {
	l := lot{targets: in.Targets, rand: in.Rand}
	ends, sum, equal := make([]uint64, len(in.Targets)), uint64(0), true
	for i, t := range in.Targets {
		sum += uint64(t.Weight())
		ends[i] = sum
		equal = equal && t.Weight() == in.Targets[0].Weight()
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

// pick returns a random target that p admits, or nil if there is none.
func (l *lot) pick(p *lb.Pick) *lb.Target {
	if t := l.draw(p); t != nil {
		return t
	}
	return l.any(p)
}

// draw returns a random target that p admits, or nil after some vain tries.
func (l *lot) draw(p *lb.Pick) *lb.Target {
	for range drawTries {
		ticket := l.rand()
		if t := l.targets[l.at(ticket)]; p.Takes(t, ticket) {
			return t
		}
	}
	return nil
}

// any draws among exactly those that p admits, whatever it costs, or returns nil.
func (l *lot) any(p *lb.Pick) *lb.Target {
	sum := uint64(0)
	for _, t := range l.targets {
		if p.Admits(t) {
			sum += uint64(t.Weight())
		}
	}
	ticket, _ := bits.Mul64(l.rand(), sum)
	for _, t := range l.targets {
		if !p.Admits(t) {
			continue
		}
		w := uint64(t.Weight())
		if ticket < w {
			return t
		}
		ticket -= w
	}
	return first(p, l.targets, 0)
}

// two draws two different targets that p admits. It returns nil for the second
// if there is only one, or for both.
func (l *lot) two(p *lb.Pick) (a, b *lb.Target) {
	if a = l.pick(p); a == nil {
		return nil, nil
	}
	if len(l.targets) == 2 {
		if b = l.targets[0]; b == a {
			b = l.targets[1]
		}
		if !p.Admits(b) {
			b = nil
		}
		return a, b
	}
	for range 4 {
		b = l.draw(p)
		if b == nil {
			break
		}
		if b != a {
			return a, b
		}
	}
	// With few targets that happens too often to give up: one that is known to
	// be slow would be taken for want of another.
	start := l.at(l.rand())
	for i := range l.targets {
		if b = l.targets[(start+i)%len(l.targets)]; b != a && p.Admits(b) {
			return a, b
		}
	}
	return a, nil
}
