package cache

import (
	"errors"
	"strconv"
	"time"

	"weir/cache/rule"
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

// Join is called when the origin must be asked. For Lead and Alone the caller
// owns the Fill and must end it with Commit or Abort; for Follow it waits. If
// found turns out to be answerable by now it is changed and the role is Ready.
// alone asks not to wait (again) for others.
func (s *Store) Join(q *Request, found *Found, alone bool) (*Fill, Role) {
	sh := s.shard(q.hash)
	collapse := q.Policy.Collapses() && !alone
	// A condition or range of the client's own goes to the origin as it is if
	// there is nothing to validate; the answer is for this client only.
	private := found.Entry == nil && (q.Conditional() || q.Ranged())
	leads := q.Method == rule.MethodGet && !private

	var f *Fill
	if leads {
		f = s.newFill(q)
	}
	sh.mu.Lock()
	if !alone {
		e, uncacheable, missed := sh.findLocked(q)
		now := q.decide(e, uncacheable, missed)
		if now.Outcome == rule.Fresh || now.Outcome == rule.Stale {
			sh.mu.Unlock()
			*found = now
			return nil, Ready
		}
		found.Entry, found.uncacheable = now.Entry, uncacheable
		collapse = collapse && !uncacheable
		if now.Outcome == rule.Bypass {
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
		if q.Method == rule.MethodGet {
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
	now := q.decide(e, false, rule.ReasonNone)
	if now.Outcome == rule.Fresh || now.Outcome == rule.Stale {
		if f != nil {
			f.settle(e)
		}
		*found = now
		return true
	}
	if now.Outcome == rule.Revalidate {
		found.Entry, found.Outcome, found.Reason = e, now.Outcome, now.Reason
		if f != nil {
			f.selected, f.candidates = e, nil
			if e.Validatable() {
				f.candidates = []*Entry{e}
			}
		}
	}
	return false
}

// ownPlace is a place where nobody else looks, for a fetch that nobody joins
// but that a purge must find.
func (s *Store) ownPlace(q *Request) string {
	return string(strconv.AppendUint(append(append([]byte(nil), q.Key...), 1), s.alone.Add(1), 36))
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
	f.askForGet()
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
	place = string(q.Key) + "\x00" + string(q.variant) // as selects left it
	return place, sh.fills[place]
}

// placeLocked is where fetches for the request meet: the key, and what the
// request says in the fields that selected the key's newest entry.
func (sh *shard) placeLocked(q *Request) string {
	r := sh.resourceLocked(q.hash, q.Key)
	if r != nil {
		for _, n := range r.nodes {
			if !n.Value.hitForMiss && len(n.Value.Vary) > 0 {
				q.variant = q.AppendVariant(q.variant[:0], n.Value.Vary)
				return string(q.Key) + "\x00" + string(q.variant)
			}
		}
	}
	return string(q.Key)
}

func (s *Store) newFill(q *Request) *Fill {
	f := &Fill{
		store: s, policy: q.Policy, key: string(q.Key), hash: q.hash, asked: q.Asked(),
		scheme: string(q.Scheme), host: string(q.Host), target: string(q.Target),
	}
	f.keepHead(q)
	return f
}

// candidatesLocked notes what a 304 may be about: the selected entry, or all
// variants that can be told apart by their entity tags.
func (f *Fill) candidatesLocked(sh *shard, q *Request, e *Entry) {
	f.selected = e
	if e != nil {
		if e.Validatable() {
			f.candidates = []*Entry{e}
		}
		return
	}
	r := sh.resourceLocked(q.hash, q.Key)
	if r == nil {
		return
	}
	for _, n := range r.nodes {
		if v := n.Value; !v.hitForMiss && !v.partial && len(v.ETag) > 0 && v.Status == 200 && len(f.candidates) < 8 {
			f.candidates = append(f.candidates, v)
		}
	}
}

// Wait waits for the head of somebody else's fetch, for as long as the policy
// allows or until done is closed. If the answer suits q, role is Ready and
// found answers. Otherwise role is Alone or Retry, and reason says why. err is
// ErrGone, or why the fetch failed.
func (f *Fill) Wait(q *Request, found *Found, done <-chan struct{}) (role Role, reason rule.Reason, err error) {
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
				return Alone, rule.ReasonWait, nil
			}
			return Alone, rule.ReasonNone, err
		}
	}
	switch f.state {
	case fillReleased:
		return Alone, f.reason, nil
	case fillFailed:
		if errors.Is(f.err, ErrGone) {
			return Retry, rule.ReasonFailed, nil // the one who led was given up
		}
		return Alone, rule.ReasonFailed, f.err
	}
	e := f.entry
	if e.Received > q.At {
		q.Advance(time.Unix(0, e.Received))
	}
	if !q.selects(e) {
		return Retry, rule.ReasonVaryMiss, nil
	}
	outcome, why := q.judge(e)
	if outcome != rule.Fresh && outcome != rule.Stale {
		return Alone, why, nil
	}
	if f.state == fillStreaming && f.passing {
		return Alone, f.reason, nil
	}
	if f.state == fillStreaming && f.farLocked(q, found) {
		return Alone, rule.ReasonRangeUnavailable, nil
	}
	*found = Found{Outcome: outcome, Reason: why, Entry: e, Collapsed: true}
	if f.state == fillStreaming || e.body == nil {
		found.fill = f
	}
	return Ready, rule.ReasonNone, nil
}

// farLocked says whether the request wants a part that a large body will reach
// only after a while, and could have it alone.
func (f *Fill) farLocked(q *Request, found *Found) bool {
	if f.spill == nil || found.Entry != nil || !q.Ranged() {
		return false
	}
	list, whole := q.spans(f.entry)
	return !whole && len(list) == 1 && list[0].First > f.base+int64(len(f.body))+f.store.maxObject
}

var errWait = errors.New("waited too long")
