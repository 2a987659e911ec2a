package lb

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// maglev sends equal keys to the same target (Eisenbud and others, "Maglev",
// NSDI 2016, section 3.4): a table of a prime size in which each target has as
// many places as its weight says. The table knows all targets, so that health
// changes nothing in it: a key whose target is out draws another place, and
// another, and comes back as soon as the target does; no other key moves. A
// change of the set moves little more than the keys it must. The table depends
// on the targets' URLs and weights only, so that several weirs agree.
type maglev struct {
	targets []*Target
	table   []uint32
	lot     lot
	// bound is how many times its part of the running exchanges a target may have; 0 means any.
	bound   float64
	weights float64
	running func() int64
}

// maglevSizes are primes just below powers of two.
var maglevSizes = [...]uint64{1021, 4093, 16381, 65521, 262139, 1048573, 4194301}

// maglevTries is how many places a key draws before all targets are looked at.
const maglevTries = 32

func newHash(in Input) (Picker, error) {
	if _, err := parseHashSource(in.Config.Hash.By); err != nil {
		return nil, *err
	}
	m := &maglev{
		targets: in.Targets,
		table:   maglevTable(in.Targets),
		lot:     newLot(in),
		bound:   in.Config.Hash.BoundedLoad,
		running: in.Running,
	}
	for _, t := range in.Targets {
		m.weights += float64(t.weight)
	}
	return m, nil
}

// Pick implements Picker.
func (m *maglev) Pick(p *Pick) *Target {
	if !p.hasKey {
		if t := m.lot.draw(p); t != nil {
			return t
		}
		return m.lot.any(p)
	}
	var admitted *Target
	place := p.key
	for range maglevTries {
		t := m.targets[m.table[place%uint64(len(m.table))]]
		// The place also decides which keys come to a target that warms up,
		// so that those that came stay.
		if p.takes(t, place) {
			if m.bound == 0 || m.fits(t) {
				return t
			}
			if admitted == nil {
				admitted = t
			}
		}
		place = mix(place + 0x9e3779b97f4a7c15)
	}
	if admitted != nil {
		return admitted
	}
	return p.first(m.targets, int(p.key%uint64(len(m.targets))))
}

// fits says whether t may have one more running exchange.
func (m *maglev) fits(t *Target) bool {
	average := float64(m.running()) * float64(t.weight) / m.weights
	return float64(t.live.inFlight.Load()+1) <= math.Ceil(m.bound*average)
}

// maglevTable fills a table with indexes of targets.
func maglevTable(targets []*Target) []uint32 {
	sum, least, most := 0, math.MaxInt, 0
	for _, t := range targets {
		sum += t.weight
		least, most = min(least, t.weight), max(most, t.weight)
	}
	size := maglevSize(uint64(sum/least), uint64(len(targets)))

	// The order of the configuration must not matter.
	order := make([]int, len(targets))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(targets[a].url, targets[b].url) })
	next, skip := make([]uint64, len(targets)), make([]uint64, len(targets))
	for i, t := range targets {
		h := hashBytes(t.url)
		next[i], skip[i] = h%size, mix(h+1)%(size-1)+1
	}

	const free = math.MaxUint32
	table := make([]uint32, size)
	for i := range table {
		table[i] = free
	}
	credit := make([]float64, len(targets))
	for filled := uint64(0); ; {
		for _, i := range order {
			if credit[i] += float64(targets[i].weight) / float64(most); credit[i] < 1 {
				continue
			}
			credit[i]--
			for table[next[i]] != free {
				next[i] = (next[i] + skip[i]) % size
			}
			table[next[i]] = uint32(i)
			if filled++; filled == size {
				return table
			}
		}
	}
}

// maglevSize returns how many places a table needs for so many shares, where
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

// HashSource is what a key is made from.
type HashSource struct {
	// Kind is "client_address", "path", "header", "cookie" or "query".
	Kind string
	// Name is the header's, cookie's or query parameter's name.
	Name string
}

// HashSource returns what Pick.SetKey is to be given; the zero HashSource if the
// algorithm needs no key. An embedder's own algorithm gets one if hash.by is set.
func (u *Upstream) HashSource() HashSource { return u.hashSource }

// HashSources returns the forms of hash.by.
func HashSources() []string {
	return []string{"client_address", "path", "header:NAME", "cookie:NAME", "query:NAME"}
}

func parseHashSource(by string) (HashSource, *config.Problem) {
	kind, name, named := strings.Cut(by, ":")
	for _, form := range HashSources() {
		if k, _, needsName := strings.Cut(form, ":"); k == kind && needsName == named && needsName == (name != "") {
			return HashSource{kind, name}, nil
		}
	}
	return HashSource{}, &config.Problem{
		Key:   config.Key("hash", "by"),
		Found: strconv.Quote(by),
		Want:  config.OneOf(HashSources()),
		Hint:  config.Nearest(by, HashSources()),
	}
}
