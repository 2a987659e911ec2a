package figures

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Each duration counts for the bounds that it is not longer than.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, at := range leBounds {
		for _, c := range []struct {
			d    time.Duration
			want int
		}{{at, 1}, {at + 1, 0}, {at - 1, 1}} {
			var h Histogram
			h.Observe(c.d)
			counts := h.Counts()
			page := string(counts.Append(nil, LE, "m", `a="b"`))
			if want := fmt.Sprintf("m_bucket{a=\"b\",le=\"%g\"} %d\n", at.Seconds(), c.want); !strings.Contains(page, want) {
				t.Errorf("%s: the page lacks %q:\n%s", c.d, want, page)
			}
			if want := fmt.Sprintf("m_bucket{a=\"b\",le=\"+Inf\"} 1\nm_sum{a=\"b\"} %s\nm_count{a=\"b\"} 1\n", strconv.FormatFloat(c.d.Seconds(), 'f', -1, 64)); !strings.HasSuffix(page, want) {
				t.Errorf("%s: the page does not end with %q:\n%s", c.d, want, page)
			}
		}
	}
}

// The ranges of VictoriaMetrics are those that its own library would write.
func TestRanges(t *testing.T) {
	t.Parallel()
	var h Histogram
	set := metrics.NewSet()
	theirs := set.NewHistogram(`m{a="b"}`)
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		// Not within a nanosecond of a bound, where their floating-point numbers round otherwise.
		d := time.Duration(float64(2*time.Microsecond) * pow10(random.Float64()*9))
		if slices.ContainsFunc(ends[:], func(e time.Duration) bool { return (d - e).Abs() <= max(2, e/1e6) }) {
			continue
		}
		h.Observe(d)
		theirs.Update(d.Seconds())
	}
	var b bytes.Buffer
	set.WritePrometheus(&b)
	counts := h.Counts()
	ours := string(counts.Append(nil, VMRange, "m", `a="b"`))
	sorted := func(page string) string {
		var lines []string
		for line := range strings.Lines(page) {
			if strings.Contains(line, "_bucket") {
				lines = append(lines, strings.NewReplacer(`{a="b",`, "{", `a="b"}`, "}").Replace(strings.TrimSpace(line)))
			}
		}
		slices.Sort(lines)
		return strings.ReplaceAll(strings.Join(lines, "\n"), ",}", "}")
	}
	if got, want := sorted(ours), sorted(b.String()); got != want {
		t.Errorf("found\n%s\nwant\n%s", got, want)
	}
}

func pow10(x float64) float64 {
	r := 1.0
	for ; x >= 1; x-- {
		r *= 10
	}
	return r * (1 + 9*x)
}

// What is outside of the buckets is counted too.
func TestOutside(t *testing.T) {
	t.Parallel()
	var h Histogram
	for _, d := range []time.Duration{-time.Second, 0, 1, time.Microsecond, 20_000 * time.Second} {
		h.Observe(d)
	}
	counts := h.Counts()
	page := string(counts.Append(nil, VMRange, "m", "x"))
	for _, want := range []string{`vmrange="0...1.000e-06"} 4`, `vmrange="1.000e+04...+Inf"} 1`, "m_count{x} 5"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	page = string(counts.Append(nil, LE, "m", "x"))
	for _, want := range []string{`le="60"} 4`, `le="+Inf"} 5`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var h Histogram
	empty := h.Counts()
	if got := empty.Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	random := rand.New(rand.NewPCG(3, 4))
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		all = append(all, d)
		h.Observe(d)
	}
	slices.Sort(all)
	counts := h.Counts()
	for _, share := range []float64{0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(int(share*float64(len(all))), len(all)-1)]
		if got := counts.Quantile(share); float64(got) < 0.86*float64(want) || float64(got) > 1.14*float64(want) {
			t.Errorf("%g: found %s, want %s", share, got, want)
		}
	}
}

// Sums and differences leave what they are made of as it is.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	var f Figures
	add := func(d time.Duration, failed bool) {
		f.Add(&Sample{Failed: failed, BytesIn: 1, BytesOut: 2, Duration: d, Phases: Phases{Body: d}})
	}
	add(time.Millisecond, false)
	first := f.Snapshot()
	add(time.Second, true)
	second := f.Snapshot()
	diff := second
	diff.Minus(&first)
	sum := first
	sum.Plus(&diff)
	for _, c := range []struct {
		name   string
		s      Snapshot
		count  uint64
		errors uint64
		total  time.Duration
	}{
		{"first", first, 1, 0, time.Millisecond},
		{"second", second, 2, 1, time.Second + time.Millisecond},
		{"difference", diff, 1, 1, time.Second},
		{"sum", sum, 2, 1, time.Second + time.Millisecond},
	} {
		if c.s.Count != c.count || c.s.Errors != c.errors || c.s.Durations.Total != c.count || c.s.Durations.Sum != c.total ||
			c.s.Phases[Body] != c.total || c.s.BytesIn != int64(c.count) || c.s.BytesOut != 2*int64(c.count) {
			t.Errorf("%s: %+v", c.name, c.s)
		}
	}
	if got := diff.Durations.Quantile(0.5).Round(100 * time.Millisecond); got < 900*time.Millisecond || got > 1100*time.Millisecond {
		t.Errorf("the difference has the median %s", got)
	}
	if second.Longest != time.Second {
		t.Errorf("longest: %s", second.Longest)
	}
}

func TestTunnelsHaveNoTime(t *testing.T) {
	t.Parallel()
	var f Figures
	f.Add(&Sample{Untimed: true, Duration: time.Hour, BytesOut: 5})
	if s := f.Snapshot(); s.Count != 1 || s.BytesOut != 5 || s.Durations.Total != 0 || s.Longest != 0 {
		t.Errorf("%+v", s)
	}
}

// Nothing is lost when many count at once, and nothing is allocated.
func TestMany(t *testing.T) {
	t.Parallel()
	var f Figures
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for k := range 2000 {
				f.Add(&Sample{Duration: time.Duration(i*1000+k) * time.Microsecond})
			}
		})
	}
	group.Wait()
	if s := f.Snapshot(); s.Count != 16_000 || s.Durations.Total != 16_000 || s.Longest != 8999*time.Microsecond {
		t.Errorf("count %d, durations %d, longest %s", s.Count, s.Durations.Total, s.Longest)
	}
}

func TestAllocatesNothing(t *testing.T) {
	var f Figures
	s := &Sample{Duration: time.Millisecond, BytesIn: 1, BytesOut: 1}
	f.Add(s)
	if n := testing.AllocsPerRun(1000, func() { f.Add(s) }); n > 0 {
		t.Errorf("%g allocations for each exchange", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var f Figures
	s := &Sample{Duration: 3 * time.Millisecond, BytesOut: 1024, Phases: Phases{1, 2, 3, 4}}
	for b.Loop() {
		f.Add(s)
	}
}
