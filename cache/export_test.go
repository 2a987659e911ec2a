package cache

import "weir/internal/head"

// Request is the head that the fetch began with. It belongs to the Fetch.
func (f *Fetch) Request() *head.Head { return &f.head }

// JoinForTest joins pieces of body, each from one position to before another,
// and reports what is there: '.' where nothing is. ok is false if the pieces
// are not in order or touch.
func JoinForTest(body []byte, spans [][2]int) (there []byte, ok bool) {
	var all []piece
	for _, s := range spans {
		all = join(all, piece{int64(s[0]), body[s[0]:s[1]]})
	}
	there, ok = []byte(nil), true
	for range body {
		there = append(there, '.')
	}
	end := int64(-1)
	for _, p := range all {
		ok = ok && p.first > end
		end = p.end()
		copy(there[p.first:], p.data)
	}
	return there, ok
}

// EntriesForTest is how many entries each shard has.
func EntriesForTest(s *Store) (list []int) {
	for i := range s.shards {
		n := 0
		for _, r := range s.shards[i].resources {
			for ; r != nil; r = r.next {
				n += len(r.nodes)
			}
		}
		list = append(list, n)
	}
	return list
}

// VariationsForTest is how many variations of paths the store knows.
func VariationsForTest(s *Store) int64 { return s.variations.count.Load() }
