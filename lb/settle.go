package lb

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
)

// never is a time that does not come.
const never = math.MaxInt64

// change is one target's change of state, for the log.
type change struct {
	target   *Target
	from, to State
	reason   string
}

// update changes what is known about t and tells the log what came of it.
func (u *Upstream) update(t *Target, reason string, f func(l *live, now int64)) {
	now := u.now()
	u.core.mu.Lock()
	from := t.State()
	f(t.live, now)
	if to := t.State(); to != from {
		t.live.reason.Store(&reason)
		if from > SlowStart && to == Healthy {
			u.warm(t.live, now)
		}
	}
	var changes []change
	for _, open := range u.core.open {
		changes = append(changes, open.settleLocked(now)...)
	}
	if to := t.State(); to != from {
		changes = append(changes, change{t, from, to, reason})
	}
	u.core.mu.Unlock()
	u.tell(changes)
	u.core.queue.wakeAll()
}

// tell logs changes and hands them to the embedder.
func (u *Upstream) tell(changes []change) {
	for _, c := range changes {
		level := slog.LevelInfo
		if c.to == Ejected || c.to == Unreachable || c.to == Down {
			level = slog.LevelWarn
		}
		u.o.Log.Log(context.Background(), level, "target changed", "upstream", u.name, "target", c.target.name,
			"from", c.from.String(), "to", c.to.String(), "reason", c.reason)
		if u.o.OnChange != nil {
			u.o.OnChange(u, c.target, c.from, c.to, c.reason)
		}
	}
}

// warm begins the slow start of l, if there is one.
func (u *Upstream) warm(l *live, now int64) {
	if u.slowStart > 0 {
		l.since.Store(now)
		l.bits.Or(bitSlow)
	}
}

// settle does what time brings: a target that is out gets a trial, a warm-up ends.
func (u *Upstream) settle(now int64) {
	u.core.mu.Lock()
	if now < u.wake.Load() {
		u.core.mu.Unlock()
		return
	}
	changes := u.settleLocked(now)
	u.core.mu.Unlock()
	u.tell(changes)
}

// settleLocked brings all targets up to now, decides about panic mode, and
// finds out when it is needed again. core.mu must be held.
func (u *Upstream) settleLocked(now int64) (changes []change) {
	s := u.set.Load()
	wake := int64(never)
	u.wake.Store(never) // before looking, so that a wakeBy meanwhile counts
	for _, t := range s.targets {
		from := t.State()
		wake = min(wake, t.live.endWarmUp(now, u.slowStart), t.live.offerTrials(now))
		if to := t.State(); from == SlowStart && to != from {
			changes = append(changes, change{t, from, to, "warmed up"})
		}
	}
	u.decidePanic(s)
	u.wakeBy(wake)
	return changes
}

// endWarmUp ends a slow start of that length whose time is over. It returns when
// one that goes on will end, or never. core.mu must be held.
func (l *live) endWarmUp(now, slowStart int64) (wake int64) {
	if l.bits.Load()&bitSlow == 0 {
		return never
	}
	if end := l.since.Load() + slowStart; end > now {
		return end
	}
	l.bits.And(^bitSlow)
	return never
}

// offerTrials lets one exchange through to a target that is out, if a trial is due.
// It returns when the next trial is due, or never. core.mu must be held.
func (l *live) offerTrials(now int64) (wake int64) {
	if l.bits.Load()&(bitEjected|bitUnreachable) == 0 {
		return never
	}
	wake = l.offer(bitTrial, &l.trialAt, now)
	if !l.costly.Load() {
		wake = min(wake, l.offer(bitEarly, &l.earlyAt, now))
	}
	return wake
}

func (l *live) offer(trial uint32, when *atomic.Int64, now int64) (wake int64) {
	switch at := when.Load(); {
	case at == 0:
		return never
	case at > now:
		return at
	}
	when.Store(0)
	l.bits.Or(trial)
	return never
}

// offerAgain sees that a trial which taught nothing is made again. core.mu must be held.
func (l *live) offerAgain(now int64) {
	l.earlyAt.Store(now)
	l.trialAt.Store(max(now, l.ejectedUntil))
}

// decidePanic begins panic mode if in no group enough targets are usable, and ends
// it as soon as that is not so any more. core.mu must be held.
func (u *Upstream) decidePanic(s *snapshot) {
	below := u.cfg.Health.PanicBelow
	judged, fine := false, false
	for i := range s.groups {
		members, usable := 0, 0
		for _, t := range s.groups[i].targets {
			if t.blockedBy(panicking) != 0 {
				continue // whatever health says, it cannot be used
			}
			members++
			if t.blockedBy(blocking) == 0 {
				usable++
			}
		}
		judged = judged || members > 0
		fine = fine || usable > 0 && float64(usable) >= below*float64(members)
	}
	if judged && !fine && below > 0 {
		if u.mask.Swap(panicking) == blocking {
			u.o.Log.Warn("panic mode begins: health is ignored", "upstream", u.name)
		}
	} else if u.mask.Swap(blocking) == panicking {
		u.o.Log.Info("panic mode ends", "upstream", u.name)
	}
}

// wakeBy makes sure that settle runs at the given time.
func (u *Upstream) wakeBy(at int64) {
	for {
		old := u.wake.Load()
		if old <= at || u.wake.CompareAndSwap(old, at) {
			return
		}
	}
}

// Panicking reports whether so few targets are usable that their health is
// ignored.
func (u *Upstream) Panicking() bool { return u.mask.Load() == panicking }

// SetUp says that the probes of t succeed. If they did not before, that also ends
// an ejection: what ejected t is over.
func (u *Upstream) SetUp(t *Target) {
	t.live.probed.Store(true)
	u.update(t, "probes succeed", func(l *live, now int64) {
		if bits := l.bits.Load(); bits&bitDown != 0 && bits&bitEjected != 0 {
			l.bits.And(^bitEjected)
			l.ejectedUntil = now
		}
		l.bits.And(^bitDown)
		l.reachable(now)
	})
}

// SetDown says that the probes of t fail, and why.
func (u *Upstream) SetDown(t *Target, reason string) {
	t.live.probed.Store(true)
	u.update(t, reason, func(l *live, now int64) { l.bits.Or(bitDown) })
}

// byOperator is the reason of what operators do.
const byOperator = "by the operator"

// SetDrain begins or ends the draining of t as an override by the operator: it gets no
// new exchanges, running ones finish. It survives reloads, and lasts for an hour while t is not there. A drain that the
// configuration or discovery asks for is not ended by it.
func (u *Upstream) SetDrain(t *Target, drain bool) {
	u.update(t, byOperator, func(l *live, now int64) {
		u.core.overrides.change(t.url, func(w *override) { w.drain = drain })
		if drain {
			l.bits.Or(bitDrain)
		} else {
			l.bits.And(^bitDrain)
		}
	})
}

// SetReachable says that t can be connected to again. A Watcher calls it after
// its Unreachable was called with t.
func (u *Upstream) SetReachable(t *Target) {
	u.update(t, "can be connected to", func(l *live, now int64) { l.reachable(now) })
}

// reachable ends what unreachable began. core.mu must be held.
func (l *live) reachable(now int64) {
	l.redials = 0
	if bits := l.bits.And(^(bitUnreachable | bitTrials)); bits&bitEjected != 0 {
		l.offerAgain(now)
	} else {
		l.trialAt.Store(0)
		l.earlyAt.Store(0)
	}
}
