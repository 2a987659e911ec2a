package proxy

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/VictoriaMetrics/metrics"

	"weir/config"
	"weir/lb"
	"weir/lb/balance"
)

// upstreamsStand makes upstreams without targets for a table.
type upstreamsStand struct {
	testing.TB
	Upstreams
	m *Metrics
}

func newUpstreamsStand(t testing.TB) *upstreamsStand {
	return &upstreamsStand{TB: t, m: NewMetrics(metrics.NewSet())}
}

// add puts an upstream into the table; idle is called when it is over.
func (s *upstreamsStand) add(name string, idle func(*Upstream)) *Upstream {
	cfg := config.DefaultUpstream()
	set, err := lb.NewUpstream(name, &cfg, lb.Options{Algorithms: balance.Algorithms()}, nil)
	if err != nil {
		s.Fatal(err)
	}
	var u *Upstream
	u = NewUpstream(set, s.m, func() { idle(u) })
	s.Set(u)
	return u
}

// An upstream is over when the table and all exchanges have let go of it.
func TestUpstreams(t *testing.T) {
	s := newUpstreamsStand(t)
	over := 0
	check := func(what string, want int) {
		t.Helper()
		if over != want {
			t.Errorf("%s: %d upstreams are over, want %d", what, over, want)
		}
	}
	if s.Get([]byte("a")) != nil || s.Remove("a") {
		t.Error("an empty table has an upstream")
	}
	first := s.add("a", func(*Upstream) { over++ })
	s.add("b", func(*Upstream) { t.Error("b is over") })
	got := s.Get([]byte("a"))
	if got != first {
		t.Error("Get found another one")
	}
	second := s.add("a", func(*Upstream) { over++ })
	check("an exchange has it", 0)
	got.release()
	check("replaced", 1)
	if got := s.Get([]byte("a")); got != second {
		t.Error("Get found the old one")
	} else {
		got.release()
	}
	check("it is in the table", 1)
	if !s.Remove("a") || s.Get([]byte("a")) != nil {
		t.Error("a stayed")
	}
	check("removed", 2)
	if n := testing.AllocsPerRun(100, func() { s.Get([]byte("b")).release() }); n != 0 {
		t.Errorf("Get makes %v allocations", n)
	}
}

// What Get returns is not over before it is released, however the table changes.
func TestUpstreamsWhileTheTableChanges(t *testing.T) {
	s := newUpstreamsStand(t)
	var over sync.Map
	add := func() { s.add("a", func(u *Upstream) { over.Store(u, true) }) }
	add()
	var stop atomic.Bool
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for !stop.Load() {
				u := s.Get([]byte("a"))
				if u == nil {
					t.Error("there is always one")
					return
				}
				if _, ended := over.Load(u); ended {
					t.Error("Get returned an upstream that is over")
				}
				u.release()
			}
		})
	}
	const changes = 300
	for range changes {
		add()
	}
	stop.Store(true)
	running.Wait()
	n := 0
	over.Range(func(any, any) bool { n++; return true })
	if n != changes {
		t.Errorf("%d upstreams are over, want %d", n, changes)
	}
}
