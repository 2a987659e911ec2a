package cache

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Role is what Join makes of a request that needs the origin.
type Role uint8

const (
	// Lead: fetch, and feed the Fill; others may be waiting for it.
	Lead Role = iota
	// Follow: somebody else fetches; wait for the Fill.
	Follow
	// Alone: fetch, and feed the Fill, for which nobody waits.
	Alone
	// Ready: an entry turned up meanwhile; Found says what to do with it.
	Ready
	// Retry: the other fetch was for another variant; call Join again.
	Retry
)

// window is about how far the slowest reader of a body that is too large to be
// stored may lag behind the fetch. The fetch then waits for it, as it would for
// one client; but a reader that has others behind it and takes nothing at all
// for stallWait is let go.
const (
	window    = 1 << 20
	stallWait = 5 * time.Second
)

// Errors of Wait and Reader.
var (
	// ErrAborted: the fetch ended before the end of the body was proven.
	ErrAborted = errors.New("fetch was aborted")
	// ErrLagged: the reader was too slow for a body that is not stored.
	ErrLagged = errors.New("reader lags too far behind the fetch")
	// ErrGone: the waiting exchange was given up.
	ErrGone = errors.New("client has gone away")
)

// Fill is a fetch on its way into the store. The one who leads it calls
// Condition, Respond, Write, and Commit or Abort in the end, from one
// goroutine at a time; the others use what Wait and Found.Answer give them.
type Fill struct {
	store  *Store
	policy *Policy
	key    string
	hash   uint64
	place  string // in the shard's fills; empty if it is not there
	joined atomic.Bool
	asked  asked
	head   fasthttp.RequestHeader // as it was when the fetch began
	scheme string
	host   string
	target string
	// candidates are the entries that a 304 may be about; the first is what
	// the request selects.
	candidates []*Entry
	selected   *Entry
	narrowed   bool // Condition removed something of the client's
	part       span // what of the entry the body is, if that is partial

	mu      sync.Mutex
	state   fillState
	reason  Reason // why it was released
	err     error
	entry   *Entry // being stored, or stored
	body    []byte // from base on
	base    int64
	counted int64 // bytes counted in store.filling
	readers []*Reader
	waiting int
	changed chan struct{} // closed at the next change; nil if nobody waits
	passing bool          // too large to be stored: only for those who read
	doomed  bool          // purged meanwhile: do not store
}

type fillState uint8

const (
	fillAsking    fillState = iota // no head yet
	fillStreaming                  // the entry's head is there, its body arrives
	fillDone                       // entry is stored and whole
	fillReleased                   // nothing to share: reason says why
	fillFailed                     // err
)

// Join is called when the origin must be asked. For Lead and Alone the caller
// owns the Fill and must end it with Commit or Abort; for Follow it waits. If
// found turns out to be answerable by now it is changed and the role is Ready.
// alone asks not to wait (again) for others.
func (s *Store) Join(q *Request, found *Found, alone bool) (*Fill, Role) {
	sh := s.shard(q.hash)
	collapse := q.Policy.c.Collapse && !alone
	// A condition or range of the client's own goes to the origin as it is if
	// there is nothing to validate; the answer is for this client only.
	private := found.Entry == nil && (q.conditions() || q.ranged())
	leads := q.method == methodGet && !private

	var f *Fill
	if leads {
		f = s.newFill(q)
	}
	sh.mu.Lock()
	if !alone {
		e, uncacheable, missed := sh.findLocked(q)
		now := q.decide(e, uncacheable, missed)
		if now.Outcome == Fresh || now.Outcome == Stale {
			sh.mu.Unlock()
			*found = now
			return nil, Ready
		}
		found.Entry, found.uncacheable = now.Entry, uncacheable
		collapse = collapse && !uncacheable
		if now.Outcome == Bypass {
			f, collapse = nil, false
		}
	} else {
		collapse = false
	}
	var place string
	if collapse {
		var other *Fill
		if place, other = sh.meetLocked(q); other != nil {
			other.joined.Store(true)
			sh.mu.Unlock()
			return other, Follow
		}
	}
	if f == nil {
		sh.mu.Unlock()
		if !alone && s.behind(q, found, nil) {
			return nil, Ready
		}
		f = s.newFill(q)
		f.selected = found.Entry
		if q.method == methodGet {
			f.place = s.ownPlace(q) // where a purge finds it
			sh.mu.Lock()
			sh.fills[f.place] = f
			sh.mu.Unlock()
		}
		return f, Alone
	}
	role := Alone
	if collapse {
		role = Lead
	} else {
		place = s.ownPlace(q)
	}
	f.place = place
	sh.fills[place] = f
	f.candidatesLocked(sh, q, found.Entry)
	sh.mu.Unlock()
	if !alone && s.behind(q, found, f) {
		return nil, Ready
	}
	return f, role
}

// behind looks behind the near tier for what is not in it. It reports true if
// found can answer now; f has then ended, with the same answer for all who
// wait. What is there but stale is what f validates.
func (s *Store) behind(q *Request, found *Found, f *Fill) bool {
	if len(s.tiers) == 0 || found.Entry != nil || found.uncacheable {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			if f != nil {
				f.Abort(ErrAborted)
			}
			panic(v)
		}
	}()
	e := s.fromTiers(q)
	if e == nil {
		return false
	}
	now := q.decide(e, false, ReasonNone)
	if now.Outcome == Fresh || now.Outcome == Stale {
		if f != nil {
			f.settle(e)
		}
		*found = now
		return true
	}
	if now.Outcome == Revalidate {
		found.Entry, found.Outcome, found.Reason = e, now.Outcome, now.Reason
		if f != nil {
			f.selected, f.candidates = e, nil
			if len(e.etag) > 0 || e.hasModified {
				f.candidates = []*Entry{e}
			}
		}
	}
	return false
}

// ownPlace is a place where nobody else looks, for a fetch that nobody joins
// but that a purge must find.
func (s *Store) ownPlace(q *Request) string {
	return string(strconv.AppendUint(append(append([]byte(nil), q.key...), 1), s.alone.Add(1), 36))
}

// Refresh begins the one background fetch that validates a stale entry. It is
// nil if one is under way or has just ended. Request is the head to send.
func (s *Store) Refresh(q *Request, found *Found) *Fill {
	f := s.newFill(q)
	sh := s.shard(q.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	place, other := sh.meetLocked(q)
	if other != nil {
		return nil
	}
	if e, _, _ := sh.findLocked(q); e != nil && e != found.Entry {
		return nil // replaced since the look-up
	}
	f.place = place
	f.asked.method = methodGet
	f.head.SetMethod("GET")
	sh.fills[place] = f
	f.candidatesLocked(sh, q, found.Entry)
	return f
}

// meetLocked is where fetches for the request meet, and the one that is under
// way there. One whose head has come and turned out to be another variant is
// not worth waiting for.
func (sh *shard) meetLocked(q *Request) (place string, other *Fill) {
	place = sh.placeLocked(q)
	other = sh.fills[place]
	if other == nil {
		return place, nil
	}
	other.mu.Lock()
	e := other.entry
	other.mu.Unlock()
	if e == nil || q.selects(e) {
		return place, other
	}
	place = string(q.key) + "\x00" + string(q.variant) // as selects left it
	return place, sh.fills[place]
}

// placeLocked is where fetches for the request meet: the key, and what the
// request says in the fields that selected the key's newest entry.
func (sh *shard) placeLocked(q *Request) string {
	r := sh.resourceLocked(q.hash, q.key)
	if r != nil {
		for _, n := range r.nodes {
			if !n.entry.hitForMiss && len(n.entry.vary) > 0 {
				q.variant = q.Policy.appendVary(q.variant[:0], n.entry.vary, q.Header)
				return string(q.key) + "\x00" + string(q.variant)
			}
		}
	}
	return string(q.key)
}

func (s *Store) newFill(q *Request) *Fill {
	f := &Fill{
		store: s, policy: q.Policy, key: string(q.key), hash: q.hash, asked: q.asked(),
		scheme: string(q.Scheme), host: string(q.Host), target: string(q.Target),
	}
	q.Header.CopyTo(&f.head)
	return f
}

// candidatesLocked notes what a 304 may be about: the selected entry, or all
// variants that can be told apart by their entity tags.
func (f *Fill) candidatesLocked(sh *shard, q *Request, e *Entry) {
	f.selected = e
	if e != nil {
		if len(e.etag) > 0 || e.hasModified {
			f.candidates = []*Entry{e}
		}
		return
	}
	r := sh.resourceLocked(q.hash, q.key)
	if r == nil {
		return
	}
	for _, n := range r.nodes {
		if v := n.entry; !v.hitForMiss && !v.partial && len(v.etag) > 0 && v.status == 200 && len(f.candidates) < 8 {
			f.candidates = append(f.candidates, v)
		}
	}
}

// Request is the head that the fetch began with, as the client wrote it. It
// belongs to the Fill and must not be changed while that is used.
func (f *Fill) Request() *fasthttp.RequestHeader { return &f.head }

// Narrowed says that the client wanted less than the fetch asks for: Condition
// took its own condition or range away, so its answer must be made from Found
// instead of being passed on.
func (f *Fill) Narrowed() bool { return f.narrowed }

// Found is what the fetch has brought, for the one who leads it: after Respond
// said Keep.
func (f *Fill) Found() Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := Found{Outcome: Fresh, Entry: f.entry}
	if f.state == fillStreaming || f.entry.body == nil {
		found.fill = f
	}
	return found
}

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
		f.stream(e, part.size())
		return Decision{Keep, ReasonNone, e}
	}
	t, control, reason := f.policy.judgeResponse(f.asked, r)
	if reason == ReasonNone {
		switch {
		case r.Unprovable:
			reason = ReasonTruncated
		case r.Length > f.store.maxObject:
			reason = ReasonTooLarge
		case f.store.filling.Load()+max(r.Length, 0) > f.store.limit/2:
			reason = ReasonMemory
		}
	}
	if reason != ReasonNone {
		f.superseded(r, reason)
		return Decision{Pass, reason, nil}
	}
	e := f.policy.newEntry(f.key, f.hash, r, t, &control)
	e.variant = string(f.policy.appendVary(nil, e.vary, &f.head))
	f.stream(e, r.Length)
	return Decision{Keep, ReasonNone, e}
}

// stream begins to take the body of e, which has that many bytes, -1 if it is
// not known how many.
func (f *Fill) stream(e *Entry, length int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entry, f.state = e, fillStreaming
	if length > 0 {
		f.body = make([]byte, 0, min(length, 256<<10))
	}
	f.notifyLocked()
}

// superseded releases the others, and forgets what the response replaces
// although it is not stored itself.
func (f *Fill) superseded(r *Response, reason Reason) {
	if f.asked.method == methodGet {
		if f.selected != nil && r.Status < 500 && r.Status != 304 && r.Status != 206 && reason != ReasonMemory {
			f.store.drop(f.selected)
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

// Write takes the next bytes of the body. It keeps none of p. It blocks only
// if the body is too large to be stored and a reader lags behind. wanted is
// false once nobody needs the body from here.
func (f *Fill) Write(p []byte) (wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != fillStreaming {
		return false
	}
	size := f.base + int64(len(f.body)) + int64(len(p))
	if !f.passing && (size > f.store.maxObject || f.store.filling.Load()+int64(len(p)) > f.store.limit) {
		f.passing = true
		f.reason = ReasonTooLarge
		f.leaveLocked()
	}
	if f.passing && !f.trimLocked() {
		return false
	}
	f.body = append(f.body, p...)
	f.countLocked()
	f.notifyLocked()
	return true
}

// countLocked keeps the store's sum of what is being fetched true.
func (f *Fill) countLocked() {
	if now := int64(cap(f.body)); now != f.counted {
		f.store.filling.Add(now - f.counted)
		f.counted = now
	}
}

// trimLocked drops what every reader has read, and waits for the slowest if it
// lags too far. It reports false if there is no reader.
func (f *Fill) trimLocked() bool {
	var timer *time.Timer
	var stalledAt int64 = -1
	for {
		if len(f.readers) == 0 {
			f.body, f.state = nil, fillReleased
			f.countLocked()
			f.notifyLocked()
			return false
		}
		least := f.readers[0].offset
		for _, r := range f.readers {
			least = min(least, r.offset)
		}
		if cut := least - f.base; cut > 0 && cut*2 >= int64(len(f.body)) {
			// The rest goes to memory of its own: readers hold the old.
			f.body = append(make([]byte, 0, 2*window), f.body[cut:]...)
			f.base = least
			f.countLocked()
		}
		if len(f.body) <= 2*window {
			return true
		}
		if timer == nil {
			timer = time.NewTimer(stallWait)
			defer timer.Stop()
			stalledAt = least
		}
		wait := f.waitLocked()
		f.mu.Unlock()
		late := false
		select {
		case <-wait:
		case <-timer.C:
			late = true
		}
		f.mu.Lock()
		if late {
			if len(f.readers) > 1 {
				f.cutLocked(stalledAt)
			}
			stalledAt = least
			timer.Reset(stallWait)
		}
	}
}

// cutLocked lets the readers go that are still where they were.
func (f *Fill) cutLocked(offset int64) {
	f.readers = slices.DeleteFunc(f.readers, func(r *Reader) bool {
		if r.offset == offset {
			r.err = ErrLagged
		}
		return r.offset == offset
	})
	f.notifyLocked()
}

// Commit ends the fill: the end of the body was proven. It reports whether the
// entry is stored, and why not.
func (f *Fill) Commit() Reason {
	f.mu.Lock()
	if f.state != fillStreaming {
		reason := f.reason
		f.mu.Unlock()
		f.leave()
		return reason
	}
	if f.passing {
		f.state = fillDone
		f.store.filling.Add(-f.counted)
		f.counted = 0
		f.notifyLocked()
		f.mu.Unlock()
		return f.reason
	}
	length := f.entry.length
	if f.entry.partial {
		length = f.part.size()
	}
	if length >= 0 && length != int64(len(f.body)) {
		f.mu.Unlock()
		f.Abort(ErrAborted)
		return ReasonTruncated
	}
	body := f.body
	if cap(body)-len(body) > len(body)/8 {
		body = append([]byte(nil), body...)
	}
	e := f.entry
	if !e.partial {
		e = e.withBody(body)
	}
	f.body = body
	f.mu.Unlock()

	reason := ReasonNone
	if e.partial {
		e, reason = f.commitPart(e, body)
	}
	switch {
	case reason != ReasonNone:
	case f.isDoomed():
		reason = ReasonDoomed
	case e.partial && !f.store.put(e), !e.partial && !f.store.keep(e):
		reason = ReasonTooLarge
	}
	f.reason = reason
	f.settle(e)
	return reason
}

// settle gives e, which is whole, to all who wait.
func (f *Fill) settle(e *Entry) {
	f.mu.Lock()
	f.entry, f.state = e, fillDone
	f.store.filling.Add(-f.counted)
	f.counted = 0
	f.notifyLocked()
	f.mu.Unlock()
	f.leave()
}

// Abort ends the fill without an entry: the fetch failed, panicked, or the end
// of the body was not proven. After Commit it does nothing.
func (f *Fill) Abort(err error) {
	f.mu.Lock()
	if f.state == fillAsking || f.state == fillStreaming {
		f.state, f.err, f.reason = fillFailed, err, ReasonFailed
		f.store.filling.Add(-f.counted)
		f.counted, f.body = 0, nil
		f.notifyLocked()
	}
	f.mu.Unlock()
	f.leave()
}

// release sends everybody who waits to the origin.
func (f *Fill) release(reason Reason) {
	f.mu.Lock()
	if f.state == fillAsking {
		f.state, f.reason = fillReleased, reason
		f.notifyLocked()
	}
	f.mu.Unlock()
	f.leave()
}

// leave makes room for the next fetch of the key.
func (f *Fill) leave() {
	if f.place == "" {
		return
	}
	sh := f.store.shard(f.hash)
	sh.mu.Lock()
	if sh.fills[f.place] == f {
		delete(sh.fills, f.place)
	}
	sh.mu.Unlock()
}

// leaveLocked does it with f.mu held: the order of locks is shard, then fill.
func (f *Fill) leaveLocked() {
	f.mu.Unlock()
	f.mark(f.entry.received)
	f.leave()
	f.mu.Lock()
}

func (f *Fill) isDoomed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed
}

// Wanted is how many others wait for the fill or read from it.
func (f *Fill) Wanted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting + len(f.readers)
}

func (f *Fill) notifyLocked() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

func (f *Fill) waitLocked() chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// Wait waits for the head of somebody else's fetch, for as long as the policy
// allows or until done is closed. If the answer suits q, role is Ready and
// found answers. Otherwise role is Alone or Retry, and reason says why. err is
// ErrGone, or why the fetch failed.
func (f *Fill) Wait(q *Request, found *Found, done <-chan struct{}) (role Role, reason Reason, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == fillAsking {
		f.waiting++
		timer := time.NewTimer(q.Policy.Wait())
		defer timer.Stop()
		for f.state == fillAsking {
			wait := f.waitLocked()
			f.mu.Unlock()
			select {
			case <-wait:
				f.mu.Lock()
				continue
			case <-timer.C:
				err = errWait
			case <-done:
				err = ErrGone
			}
			f.mu.Lock()
			break
		}
		f.waiting--
		if f.state == fillAsking {
			if err == errWait {
				return Alone, ReasonWait, nil
			}
			return Alone, ReasonNone, err
		}
	}
	switch f.state {
	case fillReleased:
		return Alone, f.reason, nil
	case fillFailed:
		if errors.Is(f.err, ErrGone) {
			return Retry, ReasonFailed, nil // the one who led was given up
		}
		return Alone, ReasonFailed, f.err
	}
	e := f.entry
	if e.received > q.now {
		q.Advance(time.Unix(0, e.received))
	}
	if !q.selects(e) {
		return Retry, ReasonVaryMiss, nil
	}
	outcome, why := judge(e, q)
	if outcome != Fresh && outcome != Stale {
		return Alone, why, nil
	}
	if f.state == fillStreaming && f.passing {
		return Alone, ReasonTooLarge, nil
	}
	*found = Found{Outcome: outcome, Reason: why, Entry: e, Collapsed: true}
	if f.state == fillStreaming || e.body == nil {
		found.fill = f
	}
	return Ready, ReasonNone, nil
}

var errWait = errors.New("waited too long")

// Reader reads a body while it is fetched.
type Reader struct {
	f      *Fill
	offset int64
	end    int64 // -1 means to the end of the body
	err    error
}

// reader begins to read at first; nil if those bytes are gone.
func (f *Fill) reader(first, length int64) *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first < f.base || f.state != fillStreaming && f.state != fillDone {
		return nil
	}
	r := &Reader{f: f, offset: first, end: -1}
	if length >= 0 {
		r.end = first + length
	}
	f.readers = append(f.readers, r)
	return r
}

// Reader lets the leader read what it fetches itself, from the start.
func (f *Fill) Reader() *Reader { return f.reader(0, -1) }

// Next blocks until there are bytes to send and returns all there are. They
// stay valid and must not be changed. The end is io.EOF if it was proven, and
// an error if it was not. limit bounds the wait for the next bytes; 0 means no
// bound.
func (r *Reader) Next(done <-chan struct{}, limit time.Duration) ([]byte, error) {
	f := r.f
	var timeout <-chan time.Time
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if r.err != nil {
			return nil, r.err
		}
		if r.end >= 0 && r.offset >= r.end {
			return nil, io.EOF
		}
		if f.state == fillFailed {
			return nil, ErrAborted
		}
		if have := f.base + int64(len(f.body)); have > r.offset {
			p := f.body[r.offset-f.base:]
			if r.end >= 0 && int64(len(p)) > r.end-r.offset {
				p = p[:r.end-r.offset]
			}
			r.offset += int64(len(p))
			if f.passing {
				f.notifyLocked()
			}
			return p[:len(p):len(p)], nil
		}
		if f.state != fillStreaming {
			return nil, io.EOF
		}
		wait := f.waitLocked()
		f.mu.Unlock()
		if limit > 0 && timeout == nil {
			timer := time.NewTimer(limit)
			defer timer.Stop()
			timeout = timer.C
		}
		var err error
		select {
		case <-wait:
		case <-done:
			err = ErrGone
		case <-timeout:
			err = errWait
		}
		f.mu.Lock()
		if err != nil {
			r.err = err
		}
	}
}

// Close ends reading.
func (r *Reader) Close() {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers = slices.DeleteFunc(f.readers, func(o *Reader) bool { return o == r })
	if f.passing {
		f.notifyLocked()
	}
}
