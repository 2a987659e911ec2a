package figures

import (
	"encoding/hex"
	"strconv"
	"sync"
	"time"
)

// Exemplars are the last traces whose durations fell into each bucket of LE. The zero value is ready.
type Exemplars struct {
	mu      sync.Mutex
	buckets [len(leBounds) + 1]exemplar
}

type exemplar struct {
	trace    [16]byte
	duration time.Duration
	at       time.Time
}

// Note notes a trace that took d and has ended.
func (e *Exemplars) Note(trace [16]byte, d time.Duration, now time.Time) {
	i := 0
	for i < len(leBounds) && d > leBounds[i] {
		i++
	}
	e.mu.Lock()
	e.buckets[i] = exemplar{trace, d, now}
	e.mu.Unlock()
}

// Each calls f with the name of each bucket's series in format LE and its exemplar in the syntax of OpenMetrics.
// metric and labels are as Counts.Append gets them.
func (e *Exemplars) Each(metric, labels string, f func(series, exemplar string)) {
	e.mu.Lock()
	buckets := e.buckets
	e.mu.Unlock()
	for i := range buckets {
		x := &buckets[i]
		if x.at.IsZero() {
			continue
		}
		le := "+Inf"
		if i < len(leBuckets) {
			le = leBuckets[i].text
		}
		f(metric+"_bucket{"+labels+`,le="`+le+`"}`, `{trace_id="`+hex.EncodeToString(x.trace[:])+`"} `+
			strconv.FormatFloat(x.duration.Seconds(), 'f', -1, 64)+" "+strconv.FormatFloat(float64(x.at.UnixMilli())/1000, 'f', 3, 64))
	}
}
