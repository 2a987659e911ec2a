package cache

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"

	"weir/cache/rule"
)

// What operators may know of a store.

// Description is an entry in memory as operators see it. Keys hold what requests asked for, but
// neither cookies nor other fields: those that select are named, without values.
type Description struct {
	// URL is what the entry answers, and Method the method.
	URL, Method string
	Status      int
	// Vary are the request fields that select it.
	Vary []string
	// Groups are its cache groups and surrogate keys.
	Groups []string
	// Hits are the requests that the entry, and those that it replaced, answered since there
	// was one in memory; Memory is what it costs there, in bytes, and Length what its body has;
	// -1 if that is not known.
	Hits           uint64
	Memory, Length int64
	// OnDisk says that the body is on disk alone, Partial that parts are all there is.
	OnDisk, Partial bool
	// Age and Left are how old the entry is and how long it stays fresh; Left is negative
	// once it is stale.
	Age, Left time.Duration
	// Outcome and Reason are what a plain request that selects it would come to now.
	Outcome rule.Outcome
	Reason  rule.Reason
}

func (e *Entry) describe(now int64) Description {
	control := rule.NoRequestControl()
	outcome, reason := e.Judge(e.purged.Load(), &control, now)
	d := Description{
		Method: "GET", Status: e.Status, Vary: e.Vary, Groups: e.Groups, Hits: e.hits.Load(), Memory: e.cost(), Length: e.Length,
		OnDisk: e.blob != nil, Partial: e.partial, Age: time.Duration(e.AgeAt(now)),
		Left: time.Duration(e.Until(e.purged.Load()) - now), Outcome: outcome, Reason: reason,
	}
	d.URL = strings.TrimPrefix(string(rule.KeyURL([]byte(e.key))), "GET ")
	if strings.Contains(e.key, "\nquery=") {
		d.Method = "QUERY"
	}
	return d
}

// Order is by what Top orders.
type Order uint8

const (
	ByHits Order = iota
	ByBytes
)

// value is what e is ordered by.
func (o Order) value(e *Entry) int64 {
	if o == ByBytes {
		return e.cost()
	}
	return int64(e.hits.Load())
}

// Top describes the first n entries in memory by hits or by bytes, the largest number first. It
// looks at all of them, one shard after the other. now is in ns since the epoch.
func (s *Store) Top(n int, by Order, now int64) []Description {
	top := &ranking{}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, r := range sh.resources {
			for ; r != nil; r = r.next {
				for _, node := range r.nodes {
					if !node.Value.hitForMiss {
						top.offer(n, ranked{by.value(node.Value), node.Value})
					}
				}
			}
		}
		sh.mu.Unlock()
	}
	slices.SortFunc(*top, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.value, a.value), strings.Compare(a.entry.key, b.entry.key))
	})
	list := make([]Description, 0, len(*top))
	for _, r := range *top {
		list = append(list, r.entry.describe(now))
	}
	return list
}

type ranked struct {
	value int64
	entry *Entry
}

// ranking is a heap with the smallest value first.
type ranking []ranked

func (r ranking) Len() int           { return len(r) }
func (r ranking) Less(i, j int) bool { return r[i].value < r[j].value }
func (r ranking) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *ranking) Push(v any)        { *r = append(*r, v.(ranked)) }
func (r *ranking) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// offer adds v if it is among the n largest.
func (r *ranking) offer(n int, v ranked) {
	switch {
	case len(*r) < n:
		heap.Push(r, v)
	case n > 0 && v.value > (*r)[0].value:
		(*r)[0] = v
		heap.Fix(r, 0)
	}
}

// Explanation is what a store knows of a URL.
type Explanation struct {
	// Entries are all variants in memory, the newest first.
	Entries []Description
	// Uncacheable is for how long requests for the URL go to the origin without waiting for
	// each other, because an answer could not be stored; 0 if there is no such note.
	Uncacheable time.Duration
	// Fetching counts the fetches that are under way for it.
	Fetching int
	// Tiers are the names of those that have something for a plain GET of it.
	Tiers []string
}

// Explain looks for what there is of a URL, "https://host/target". now is in ns since the
// epoch. It asks the other tiers, and may wait for them as long as a look-up does.
func (s *Store) Explain(url string, now int64) Explanation {
	return s.explain(rule.URLKey(url), now, extends)
}

// ExplainKey is Explain for what there is under one key, in place of all keys of its URL.
func (s *Store) ExplainKey(key string, now int64) Explanation {
	return s.explain(key, now, func(k, key string) bool { return k == key })
}

// explain looks for what there is under the keys that fit key, and those of its variations.
func (s *Store) explain(key string, now int64, fits func(k, key string) bool) Explanation {
	var x Explanation
	keys := append([]string{key}, s.variedKeys(key)...)
	for _, a := range s.tiers {
		if slices.ContainsFunc(keys, func(key string) bool {
			b, _, err := a.Get([]byte(rule.PlainKey(key)))
			return err == nil && b != nil
		}) {
			x.Tiers = append(x.Tiers, a.Name())
		}
	}
	var nodes []*node
	for _, key := range keys {
		match := func(k string) bool { return fits(k, key) && rule.KeyVaries(k) == rule.KeyVaries(key) }
		url := string(rule.KeyURL([]byte(key)))
		hash := s.hash([]byte(url))
		sh := s.shard(hash)
		sh.mu.Lock()
		for _, f := range sh.fetches {
			if match(f.key) {
				x.Fetching++
			}
		}
		nodes = append(nodes, sh.underLocked(url, hash, match)...)
		sh.mu.Unlock()
	}
	slices.SortStableFunc(nodes, func(a, b *node) int { return cmp.Compare(b.Value.Received, a.Value.Received) })
	for _, n := range nodes {
		if e := n.Value; !e.hitForMiss {
			x.Entries = append(x.Entries, e.describe(now))
		} else if left := e.FreshUntil() - now; left > 0 {
			x.Uncacheable = max(x.Uncacheable, time.Duration(left))
		}
	}
	return x
}
