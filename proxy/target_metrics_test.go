package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/config"
	"weir/internal/figures"
	"weir/lb"
	"weir/lb/balance"
)

// targetFigures are the metrics of an upstream whose targets come and go.
type targetFigures struct {
	*testing.T
	m *Metrics
	u *lb.Upstream
}

func newFigures(t *testing.T) *targetFigures {
	f := &targetFigures{T: t, m: NewMetrics(metrics.NewSet())}
	f.reload(0)
	t.Cleanup(func() { f.u.Close() })
	return f
}

// reload replaces the generation; targets have other connections if connect differs.
func (f *targetFigures) reload(connect config.Duration) {
	f.Helper()
	cfg := config.DefaultUpstream()
	cfg.Timeouts.Connect = connect
	old := f.u
	var err error
	f.u, err = lb.NewUpstream("u", &cfg, lb.Options{Algorithms: balance.Algorithms(), NewAttachment: f.m.NewTarget}, old)
	if err != nil {
		f.Fatal(err)
	}
	if old != nil {
		old.Close()
	}
}

func (f *targetFigures) find(urls ...string) {
	f.Helper()
	var list []lb.Endpoint
	for _, url := range urls {
		list = append(list, lb.Endpoint{URL: url})
	}
	if err := f.u.SetEndpoints(list); err != nil {
		f.Fatal(err)
	}
}

// attempt makes an attempt at the only target.
func (f *targetFigures) attempt(cause Cause) {
	f.Helper()
	t := f.begin()
	countAttempt(t, cause, time.Millisecond)
	f.u.Release(t, lb.Outcome{})
}

func (f *targetFigures) begin() *lb.Target {
	f.Helper()
	t, err := f.u.Acquire(new(lb.Pick))
	if err != nil {
		f.Fatal(err)
	}
	return t
}

// check compares the series of the upstream's attempts, without their common part.
func (f *targetFigures) check(what, want string) {
	f.Helper()
	var text bytes.Buffer
	f.m.WriteMetrics(&text, figures.LE)
	var got []string
	for line := range strings.Lines(text.String()) {
		line, attempts := strings.CutPrefix(strings.TrimSpace(line), `weir_upstream_attempts_total{upstream="u",target="http://`)
		if attempts {
			got = append(got, line)
		}
	}
	if got := strings.Join(got, "\n"); got != want {
		f.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}

// A target's series live as long as the target, over reloads and without them.
func TestTargetSeries(t *testing.T) {
	f := newFigures(t)
	f.find("http://a")
	f.check("nothing happened", "")
	f.attempt(CauseOK)
	f.attempt(CauseReset)
	f.check("two attempts", "a\",cause=\"ok\"} 1\na\",cause=\"reset\"} 1")
	f.reload(0)
	f.attempt(CauseOK)
	f.check("after a reload", "a\",cause=\"ok\"} 2\na\",cause=\"reset\"} 1")
	f.reload(1)
	f.attempt(CauseOK)
	f.check("with other connections", "a\",cause=\"ok\"} 3\na\",cause=\"reset\"} 1")

	// They go with the target's last exchange.
	running := f.begin()
	f.find("http://b")
	f.check("gone, but an exchange runs", "a\",cause=\"ok\"} 3\na\",cause=\"reset\"} 1")
	countAttempt(running, CauseOK, time.Millisecond)
	f.check("the exchange was counted", "a\",cause=\"ok\"} 4\na\",cause=\"reset\"} 1")
	f.u.Release(running, lb.Outcome{})
	f.check("it has ended", "")
	f.find("http://a")
	f.attempt(CauseOK)
	f.check("back", "a\",cause=\"ok\"} 1")

	// Targets of one name have one series.
	f.find("http://one@c", "http://two@c")
	f.attempt(CauseOK)
	f.attempt(CauseOK)
	f.check("two users", "c\",cause=\"ok\"} 2")
	f.find("http://two@c")
	f.check("one user", "c\",cause=\"ok\"} 2")
	f.find()
	f.check("none", "")
}

// However many targets come and go, nothing of them stays.
func TestTargetsLeaveNoFigures(t *testing.T) {
	f := newFigures(t)
	f.find("http://stays")
	names, series := len(f.m.set.ListMetricNames()), len(f.m.series)
	for i := range 10_000 {
		f.find(fmt.Sprintf("http://gone-%d", i))
		f.attempt(CauseOK)
	}
	f.find("http://stays")
	if n := len(f.m.targets); n != 1 {
		t.Errorf("figures of %d targets, want 1", n)
	}
	if n := len(f.m.set.ListMetricNames()); n != names {
		t.Errorf("%d metrics, want %d as before", n, names)
	}
	if n := len(f.m.series); n != series {
		t.Errorf("%d series, want %d as before", n, series)
	}
}

// Counting costs no allocation.
func TestCountAttemptAllocatesNothing(t *testing.T) {
	f := newFigures(t)
	f.find("http://a")
	target := f.begin()
	if n := testing.AllocsPerRun(100, func() { countAttempt(target, CauseOK, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	f.u.Release(target, lb.Outcome{})
}
