package lb

import (
	"math"
	"time"
)

// Memory is what is known of an upstream and its targets, in a form that the process which
// replaces this one can use: times are spans from now on, or since then, in nanoseconds.
// Counts that matter for seconds only, such as those of budgets, are not in it.
type Memory struct {
	Position uint64                  `json:"position,omitempty"`
	Latency  int64                   `json:"latency,omitempty"`
	Targets  map[string]TargetMemory `json:"targets,omitempty"` // by URL
	// BreakerOpen is how long the circuit breaker stays open; less than 0: it is half open;
	// 0: it is closed. BreakerOpened is how often in a row it has opened.
	BreakerOpen   int64 `json:"breaker_open,omitempty"`
	BreakerOpened int   `json:"breaker_opened,omitempty"`
	// BreakerReason is why it opened.
	BreakerReason string `json:"breaker_reason,omitempty"`
}

// TargetMemory is what is known of a target.
type TargetMemory struct {
	Down        bool   `json:"down,omitempty"`
	Ejected     bool   `json:"ejected,omitempty"`
	Unreachable bool   `json:"unreachable,omitempty"`
	Drained     bool   `json:"drained,omitempty"` // by the operator
	Probed      bool   `json:"probed,omitempty"`
	Reason      string `json:"reason,omitempty"`
	Weight      int64  `json:"weight,omitempty"` // that the operator set

	Good  int64 `json:"good,omitempty"`
	Bad   int64 `json:"bad,omitempty"`
	Fails int64 `json:"fails,omitempty"` // in a row

	Ejections   int   `json:"ejections,omitempty"`
	EjectedFor  int64 `json:"ejected_for,omitempty"`
	EjectedLeft int64 `json:"ejected_left,omitempty"` // less than 0 if it is over
	Warming     int64 `json:"warming,omitempty"`      // since when the target warms up; 0: it does not

	Latency     int64   `json:"latency,omitempty"`
	Usual       int64   `json:"usual,omitempty"`
	Limit       float64 `json:"limit,omitempty"` // that limits.adaptive has found
	LongLatency float64 `json:"long_latency,omitempty"`
}

// Memory returns what is known now.
func (u *Upstream) Memory() Memory {
	c, now := u.core, u.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := Memory{Position: c.position.Load(), Latency: int64(c.averageLatency()), Targets: make(map[string]TargetMemory)}
	if until := c.breaker.until.Load(); until != 0 {
		if m.BreakerOpen = until - now; m.BreakerOpen <= 0 {
			m.BreakerOpen = -1
		}
		if why := c.breaker.why.Load(); why != nil {
			m.BreakerReason = *why
		}
		c.breaker.mu.Lock()
		m.BreakerOpened = c.breaker.opened
		c.breaker.mu.Unlock()
	}
	for url, w := range c.overrides { // of targets that are not there, too
		m.Targets[url] = TargetMemory{Drained: w.drain, Weight: w.weight}
	}
	for _, t := range u.set.Load().targets {
		m.Targets[t.url] = t.live.memory(now)
	}
	return m
}

// memory returns what is known of a target. core.mu must be held.
func (l *live) memory(now int64) TargetMemory {
	bits := l.bits.Load()
	m := TargetMemory{
		Down: bits&bitDown != 0, Ejected: bits&bitEjected != 0, Unreachable: bits&bitUnreachable != 0, Drained: bits&bitDrain != 0,
		Probed: l.probed.Load(), Weight: l.weight.Load(),
		Good: l.good.Load(), Bad: l.bad.Load(), Fails: l.fails.Load(),
		Ejections: l.ejections, EjectedFor: l.ejectedFor,
		Latency: int64(l.latency.value()), Usual: int64(l.usual.value()),
		Limit: math.Float64frombits(l.limit.limit.Load()), LongLatency: math.Float64frombits(l.limit.long.Load()),
	}
	if l.ejectedUntil != 0 {
		m.EjectedLeft = l.ejectedUntil - now
	}
	if bits&bitSlow != 0 {
		m.Warming = max(1, now-l.since.Load())
	}
	if reason := l.reason.Load(); reason != nil {
		m.Reason = *reason
	}
	return m
}

// recall makes a new core know what m says; targets are told as they are made.
func (c *core) recall(m *Memory, now int64) {
	if m == nil {
		return
	}
	c.remembered = m.Targets
	for url, t := range m.Targets {
		if !t.Drained && t.Weight == 0 {
			continue
		}
		c.overrides.change(url, func(w *override) { w.drain, w.weight = t.Drained, t.Weight })
		if t.Drained, t.Weight = false, 0; t == (TargetMemory{}) {
			delete(m.Targets, url) // it was not there
		} else {
			m.Targets[url] = t
		}
	}
	c.position.Store(m.Position)
	if m.Latency > 0 {
		c.latency.Store(math.Float64bits(float64(m.Latency)))
	}
	if m.BreakerOpen != 0 {
		c.breaker.until.Store(max(1, now+m.BreakerOpen))
		c.breaker.times.Store(1) // permits count from 1
		c.breaker.opened = m.BreakerOpened
		if m.BreakerReason != "" {
			c.breaker.why.Store(&m.BreakerReason)
		}
	}
}

// recall makes l, which is new and whose target is at url, know what the process before this
// one did, and reports whether that knew it. core.mu must be held.
func (u *Upstream) recall(l *live, url string, now int64) bool {
	m, known := u.core.remembered[url]
	if !known {
		return false
	}
	delete(u.core.remembered, url) // a target that comes back later is another one
	bits := uint32(0)
	for bit, set := range map[uint32]bool{
		bitDown: m.Down, bitEjected: m.Ejected, bitUnreachable: m.Unreachable, bitDrain: m.Drained, bitSlow: m.Warming > 0,
	} {
		if set {
			bits |= bit
		}
	}
	l.bits.Store(bits)
	l.probed.Store(m.Probed)
	l.weight.Store(m.Weight)
	l.good.Store(m.Good)
	l.bad.Store(m.Bad)
	l.fails.Store(m.Fails)
	l.since.Store(now - m.Warming)
	l.ejections, l.ejectedFor = m.Ejections, m.EjectedFor
	if m.EjectedLeft != 0 {
		l.ejectedUntil = now + m.EjectedLeft
	}
	switch {
	case m.Unreachable:
		l.trialAt.Store(now + int64(RedialDelay(0, u.cfg.Health.Passive.Redial.D())))
	case m.Ejected:
		l.earlyAt.Store(now + min(max(m.EjectedLeft, 0), m.EjectedFor/earlyTrials))
		l.trialAt.Store(max(now, l.ejectedUntil))
	}
	if m.Reason != "" {
		l.reason.Store(&m.Reason)
	}
	if m.Latency > 0 {
		l.latency.observe(float64(m.Latency), now)
	}
	if m.Usual > 0 {
		l.usual.observe(float64(m.Usual), float64(time.Second), 1)
	}
	l.limit.limit.Store(math.Float64bits(max(m.Limit, 0)))
	l.limit.long.Store(math.Float64bits(max(m.LongLatency, 0)))
	return true
}
