package cache

import (
	"bytes"
	"slices"

	"github.com/valyala/fasthttp"
)

// Parts of a representation that came in 206 answers (RFC 9111 sections 3.3 and
// 3.4). One entry has all that are known of a variant, told apart from whole
// ones by partial. It answers only requests for one range inside of what is
// there, only while it is fresh, and lives in the near tier alone. Once nothing
// is missing it becomes a whole entry.

// maxPieces bounds the runs of bytes of one entry that do not touch.
const maxPieces = 64

// piece is a run of bytes of a body. Its data never changes.
type piece struct {
	first int64
	data  []byte
}

func (p piece) end() int64 { return p.first + int64(len(p.data)) }

// parseContentRange reads the range of a 206 (RFC 9110 section 14.4). ok is
// false if it is not valid or does not tell the length of the whole.
func parseContentRange(b []byte) (s span, length int64, ok bool) {
	unit, rest, found := bytes.Cut(trim(b), []byte{' '})
	if !found || !equalFold(unit, "bytes") {
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
	s.first, valid[0] = parsePosition(from)
	s.last, valid[1] = parsePosition(to)
	length, valid[2] = parsePosition(complete)
	ok = valid[0] && valid[1] && valid[2] && s.first <= s.last && s.last < length
	return s, length, ok
}

// strong says whether the entry has a strong validator (RFC 9110 section 8.8):
// an entity tag, or without one a Last-Modified well before Date.
func (e *Entry) strong() bool {
	if n := len(e.etag); n > 0 {
		return n > 1 && e.etag[0] == '"' && e.etag[n-1] == '"'
	}
	return e.hasModified && e.date-e.modified >= 1
}

// sameStrong says whether parts of a and b are parts of one representation
// (RFC 9110 section 15.3.7.3).
func sameStrong(a, b *Entry) bool {
	return a.strong() && b.strong() && a.length == b.length && bytes.Equal(a.etag, b.etag) &&
		(len(a.etag) > 0 || a.modified == b.modified)
}

// within says whether the request wants one range, and that is in the pieces of
// e. Conditions but for If-Range are left to the origin.
func (q *Request) within(e *Entry) bool {
	if !q.ranged() {
		return false
	}
	if q.conditions() {
		for _, name := range []string{
			fasthttp.HeaderIfMatch, fasthttp.HeaderIfNoneMatch, fasthttp.HeaderIfModifiedSince, fasthttp.HeaderIfUnmodifiedSince,
		} {
			if len(q.Header.Peek(name)) > 0 {
				return false
			}
		}
	}
	list, whole := spans(e, q)
	return !whole && len(list) == 1 && e.cut(list[0]) != nil
}

// cut is the bytes of s, nil if not all of them are there.
func (e *Entry) cut(s span) []byte {
	if !e.partial {
		return e.body[s.first : s.last+1]
	}
	for _, p := range e.pieces {
		if p.first <= s.first && s.last < p.end() {
			return p.data[s.first-p.first : s.last+1-p.first]
		}
	}
	return nil
}

// join adds a piece to others, which are in order and do not touch; so is the
// result. Where they overlap the new bytes count.
func join(others []piece, p piece) []piece {
	var before, after []piece
	first, end := p.first, p.end()
	var head, tail []byte
	for _, o := range others {
		switch {
		case o.end() < p.first:
			before = append(before, o)
		case o.first > p.end():
			after = append(after, o)
		default:
			if o.first < first {
				first, head = o.first, o.data[:p.first-o.first]
			}
			if o.end() > end {
				end, tail = o.end(), o.data[p.end()-o.first:]
			}
		}
	}
	if len(head)+len(tail) > 0 {
		data := make([]byte, 0, end-first)
		p = piece{first, append(append(append(data, head...), p.data...), tail...)}
	}
	return append(append(before, p), after...)
}

// respondPart judges a 206. The entry is what the part will be stored in, with
// the fields of the parts it joins brought up to date, and s what it brings.
func (f *Fill) respondPart(r *Response) (e *Entry, s span, reason Reason) {
	s, length, ok := parseContentRange(r.Fields.joined("Content-Range"))
	switch {
	case f.asked.method != methodGet || f.narrowed || f.selected != nil || len(f.head.Peek(fasthttp.HeaderRange)) == 0:
		return nil, s, ReasonPartial // not what was asked for
	case !ok || r.Length >= 0 && r.Length != s.size():
		return nil, s, ReasonPartial
	}
	whole := *r
	whole.Status, whole.Phrase, whole.Length = 200, nil, length
	whole.Fields = without(r.Fields, "Content-Range")
	e, reason = f.judgePart(&whole)
	if reason != ReasonNone {
		return nil, s, reason
	}
	if !e.strong() {
		return nil, s, ReasonPartial // nothing it could be joined with
	}
	if old, _ := f.store.parts(e); old != nil && sameStrong(old, e) {
		// What the new answer says replaces what was said (RFC 9111 section 3.2).
		var merged []byte
		for rest := Fields(old.head[old.line:old.fields]); ; {
			name, value, next := rest.next()
			if name == nil {
				break
			}
			rest = next
			if !whole.Fields.has(string(name)) && !equalFold(name, "Date") {
				merged = AppendField(merged, name, value)
			}
		}
		whole.Fields = append(merged, whole.Fields...)
		if e, reason = f.judgePart(&whole); reason != ReasonNone {
			return nil, s, reason
		}
	} else if len(f.head.Peek(fasthttp.HeaderIfRange)) > 0 {
		// It may lack fields that the client is known to have (RFC 9110 section
		// 15.3.7), so others cannot be answered from it.
		return nil, s, ReasonPartial
	}
	switch {
	case e.validate || e.freshUntil() <= e.received:
		return nil, s, ReasonNoFreshness // parts are not validated
	case r.Unprovable:
		return nil, s, ReasonTruncated
	case s.size() > f.store.maxObject:
		return nil, s, ReasonTooLarge
	case f.store.filling.Load()+s.size() > f.store.limit/2:
		return nil, s, ReasonMemory
	}
	return e, s, ReasonNone
}

// judgePart makes an entry without pieces of the whole that a part is of.
func (f *Fill) judgePart(whole *Response) (*Entry, Reason) {
	t, control, reason := f.policy.judgeResponse(f.asked, whole)
	if reason != ReasonNone {
		return nil, reason
	}
	e := f.policy.newEntry(f.key, f.hash, whole, t, &control)
	e.variant = string(f.policy.appendVary(nil, e.vary, &f.head))
	e.partial = true
	return e, ReasonNone
}

// commitPart is what is stored of a part: with the others that are there, or
// the whole if nothing is missing any more.
func (f *Fill) commitPart(e *Entry, body []byte) (*Entry, Reason) {
	old, whole := f.store.parts(e)
	if whole {
		return e, ReasonPartial // somebody else fetched all of it meanwhile
	}
	p := piece{f.part.first, body}
	pieces := []piece{p}
	if old != nil && sameStrong(old, e) {
		all := join(old.pieces, p)
		size := int64(0)
		for _, o := range all {
			size += int64(len(o.data))
		}
		if size <= f.store.maxObject && len(all) <= maxPieces {
			pieces = all
		}
	}
	if int64(len(pieces[0].data)) == e.length {
		return e.withBody(pieces[0].data), ReasonNone
	}
	n := e.bare()
	n.partial, n.pieces = true, pieces
	return n, ReasonNone
}

// parts finds the parts of the variant that e is, nil if there are none. whole
// says that all of it is there.
func (s *Store) parts(e *Entry) (old *Entry, whole bool) {
	sh := s.shard(e.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.resourceLocked(e.hash, []byte(e.key)); r != nil {
		for _, n := range r.nodes {
			switch {
			case n.entry.hitForMiss || !sameVariant(n.entry, e):
			case n.entry.partial:
				old = n.entry
			default:
				whole = true
			}
		}
	}
	return old, whole
}

// dropParts forgets parts of what the origin has no more, as a response shows
// that is not stored itself.
func (f *Fill) dropParts(r *Response) {
	sh := f.store.shard(f.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	known := sh.resourceLocked(f.hash, []byte(f.key))
	if known == nil {
		return
	}
	for _, n := range slices.Clone(known.nodes) {
		e := n.entry
		if !e.partial || string(f.policy.appendVary(nil, e.vary, &f.head)) != e.variant {
			continue
		}
		same := r.Status == 200 || r.Status == 206
		for _, name := range []string{"ETag", "Last-Modified"} {
			v := r.Fields.get(name)
			same = same && (v == nil && name != "ETag" || bytes.Equal(v, Fields(e.head[e.line:e.fields]).get(name)))
		}
		if !same {
			f.store.used.Add(-sh.removeLocked(n))
		}
	}
}
