package lb

// Acquire picks a usable target that p did not try before and counts an
// exchange on it. Each Acquire that returns a target needs one Release. The
// errors are ErrNoTarget, ErrBusy and ErrBreakerOpen. It waits only if limits
// and a queue are configured.
func (u *Upstream) Acquire(p *Pick) (*Target, error) {
	now := p.Now
	if now == 0 {
		now = u.now()
	}
	if now >= u.wake.Load() {
		u.settle(now)
	}
	p.u, p.now = u, now
	p.mask = u.mask.Load()
	p.full = false
	p.plain = p.n == 0 && u.unlimited()
	p.patience = 4
	if t := u.pick(p); t != nil {
		return t, nil
	}
	if p.Again && p.n > 0 {
		p.again = true
		t := u.pick(p)
		p.again = false
		if t != nil {
			return t, nil
		}
	}
	return nil, ErrNoTarget
}

// pick asks the algorithm of each group in turn and takes what it chose.
func (u *Upstream) pick(p *Pick) *Target {
	s := u.set.Load()
	for i := range s.groups {
		g := &s.groups[i]
		// Between the choice and the taking another exchange may have got the
		// only probe or the last place, so that the next choice differs.
		for range 1 + len(g.targets) {
			t := g.picker.Pick(p)
			if t == nil {
				break
			}
			if u.take(t, p) {
				return t
			}
		}
	}
	return nil
}

// take counts an exchange on t, or returns false if t has no room any more.
func (u *Upstream) take(t *Target, p *Pick) bool {
	l := t.live
	if bits := l.bits.Load(); bits&bitProbe != 0 && p.mask&bitUnreachable != 0 {
		if !l.bits.CompareAndSwap(bits, bits&^bitProbe|bitUnreachable) {
			return false
		}
	}
	running := l.inFlight.Add(1)
	if limit := u.targetLimit(t); limit > 0 && running > limit {
		l.inFlight.Add(-1)
		return false
	}
	u.core.inFlight.Add(1)
	l.refs.Add(1)
	if p.n < maxTried {
		p.tried[p.n] = l
		p.n++
	}
	return true
}

// Release ends an exchange on t that Acquire began and tells how it went.
func (u *Upstream) Release(t *Target, o Outcome) {
	l := t.live
	l.inFlight.Add(-1)
	u.core.inFlight.Add(-1)
	u.learn(t, o)
	l.release()
}
