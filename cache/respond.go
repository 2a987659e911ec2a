package cache

import (
	"time"

	"weir/cache/rule"
	"weir/cache/tier"
	"weir/internal/head"
)

// Action is what to do with a response that came from the origin.
type Action uint8

const (
	// Pass: send it on; it is not stored.
	Pass Action = iota
	// Keep: send it on, and Write its body to the Fetch as well.
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
	// Reason is why the response is not stored, why it is stored but not fresh, or why
	// the stale entry answers.
	Reason rule.Reason
	// Entry is what is being stored, or what answers.
	Entry *Entry
}

// Respond takes the head of the origin's response. q may be nil in the
// background.
func (f *Fetch) Respond(q *Request, r *rule.Response) Decision {
	f.delay = int64(max(r.Received.Sub(r.Requested), 0))
	if f.asked.Method == rule.MethodHead {
		f.freshen(r)
		return Decision{Action: Pass, Reason: rule.ReasonMethod}
	}
	if q == nil {
		q = &Request{Request: rule.Request{At: r.Received.UnixNano(), Control: rule.NoRequestControl()}}
	}
	if r.Status == 304 && f.selected != nil && f.selected.Validatable() {
		return f.notModified(r)
	}
	if rule.FailedWith(r.Status) && f.selected != nil {
		if reason, ok := q.mayAnswer(f.selected, rule.FailedStatus); ok {
			f.release(rule.ReasonFailed)
			return Decision{UseStale, reason, f.selected}
		}
	}
	if r.Status == 206 {
		e, part, reason := f.respondPart(r)
		if reason != rule.ReasonNone {
			f.superseded(r, reason)
			return Decision{Pass, reason, nil}
		}
		f.part = part
		f.stream(e, part.Size(), nil)
		return Decision{Keep, rule.ReasonNone, e}
	}
	t, control, reason := f.policy.JudgeResponse(f.asked, r)
	large := r.Length > f.store.maxObject
	held := max(r.Length, 0) // in memory at once
	if large {
		held = 2 * window
	}
	var blob tier.Blob
	if reason == rule.ReasonNone {
		switch {
		case f.isDoomed():
			reason = rule.ReasonDoomed
		case r.Unprovable && !f.policy.StoresUntilClose():
			reason = rule.ReasonCloseDelimited
		case r.Length > f.store.largest():
			reason = rule.ReasonTooLarge
		case f.store.filling.Load()+held > f.store.limit/2:
			reason = rule.ReasonMemory
		case large:
			if blob = f.store.create(); blob == nil {
				reason = rule.ReasonDisk
			}
		}
	}
	if reason != rule.ReasonNone {
		f.superseded(r, reason)
		return Decision{Pass, reason, nil}
	}
	e := f.newEntry(f.policy.Keep(r, t, &control))
	if e.FreshUntil() <= e.Received && e.SWR == 0 {
		f.step()
	}
	f.stream(e, held, blob)
	return Decision{Keep, control.Hint, e}
}

// stream begins to take the body of e, of which memory will hold that many
// bytes, counted from now on so that they are there in the end; 0 if that is not known. A
// blob that is not nil takes all of it.
func (f *Fetch) stream(e *Entry, held int64, b tier.Blob) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entry, f.state, f.promised = e, inMemory, held
	f.countLocked()
	if held > 0 {
		f.body = make([]byte, 0, min(held, 256<<10))
	}
	if b != nil {
		f.intoBlobLocked(b)
	}
	f.notifyLocked()
}

// WantsNothing says whether the client, of whose condition the fetch knows nothing, has
// what a response shows that is not stored: then e answers with 304.
func (f *Fetch) WantsNothing(q *Request, r *rule.Response) (e *Entry, ok bool) {
	if !f.narrowed || r.Status != 200 || r.Fields.Has("Set-Cookie") {
		return nil, false
	}
	t, control, _ := f.policy.JudgeResponse(f.asked, r)
	e = f.newEntry(f.policy.Keep(r, t, &control))
	return e, e.Precondition(&q.Request) == rule.NotModified
}

// WantsRange says whether the client, of whose range the fetch knows nothing, asked for a
// part of a response that is not stored, and that part is all of it.
func (f *Fetch) WantsRange(q *Request, r *rule.Response) bool {
	return f.narrowed && r.Status == 200 && r.Length > 0 && f.selected == nil && q.Ranged() && q.Whole() && !rule.HasValue(q.Head, head.IfRange) &&
		string(r.Fields.Get("Accept-Ranges")) != "none"
}

// superseded releases the others, and forgets what the response replaces
// although it is not stored itself.
func (f *Fetch) superseded(r *rule.Response, reason rule.Reason) {
	if f.asked.Method == rule.MethodGet {
		if f.selected != nil && r.Status < 500 && r.Status != 304 && r.Status != 206 && reason != rule.ReasonMemory {
			f.store.drop(f.selected)
			if f.selected.blob != nil {
				f.selected.blob.Drop()
			}
		}
		if f.selected == nil && r.Status < 500 && r.Status != 304 && r.Status != 416 && reason != rule.ReasonMemory {
			f.dropParts(r)
		}
		if reason != rule.ReasonDoomed {
			f.mark(r.Received.UnixNano(), r.Status)
		}
	}
	f.release(reason)
}

// maxFailureNote bounds the note, in seconds, that an origin's failure makes: it says
// little about the answers after it.
const maxFailureNote = 10

// mark notes that answers for the key are not storable for now, so that requests for it
// do not wait for each other and keep their clients' conditions. A note is made where
// another request waited, or leaving out the client's own condition brought nothing to store, and made
// anew by each answer that comes while it is there: a client that asks for ever new keys
// must not fill the memory with notes.
func (f *Fetch) mark(now int64, status int) {
	lifetime := f.policy.Uncacheable()
	if status >= 500 {
		lifetime = min(lifetime, maxFailureNote)
	}
	wanted := f.joined.Load() || f.narrowed || f.noted != 0
	if lifetime <= 0 || !wanted || f.noted != 0 && now-f.noted < int64(time.Second) {
		return
	}
	f.store.put(&Entry{
		key: f.key, hash: f.hash, v: f.v, hitForMiss: true,
		Stored: rule.Stored{Terms: rule.Terms{Received: now, Lifetime: lifetime}},
	}, nil)
}

// notModified makes a 304 update what it is about (RFC 9111 section 4.3.4). One that is
// about something else, that changes what the entry is selected by, or that is for this
// client alone does not say that this client may get what all others do; with a strong
// entity tag the last one does, because the bytes are the same.
func (f *Fetch) notModified(r *rule.Response) Decision {
	e := f.selected
	n, reason := f.updated(e, f.asked, r)
	known := n.SelectedWithin(&e.Stored)
	if !known || !e.ValidatedBy(r) || reason.ForOne() && !e.StronglyValidatedBy(r) {
		f.selected = nil
		if !known {
			f.store.drop(e)
		}
		return Decision{Action: Again, Reason: rule.ReasonNotModified}
	}
	if reason == rule.ReasonNone {
		reason = f.store.keep(n, f)
	}
	if reason != rule.ReasonNone {
		f.store.drop(e)
		f.release(reason)
		return Decision{Updated, reason, n}
	}
	f.finish(n, rule.ReasonNone)
	return Decision{Updated, rule.ReasonNone, n}
}

// freshen lets the answer to a HEAD update the entry that it describes (RFC
// 9111 section 4.3.5), or end its lifetime if it describes something else.
func (f *Fetch) freshen(r *rule.Response) {
	e := f.selected
	if e == nil || r.Status != 200 || e.Status != 200 {
		return
	}
	if !e.Describes(r) {
		e.expire(r.Received.UnixNano())
		return
	}
	q := f.asked
	q.Method = rule.MethodGet
	n, reason := f.updated(e, q, r)
	if reason == rule.ReasonNone {
		reason = f.store.keep(n, f)
	}
	if reason != rule.ReasonNone {
		f.store.drop(e)
	}
}

// newEntry is an entry without a body for the variant that the fetch asked for.
func (f *Fetch) newEntry(s rule.Stored) *Entry {
	e := &Entry{Stored: s, key: f.key, hash: f.hash, v: f.v, variant: string(f.policy.AppendVary(nil, s.Vary, &f.head))}
	f.received(e)
	v := f.store.variations.admit(f.path, f.policy.Variation(s.Fields()))
	if e.v.Same(v) {
		return e
	}
	e.v, e.key = v, f.exact
	if v != nil {
		e.key = string(v.AppendKey(nil, []byte(f.exact)))
	}
	e.hash = f.store.hash([]byte(e.key))
	return e
}

// received notes that the origin has sent e, or said that it is good.
func (f *Fetch) received(e *Entry) {
	e.vouch(e.Received, f.doubted)
	raise(&f.store.newest, e.Received)
}

// updated is e with what a 304 brought, or why it may no longer be stored.
func (f *Fetch) updated(e *Entry, q rule.Asked, r *rule.Response) (*Entry, rule.Reason) {
	s, reason := f.policy.Update(&e.Stored, q, r)
	if reason == rule.ReasonNone && f.policy.NoVarySearch() && !rule.SameVariation(s.Fields(), e.Fields()) {
		reason = rule.ReasonVaryMiss // it answers for other URLs from now on
	}
	n := &Entry{Stored: s, key: e.key, hash: e.hash, v: e.v, variant: e.variant, body: e.body, blob: e.blob}
	n.encoded.Store(e.encoded.Load()) // of the same body
	f.received(n)
	return n, reason
}
