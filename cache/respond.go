package cache

import (
	"slices"

	"github.com/valyala/fasthttp"
)

// Condition makes h the request that the fetch needs: for the whole
// representation, with the conditions that validate what is stored (RFC 9111
// section 4.3.1). Without anything to validate, or to replace, the client's
// own conditions and range stay.
func (f *Fill) Condition(h *fasthttp.RequestHeader) {
	if f.selected == nil && len(f.candidates) == 0 || f.asked.method != methodGet {
		return
	}
	for _, name := range []string{
		fasthttp.HeaderIfMatch, fasthttp.HeaderIfNoneMatch, fasthttp.HeaderIfModifiedSince,
		fasthttp.HeaderIfUnmodifiedSince, fasthttp.HeaderIfRange, fasthttp.HeaderRange,
	} {
		if len(h.Peek(name)) > 0 {
			f.narrowed = true
			h.Del(name)
		}
	}
	var tags []byte
	for _, e := range f.candidates {
		if len(e.etag) > 0 {
			if len(tags) > 0 {
				tags = append(tags, ", "...)
			}
			tags = append(tags, e.etag...)
		}
	}
	if len(tags) > 0 {
		h.SetBytesV(fasthttp.HeaderIfNoneMatch, tags)
	}
	if f.selected != nil && f.selected.hasModified {
		lm := Fields(f.selected.head[f.selected.line:f.selected.fields]).get("Last-Modified")
		h.SetBytesV(fasthttp.HeaderIfModifiedSince, lm)
	}
}

// Action is what to do with a response that came from the origin.
type Action uint8

const (
	// Pass: send it on; it is not stored.
	Pass Action = iota
	// Keep: send it on, and Write its body to the Fill as well.
	Keep
	// Updated: a 304 made Decision.Entry good again; answer from it.
	Updated
	// UseStale: the origin failed; answer from Decision.Entry.
	UseStale
	// Again: a 304 that fits nothing stored; fetch once more, unconditionally.
	Again
)

// Decision is what Respond decided.
type Decision struct {
	Action Action
	// Reason is why the response is not stored, or why the stale entry answers.
	Reason Reason
	// Entry is what is being stored, or what answers.
	Entry *Entry
}

// Respond takes the head of the origin's response. q may be nil in the
// background.
func (f *Fill) Respond(q *Request, r *Response) Decision {
	if f.asked.method == methodHead {
		f.freshen(r)
		return Decision{Action: Pass, Reason: ReasonMethod}
	}
	if q == nil {
		q = &Request{now: r.Received.UnixNano(), control: noRequestControl}
	}
	if r.Status == 304 && len(f.candidates) > 0 {
		return f.notModified(r)
	}
	switch r.Status {
	case 500, 502, 503, 504:
		if f.selected != nil {
			if reason, ok := mayAnswer(f.selected, q, FailedStatus); ok {
				f.release(ReasonFailed)
				return Decision{UseStale, reason, f.selected}
			}
		}
	}
	if r.Status == 206 {
		e, part, reason := f.respondPart(r)
		if reason != ReasonNone {
			f.superseded(r, reason)
			return Decision{Pass, reason, nil}
		}
		f.part = part
		f.stream(e, part.size(), nil)
		return Decision{Keep, ReasonNone, e}
	}
	t, control, reason := f.policy.judgeResponse(f.asked, r)
	large := r.Length > f.store.maxObject
	held := max(r.Length, 0) // in memory at once
	if large {
		held = 2 * window
	}
	var blob Blob
	if reason == ReasonNone {
		switch {
		case r.Unprovable:
			reason = ReasonTruncated
		case r.Length > f.store.largest():
			reason = ReasonTooLarge
		case f.store.filling.Load()+held > f.store.limit/2:
			reason = ReasonMemory
		case large:
			if blob = f.store.create(); blob == nil {
				reason = ReasonDisk
			}
		}
	}
	if reason != ReasonNone {
		f.superseded(r, reason)
		return Decision{Pass, reason, nil}
	}
	e := f.policy.newEntry(f.key, f.hash, r, t, &control)
	e.variant = string(f.policy.appendVary(nil, e.vary, &f.head))
	f.stream(e, held, blob)
	return Decision{Keep, ReasonNone, e}
}

// stream begins to take the body of e, of which memory will hold that many
// bytes; 0 if that is not known. A blob that is not nil takes all of it.
func (f *Fill) stream(e *Entry, held int64, b Blob) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entry, f.state = e, fillStreaming
	if held > 0 {
		f.body = make([]byte, 0, min(held, 256<<10))
	}
	if b != nil {
		f.spillLocked(b)
	}
	f.notifyLocked()
}

// superseded releases the others, and forgets what the response replaces
// although it is not stored itself.
func (f *Fill) superseded(r *Response, reason Reason) {
	if f.asked.method == methodGet {
		if f.selected != nil && r.Status < 500 && r.Status != 304 && r.Status != 206 && reason != ReasonMemory {
			f.store.drop(f.selected)
			if f.selected.blob != nil {
				f.selected.blob.Drop()
			}
		}
		if f.selected == nil && r.Status < 500 && r.Status != 304 && r.Status != 416 && reason != ReasonMemory {
			f.dropParts(r)
		}
		f.mark(r.Received.UnixNano())
	}
	f.release(reason)
}

// mark notes that answers for the key are not storable for now, so that nobody
// waits for another's. Where nobody did there is nothing to note: who asks for
// ever new keys must not fill the memory with such notes.
func (f *Fill) mark(now int64) {
	if !f.joined.Load() || f.policy.c.Uncacheable <= 0 {
		return
	}
	f.store.put(&Entry{
		key: f.key, hash: f.hash, hitForMiss: true,
		terms: terms{received: now, lifetime: seconds(f.policy.c.Uncacheable)},
	})
}

// notModified makes a 304 update what it is about (RFC 9111 section 4.3.4).
func (f *Fill) notModified(r *Response) Decision {
	e := f.validated(r)
	if e == nil {
		f.candidates, f.selected = nil, nil
		return Decision{Action: Again, Reason: ReasonNotModified}
	}
	n, reason := f.policy.updated(e, f.asked, r)
	if e != f.selected {
		// Another variant: the origin says that it answers this request too.
		n.variant = string(f.policy.appendVary(nil, n.vary, &f.head))
	}
	if reason == ReasonNone && f.isDoomed() {
		reason = ReasonDoomed
	}
	if reason != ReasonNone {
		f.store.drop(e)
		f.release(reason)
		return Decision{Updated, reason, n}
	}
	f.store.keep(n)
	f.settle(n)
	return Decision{Updated, ReasonNone, n}
}

// freshen lets the answer to a HEAD update the entry that it describes (RFC
// 9111 section 4.3.5), or end its lifetime if it describes something else.
func (f *Fill) freshen(r *Response) {
	e := f.selected
	if e == nil || r.Status != 200 || e.status != 200 {
		return
	}
	stored := Fields(e.head[e.line:])
	for _, name := range []string{"ETag", "Last-Modified", "Content-Length"} {
		if v := r.Fields.get(name); v != nil && !slices.Equal(v, stored.get(name)) {
			e.expire(r.Received.UnixNano())
			return
		}
	}
	q := f.asked
	q.method = methodGet
	if n, reason := f.policy.updated(e, q, r); reason == ReasonNone {
		f.store.keep(n)
	} else {
		f.store.drop(e)
	}
}

// validated is the candidate that a 304 is about, nil if it cannot be told.
func (f *Fill) validated(r *Response) *Entry {
	tag := r.Fields.get("ETag")
	if len(tag) == 0 {
		if len(f.candidates) == 1 {
			return f.candidates[0]
		}
		return nil
	}
	for _, e := range f.candidates {
		if slices.Equal(opaque(e.etag), opaque(tag)) {
			return e
		}
	}
	if len(f.candidates) == 1 && len(f.candidates[0].etag) == 0 {
		return f.candidates[0] // validated by its date
	}
	return nil
}
