package proxy

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// bounds are the upper ends of a histogram's buckets.
var bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// histogram counts durations. Its buckets have bounds of their own ("le"), as
// Prometheus wants them; those of the metrics package ("vmrange") only
// VictoriaMetrics understands, and they take a lock for each exchange.
type histogram struct {
	counts [len(bounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// write writes h in the text format, unless it has counted nothing.
func (h *histogram) write(w io.Writer, metric, labels string) {
	var counts [len(bounds) + 1]uint64
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		counts[i] = total
	}
	if total == 0 {
		return
	}
	for i, b := range bounds {
		fmt.Fprintf(w, "%s_bucket{%s,le=\"%g\"} %d\n", metric, labels, b.Seconds(), counts[i])
	}
	fmt.Fprintf(w, "%s_bucket{%s,le=\"+Inf\"} %d\n", metric, labels, total)
	fmt.Fprintf(w, "%s_sum{%s} %g\n", metric, labels, time.Duration(h.sum.Load()).Seconds())
	fmt.Fprintf(w, "%s_count{%s} %d\n", metric, labels, total)
}
