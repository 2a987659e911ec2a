package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"weir/lb"
)

// active says whether targets are probed.
func (m *Monitor) active() bool { return m.cfg.Probe != probeOff || m.o.NewProbe != nil }

// follow starts and stops probing so that exactly the targets of the current set
// are probed, and has the unreachable ones dialled: a target may have become so while
// another generation looked after it.
func (m *Monitor) follow() {
	for _, t := range m.u.Targets() {
		if !t.Reachable() {
			m.redial(t)
		}
	}
	if !m.active() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	current := make(map[lb.Identity]bool)
	for _, t := range m.u.Targets() {
		current[t.Identity()] = true
		if m.probing[t.Identity()] == nil {
			ctx, cancel := context.WithCancel(m.ctx)
			m.probing[t.Identity()] = cancel
			first := !t.Probed()
			if first && m.pending >= 0 {
				m.pending++
			}
			m.running.Go(func() { m.probeTarget(ctx, t, first) })
		}
	}
	for id, cancel := range m.probing {
		if !current[id] {
			cancel()
			delete(m.probing, id)
		}
	}
}

// judged counts the first verdict on a target.
func (m *Monitor) judged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending > 0 {
		if m.pending--; m.pending == 0 {
			close(m.ready)
			m.pending = -1
		}
	}
}

// probeTarget probes t until ctx ends.
func (m *Monitor) probeTarget(ctx context.Context, t *lb.Target, first bool) {
	probe, err := m.newProbe(t)
	if err != nil {
		m.log.Error("cannot probe target", "upstream", m.u.Name(), "target", t.Name(), "error", err)
		if first {
			m.judged()
		}
		return
	}
	interval := m.cfg.Interval.D()
	s := series{known: !first, up: !t.Down()}
	wait := time.Duration(0)
	if !first {
		// A reload must not send all probes at the same time.
		wait = time.Duration(rand.Float64() * float64(interval))
	}
	for sleep(ctx, wait) {
		err := m.probe(ctx, t, probe)
		if ctx.Err() != nil {
			break // the probe failed because it was cancelled
		}
		if s.add(err == nil, m.cfg.Rise, m.cfg.Fall) {
			if s.up {
				m.u.SetUp(t)
			} else {
				m.u.SetDown(t, "probe: "+brief(err))
			}
		} else if err == nil && !t.Reachable() {
			m.u.SetReachable(t)
		}
		if first {
			first = false
			m.judged()
		}
		wait = jittered(interval, m.cfg.Jitter)
	}
	if first {
		m.judged()
	}
}

// probe asks t once.
func (m *Monitor) probe(ctx context.Context, t *lb.Target, probe Probe) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout.D())
	defer cancel()
	err := probe(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s (health.timeout): %w", m.cfg.Timeout, err)
	}
	if err != nil {
		m.log.Debug("probe failed", "upstream", m.u.Name(), "target", t.Name(), "error", brief(err))
	}
	return err
}

func (m *Monitor) newProbe(t *lb.Target) (Probe, error) {
	if m.o.NewProbe != nil {
		return m.o.NewProbe(m.u, t)
	}
	d, ok := t.Transport().(dialer)
	if !ok {
		return nil, errors.New("its connections cannot be dialled for probes")
	}
	return newProbe(m.cfg, d), nil
}

// series is the verdict on one target that its probes have led to.
type series struct {
	// known says that there is a verdict; the first probe alone makes one.
	known bool
	up    bool
	// against counts the probes in a row that contradict the verdict.
	against int
}

// add adds the result of a probe and returns whether it made the first verdict or
// changed the verdict.
func (s *series) add(ok bool, rise, fall int) bool {
	if s.known && ok == s.up {
		s.against = 0
		return false
	}
	need := fall
	if ok {
		need = rise
	}
	if s.against++; s.known && s.against < need {
		return false
	}
	s.known, s.up, s.against = true, ok, 0
	return true
}
