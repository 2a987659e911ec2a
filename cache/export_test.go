package cache

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/valyala/fasthttp"
)

// KeyForTest is the key of a request with the fields A and B.
func KeyForTest(p *Policy, host, target, a, b string) (string, bool) {
	var h fasthttp.RequestHeader
	h.Set("A", a)
	h.Set("B", b)
	return string(p.appendKey(nil, []byte("http"), []byte(host), []byte(target), &h)), true
}

// DateForTest is parseDate at a fixed time.
func DateForTest(b []byte) (int64, bool) { return parseDate(b, 1767323045) }

// AppendDateForTest is appendDate.
func AppendDateForTest(at int64) []byte { return appendDate(nil, at) }

// RecodeForTest decodes an entry and encodes it again; ok is false if b is
// none.
func RecodeForTest(b []byte) (again []byte, ok bool) {
	e, err := decodeEntry(b, nil, func([]byte) uint64 { return 0 })
	if err != nil {
		return nil, false
	}
	return appendEntry(nil, e, 0), true
}

// EncodedForTest is the encoding of what a store holds under a URL.
func EncodedForTest(s *Store, url string, compress int) []byte {
	k := []byte(normalURL(url))
	sh := s.shard(s.hash(k))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return appendEntry(nil, sh.resourceLocked(s.hash(k), k).nodes[0].entry, compress)
}

// SealForTest puts the right checksum at the end of b.
func SealForTest(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// ContentRangeForTest is parseContentRange.
func ContentRangeForTest(b []byte) (first, last, length int64, ok bool) {
	s, length, ok := parseContentRange(b)
	return s.first, s.last, length, ok
}

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
