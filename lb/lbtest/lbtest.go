// Package lbtest is what tests of package lb and of balancing algorithms share:
// an upstream whose clock and chance the test decides, and counts of what it
// picks. It dials nothing.
package lbtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/balance"
)

// Stand is one upstream with a clock and a source of chance of its own.
type Stand struct {
	testing.TB
	*lb.Upstream
	// Clock is what the upstream takes for the time.
	Clock *atomic.Int64
	// Once says that Picks makes exchanges that cannot be repeated.
	Once bool
	// Options are what Build gives to lb.NewUpstream.
	Options lb.Options

	mu   sync.Mutex
	made []*Conns
}

// New builds an upstream. Targets are "name" or "name*weight" or "name@priority".
func New(t testing.TB, targets string, settings func(*config.Upstream)) *Stand {
	t.Helper()
	s := &Stand{TB: t, Clock: new(atomic.Int64)}
	s.Clock.Store(int64(time.Hour))
	chance := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	s.Options = lb.Options{Algorithms: balance.Algorithms(), NewTransport: s.connect, Now: s.Clock.Load, Rand: func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return chance.Uint64()
	}}
	s.Upstream = s.Build(targets, settings, nil)
	return s
}

// Conns stands for the connections to a target.
type Conns struct {
	retired atomic.Int32
}

// Retire implements lb.Transport.
func (c *Conns) Retire() { c.retired.Add(1) }

// Retired returns how often c was retired.
func (c *Conns) Retired() int { return int(c.retired.Load()) }

// connect makes the connections to a target.
func (s *Stand) connect(url string, _ *config.Upstream) (lb.Transport, error) {
	if !strings.HasPrefix(url, "http://") {
		return nil, fmt.Errorf("unknown scheme in %q", url)
	}
	c := new(Conns)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = append(s.made, c)
	return c, nil
}

// Made returns the connections of all targets that were ever made.
func (s *Stand) Made() []*Conns {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.made)
}

// Build makes another generation of the upstream; old may be nil.
func (s *Stand) Build(targets string, settings func(*config.Upstream), old *lb.Upstream) *lb.Upstream {
	s.Helper()
	cfg := config.DefaultUpstream()
	cfg.Targets = Parse(targets)
	if settings != nil {
		settings(&cfg)
	}
	u, err := lb.NewUpstream("test", &cfg, s.Options, old)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(u.Close)
	return u
}

// Parse returns targets as New takes them.
func Parse(targets string) (list []config.Target) {
	for word := range strings.FieldsSeq(targets) {
		t := config.Target{Weight: 1}
		if name, weight, ok := strings.Cut(word, "*"); ok {
			word = name
			fmt.Sscan(weight, &t.Weight)
		}
		if name, priority, ok := strings.Cut(word, "@"); ok {
			word = name
			fmt.Sscan(priority, &t.Priority)
		}
		word, t.Drain = strings.CutSuffix(word, "!drain")
		t.URL = "http://" + word
		list = append(list, t)
	}
	return list
}

// Pass moves the clock.
func (s *Stand) Pass(d time.Duration) { s.Clock.Add(int64(d)) }

// Target returns the target of that name.
func (s *Stand) Target(name string) *lb.Target {
	s.Helper()
	for _, t := range s.Targets() {
		if t.URL() == "http://"+name {
			return t
		}
	}
	s.Fatalf("no target %q", name)
	return nil
}

// Name returns the name that New was given for t.
func Name(t *lb.Target) string { return strings.TrimPrefix(t.URL(), "http://") }

// Picks returns the names of n exchanges one after the other that end with o.
func (s *Stand) Picks(n int, o lb.Outcome) string {
	s.Helper()
	var names []string
	for range n {
		t, err := s.Acquire(&lb.Pick{Once: s.Once})
		if err != nil {
			names = append(names, "("+err.Error()+")")
			continue
		}
		names = append(names, Name(t))
		s.Release(t, o)
	}
	return strings.Join(names, " ")
}

// Shares counts how often each target is picked by n exchanges of which
// `running` are always running.
func (s *Stand) Shares(n, running int) map[string]int {
	s.Helper()
	good := lb.Outcome{Kind: lb.Success, Status: 200, Latency: time.Millisecond}
	got := make(map[string]int)
	var open []*lb.Target
	for range n {
		var p lb.Pick
		t, err := s.Acquire(&p)
		if err != nil {
			s.Fatal(err)
		}
		got[Name(t)]++
		if open = append(open, t); len(open) >= running {
			s.Release(open[0], good)
			open = open[1:]
		}
	}
	for _, t := range open {
		s.Release(t, good)
	}
	return got
}
