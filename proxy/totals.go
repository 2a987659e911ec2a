package proxy

import (
	"maps"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache/rule"
	"weir/internal/figures"
)

// Totals are what all routes together have counted since the start, those that are gone included. What ends on a route
// after its series were dropped is not in them.
type Totals struct {
	// Requests are the exchanges that have ended, by the first digit of the client's
	// status; at 0 are those whose client got none.
	Requests [10]uint64
	// All are the figures of the same exchanges.
	All   figures.Snapshot
	Cache CacheTotals
}

// CacheTotals are what the caches of all routes have counted, by name.
type CacheTotals struct {
	// Outcomes are those of package rule.
	Outcomes map[string]uint64
	// Reasons say why the origin was asked, Unstored why a response was not stored.
	Reasons, Unstored map[string]uint64
}

// Asked returns how many exchanges asked a cache, and Answered how many of these it answered,
// stale answers included.
func (c *CacheTotals) Asked() (n uint64) {
	for _, count := range c.Outcomes {
		n += count
	}
	return n
}

func (c *CacheTotals) Answered() uint64 {
	return c.Outcomes[rule.Fresh.String()] + c.Outcomes[rule.Stale.String()]
}

// Totals returns the sums over all routes.
func (m *Metrics) Totals() Totals {
	m.mu.Lock()
	t := m.gone
	t.Cache = CacheTotals{Outcomes: copied(t.Cache.Outcomes), Reasons: copied(t.Cache.Reasons), Unstored: copied(t.Cache.Unstored)}
	var list []*routeMetrics
	for _, s := range m.series {
		if s.route != nil {
			list = append(list, s.route)
		}
	}
	m.mu.Unlock()
	for _, r := range list {
		r.addTo(&t)
	}
	return t
}

func (r *routeMetrics) addTo(t *Totals) {
	all := r.all.Snapshot()
	t.All.Plus(&all)
	for class := range r.status {
		codes := r.status[class].Load()
		if codes == nil {
			continue
		}
		for i := range codes {
			if c := codes[i].Load(); c != nil {
				t.Requests[class] += c.Get()
			}
		}
	}
	if c := r.cached.Load(); c != nil {
		for i := range c.outcome {
			addNamed(t.Cache.Outcomes, rule.Outcome(i).String, c.outcome[i].Load())
		}
		for i := range c.reason {
			addNamed(t.Cache.Reasons, rule.Reason(i).String, c.reason[i].Load())
			addNamed(t.Cache.Unstored, rule.Reason(i).String, c.unstored[i].Load())
		}
	}
}

// copied is a copy of counts, never nil.
func copied(counts map[string]uint64) map[string]uint64 {
	all := make(map[string]uint64, len(counts))
	maps.Copy(all, counts)
	return all
}

// addNamed adds what a counter has, unless there is none, in whose case it may have no name.
func addNamed(sums map[string]uint64, name func() string, c *metrics.Counter) {
	if c != nil {
		sums[name()] += c.Get()
	}
}
