package cache

import (
	"weir/cache/rule"
)

// Commit ends the fetch: the end of the body was proven. It reports whether the
// entry is stored, and why not.
func (f *Fetch) Commit() rule.Reason {
	e, reason := f.complete()
	if e == nil {
		f.leave()
		return reason
	}
	if e.partial {
		e, reason = f.joinParts(e)
	}
	if reason == rule.ReasonNone {
		reason = f.store.put(e, f)
	}
	switch {
	case e.blob != nil:
		f.store.blobs.end(e, reason == rule.ReasonNone)
	case reason == rule.ReasonNone && !e.partial:
		f.store.toTiers(e)
	}
	f.finish(e, reason)
	return reason
}

// complete takes note that the body is whole, and returns the entry with it. The
// entry is nil if there is nothing to store, for the reason that is returned.
func (f *Fetch) complete() (*Entry, rule.Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.state.arriving() {
		return nil, f.reason
	}
	if length := f.lengthLocked(); length >= 0 && length != f.endLocked() {
		f.failLocked(ErrAborted)
		return nil, rule.ReasonTruncated
	}
	f.whole = true
	f.notifyLocked()
	if f.state == inBlob {
		f.waitForDisk(func() bool { return f.writer.whole })
	}
	switch f.state {
	case inBlob:
		return f.entry.withBlob(f.writer.blob), rule.ReasonNone
	case inMemory:
		if cap(f.body)-len(f.body) > len(f.body)/8 {
			f.body = append([]byte(nil), f.body...)
		}
		if f.entry.partial {
			return f.entry.withPieces([]piece{{f.part.First, f.body}}), rule.ReasonNone
		}
		return f.entry.withBody(f.body), rule.ReasonNone
	}
	f.uncountLocked()
	return nil, f.reason
}

// finish gives e, which is whole, to the requests that wait for it. reason says
// why it is not stored.
func (f *Fetch) finish(e *Entry, reason rule.Reason) {
	f.mu.Lock()
	f.entry, f.state, f.reason = e, finished, reason
	f.uncountLocked()
	f.notifyLocked()
	f.mu.Unlock()
	f.leave()
}

// Abort ends the fetch without an entry: it failed, panicked, or the end of the
// body was not proven. After Commit it does nothing.
func (f *Fetch) Abort(err error) {
	f.mu.Lock()
	f.failLocked(err)
	f.mu.Unlock()
	f.leave()
}

func (f *Fetch) failLocked(err error) {
	passed := f.state == passing && f.whole
	if f.state == asking || f.state.arriving() && !passed {
		f.state, f.err, f.reason = failed, err, rule.ReasonFailed
		f.uncountLocked()
		f.body = nil
		f.notifyLocked()
	}
}

// release sends the requests that wait for the head to the origin.
func (f *Fetch) release(reason rule.Reason) {
	f.mu.Lock()
	if f.state == asking {
		f.state, f.reason = released, reason
		f.notifyLocked()
	}
	f.mu.Unlock()
	f.leave()
}

// enterLocked gives the fetch a key in its shard, whose lock is held.
func (f *Fetch) enterLocked(sh *shard, key string) {
	f.flightKey = key
	sh.fetches[key] = f
	if !f.holds {
		f.store.variations.hold(f.key, f.v)
		f.holds = true
	}
}

// step makes room for the next fetch with that key, while a purge still finds this one:
// what it brings is of no use to requests that come from now on.
func (f *Fetch) step() {
	sh := f.store.shard(f.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.fetches[f.flightKey] == f {
		delete(sh.fetches, f.flightKey)
		f.enterLocked(sh, f.store.ownKey(f.key))
	}
}

// leave makes room for the next fetch with that key.
func (f *Fetch) leave() {
	if f.flightKey == "" {
		return
	}
	sh := f.store.shard(f.hash)
	sh.mu.Lock()
	if sh.fetches[f.flightKey] == f {
		delete(sh.fetches, f.flightKey)
	}
	if f.holds {
		f.store.variations.release(f.key, f.v)
		f.holds = false
	}
	sh.mu.Unlock()
}

func (f *Fetch) isDoomed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed
}
