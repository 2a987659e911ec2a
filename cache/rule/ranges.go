package rule

import (
	"bytes"

	"weir/internal/field"
	"weir/internal/head"
)

// maxRanges bounds the parts of one answer; a client that asks for more gets all.
const maxRanges = 16

// Span is a part of a body: bytes from first to last, both included.
type Span struct{ First, Last int64 }

// Size is how many bytes there are.
func (s Span) Size() int64 { return s.Last - s.First + 1 }

// ParseRange reads a Range (RFC 9110 section 14.2) for a body of that length.
// ok is false if it must be ignored: another unit, not valid, or too many
// parts. An empty list means that no part can be had (416).
func ParseRange(b []byte, length int64) (list []Span, ok bool) {
	unit, set, found := bytes.Cut(b, []byte{'='})
	if !found || !field.EqualFold(field.Trim(unit), "bytes") {
		return nil, false
	}
	total := int64(0)
	count := 0
	for {
		item, rest, more := field.Next(set)
		if !more {
			break
		}
		set = rest
		if len(item) == 0 {
			continue
		}
		if count++; count > maxRanges {
			return nil, false
		}
		s, ok := parseSpan(item, length)
		if !ok {
			return nil, false
		}
		if s.Size() > 0 {
			total += s.Size()
			list = append(list, s)
		}
	}
	if count == 0 {
		return nil, false
	}
	if len(list) > 1 && total > length {
		// Overlapping parts that add up to more than the whole are an attack
		// or a mistake (RFC 9110 section 14.2).
		return nil, false
	}
	return list, true
}

// parseSpan reads one part of a Range: FIRST-LAST, FIRST- or -LENGTH. It is empty if the body has none of its bytes.
func parseSpan(item []byte, length int64) (s Span, ok bool) {
	from, to, found := bytes.Cut(item, []byte{'-'})
	if !found {
		return s, false
	}
	empty := Span{First: 0, Last: -1}
	if len(from) == 0 {
		n, ok := parsePosition(to)
		switch {
		case !ok, length == 0 && n > 0: // of an empty body that is satisfiable, but Content-Range cannot say it
			return s, false
		case n == 0:
			return empty, true
		}
		return Span{max(length-n, 0), length - 1}, true
	}
	first, ok := parsePosition(from)
	if !ok {
		return s, false
	}
	last := length - 1
	if len(to) > 0 {
		if last, ok = parsePosition(to); !ok || last < first {
			return s, false
		}
		last = min(last, length-1)
	}
	if first >= length {
		return empty, true
	}
	return Span{first, last}, true
}

// parsePosition reads 1*DIGIT and saturates.
func parsePosition(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > 1<<58 {
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// Spans are the parts of what is stored that the request asks for. whole says
// that it gets everything: no Range, one that does not count, or a response of
// which no parts can be had.
func (s *Stored) Spans(q *Request) (list []Span, whole bool) {
	if !q.Ranged() || s.Status != 200 || s.Length < 0 || !s.ifRange(q) {
		return nil, true
	}
	list, ok := ParseRange(q.Head.Joined(head.Range), s.Length)
	return list, !ok
}

// ParseContentRange reads the range of a 206 (RFC 9110 section 14.4). ok is
// false if it is not valid or does not tell the length of the whole.
func ParseContentRange(b []byte) (s Span, length int64, ok bool) {
	unit, rest, found := bytes.Cut(field.Trim(b), []byte{' '})
	if !found || !field.EqualFold(unit, "bytes") {
		return s, 0, false
	}
	bounds, complete, found := bytes.Cut(rest, []byte{'/'})
	if !found {
		return s, 0, false
	}
	from, to, found := bytes.Cut(bounds, []byte{'-'})
	if !found {
		return s, 0, false
	}
	var valid [3]bool
	s.First, valid[0] = parsePosition(from)
	s.Last, valid[1] = parsePosition(to)
	length, valid[2] = parsePosition(complete)
	ok = valid[0] && valid[1] && valid[2] && s.First <= s.Last && s.Last < length
	return s, length, ok
}
