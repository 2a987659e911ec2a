package cache

import (
	"sync/atomic"
	"time"

	"weir/cache/rule"
	"weir/cache/tier"
)

// hearingWait is how long after the start what lies on a disk waits for a tier that others
// share: they may have purged it meanwhile. Who cannot reach such a tier for longer uses
// what it has.
const hearingWait = 3 * time.Second

// informed says whether what a keeps can be believed: the past announcements of all tiers are
// known.
func (s *Store) informed(a *attached) bool {
	for _, other := range s.tiers {
		if other.caughtUp.Load() || other == a {
			continue
		}
		if !other.Shared() || time.Since(s.begun) < hearingWait {
			return false
		}
	}
	return true
}

// Follow implements tier.Follower. The announcement may be this store's own.
func (a *attached) Follow(message []byte) {
	marks, err := tier.DecodeMarks(message)
	if err != nil {
		a.Damaged(err)
		return
	}
	for _, m := range marks {
		if m.Node == a.store.node {
			continue
		}
		news := a.store.marks.Add(m)
		a.unswept.Store(true)
		for _, local := range a.locals {
			local.unswept.Store(true)
			if news {
				local.news.add(m) // or a restart would bring back what it keeps
			}
		}
		a.store.end(m, m.At+rule.Skew, time.Now().UnixNano())
	}
}

// Lost implements tier.Follower: what was received before may have been purged.
func (a *attached) Lost(at int64) {
	known := a.store.doubted.Load()
	if a.store.doubt(at) {
		if at-known > rule.Skew && (a.caughtUp.Load() || a.from != "") {
			a.log.Warn("purges of others may be lost: what is older is validated before it answers", "tier", a.Name())
		}
		a.news.repeat()
	}
}

// doubt makes what was received until then be validated before it answers. It reports false
// if that is so already.
func (s *Store) doubt(until int64) bool { return raise(&s.doubted, until) }

// raise makes v be to, and reports false if v is that or more already.
func raise(v *atomic.Int64, to int64) bool {
	for {
		before := v.Load()
		if to <= before {
			return false
		}
		if v.CompareAndSwap(before, to) {
			return true
		}
	}
}

// CaughtUp implements tier.Follower.
func (a *attached) CaughtUp(position string) {
	if !a.caughtUp.Swap(true) && a.Shared() && a.from == "" {
		a.store.doubt(time.Now().UnixNano()) // of what was purged before nothing is known
	}
	a.news.reached(position)
}

// Report implements tier.Follower.
func (a *attached) Report(err error) {
	a.state.set(connecting, err)
	if err == nil {
		a.news.wakeUp()
	}
}

// Damaged implements tier.Follower.
func (a *attached) Damaged(err error) {
	a.damaged.Add(1)
	a.log.Warn("something stored is lost", "tier", a.Name(), "error", err)
}
