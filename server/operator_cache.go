package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/admin"
	"weir/cache"
)

func (o operator) CacheStats() (admin.CacheStats, error) {
	g := o.s.enter() // so that a reload does not close the store meanwhile
	defer g.leave()
	if g.store == nil {
		return admin.CacheStats{}, admin.ErrNoCache
	}
	st, counted := g.store.Stats(), o.s.metrics.Totals().Cache
	stats := admin.CacheStats{
		Entries: st.Entries, Bytes: st.Bytes, Limit: st.Limit, Filling: st.Filling, Evicted: st.Evicted,
		Outcomes: counted.Outcomes, Reasons: counted.Reasons, Unstored: counted.Unstored, Tiers: []admin.CacheTier{},
	}
	for _, t := range g.store.TierStats() {
		stats.Tiers = append(stats.Tiers, admin.CacheTier{
			Name: t.Name, Up: t.Up, Hits: t.Hits, Misses: t.Misses, Errors: t.Errors, Waiting: t.Waiting, Unannounced: t.Unannounced,
		})
	}
	return stats, nil
}

func (o operator) CacheTop(by string, limit int) ([]admin.CacheEntry, error) {
	g := o.s.enter() // so that a reload does not close the store meanwhile
	defer g.leave()
	if g.store == nil {
		return nil, admin.ErrNoCache
	}
	order := cache.ByHits
	if by == "bytes" {
		order = cache.ByBytes
	}
	return entries(g.store.Top(limit, order, time.Now().UnixNano())), nil
}

func (o operator) CacheWhy(url string) (admin.CacheWhy, error) {
	g := o.s.enter()
	defer g.leave()
	if g.store == nil {
		return admin.CacheWhy{}, admin.ErrNoCache
	}
	x := g.store.Explain(url, time.Now().UnixNano())
	why := admin.CacheWhy{
		URL: url, Entries: entries(x.Entries), Uncacheable: x.Uncacheable.Seconds(), Fetching: x.Fetching, Tiers: x.Tiers,
	}
	why.Next, why.Because = verdict(&x)
	return why, nil
}

// verdict is what the next plain GET of an explained URL would come to, and why.
func verdict(x *cache.Explanation) (next, because string) {
	switch {
	case len(x.Entries) == 0 && x.Fetching > 0:
		return "miss", "nothing is stored yet, but a fetch is under way, whose answer the next request may share"
	case len(x.Entries) == 0 && len(x.Tiers) > 0:
		return "miss", "nothing is in memory; " + strings.Join(x.Tiers, ", ") + " has something, which answers if it is fresh and the request selects it"
	case len(x.Entries) == 0 && x.Uncacheable > 0:
		return "miss", "nothing is stored: an answer could not be, Cache-Status of the next one says why"
	case len(x.Entries) == 0:
		return "miss", "nothing is stored under this URL: Cache-Status of the next answer says whether it is stored, and why not"
	}
	i := slices.IndexFunc(x.Entries, func(d cache.Description) bool { return d.Method == "GET" })
	if i < 0 {
		return "miss", "only answers to QUERY are stored, for requests with the same content"
	}
	e := &x.Entries[i]
	next = e.Outcome.String()
	switch {
	case e.Partial:
		return "miss", "only parts are stored, which answer requests for ranges in them"
	case len(e.Vary) > 0:
		return "variant", fmt.Sprintf("the request's %s decide which of the entries answers, if any", strings.Join(e.Vary, ", "))
	case next == "hit":
		return next, fmt.Sprintf("the entry is fresh for another %s", e.Left.Round(time.Second))
	case next == "stale":
		return next, fmt.Sprintf("the entry has been stale for %s, and may still answer: %s", (-e.Left).Round(time.Second), e.Reason)
	}
	return next, fmt.Sprintf("the entry must be validated first: %s", e.Reason)
}

func entries(list []cache.Description) []admin.CacheEntry {
	out := make([]admin.CacheEntry, 0, len(list))
	for _, d := range list {
		out = append(out, admin.CacheEntry{
			Method: d.Method, URL: d.URL, Status: d.Status, Vary: d.Vary, Groups: d.Groups, Hits: d.Hits, Memory: d.Memory, Length: d.Length,
			OnDisk: d.OnDisk, Partial: d.Partial, Age: d.Age.Seconds(), TTL: d.Left.Seconds(), Next: d.Outcome.String(), Reason: d.Reason.String(),
		})
	}
	return out
}
