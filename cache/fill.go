package cache

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/cache/rule"
	"weir/internal/head"
)

// window is about how far the slowest reader of a body that is too large to be
// stored may lag behind the fetch. The fetch then waits for it, as it would for
// one client; but a reader that has others behind it and takes nothing at all
// for stallWait is let go.
const (
	window    = 1 << 20
	stallWait = 5 * time.Second
)

// Fill is a fetch on its way into the store. The one who leads it calls
// Condition, Respond, Write, and Commit or Abort in the end, from one
// goroutine at a time; the others use what Wait and Store.Answer give them.
type Fill struct {
	store  *Store
	policy *rule.Policy
	key    string
	hash   uint64
	place  string // in the shard's fills; empty if it is not there
	joined atomic.Bool
	asked  rule.Asked
	head   head.Head // as it was when the fetch began
	scheme string
	host   string
	target string
	// candidates are the entries that a 304 may be about; the first is what
	// the request selects.
	candidates []*Entry
	selected   *Entry
	narrowed   bool      // Condition removed something of the client's
	part       rule.Span // what of the entry the body is, if that is partial

	mu      sync.Mutex
	state   fillState
	reason  rule.Reason // why it was released
	err     error
	entry   *Entry // being stored, or stored
	body    []byte // from base on
	base    int64
	counted int64 // bytes counted in store.filling
	readers []*fillReader
	waiting int
	changed chan struct{} // closed at the next change; nil if nobody waits
	passing bool          // cannot be stored: only for those who read
	proven  bool          // nothing comes any more, and all came
	doomed  bool          // purged meanwhile: do not store
	spill   *spill        // for a large body; nil if memory has all of it
}

type fillState uint8

const (
	fillAsking    fillState = iota // no head yet
	fillStreaming                  // the entry's head is there, its body arrives
	fillDone                       // entry is stored and whole
	fillReleased                   // nothing to share: reason says why
	fillFailed                     // err
)

// Request is the head that the fetch began with, as the client wrote it. It
// belongs to the Fill and must not be changed while that is used.
func (f *Fill) Request() *head.Head { return &f.head }

// Narrowed says that the client wanted less than the fetch asks for: Condition
// took its own condition or range away, so its answer must be made from Found
// instead of being passed on.
func (f *Fill) Narrowed() bool { return f.narrowed }

// Found is what the fetch has brought, for the one who leads it: after Respond
// said Keep.
func (f *Fill) Found() Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := Found{Outcome: rule.Fresh, Entry: f.entry}
	if f.state == fillStreaming || f.entry.body == nil {
		found.fill = f
	}
	return found
}

// Write takes the next bytes of the body. It keeps none of p. It blocks only
// if the body is too large to be stored and a reader lags behind, or if the
// disk does. wanted is false once nobody needs the body from here.
func (f *Fill) Write(p []byte) (wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != fillStreaming {
		return false
	}
	size := f.base + int64(len(f.body)) + int64(len(p))
	switch {
	case f.passing:
	case size > f.store.largest() || f.entry.partial && size > f.store.maxObject:
		f.passLocked(rule.ReasonTooLarge)
	case f.spill != nil:
		f.shedLocked()
	case size > f.store.maxObject:
		if b := f.store.create(); b != nil {
			f.spillLocked(b)
		} else {
			f.passLocked(rule.ReasonDisk)
		}
	case f.store.filling.Load()+int64(len(p)) > f.store.limit:
		f.passLocked(rule.ReasonTooLarge)
	}
	if f.passing && !f.trimLocked() || f.state != fillStreaming {
		return false // nobody wants it any more, since we waited perhaps
	}
	f.body = append(f.body, p...)
	f.countLocked()
	f.notifyLocked()
	return true
}

// passLocked lets the body pass from here on, without being stored.
func (f *Fill) passLocked(reason rule.Reason) {
	f.passing, f.reason = true, reason
	f.leaveLocked()
	f.notifyLocked()
}

// countLocked keeps the store's sum of what is being fetched true.
func (f *Fill) countLocked() {
	if now := int64(cap(f.body)); now != f.counted {
		f.store.filling.Add(now - f.counted)
		f.counted = now
	}
}

// changeLocked waits for the next change with the lock released. It reports true
// if late came instead.
func (f *Fill) changeLocked(late <-chan time.Time) bool {
	wait := f.waitLocked()
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-wait:
		return false
	case <-late:
		return true
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
		if f.changeLocked(timer.C) {
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
	f.readers = slices.DeleteFunc(f.readers, func(r *fillReader) bool {
		if r.offset == offset {
			r.err = ErrLagged
		}
		return r.offset == offset
	})
	f.notifyLocked()
}

// Commit ends the fill: the end of the body was proven. It reports whether the
// entry is stored, and why not.
func (f *Fill) Commit() rule.Reason {
	f.mu.Lock()
	if f.state != fillStreaming {
		reason := f.reason
		f.mu.Unlock()
		f.leave()
		return reason
	}
	length := f.entry.Length
	if f.entry.partial {
		length = f.part.Size()
	}
	if length >= 0 && length != f.base+int64(len(f.body)) {
		f.mu.Unlock()
		f.Abort(ErrAborted)
		return rule.ReasonTruncated
	}
	f.proven = true
	if f.spill != nil {
		f.notifyLocked()
		f.awaitDiskLocked(func() bool { return f.spill.whole })
	}
	if f.passing {
		f.state = fillDone
		f.store.filling.Add(-f.counted)
		f.counted = 0
		f.notifyLocked()
		f.mu.Unlock()
		return f.reason
	}
	if f.spill == nil && cap(f.body)-len(f.body) > len(f.body)/8 {
		f.body = append([]byte(nil), f.body...)
	}
	e, body := f.entry, f.body
	switch {
	case f.spill != nil:
		e = e.withBlob(f.spill.blob)
	case !e.partial:
		e = e.withBody(body)
	}
	f.mu.Unlock()

	reason := rule.ReasonNone
	if e.partial {
		e, reason = f.commitPart(e, body)
	}
	switch {
	case reason != rule.ReasonNone:
	case f.isDoomed():
		reason = rule.ReasonDoomed
	case !f.store.put(e):
		reason = rule.ReasonTooLarge
	}
	switch {
	case e.blob != nil && reason != rule.ReasonNone:
		e.blob.Discard()
		e.blob.Close()
	case e.blob != nil:
		f.store.shelf.report(nil)
		f.store.shelf.ends.Go(func() { f.store.shelf.keep(e) })
	case reason == rule.ReasonNone && !e.partial:
		f.store.toTiers(e)
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
	f.failLocked(err)
	f.mu.Unlock()
	f.leave()
}

func (f *Fill) failLocked(err error) {
	if f.state == fillAsking || f.state == fillStreaming {
		f.state, f.err, f.reason = fillFailed, err, rule.ReasonFailed
		f.store.filling.Add(-f.counted)
		f.counted, f.body = 0, nil
		f.notifyLocked()
	}
}

// release sends everybody who waits to the origin.
func (f *Fill) release(reason rule.Reason) {
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
	f.mark(f.entry.Received)
	f.leave()
	f.mu.Lock()
}

func (f *Fill) isDoomed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed
}

// Unwanted ends the fill if nobody waits for it or reads from it, and its body
// has not come to its end. If somebody does, changed is closed when to ask again.
func (f *Fill) Unwanted() (ended bool, changed <-chan struct{}) {
	f.mu.Lock()
	if f.state != fillStreaming || f.proven || f.waiting+len(f.readers) > 0 {
		defer f.mu.Unlock()
		return false, f.waitLocked()
	}
	f.failLocked(ErrGone)
	f.mu.Unlock()
	f.leave()
	return true, nil
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
