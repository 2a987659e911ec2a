package proxy

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/internal/figures"
	"weir/lb"
)

// targetMetrics are the figures of one target. They live as long as a target of these
// labels does: a generation or an exchange has it.
type targetMetrics struct {
	m      *Metrics
	labels string
	// alike counts the targets of these labels; m.mu guards it. Targets whose connections
	// have other settings, or other user information in their URL, are others for the
	// balancer, but have one name.
	alike int

	firstByte figures.Histogram
	causes    [causes]atomic.Uint64
	resends   atomic.Uint64
}

// NewTarget makes the figures of a target for lb.Options.NewAttachment, or shares those
// of a target of the same name.
func (m *Metrics) NewTarget(upstream, target string) lb.Attachment {
	labels := targetLabels(upstream, target)
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.targets[labels]
	if t == nil {
		t = &targetMetrics{m: m, labels: labels}
		m.targets[labels] = t
	}
	t.alike++
	return t
}

// Retire implements lb.Attachment: the series go with the last target of the name. One
// that comes back later starts at 0.
func (t *targetMetrics) Retire() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.alike--; t.alike == 0 {
		delete(t.m.targets, t.labels)
	}
}

// countAttempt counts an attempt at target that has ended.
func countAttempt(target *lb.Target, cause Cause, firstByte time.Duration) {
	t, ok := target.Attachment().(*targetMetrics)
	if !ok {
		return // the upstream was made without NewTarget
	}
	if cause == CauseOK {
		t.firstByte.Observe(firstByte)
	}
	t.causes[cause].Add(1)
}

// countResend counts a request that an attempt at target sends again.
func countResend(target *lb.Target) {
	if t, ok := target.Attachment().(*targetMetrics); ok {
		t.resends.Add(1)
	}
}

// writeResends writes the counter, if it has counted something.
func (t *targetMetrics) writeResends(w io.Writer) {
	if n := t.resends.Load(); n > 0 {
		metrics.WriteCounterUint64(w, "weir_upstream_resends_total{"+t.labels+"}", n)
	}
}

// writeAttempts writes the counters that have counted something.
func (t *targetMetrics) writeAttempts(w io.Writer) {
	for cause := range t.causes {
		if n := t.causes[cause].Load(); n > 0 {
			metrics.WriteCounterUint64(w, fmt.Sprintf("weir_upstream_attempts_total{%s,cause=%q}", t.labels, Cause(cause)), n)
		}
	}
}
