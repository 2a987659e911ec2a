package cache

import (
	"sync"
)

// maxVariants bounds the entries of one key: who can make an origin answer
// with ever new variants must not fill the memory with them.
const maxVariants = 64

// resource is all that is known of one key. The shard's lock guards it.
type resource struct {
	key   string
	next  *resource // another key of the same hash
	nodes []*node   // variants, the newest first
}

// shard is a part of the near tier with a lock of its own.
type shard struct {
	mu        sync.Mutex
	resources map[uint64]*resource
	ranking   ranking
	fills     map[string]*Fill
	groups    map[string]map[*node]struct{}
	_         [64]byte // shards on cache lines of their own
}

func (sh *shard) init(r ranking) {
	sh.resources = make(map[uint64]*resource)
	sh.fills = make(map[string]*Fill)
	sh.groups = make(map[string]map[*node]struct{})
	sh.ranking = r
}

// resourceLocked is the resource of a key, nil if there is none.
func (sh *shard) resourceLocked(hash uint64, key []byte) *resource {
	for r := sh.resources[hash]; r != nil; r = r.next {
		if r.key == string(key) {
			return r
		}
	}
	return nil
}

// findLocked is the newest entry that q selects. missed says why there is
// none; uncacheable that answers for the key are known not to be storable.
func (sh *shard) findLocked(q *Request) (e *Entry, uncacheable bool, missed Reason) {
	r := sh.resourceLocked(q.hash, q.key)
	if r == nil {
		return nil, false, ReasonURIMiss
	}
	missed = ReasonURIMiss
	for _, n := range r.nodes {
		if n.entry.hitForMiss {
			uncacheable = n.entry.freshUntil() > q.now
			continue
		}
		if n.entry.partial {
			if !q.selects(n.entry) {
				continue
			}
			if !q.within(n.entry) {
				missed = ReasonRangeUnavailable
				continue
			}
			// Parts are not validated: one that is not fresh is none.
			outcome, why := judge(n.entry, q)
			if outcome == Fresh {
				sh.ranking.touch(n)
				return n.entry, uncacheable, ReasonNone
			}
			missed = why
			continue
		}
		if q.selects(n.entry) {
			sh.ranking.touch(n)
			return n.entry, uncacheable, ReasonNone
		}
		missed = ReasonVaryMiss
	}
	return nil, uncacheable, missed
}

// insertLocked adds e, whose cost is counted already, in place of the variant it
// replaces. It returns the bytes that became free.
func (sh *shard) insertLocked(e *Entry, cost int64) (freed int64) {
	r := sh.resources[e.hash]
	for r != nil && r.key != e.key {
		r = r.next
	}
	if r == nil {
		r = &resource{key: e.key, next: sh.resources[e.hash]}
		sh.resources[e.hash] = r
	}
	for i := 0; i < len(r.nodes); i++ {
		old := r.nodes[i].entry
		// A storable answer ends the time in which the key is taken for
		// uncacheable, and the other way round. A part says nothing of the whole.
		if old.hitForMiss == e.hitForMiss && sameVariant(old, e) || old.hitForMiss && !e.hitForMiss && !e.partial {
			freed += sh.dropNodeLocked(r, i)
			i--
		}
	}
	for len(r.nodes) >= maxVariants {
		freed += sh.dropNodeLocked(r, len(r.nodes)-1)
	}
	n := &node{entry: e, resource: r, cost: cost}
	r.nodes = append(r.nodes, nil)
	copy(r.nodes[1:], r.nodes)
	r.nodes[0] = n
	sh.ranking.add(n)
	for _, g := range e.groups {
		set := sh.groups[g]
		if set == nil {
			set = make(map[*node]struct{})
			sh.groups[g] = set
		}
		set[n] = struct{}{}
	}
	return freed
}

func sameVariant(a, b *Entry) bool {
	if a.variant != b.variant || len(a.vary) != len(b.vary) {
		return false
	}
	for i := range a.vary {
		if a.vary[i] != b.vary[i] {
			return false
		}
	}
	return true
}

// dropNodeLocked removes the i-th node of r, but leaves r in its place even if
// it was the last one. It returns the bytes that became free.
func (sh *shard) dropNodeLocked(r *resource, i int) int64 {
	n := r.nodes[i]
	copy(r.nodes[i:], r.nodes[i+1:])
	r.nodes[len(r.nodes)-1] = nil
	r.nodes = r.nodes[:len(r.nodes)-1]
	sh.ranking.remove(n)
	for _, g := range n.entry.groups {
		if set := sh.groups[g]; set != nil {
			delete(set, n)
			if len(set) == 0 {
				delete(sh.groups, g)
			}
		}
	}
	return n.cost
}

// removeLocked removes n, and its resource if nothing is left of it.
func (sh *shard) removeLocked(n *node) (freed int64) {
	r := n.resource
	for i, other := range r.nodes {
		if other == n {
			freed = sh.dropNodeLocked(r, i)
			break
		}
	}
	if len(r.nodes) == 0 {
		sh.forgetLocked(r, n.entry.hash)
	}
	return freed
}

// forgetLocked takes an empty resource out of the map.
func (sh *shard) forgetLocked(r *resource, hash uint64) {
	if first := sh.resources[hash]; first == r {
		if r.next == nil {
			delete(sh.resources, hash)
		} else {
			sh.resources[hash] = r.next
		}
		return
	}
	for p := sh.resources[hash]; p != nil; p = p.next {
		if p.next == r {
			p.next = r.next
			return
		}
	}
}
