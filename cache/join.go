package cache

import (
	"strconv"

	"weir/cache/rule"
)

// Role is what Join makes of a request that needs the origin.
type Role uint8

const (
	// Lead: fetch, and feed the Fetch; others may be waiting for it.
	Lead Role = iota
	// Follow: another request fetches; wait for the Fetch.
	Follow
	// Alone: fetch, and feed the Fetch, for which no request waits.
	Alone
	// Ready: an entry turned up meanwhile; Found says what to do with it.
	Ready
	// Retry: the other fetch was for another variant; call Join again.
	Retry
)

// view is what Join sees of the store when it decides who fetches.
type view struct {
	now      Found  // what a look-up finds
	whole    bool   // the fetch is for all of the target: others can use the answer
	collapse bool   // requests for the key may wait for each other
	insists  bool   // the request has no use for the fetch of another
	key      string // under which they meet
	other    *Fetch // what is under way there, nil if nothing
}

// role decides who fetches.
func (v *view) role() Role {
	switch {
	case v.now.Outcome == rule.Fresh, v.now.Outcome == rule.Stale:
		return Ready
	case v.collapse && v.other != nil && !v.insists:
		return Follow
	case v.collapse && v.other == nil && v.whole:
		return Lead
	}
	return Alone
}

// viewLocked looks at the store for Join. Where answers are known not to be storable, or
// not to be of use to others than those for whom they were made, each request goes to the
// origin at once, and with the condition or range that its client wrote.
func (sh *shard) viewLocked(q *Request, found *Found, alone bool) (v view) {
	v.now = *found
	if !alone {
		e, uncacheable, missed := sh.findLocked(q)
		v.now = q.decide(e, uncacheable, missed)
		v.now.uncacheable = uncacheable
		v.collapse = q.Policy.Collapses() && uncacheable == 0 && v.now.Outcome != rule.Bypass && (e == nil || e.Shareable())
	}
	asked := v.now.Entry == nil && (q.Conditional() || q.Ranged()) && (v.now.uncacheable != 0 || !q.Whole())
	v.whole = q.Method == rule.MethodGet && !asked && v.now.Outcome != rule.Bypass
	v.insists = q.Insists()
	if v.collapse {
		v.key, v.other = sh.meetLocked(q)
	}
	return v
}

// Join is called when the origin must be asked. For Lead and Alone the caller
// owns the Fetch and must end it with Commit or Abort; for Follow it waits. If
// found turns out to be answerable by now it is changed and the role is Ready.
// alone asks not to wait (again) for others.
func (s *Store) Join(q *Request, found *Found, alone bool) (*Fetch, Role) {
	if !alone {
		s.find(q) // the key may be another one by now
	}
	f := s.newFetch(q)
	sh := s.shard(q.hash)
	sh.mu.Lock()
	v := sh.viewLocked(q, found, alone)
	role := v.role()
	switch role {
	case Ready:
		sh.mu.Unlock()
		*found = v.now
		return nil, Ready
	case Follow:
		v.other.joined.Store(true)
		sh.mu.Unlock()
		return v.other, Follow
	case Alone:
		v.key = s.ownKey(f.key)
	}
	found.Entry, found.uncacheable = v.now.Entry, v.now.uncacheable
	f.enterLocked(sh, v.key)
	f.selected, f.asksWhole, f.noted = found.Entry, v.whole, found.uncacheable
	sh.mu.Unlock()
	if !alone && s.lookInTiers(q, found, f) {
		return nil, Ready
	}
	return f, role
}

// lookInTiers looks in the tiers for what is not in the near one. It reports true
// if found can answer now; f has then ended, with the same answer for the
// requests that wait. What is there but stale is what f validates.
func (s *Store) lookInTiers(q *Request, found *Found, f *Fetch) bool {
	if len(s.tiers) == 0 || found.Entry != nil || found.uncacheable != 0 {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			f.Abort(ErrAborted)
			panic(v)
		}
	}()
	e := s.fromTiers(q, f)
	if e == nil {
		return false
	}
	now := q.decide(e, 0, rule.ReasonNone)
	switch now.Outcome {
	case rule.Fresh, rule.Stale:
		f.finish(e, rule.ReasonNone)
		*found = now
		return true
	case rule.Revalidate:
		found.Entry, found.Outcome, found.Reason = e, now.Outcome, now.Reason
		f.selected, f.asksWhole = e, q.Method == rule.MethodGet
	}
	return false
}

// AskTiers looks in the tiers for a request whose client wants an entry or nothing, and which
// must not be fetched for (only-if-cached, RFC 9111 section 5.2.1.7). It reports true if found
// can answer now. It may block for as long as a tier's time-out.
func (s *Store) AskTiers(q *Request, found *Found) bool {
	if len(s.tiers) == 0 {
		return false
	}
	f := s.newFetch(q) // which a purge finds
	sh := s.shard(q.hash)
	sh.mu.Lock()
	f.enterLocked(sh, s.ownKey(f.key))
	sh.mu.Unlock()
	if s.lookInTiers(q, found, f) {
		return true
	}
	f.Abort(ErrAborted)
	return false
}

// ownKey is a key of one fetch alone, which no other request joins but which a
// purge must find.
func (s *Store) ownKey(key string) string {
	return key + "\x01" + strconv.FormatUint(s.alone.Add(1), 36)
}

// Refresh begins the one background fetch that validates a stale entry. It is
// nil if one is under way or has just ended.
func (s *Store) Refresh(q *Request, found *Found) *Fetch {
	f := s.newFetch(q)
	sh := s.shard(q.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	key, other := sh.meetLocked(q)
	if other != nil {
		return nil
	}
	if e, _, _ := sh.findLocked(q); e != nil && e != found.Entry {
		return nil // replaced since the look-up
	}
	f.askForGet()
	f.enterLocked(sh, key)
	f.selected, f.asksWhole = found.Entry, true
	return f
}

// meetLocked is the key under which fetches for the request meet, and the fetch
// that is under way there. It does not pay to wait for one whose head has come
// and turned out to be another variant.
func (sh *shard) meetLocked(q *Request) (key string, other *Fetch) {
	key = sh.flightKeyLocked(q)
	other = sh.fetches[key]
	if other == nil {
		return key, nil
	}
	other.mu.Lock()
	e, overtaken := other.entry, other.overtakenLocked()
	other.mu.Unlock()
	switch {
	case overtaken:
		delete(sh.fetches, key)
		return key, nil
	case e == nil, q.fits(e):
		return key, other
	case !q.named(e):
		key = string(q.Key) + "\x00\x00" + string(q.exactKey())
		return key, sh.fetches[key]
	}
	key = string(q.Key) + "\x00" + string(q.variant) // as selects left it
	return key, sh.fetches[key]
}

// flightKeyLocked is the entry's key, and what the request says in the fields
// that selected the key's newest entry.
func (sh *shard) flightKeyLocked(q *Request) string {
	if r := sh.resourceLocked(q.hash, q.Key); r != nil {
		for _, n := range r.nodes {
			if !n.Value.hitForMiss && len(n.Value.Vary) > 0 {
				q.variant = q.AppendVariant(q.variant[:0], n.Value.Vary)
				return string(q.Key) + "\x00" + string(q.variant)
			}
		}
	}
	return string(q.Key)
}

func (s *Store) newFetch(q *Request) *Fetch {
	f := &Fetch{
		store: s, policy: q.Policy, key: string(q.Key), hash: q.hash, asked: q.Asked(), left: -1,
		path: s.variations.path(q.Key), v: q.variation,
	}
	if f.exact = f.key; f.v != nil {
		f.exact = string(q.exact)
	}
	f.ends, f.doubted = s.ends.of(f.path), q.doubted
	f.keepHead(q)
	return f
}
