package lb

import "slices"

// Acquire picks a usable target that p did not try before and counts an
// exchange on it. Each Acquire that returns a target needs one Release with
// that target. The errors are ErrNoTarget, ErrBusy, ErrBreakerOpen and
// ErrCanceled. It waits only if limits and a queue are configured.
func (u *Upstream) Acquire(p *Pick) (*Target, error) {
	now := p.Now
	if now == 0 {
		now = u.now()
	}
	if now >= u.wake.Load() {
		u.settle(now)
	}
	permit := int64(0)
	if u.cfg.Breaker.Failures > 0 {
		allowed := false
		if permit, allowed = u.core.breaker.allow(&u.cfg.Breaker, now); !allowed {
			return nil, ErrBreakerOpen
		}
	}
	p.u, p.now = u, now
	t, err := u.enter(p)
	switch {
	case permit == 0:
	case err != nil:
		u.core.breaker.report(&u.cfg.Breaker, unjudged, permit, now)
	default:
		t = t.withPermit(permit)
	}
	return t, err
}

// enter is acquire with the queue, for those that may wait in it. An exchange's first attempt
// lets those go first that wait already; later ones go before it.
func (u *Upstream) enter(p *Pick) (*Target, error) {
	queues := u.cfg.Limits.Queue > 0 && !p.NoWait
	if queues && p.stage == stageFirst && u.core.queue.waiting.Load() > 0 {
		return u.queue(p)
	}
	t, err := u.acquire(p)
	if err != nil {
		// What this attempt held for a moment may have looked like no place to the first one
		// in the queue.
		u.core.queue.wake(1)
	}
	if err == ErrBusy && queues {
		return u.queue(p)
	}
	return t, err
}

// Spare reports whether another attempt of p would find a target, busy or not.
func (u *Upstream) Spare(p *Pick) bool {
	now := u.now()
	if now >= u.wake.Load() {
		u.settle(now)
	}
	if u.cfg.Breaker.Failures > 0 && u.core.breaker.state(now) == BreakerOpen {
		return false
	}
	mask, trials := u.mask.Load(), p.trials()
	for _, t := range u.set.Load().targets {
		if t.usable(mask, trials) && !slices.Contains(p.tried[:p.n], t.live) {
			return true
		}
	}
	return false
}

// acquire is Acquire without waiting.
func (u *Upstream) acquire(p *Pick) (*Target, error) {
	before := p.stage
	if before != stageBetween && !u.count() {
		return nil, ErrBusy
	}
	p.stage = stageBetween // Leave gives the place back if an algorithm panics
	p.mask = u.mask.Load()
	p.lifts = p.trials()
	p.maskOnly = p.n == 0 && u.ceiling == 0
	p.warmupSkips = maxWarmupSkips
	if t := u.pick(p); t != nil {
		p.stage = stageLater
		return t, nil
	}
	if before != stageBetween {
		p.stage = before
		u.core.inFlight.Add(-1)
	}
	if p.full {
		return nil, ErrBusy
	}
	return nil, ErrNoTarget
}

// count counts an exchange among the running ones, if the limit lets it.
func (u *Upstream) count() bool {
	if limit := int64(u.cfg.Limits.InFlight); u.core.inFlight.Add(1) > limit && limit > 0 {
		u.core.inFlight.Add(-1)
		return false
	}
	return true
}

// pick picks from the current set. A set that is replaced meanwhile may have targets
// that are gone; then pick tries the new one.
func (u *Upstream) pick(p *Pick) *Target {
	for {
		s := u.set.Load()
		p.full = false
		if t := u.pickFrom(s, p); t != nil || u.set.Load() == s {
			return t
		}
	}
}

// pickFrom honours a preference, then a sticky cookie, else asks the algorithm of each group in turn,
// and takes what was chosen. A client that belongs to a target, by a key too, stays there although
// it is in doubt.
func (u *Upstream) pickFrom(s *snapshot, p *Pick) *Target {
	p.wary = false
	for i := range s.targets {
		if len(p.Prefer) == 0 || p.n > 0 {
			break
		}
		if t := s.targets[i]; slices.Contains(p.Prefer, t.Identity()) && p.Admits(t) {
			if t = u.take(t, p); t != nil {
				return t
			}
		}
	}
	if len(p.Sticky) > 0 && p.n == 0 {
		if t := s.cookies[string(p.Sticky)]; t != nil && p.Admits(t) {
			if t = u.take(t, p); t != nil {
				return t
			}
		}
	}
	for i := range s.groups {
		g := &s.groups[i]
		p.wary, p.doubtful = !p.hasKey, false
		t := u.pickIn(g, p)
		if t == nil && p.doubtful {
			p.wary = false // there are no others
			t = u.pickIn(g, p)
		}
		if t != nil {
			return t
		}
		if p.full {
			return nil // spare targets are for when the others are out, not busy
		}
	}
	return nil
}

// pickIn asks the algorithm of g, and takes what it chose.
func (u *Upstream) pickIn(g *group, p *Pick) *Target {
	// Between the choice and the taking another exchange may have got the
	// trial or the last place; then the next choice differs.
	for range 1 + len(g.targets) {
		t := g.picker.Pick(p)
		if t == nil {
			return nil
		}
		if t = u.take(t, p); t != nil {
			return t
		}
	}
	return nil
}

// take counts an exchange on t. It returns nil if t has no room any more, or is gone, or if
// another exchange finds out about it.
func (u *Upstream) take(t *Target, p *Pick) *Target {
	l := t.live
	if p.doubtful && p.wary && !p.dare(l) {
		return nil
	}
	running := l.inFlight.Add(1)
	if u.ceiling > 0 && running > u.targetLimit(t) {
		l.inFlight.Add(-1)
		return nil
	}
	if bits := l.bits.Load(); bits&p.lifts != 0 {
		if l.bits.CompareAndSwap(bits, bits&^bitTrials) {
			// If the trial never ends, there is another one all the same.
			again := p.now + int64(max(u.cfg.Health.Passive.Eject, u.cfg.Health.Passive.Redial))
			l.trialAt.Store(again)
			l.earlyAt.Store(again)
			u.wakeBy(again)
			t = t.twin
		} else if t.blockedBy(p.mask) != 0 {
			l.inFlight.Add(-1)
			return nil
		}
	}
	if !l.holders.Hold() {
		l.inFlight.Add(-1)
		return nil
	}
	l.ask(p.now, running)
	if p.n < maxTried {
		p.tried[p.n] = l
		p.n++
	}
	return t
}
