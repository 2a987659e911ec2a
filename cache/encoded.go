package cache

import "weir/cache/rule"

// Encodings is how many compressed copies of its body an entry can have.
const Encodings = 3

// encodings are compressed copies by their kind; one that is not nil but empty would be no
// smaller than the body. They are never changed.
type encodings [Encodings][]byte

// copyOf returns the copy of a kind; made says whether it was made, though it may be nil.
func (e *Entry) copyOf(n int) (b []byte, made bool) {
	all := e.encoded.Load()
	if all == nil || all[n] == nil {
		return nil, false
	}
	if len(all[n]) == 0 {
		return nil, true
	}
	return all[n], true
}

// encodedCost is what a copy costs.
func encodedCost(b []byte) int {
	if b == nil {
		return 0
	}
	return cap(b) + 64
}

// Encoded returns a compressed copy of an entry's whole body, of the kind n, below Encodings.
// encode makes it of the body when it is first asked for; from then on the entry keeps it, as a
// part of the memory that the store bounds. It is nil if encode says so, or the body is
// not in memory.
func (s *Store) Encoded(e *Entry, n int, encode func(body []byte) []byte) []byte {
	if b, made := e.copyOf(n); made {
		return b
	}
	if e.body == nil || e.partial {
		return nil
	}
	// One at a time for each entry: others wait instead of doing the same.
	mu := &s.encoding[e.hash%uint64(len(s.encoding))]
	mu.Lock()
	defer mu.Unlock()
	if b, made := e.copyOf(n); made {
		return b
	}
	b := encode(e.body)
	if b == nil {
		b = []byte{}
	}
	if cost := int64(encodedCost(b)); s.reserve(cost, nil) && !s.keepEncoded(e, n, b, cost) {
		s.used.Add(-cost)
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

// keepEncoded keeps a copy, whose cost is counted already, with e. It reports false if e is not
// stored any more.
func (s *Store) keepEncoded(e *Entry, n int, b []byte, cost int64) bool {
	sh := s.shard(e.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r := sh.resourceLocked(e.hash, []byte(e.key))
	if r == nil {
		return false
	}
	for _, at := range r.nodes {
		if at.Value == e {
			sh.ranking.Remove(at)
			at.Cost += cost
			sh.ranking.Add(at)
			var all encodings
			if old := e.encoded.Load(); old != nil {
				all = *old
			}
			all[n] = b
			e.encoded.Store(&all)
			return true
		}
	}
	return false
}

// Whole says whether the answer is all of a body that memory has.
func (a *Answer) Whole() bool {
	return a.stored && a.Status == a.Entry.Status && rule.HasBody(a.Status)
}
