package cache

import (
	"bytes"

	"weir/cache/rule"
	"weir/internal/head"
)

// What the cache does with whole heads.

// Lend makes h the head of the answer, without Age. h is valid as long as the entry and the
// Request that the answer was made for.
func (a *Answer) Lend(h *head.Head) {
	raw, present := a.Entry.Head, a.Entry.Present
	if a.head != nil {
		raw = a.head
		present, _ = head.CheckFields(raw[bytes.IndexByte(raw, '\n')+1:])
	}
	h.LendResponse(raw, present, a.Status, a.Length)
}

// Condition makes h the request that the fetch needs: for the whole
// representation, with the conditions that validate what is stored (RFC 9111
// section 4.3.1). The client's own conditions and range stay where the fetch is for
// this client alone.
func (f *Fetch) Condition(h *head.Head) {
	if !f.asksWhole {
		return
	}
	if h.Has(narrowing) {
		conditions := rule.Conditions()
		for _, name := range append(conditions[:], head.IfRange, head.Range) {
			if rule.HasValue(h, name) {
				f.narrowed = true
				h.Del(name)
			}
		}
	}
	if f.selected == nil {
		return
	}
	if len(f.selected.ETag) > 0 {
		h.Set(head.IfNoneMatch, f.selected.ETag)
	}
	if f.selected.HasModified {
		h.Set(head.IfModifiedSince, f.selected.Fields().Get("Last-Modified"))
	}
}

// narrowing are the fields by which a client asks for less than everything.
var narrowing = head.Conditional | head.SetOf(head.Range)

// keepHead keeps the head of q as a target would get it.
func (f *Fetch) keepHead(q *Request) { q.SentHead().Clone(&f.head) }

// askForGet makes the head, if it is a HEAD's, that of a GET.
func (f *Fetch) askForGet() {
	if f.asked.Method == rule.MethodHead {
		f.head.SetMethod([]byte("GET"))
	}
	f.asked.Method = rule.MethodGet
}
