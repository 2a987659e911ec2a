package cache

import (
	"bytes"
	"strconv"

	"github.com/valyala/fasthttp"
)

// maxRanges bounds the parts of one answer; who asks for more gets everything.
const maxRanges = 16

// span is a part of a body: bytes from first to last, both included.
type span struct{ first, last int64 }

func (s span) size() int64 { return s.last - s.first + 1 }

// parseRange reads a Range (RFC 9110 section 14.2) for a body of that length.
// ok is false if it must be ignored: another unit, not valid, or too many
// parts. An empty list means that no part can be had (416).
func parseRange(b []byte, length int64) (list []span, ok bool) {
	unit, set, found := bytes.Cut(b, []byte{'='})
	if !found || !equalFold(trim(unit), "bytes") {
		return nil, false
	}
	total := int64(0)
	count := 0
	for {
		item, rest, more := nextItem(set)
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
		from, to, found := bytes.Cut(item, []byte{'-'})
		if !found {
			return nil, false
		}
		s := span{}
		switch {
		case len(from) == 0:
			n, ok := parsePosition(to)
			if !ok {
				return nil, false
			}
			if length == 0 && n > 0 {
				return nil, false // satisfiable, but Content-Range cannot say it
			}
			if n == 0 {
				continue
			}
			s = span{max(length-n, 0), length - 1}
		default:
			first, ok := parsePosition(from)
			if !ok {
				return nil, false
			}
			last := length - 1
			if len(to) > 0 {
				if last, ok = parsePosition(to); !ok || last < first {
					return nil, false
				}
				last = min(last, length-1)
			}
			if first >= length {
				continue
			}
			s = span{first, last}
		}
		total += s.size()
		list = append(list, s)
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

// spans are the parts of an entry that the request asks for. whole says that
// it gets everything: no Range, one that does not count, or an entry of which
// no parts can be had.
func spans(e *Entry, q *Request) (list []span, whole bool) {
	if !q.ranged() || e.status != 200 || e.length < 0 || !ifRange(e, q) {
		return nil, true
	}
	list, ok := parseRange(joinLines(q.Header.PeekAll(fasthttp.HeaderRange)), e.length)
	if len(list) > 1 && e.body == nil && e.blob == nil && e.length > 0 {
		return nil, true // several parts of what is still arriving: all of it
	}
	return list, !ok
}

func appendContentRange(dst []byte, s span, length int64) []byte {
	dst = append(dst, "Content-Range: bytes "...)
	dst = strconv.AppendInt(dst, s.first, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.last, 10)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, length, 10)
	return append(dst, "\r\n"...)
}

// boundary separates the parts of a multipart answer. It must not occur in
// them; a random one would make the answers of one entry differ, so it is made
// from the entry's hash and is long enough.
func boundary(e *Entry) []byte {
	return strconv.AppendUint([]byte("weir-parts-"), e.hash|1<<63, 36)
}

// multipart is the body of an answer with several parts, and its length.
func multipart(e *Entry, list []span) (runs []run, length int64, contentType []byte) {
	mark := boundary(e)
	kind := Fields(e.head[e.line:e.fields]).get("Content-Type")
	for _, s := range list {
		text := make([]byte, 0, len(mark)+len(kind)+128)
		text = append(append(append(text, "\r\n--"...), mark...), "\r\n"...)
		if len(kind) > 0 {
			text = AppendField(text, []byte("Content-Type"), kind)
		}
		text = append(appendContentRange(text, s, e.length), "\r\n"...)
		runs = append(runs, run{text, s})
		length += int64(len(text)) + s.size()
	}
	end := append(append([]byte("\r\n--"), mark...), "--\r\n"...)
	runs = append(runs, run{end, span{0, -1}})
	return runs, length + int64(len(end)), append([]byte("multipart/byteranges; boundary="), mark...)
}
