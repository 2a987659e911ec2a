package cache

import (
	"slices"
	"strings"
	"sync"

	"weir/cache/evict"
	"weir/cache/rule"
)

// maxVariants bounds the entries of one key: a client that can make an origin
// answer with ever new variants must not fill the memory with them.
const maxVariants = 64

// node is the place of an entry. The lock of its shard guards it.
type node = evict.Node[*Entry]

// resource is all that is known of one key. The shard's lock guards it.
type resource struct {
	key   string
	next  *resource       // another key of the same hash
	nodes []*node         // variants, the newest first
	v     *rule.Variation // held while the resource is there; nil if all of the query counts
}

// url is the part of the key that names the URL; extended says that there is more.
func (r *resource) url() (url string, extended bool) {
	i := strings.IndexByte(r.key, '\n')
	if i < 0 {
		return r.key, false
	}
	return r.key[:i], true
}

// enter adds a member to the set of that name, which it makes if it is not there.
func enter[T comparable](sets map[string]map[T]struct{}, name string, member T) {
	set := sets[name]
	if set == nil {
		set = make(map[T]struct{})
		sets[name] = set
	}
	set[member] = struct{}{}
}

// leave removes a member from the set of that name, and the set with its last member.
func leave[T comparable](sets map[string]map[T]struct{}, name string, member T) {
	if set := sets[name]; set != nil {
		delete(set, member)
		if len(set) == 0 {
			delete(sets, name)
		}
	}
}

// shard is a part of the near tier with a lock of its own.
type shard struct {
	mu        sync.Mutex
	resources map[uint64]*resource
	ranking   evict.Ranking[*Entry]
	fetches   map[string]*Fetch
	groups    map[string]map[*node]struct{}
	// extended are the resources whose keys have more than their URL, by that.
	extended   map[string]map[*resource]struct{}
	variations *variations // of the store
	_          [64]byte    // shards on cache lines of their own
}

func (sh *shard) init(r evict.Ranking[*Entry], v *variations) {
	sh.variations = v
	sh.resources = make(map[uint64]*resource)
	sh.fetches = make(map[string]*Fetch)
	sh.groups = make(map[string]map[*node]struct{})
	sh.extended = make(map[string]map[*resource]struct{})
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
// none; uncacheable when an answer for the key was noted not to be storable, 0 if there is
// no such note.
func (sh *shard) findLocked(q *Request) (e *Entry, uncacheable int64, missed rule.Reason) {
	r := sh.resourceLocked(q.hash, q.Key)
	if r == nil {
		return nil, 0, rule.ReasonURIMiss
	}
	missed = rule.ReasonURIMiss
	for _, n := range r.nodes {
		if n.Value.hitForMiss {
			if n.Value.FreshUntil() > q.At {
				uncacheable = n.Value.Received
				sh.ranking.Touch(n)
			}
			continue
		}
		if n.Value.partial {
			if !q.selects(n.Value) {
				continue
			}
			if !q.within(n.Value) {
				missed = rule.ReasonRangeUnavailable
				continue
			}
			// Parts are not validated: only a fresh one is of use.
			outcome, why := q.judge(n.Value)
			if outcome == rule.Fresh {
				sh.ranking.Touch(n)
				return n.Value, uncacheable, rule.ReasonNone
			}
			missed = why
			continue
		}
		if q.selects(n.Value) {
			sh.ranking.Touch(n)
			return n.Value, uncacheable, rule.ReasonNone
		}
		missed = rule.ReasonVaryMiss
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
		r = &resource{key: e.key, next: sh.resources[e.hash], v: e.v}
		sh.variations.hold(r.key, r.v)
		sh.resources[e.hash] = r
		if url, extended := r.url(); extended {
			enter(sh.extended, url, r)
		}
	}
	for i := 0; i < len(r.nodes); i++ {
		old := r.nodes[i].Value
		// A storable answer ends the time in which the key is taken for
		// uncacheable, and the other way round. A part says nothing of the whole.
		if old.hitForMiss == e.hitForMiss && sameVariant(old, e) || old.hitForMiss && !e.hitForMiss && !e.partial {
			e.hits.Add(old.hits.Load())
			freed += sh.dropNodeLocked(r, i)
			i--
		}
	}
	for len(r.nodes) >= maxVariants {
		freed += sh.dropNodeLocked(r, len(r.nodes)-1)
	}
	n := &node{Value: e, Hash: e.hash, Cost: cost}
	r.nodes = append(r.nodes, nil)
	copy(r.nodes[1:], r.nodes)
	r.nodes[0] = n
	sh.ranking.Add(n)
	for _, g := range e.Groups {
		enter(sh.groups, g, n)
	}
	return freed
}

func sameVariant(a, b *Entry) bool {
	if a.variant != b.variant || len(a.Vary) != len(b.Vary) {
		return false
	}
	for i := range a.Vary {
		if a.Vary[i] != b.Vary[i] {
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
	sh.ranking.Remove(n)
	for _, g := range n.Value.Groups {
		leave(sh.groups, g, n)
	}
	return n.Cost
}

// removeLocked removes n, and its resource if nothing is left of it.
func (sh *shard) removeLocked(n *node) (freed int64) {
	for r := sh.resources[n.Hash]; r != nil; r = r.next {
		if i := slices.Index(r.nodes, n); i >= 0 {
			freed = sh.dropNodeLocked(r, i)
			if len(r.nodes) == 0 {
				sh.forgetLocked(r, n.Hash)
			}
			return freed
		}
	}
	return 0
}

// forgetLocked takes an empty resource out of the map.
func (sh *shard) forgetLocked(r *resource, hash uint64) {
	sh.variations.release(r.key, r.v)
	if url, extended := r.url(); extended {
		leave(sh.extended, url, r)
	}
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
