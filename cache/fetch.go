package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/cache/rule"
	"weir/internal/head"
)

// window is about how far the only reader of a body that is not stored may lag the
// fetch, which then waits for that reader, as it would for one client.
const window = 1 << 20

// Fetch is a response on its way into the store. The exchange that leads it
// calls Condition, Respond, Write, and Commit or Abort in the end, from one
// goroutine at a time; the others use what Wait and Store.Answer give them.
//
// Functions whose names end in Locked are called with mu held and keep it. Those
// whose names begin with "wait" are called with mu held as well, release it for
// a while and hold it again when they return: what the caller knew may have
// changed. A shard's lock is taken before a fetch's, never after.
type Fetch struct {
	store     *Store
	policy    *rule.Policy
	key       string
	hash      uint64
	path      uint64          // the hash of the key's path
	v         *rule.Variation // of the key, held while the fetch is in its shard; nil if it is the exact one
	holds     bool            // v; the shard's lock guards it
	exact     string          // the exact key
	ends      uint64          // Store.ends when it began
	doubted   int64           // Store.doubted when it began
	flightKey string          // under which the shard has the fetch; empty if it has not
	joined    atomic.Bool
	asked     rule.Asked
	head      head.Head // as a target would get it, but for conditions of the fetch's own
	// selected is the entry that the request selects, and that alone a 304 may be about:
	// origins give one entity tag to several variants (RFC 9110 section 8.8.1), so a tag of
	// another variant does not say which one the client may get (RFC 9111 section 4.3.4).
	selected  *Entry
	asksWhole bool      // for the whole representation, whatever the client wrote
	narrowed  bool      // Condition removed something of the client's
	noted     int64     // when an answer for the key was noted not to be storable; 0 if there was no note
	delay     int64     // how long the head was on its way, in ns
	part      rule.Span // what of the entry the body is, if that is partial

	mu       sync.Mutex
	state    fetchState
	reason   rule.Reason // why nothing is stored
	err      error       // why the fetch failed
	entry    *Entry      // being stored, or stored
	body     []byte      // from base on
	base     int64
	counted  int64 // bytes counted in store.filling
	promised int64 // bytes that memory will hold for certain; 0 if that is not known
	left     int64 // where the body was when the last client left; -1 while there is one
	readers  []*fetchReader
	waiting  int
	changed  chan struct{} // closed at the next change; nil if nothing waits for it
	whole    bool          // the end of the body was proven: no more comes
	doomed   bool          // purged meanwhile: do not store
	writer   *blobWriter   // once the body went to a blob; nil if memory has all of it
}

// fetchState is how far a fetch has come. It only goes down the list, and the
// last three are ends, as passing is once the body is whole.
type fetchState uint8

const (
	asking   fetchState = iota // there is no head yet
	inMemory                   // the entry's head is there, and memory takes its body
	inBlob                     // the same, but writer moves the body into a blob
	passing                    // the body arrives for its readers alone: reason says why
	finished                   // entry is whole and stored
	released                   // there is nothing to share: reason says why
	failed                     // err says why
)

// arriving says whether the head is there and the body is not known to be lost.
func (s fetchState) arriving() bool { return s >= inMemory && s <= passing }

// Narrowed says that the client wanted less than the fetch asks for: Condition
// took its own condition or range away, so its answer must be made from Found
// instead of being passed on.
func (f *Fetch) Narrowed() bool { return f.narrowed }

// Found is what the fetch has brought, for the exchange that leads it: after
// Respond said Keep.
func (f *Fetch) Found() Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.foundLocked(rule.Fresh, rule.ReasonNone)
}

// foundLocked is what a look-up finds in the fetch.
func (f *Fetch) foundLocked(outcome rule.Outcome, reason rule.Reason) Found {
	found := Found{Outcome: outcome, Reason: reason, Entry: f.entry}
	if f.state != finished || f.entry.body == nil {
		found.fetch = f
	}
	return found
}

// endLocked is the position after the last byte that came.
func (f *Fetch) endLocked() int64 { return f.base + int64(len(f.body)) }

// Write takes the next bytes of the body. It keeps none of p. It blocks only
// if the body is too large to be stored and a reader lags, or if the disk does.
// wanted is false once no exchange needs the body from here.
func (f *Fetch) Write(p []byte) (wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.state.arriving() {
		return false
	}
	if f.state != passing {
		f.waitForRoom(int64(len(p)))
	}
	if f.state == passing {
		f.waitForReaders()
	}
	if !f.state.arriving() {
		return false
	}
	f.body = append(f.body, p...)
	f.countLocked()
	f.notifyLocked()
	return true
}

// waitForRoom makes room for n more bytes of a body that is being stored, in
// memory or in a blob. Without room the body passes from here on.
func (f *Fetch) waitForRoom(n int64) {
	size := f.endLocked() + n
	switch {
	case size > f.store.largest() || f.entry.partial && size > f.store.maxObject:
		f.waitToPass(rule.ReasonTooLarge)
	case f.state == inBlob:
		f.waitForDisk(f.shedLocked)
	case size > f.store.maxObject:
		if b := f.store.create(); b != nil {
			f.intoBlobLocked(b)
		} else {
			f.waitToPass(rule.ReasonDisk)
		}
	case f.promised == 0 && f.store.filling.Load()+n > f.store.limit:
		f.waitToPass(rule.ReasonMemory)
	}
}

// waitToPass lets the body pass from here on, without being stored. It releases
// the lock while the fetch leaves its shard, whose lock comes first.
func (f *Fetch) waitToPass(reason rule.Reason) {
	f.state, f.reason, f.promised = passing, reason, 0
	received, status := f.entry.Received, f.entry.Status
	f.mu.Unlock()
	f.mark(received, status)
	f.leave()
	f.mu.Lock()
	f.notifyLocked()
}

// countLocked keeps the store's sum of what is being fetched true.
func (f *Fetch) countLocked() {
	if now := max(int64(cap(f.body)), f.promised); now != f.counted {
		f.store.filling.Add(now - f.counted)
		f.counted = now
	}
}

// uncountLocked says that what was counted is no longer being fetched.
func (f *Fetch) uncountLocked() {
	f.store.filling.Add(-f.counted)
	f.counted = 0
}

// waitForChange waits for the next change. It returns ErrGone if done was closed
// first, and errLate if late came first; both may be nil.
func (f *Fetch) waitForChange(done <-chan struct{}, late <-chan time.Time) error {
	changed := f.changedLocked()
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-done:
		return ErrGone
	case <-late:
		return errLate
	}
}

// lengthLocked is that of the body that arrives, -1 if it is not known.
func (f *Fetch) lengthLocked() int64 {
	if f.entry.partial {
		return f.part.Size()
	}
	return f.entry.Length
}

// changedLocked is closed at the next change.
func (f *Fetch) changedLocked() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

func (f *Fetch) notifyLocked() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// waitForReaders drops what every reader of a passing body has read, and waits for the
// only one if it lags too far. A fetch without readers is released. There are several only
// if a disk failed, or a body outgrew what the disk takes: then the slower ones have half of
// the memory for what is being fetched before the others wait for them.
func (f *Fetch) waitForReaders() {
	for f.state == passing {
		if len(f.readers) == 0 {
			f.body, f.state = nil, released
			f.countLocked()
			f.notifyLocked()
			return
		}
		f.trimLocked()
		if len(f.body) <= 2*window || len(f.readers) > 1 && f.store.filling.Load() < f.store.limit/2 {
			return
		}
		f.waitForChange(nil, nil)
	}
}

// trimLocked drops what every reader has read.
func (f *Fetch) trimLocked() {
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
}

// Finishes says whether the fetch may go on when its client leaves before the head is in.
func (f *Fetch) Finishes() bool {
	return f.asked.Method == rule.MethodGet && f.asksWhole && f.noted == 0 && f.policy.Finish() > 0
}

// Unwanted ends the fetch if no exchange waits for it or reads from it, and more than
// finish bytes of its body are still to come; where the body's length is not known, have
// come since the last exchange left. Otherwise changed is closed when to ask again.
func (f *Fetch) Unwanted(finish int64) (ended bool, changed <-chan struct{}) {
	f.mu.Lock()
	if !f.state.arriving() || f.whole || f.waiting+len(f.readers) > 0 {
		defer f.mu.Unlock()
		f.left = -1
		return false, f.changedLocked()
	}
	if f.left < 0 {
		f.left = f.endLocked()
	}
	missing := f.endLocked() - f.left
	if length := f.lengthLocked(); length >= 0 {
		missing = length - f.endLocked()
	}
	if f.state != passing && finish > 0 && missing <= finish {
		defer f.mu.Unlock()
		return false, f.changedLocked()
	}
	f.failLocked(ErrGone)
	f.mu.Unlock()
	f.leave()
	return true, nil
}
