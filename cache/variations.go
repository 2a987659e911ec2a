package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"weir/cache/rule"
	"weir/cache/tier"
)

// maxVariations bounds the variations of one path at a time. A response with another one is
// stored under its exact key.
const maxVariations = 4

// variations are what counts of the queries of paths for something in the near tier or on its
// way there: stored responses hold a variation, and fetches that meet under its keys. Requests
// look variations up without a lock.
type variations struct {
	seed  maphash.Seed
	count atomic.Int64
	slots [1 << 13]atomic.Pointer[known]
	mu    sync.Mutex
}

// known is a variation of a path, by its hash, that something holds. Two paths of one hash only
// make look-ups that find nothing. The list of a slot begins with the newest.
type known struct {
	path    uint64
	v       *rule.Variation
	next    *known // never changes
	holders int    // guarded by variations.mu
}

func (t *variations) slot(path uint64) *atomic.Pointer[known] {
	return &t.slots[path%uint64(len(t.slots))]
}

// path is the hash of a key's path.
func (t *variations) path(key []byte) uint64 { return maphash.Bytes(t.seed, rule.KeyPath(key)) }

// of is the newest variation of the path, nil if there is none.
func (t *variations) of(path uint64) *known {
	if t.count.Load() == 0 {
		return nil
	}
	return t.slot(path).Load().from(path)
}

// from is the first variation of the path in the list that k begins.
func (k *known) from(path uint64) *known {
	for k != nil && k.path != path {
		k = k.next
	}
	return k
}

// another is the next variation of the same path, nil if there is none.
func (k *known) another() *known { return k.next.from(k.path) }

// admit is v as the path has it already, or v itself; nil if the path has too many others.
func (t *variations) admit(path uint64, v *rule.Variation) *rule.Variation {
	n := 0
	for k := t.of(path); v != nil && k != nil; k = k.another() {
		if k.v.Same(v) {
			return k.v
		}
		n++
	}
	if n >= maxVariations {
		return nil
	}
	return v
}

// hold makes v known for the path of key until the same number of calls of release. It does
// nothing if v is nil.
func (t *variations) hold(key string, v *rule.Variation) {
	if v == nil {
		return
	}
	path := t.path([]byte(key))
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := t.of(path); k != nil; k = k.another() {
		if k.v.Same(v) {
			k.holders++
			return
		}
	}
	slot := t.slot(path)
	slot.Store(&known{path: path, v: v, next: slot.Load(), holders: 1})
	t.count.Add(1)
}

// release is called by what has held v for the path of key.
func (t *variations) release(key string, v *rule.Variation) {
	if v == nil {
		return
	}
	path := t.path([]byte(key))
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := t.slot(path)
	for k := slot.Load().from(path); k != nil; k = k.another() {
		if !k.v.Same(v) {
			continue
		}
		if k.holders--; k.holders == 0 {
			slot.Store(slot.Load().without(k))
			t.count.Add(-1)
		}
		return
	}
	panic("BUG: nothing holds the variation")
}

// without is the list without one of its members. Requests that walk along the old one go on.
func (k *known) without(gone *known) *known {
	if k == gone {
		return k.next
	}
	return &known{path: k.path, v: k.v, next: k.next.without(gone), holders: k.holders}
}

// find is the newest entry that q selects, as findLocked says. It makes q.Key the key under
// which the entry is, or if there is none, under which what comes from the origin most likely
// belongs.
func (s *Store) find(q *Request) (e *Entry, uncacheable int64, missed rule.Reason) {
	if s.variations.count.Load() == 0 || !q.Policy.NoVarySearch() {
		return s.findKey(q)
	}
	q.takeExact(s)
	first := s.variations.of(s.variations.path(q.Key))
	if first == nil {
		return s.findKey(q)
	}
	q.exact = append(q.exact[:0], q.Key...)
	missed = rule.ReasonURIMiss
	for k := first; ; k = k.another() {
		if k != nil {
			q.take(s, k.v)
		} else {
			q.takeExact(s)
		}
		found, noted, why := s.findKey(q)
		switch {
		case found != nil || noted != 0:
			return found, noted, why
		case why != rule.ReasonURIMiss:
			missed = why
		}
		if k == nil {
			q.take(s, first.v)
			return nil, 0, missed
		}
	}
}

// findKey is the newest entry under q.Key that q selects, as findLocked says.
func (s *Store) findKey(q *Request) (e *Entry, uncacheable int64, missed rule.Reason) {
	sh := s.shard(q.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.findLocked(q)
}

// take makes q.Key that of a variation. q.exact has the exact key.
func (q *Request) take(s *Store, v *rule.Variation) {
	q.Key, q.variation = v.AppendKey(q.Key[:0], q.exact), v
	q.hash = s.hash(q.Key)
}

// takeExact makes q.Key the exact key again.
func (q *Request) takeExact(s *Store) {
	if q.variation != nil {
		q.Key, q.variation = append(q.Key[:0], q.exact...), nil
		q.hash = s.hash(q.Key)
	}
}

// exactKey is the key for which every byte of the query counts.
func (q *Request) exactKey() []byte {
	if q.variation != nil {
		return q.exact
	}
	return q.Key
}

// named says whether the entry is about the URL of the request, whatever its fields.
func (q *Request) named(e *Entry) bool {
	switch {
	case e.key == string(q.Key):
		return true
	case e.v == nil:
		return e.key == string(q.exactKey())
	}
	return q.Policy.NoVarySearch() && e.key == string(e.v.AppendKey(nil, q.exactKey()))
}

// fits says whether the entry is about the URL of the request and the variant that it asks
// for.
func (q *Request) fits(e *Entry) bool { return q.named(e) && q.selects(e) }

// variedKeys are the keys that answers to a URL have besides its own, of which key is the
// whole. Others may follow each, after a line break.
func (s *Store) variedKeys(key string) (list []string) {
	for k := s.variations.of(s.variations.path([]byte(key))); k != nil; k = k.another() {
		list = append(list, string(k.v.AppendKey(nil, []byte(key))))
	}
	return list
}

// ends counts what ended entries, so that a fetch that found out late under which key its
// answer belongs sees that something may have ended the answer meanwhile: the key under which
// the fetch was to be found was another one.
type ends struct {
	wide  atomic.Uint64       // by all but a URL
	paths [1024]atomic.Uint64 // by a URL, by the hash of its path
}

// of is another number once something ended that may be on the path.
func (n *ends) of(path uint64) uint64 {
	return n.wide.Load() + n.paths[path%uint64(len(n.paths))].Load()
}

// overtakenLocked says that the fetch has brought an entry for another key than its own, which
// something may have ended meanwhile without finding the fetch.
func (f *Fetch) overtakenLocked() bool {
	return f.entry != nil && f.moves(f.entry) && f.ends != f.store.ends.of(f.path)
}

// moves says whether the entry belongs under another key than the fetch.
func (f *Fetch) moves(e *Entry) bool { return e.key != f.key }

// countEnd counts a mark.
func (s *Store) countEnd(m tier.Mark) {
	if m.Key == "" {
		s.ends.wide.Add(1)
		return
	}
	s.ends.paths[s.variations.path([]byte(m.Key))%uint64(len(s.ends.paths))].Add(1)
}
