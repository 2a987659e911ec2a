package cache

import (
	"errors"
	"time"

	"weir/cache/rule"
)

// Wait waits for the head of another's fetch, and for a body that may turn out too large
// to be shared, for as long as the policy allows or until done is closed. If the answer suits q, role is Ready and found
// answers. Otherwise role is Alone or Retry, and reason says why. err is
// ErrGone, or why the fetch failed.
func (f *Fetch) Wait(q *Request, found *Found, done <-chan struct{}) (role Role, reason rule.Reason, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unclearLocked(q) {
		err = f.waitUntilClear(q, done)
	}
	switch {
	case err == errLate:
		// So that the next request for the key does not wait as long for nothing.
		found.uncacheable = q.At + int64(q.Policy.Wait())
		f.mu.Unlock()
		f.mark(found.uncacheable, 0)
		f.mu.Lock()
		return Alone, rule.ReasonWait, nil
	case err != nil:
		return Alone, rule.ReasonNone, err
	}
	return f.offerLocked(q, found)
}

// unclearLocked says that it is not known yet what the fetch has for q: there is no head, or
// the body is of unknown length and only memory can take it. Once such a body outgrows the
// memory it goes to one client alone, at that client's pace; another one that had begun to
// read it could neither go on nor begin again.
func (f *Fetch) unclearLocked(q *Request) bool {
	if f.state != inMemory || f.whole || f.entry.Length >= 0 || f.store.blobs != nil {
		return f.state == asking
	}
	return q.Method == rule.MethodGet && q.fits(f.entry) && f.entry.Precondition(&q.Request) == rule.GoOn
}

// waitUntilClear waits for as long as the fetch is unclear. It returns errLate once the
// policy's time is over, ErrGone once done is closed.
func (f *Fetch) waitUntilClear(q *Request, done <-chan struct{}) error {
	timer := time.NewTimer(q.Policy.Wait())
	defer timer.Stop()
	f.waiting++
	defer func() {
		f.waiting--
		f.notifyLocked()
	}()
	for f.unclearLocked(q) {
		if err := f.waitForChange(done, timer.C); err != nil && f.unclearLocked(q) {
			return err
		}
	}
	return nil
}

// offerLocked says whether what the fetch has brought answers q, as in Wait.
func (f *Fetch) offerLocked(q *Request, found *Found) (Role, rule.Reason, error) {
	switch f.state {
	case released:
		if f.reason == rule.ReasonDoomed {
			return Retry, f.reason, nil // purged since the request came: another fetch has what is there now
		}
		found.uncacheable = q.At
		return Alone, f.reason, nil
	case failed:
		if errors.Is(f.err, ErrGone) {
			return Retry, rule.ReasonFailed, nil // the exchange that led was given up
		}
		return Alone, rule.ReasonFailed, f.err
	}
	if f.overtakenLocked() {
		return Retry, rule.ReasonDoomed, nil
	}
	e := f.entry
	waited := q.At <= e.Received
	if waited {
		q.Advance(time.Unix(0, e.Received))
	}
	if !q.fits(e) {
		return Retry, rule.ReasonVaryMiss, nil
	}
	outcome, why := q.judge(e)
	if outcome == rule.Revalidate && why == rule.ReasonStale && waited && e.FreshFor(f.delay) {
		outcome, why = rule.Fresh, rule.ReasonNone
	}
	switch {
	case outcome != rule.Fresh && outcome != rule.Stale:
		return Alone, why, nil
	case f.state == passing && !f.whole:
		return Alone, f.reason, nil
	case f.state == inBlob && f.farLocked(q, found):
		return Alone, rule.ReasonRangeUnavailable, nil
	}
	*found = f.foundLocked(outcome, why)
	found.Collapsed = true
	return Ready, rule.ReasonNone, nil
}

// farLocked says whether the request wants a part that a large body will reach
// only after a while, and could have it alone.
func (f *Fetch) farLocked(q *Request, found *Found) bool {
	if found.Entry != nil || !q.Ranged() {
		return false
	}
	list, whole := q.spans(f.entry)
	return !whole && len(list) == 1 && list[0].First > f.endLocked()+f.store.maxObject
}
