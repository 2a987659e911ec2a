package lb

import (
	"time"
)

// Watcher is told what exchanges say about targets. Its functions are called on
// the goroutines of exchanges, which they must not hold up. All are optional.
type Watcher struct {
	// Failed is called for each failed exchange; inARow counts those since the
	// last success, this one included. It may call Eject.
	Failed func(t *Target, o Outcome, inARow int64)
	// Unreachable is called when a connection to t failed and t was reachable
	// before. The watcher then dials t until it succeeds, and calls
	// SetReachable; without a watcher an exchange is sent as a trial now and then.
	Unreachable func(t *Target)
	// Replaced is called after SetEndpoints or SetWeight changed the set of targets.
	Replaced func()
}

// Watch makes w the only watcher of the upstream, in all its generations. The
// watcher looks after the targets that are Unreachable already.
func (u *Upstream) Watch(w *Watcher) { u.core.watcher.Store(w) }

// Unwatch ends Watch(w), unless another watcher has taken over.
func (u *Upstream) Unwatch(w *Watcher) { u.core.watcher.CompareAndSwap(w, nil) }

// Eject takes t out for a time that grows each time, and reports whether it
// did: not if too many are out already, or t is the last usable target. One exchange at a time
// is let through as a trial, and its success ends the ejection: early ones that can be repeated
// elsewhere, which cost nothing, and after that time any. A failure then begins another ejection.
func (u *Upstream) Eject(t *Target, reason string) bool {
	done := false
	u.update(t, reason, func(l *live, now int64) {
		if l.bits.Load()&bitEjected != 0 || !u.mayEject(t) {
			return
		}
		done = true
		u.eject(l, now)
	})
	return done
}

// eject begins an ejection, or prolongs one. core.mu must be held.
func (u *Upstream) eject(l *live, now int64) {
	passive := &u.cfg.Health.Passive
	// Each stretch of the first ejection's length that went well shortens the
	// next one by a step.
	if well := now - l.ejectedUntil; l.ejectedUntil != 0 && passive.Eject > 0 && well > 0 {
		l.ejections -= min(l.ejections, int(well/int64(passive.Eject)))
	}
	l.ejectedFor = int64(ejection(l.ejections, passive.Eject.D(), passive.EjectMax.D()))
	l.ejections++
	l.ejectedUntil = now + l.ejectedFor
	l.earlyAt.Store(now + l.ejectedFor/earlyTrials)
	l.trialAt.Store(l.ejectedUntil)
	l.fails.Store(0)
	l.bits.And(^bitTrials)
	l.bits.Or(bitEjected)
}

// earlyTrials is how many early trials there may be in one ejection.
const earlyTrials = 10

// ejection returns how long a target is out that was ejected so many times before.
func ejection(before int, first, longest time.Duration) time.Duration {
	d := first
	for range before {
		if d *= 2; d >= longest {
			break
		}
	}
	return min(d, max(first, longest))
}

// mayEject says whether t may be ejected besides those that are. core.mu must be held.
func (u *Upstream) mayEject(t *Target) bool {
	targets := u.set.Load().targets
	ejected, usable := 0, 0
	for _, o := range targets {
		if o.live.bits.Load()&bitEjected != 0 {
			ejected++
		}
		if !o.Same(t) && o.blockedBy(blocking) == 0 {
			usable++
		}
	}
	most := max(1, int(u.cfg.Health.Passive.MaxEjected*float64(len(targets))))
	return usable > 0 && ejected < most
}

// unreachable takes t out after a connection to it failed.
func (u *Upstream) unreachable(t *Target, o Outcome) {
	trial := t.trial
	if t.live.bits.Load()&bitUnreachable != 0 && !trial {
		return // known
	}
	watcher := u.core.watcher.Load()
	watched := watcher != nil && watcher.Unreachable != nil
	fresh := false
	u.update(t, o.explain("cannot be connected to"), func(l *live, now int64) {
		fresh = l.bits.Load()&bitUnreachable == 0
		if !fresh && !trial {
			return
		}
		l.bits.And(^bitTrials)
		l.bits.Or(bitUnreachable)
		l.trialAt.Store(0)
		l.earlyAt.Store(0)
		if !watched {
			l.trialAt.Store(now + int64(RedialDelay(l.redials, u.cfg.Health.Passive.Redial.D())))
		}
		l.redials++
	})
	if fresh && watched {
		watcher.Unreachable(t)
	}
}

// RedialDelay returns the wait before a target that could not be connected to
// is dialled again, after so many dials before: a tenth of longest at first,
// then twice as much each time.
func RedialDelay(before int, longest time.Duration) time.Duration {
	return min(max(longest/10, time.Millisecond)<<min(before, 4), max(longest, time.Millisecond))
}
