package cache

import (
	"slices"

	"weir/cache/rule"
	"weir/internal/head"
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

// within says whether the request wants one range, and that is in the pieces of
// e. Conditions but for If-Range are left to the origin.
func (q *Request) within(e *Entry) bool {
	if !q.Ranged() {
		return false
	}
	if q.Conditional() {
		for _, name := range rule.Conditions() {
			if rule.HasValue(q.Head, name) {
				return false
			}
		}
	}
	list, whole := q.spans(e)
	return !whole && len(list) == 1 && e.cut(list[0]) != nil
}

// cut is the bytes of s, nil if not all of them are there.
func (e *Entry) cut(s rule.Span) []byte {
	if !e.partial {
		return e.body[s.First : s.Last+1]
	}
	for _, p := range e.pieces {
		if p.first <= s.First && s.Last < p.end() {
			return p.data[s.First-p.first : s.Last+1-p.first]
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
func (f *Fetch) respondPart(r *rule.Response) (e *Entry, s rule.Span, reason rule.Reason) {
	s, length, ok := rule.ParseContentRange(r.Fields.Joined("Content-Range"))
	switch {
	case f.asked.Method != rule.MethodGet || f.narrowed || f.selected != nil || !rule.HasValue(&f.head, head.Range):
		return nil, s, rule.ReasonPartial // not what was asked for
	case !ok || r.Length >= 0 && r.Length != s.Size():
		return nil, s, rule.ReasonPartial
	}
	whole := r.Whole(length)
	e, reason = f.judgePart(&whole)
	if reason != rule.ReasonNone {
		return nil, s, reason
	}
	if !e.Strong() {
		return nil, s, rule.ReasonPartial // nothing it could be joined with
	}
	if old, _ := f.store.parts(e); old != nil && rule.SameStrong(&old.Stored, &e.Stored) {
		whole.Merge(&old.Stored)
		if e, reason = f.judgePart(&whole); reason != rule.ReasonNone {
			return nil, s, reason
		}
	} else if rule.HasValue(&f.head, head.IfRange) {
		// The 206 may lack fields that the client is known to have (RFC 9110 section
		// 15.3.7), so other clients cannot be answered from it.
		return nil, s, rule.ReasonPartial
	}
	switch {
	case e.Validate || e.FreshUntil() <= e.Received:
		return nil, s, rule.ReasonNoFreshness // parts are not validated
	case f.isDoomed():
		return nil, s, rule.ReasonDoomed
	case r.Unprovable && !f.policy.StoresUntilClose():
		return nil, s, rule.ReasonCloseDelimited
	case s.Size() > f.store.maxObject:
		return nil, s, rule.ReasonTooLarge
	case f.store.filling.Load()+s.Size() > f.store.limit/2:
		return nil, s, rule.ReasonMemory
	}
	return e, s, rule.ReasonNone
}

// judgePart makes an entry without pieces of the whole that a part is of.
func (f *Fetch) judgePart(whole *rule.Response) (*Entry, rule.Reason) {
	t, control, reason := f.policy.JudgeResponse(f.asked, whole)
	if reason != rule.ReasonNone {
		return nil, reason
	}
	e := f.newEntry(f.policy.Keep(whole, t, &control))
	e.partial = true
	return e, rule.ReasonNone
}

// joinParts is what is stored of e, which has one piece: with the others that are
// there, or the whole if nothing is missing any more.
func (f *Fetch) joinParts(e *Entry) (*Entry, rule.Reason) {
	old, whole := f.store.parts(e)
	if whole {
		return e, rule.ReasonPartial // another fetch brought all of it meanwhile
	}
	if old != nil && rule.SameStrong(&old.Stored, &e.Stored) {
		all := join(old.pieces, e.pieces[0])
		size := int64(0)
		for _, o := range all {
			size += int64(len(o.data))
		}
		if size <= f.store.maxObject && len(all) <= maxPieces {
			e = e.withPieces(all)
		}
	}
	if first := e.pieces[0]; int64(len(first.data)) == e.Length {
		return e.withBody(first.data), rule.ReasonNone
	}
	return e, rule.ReasonNone
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
			case n.Value.hitForMiss || !sameVariant(n.Value, e):
			case n.Value.partial:
				old = n.Value
			default:
				whole = true
			}
		}
	}
	return old, whole
}

// dropParts forgets parts of what the origin has no more, as a response shows
// that is not stored itself.
func (f *Fetch) dropParts(r *rule.Response) {
	sh := f.store.shard(f.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	known := sh.resourceLocked(f.hash, []byte(f.key))
	if known == nil {
		return
	}
	for _, n := range slices.Clone(known.nodes) {
		e := n.Value
		if !e.partial || string(f.policy.AppendVary(nil, e.Vary, &f.head)) != e.variant {
			continue
		}
		if !e.PartOf(r) {
			f.store.used.Add(-sh.removeLocked(n))
		}
	}
}
