package health

import (
	"context"
	"fmt"
	"math"
	"slices"

	"weir/lb"
)

// failed ejects a target after too many failures in a row. The goroutines of
// exchanges call it.
func (m *Monitor) failed(t *lb.Target, o lb.Outcome, inARow int64) {
	limit := int64(m.cfg.Passive.Failures)
	// Eject takes a lock. If it refuses, it is called again only after limit more
	// failures.
	if limit == 0 || inARow%limit != 0 {
		return
	}
	m.u.Eject(t, fmt.Sprintf("%d failures in a row, the last: %s", inARow, o))
}

// redial dials t in the background until a connection is made. A call for a
// target that is being dialled already does nothing.
func (m *Monitor) redial(t *lb.Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.dialing[t.Identity()] {
		return
	}
	m.dialing[t.Identity()] = true
	m.running.Go(func() { m.dialTarget(t) })
}

func (m *Monitor) dialTarget(t *lb.Target) {
	longest := m.cfg.Passive.Redial.D()
	for n := 0; sleep(m.ctx, jittered(lb.RedialDelay(n, longest), 0.1)); n++ {
		if t.Reachable() || !m.has(t) {
			break
		}
		err := m.dial(t)
		if m.ctx.Err() != nil {
			break
		}
		if err == nil {
			m.u.SetReachable(t)
			break
		}
		m.log.Debug("target still unreachable", "upstream", m.u.Name(), "target", t.Name(), "error", brief(err))
	}
	m.mu.Lock()
	delete(m.dialing, t.Identity())
	m.mu.Unlock()
	// 1. An exchange's connect fails while the entry still exists: redial does nothing.
	// 2. The entry is deleted.
	// 3. Without this check nothing would dial t.
	if m.ctx.Err() == nil && !t.Reachable() && m.has(t) {
		m.redial(t)
	}
}

// has says whether t is in the current set.
func (m *Monitor) has(t *lb.Target) bool { return slices.ContainsFunc(m.u.Targets(), t.Same) }

// dial connects to t once.
func (m *Monitor) dial(t *lb.Target) error {
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.Timeout.D())
	defer cancel()
	d, ok := t.Transport().(dialer)
	if !ok {
		return nil // only exchanges can connect to this target and find out
	}
	c, err := d.Dial(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

// counts is how many exchanges of a target succeeded and failed.
type counts struct{ good, bad int64 }

// judgeRates ejects targets whose success rate since before is far below those of
// the others. It returns the counts for the next call.
func (m *Monitor) judgeRates(before map[lb.Identity]counts) map[lb.Identity]counts {
	now := make(map[lb.Identity]counts)
	var judged []*lb.Target
	var rates []float64
	for _, t := range m.u.Targets() {
		good, bad, _ := t.Counts()
		now[t.Identity()] = counts{good, bad}
		old, known := before[t.Identity()]
		good, bad = good-old.good, bad-old.bad
		if known && good+bad >= int64(m.cfg.Passive.OutlierRequests) && t.State() <= lb.SlowStart {
			judged = append(judged, t)
			rates = append(rates, float64(good)/float64(good+bad))
		}
	}
	for _, i := range outliers(rates, m.cfg.Passive.Outlier) {
		m.u.Eject(judged[i], fmt.Sprintf("success rate %.1f %% stands out", 100*rates[i]))
	}
	return now
}

const (
	// leastRates is how many rates a comparison needs.
	leastRates = 3
	// leastGap is how far below the mean a rate must be at least: if all targets
	// do well, the deviation is so small that chance alone would eject.
	leastGap = 0.05
)

// outliers returns the indexes of the rates that are more than the given number
// of standard deviations below the mean, the worst first.
func outliers(rates []float64, deviations float64) []int {
	if len(rates) < leastRates {
		return nil
	}
	mean, variance := 0.0, 0.0
	for _, r := range rates {
		mean += r / float64(len(rates))
	}
	for _, r := range rates {
		variance += (r - mean) * (r - mean) / float64(len(rates))
	}
	gap := max(leastGap, deviations*math.Sqrt(variance))
	var found []int
	for i, r := range rates {
		if r < mean-gap {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b int) int {
		if rates[a] < rates[b] {
			return -1
		}
		return 1
	})
	return found
}
