package lb

import (
	"context"
	"log/slog"
	"math"
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
	u.core.queue.wake()
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
	judged, fine := false, false
	for i := range s.groups {
		members, usable := 0, 0
		for _, t := range s.groups[i].targets {
			l := t.live
			bits := l.bits.Load()
			if bits&bitSlow != 0 {
				if end := l.since.Load() + u.slowStart; end > now {
					wake = min(wake, end)
				} else {
					l.bits.And(^bitSlow)
					if from := t.state(bits); from == SlowStart {
						changes = append(changes, change{t, from, t.State(), "warmed up"})
					}
				}
			}
			if at := l.trialAt.Load(); at != 0 && bits&(bitEjected|bitUnreachable) != 0 {
				if at > now {
					wake = min(wake, at)
				} else {
					l.trialAt.Store(0)
					l.bits.Or(bitTrial)
				}
			}
			if t.blockedBy(panicking) != 0 {
				continue // whatever health says, it cannot be used
			}
			members++
			if t.blockedBy(blocking) == 0 {
				usable++
			}
		}
		judged = judged || members > 0
		fine = fine || members > 0 && usable > 0 && float64(usable) >= u.cfg.Health.PanicBelow*float64(members)
	}
	if judged && !fine && u.cfg.Health.PanicBelow > 0 {
		if u.mask.Swap(panicking) == blocking {
			u.o.Log.Warn("panic mode begins: health is ignored", "upstream", u.name)
		}
	} else if u.mask.Swap(blocking) == panicking {
		u.o.Log.Info("panic mode ends", "upstream", u.name)
	}
	u.wakeBy(wake)
	return changes
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

// SetDrain begins or ends the draining of t by the operator's wish: it gets no
// new exchanges, running ones finish. It survives reloads. A drain that the
// configuration or discovery asks for is not ended by it.
func (u *Upstream) SetDrain(t *Target, drain bool) {
	u.update(t, "by the operator", func(l *live, now int64) {
		if drain {
			l.bits.Or(bitDrain)
		} else {
			l.bits.And(^bitDrain)
		}
	})
}

// SetReachable says that t can be connected to again. Who watches an upstream
// calls it after Unreachable told of t.
func (u *Upstream) SetReachable(t *Target) {
	u.update(t, "can be connected to", func(l *live, now int64) { l.reachable(now) })
}

// reachable ends what unreachable began. core.mu must be held.
func (l *live) reachable(now int64) {
	l.redials = 0
	if bits := l.bits.And(^(bitUnreachable | bitTrial)); bits&bitEjected != 0 {
		l.trialAt.Store(max(now, l.ejectedUntil))
	} else {
		l.trialAt.Store(0)
	}
}
