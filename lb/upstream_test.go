package lb_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
)

// stand is one upstream with a clock and a source of chance of its own.
type stand struct {
	testing.TB
	*lb.Upstream
	clock *atomic.Int64
	o     lb.Options
}

// newStand builds an upstream. Targets are "name" or "name*weight" or "name@priority".
func newStand(t testing.TB, targets string, settings func(*config.Upstream)) *stand {
	t.Helper()
	s := &stand{TB: t, clock: new(atomic.Int64)}
	s.clock.Store(int64(time.Hour))
	chance := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	s.o = lb.Options{NewTransport: newConns, Now: s.clock.Load, Rand: func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return chance.Uint64()
	}}
	s.Upstream = s.build(targets, settings, nil)
	return s
}

// conns stands for the connections to a target.
type conns struct{ retired atomic.Bool }

func newConns(url string, _ *config.Upstream) (lb.Transport, error) {
	if !strings.HasPrefix(url, "http://") {
		return nil, fmt.Errorf("unknown scheme in %q", url)
	}
	return new(conns), nil
}

// Retire implements lb.Transport.
func (c *conns) Retire() { c.retired.Store(true) }

func (s *stand) build(targets string, settings func(*config.Upstream), old *lb.Upstream) *lb.Upstream {
	s.Helper()
	cfg := config.DefaultUpstream()
	cfg.Targets = parse(targets)
	if settings != nil {
		settings(&cfg)
	}
	u, err := lb.NewUpstream("test", &cfg, s.o, old)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(u.Close)
	return u
}

func parse(targets string) (list []config.Target) {
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

// pass moves the clock.
func (s *stand) pass(d time.Duration) { s.clock.Add(int64(d)) }

// target returns the target of that name.
func (s *stand) target(name string) *lb.Target {
	s.Helper()
	for _, t := range s.Targets() {
		if t.URL() == "http://"+name {
			return t
		}
	}
	s.Fatalf("no target %q", name)
	return nil
}

func name(t *lb.Target) string { return strings.TrimPrefix(t.URL(), "http://") }

// picks returns the names of n exchanges one after the other that end with o.
func (s *stand) picks(n int, o lb.Outcome) string {
	s.Helper()
	var names []string
	for range n {
		var p lb.Pick
		t, err := s.Acquire(&p)
		if err != nil {
			names = append(names, "("+err.Error()+")")
			continue
		}
		names = append(names, name(t))
		s.Release(t, o)
	}
	return strings.Join(names, " ")
}

// shares counts how often each target is picked by n exchanges of which
// `running` are always running.
func (s *stand) shares(n, running int) map[string]int {
	s.Helper()
	got := make(map[string]int)
	var open []*lb.Target
	for range n {
		var p lb.Pick
		t, err := s.Acquire(&p)
		if err != nil {
			s.Fatal(err)
		}
		got[name(t)]++
		if open = append(open, t); len(open) >= running {
			s.Release(open[0], ok)
			open = open[1:]
		}
	}
	for _, t := range open {
		s.Release(t, ok)
	}
	return got
}

var (
	ok        = lb.Outcome{Kind: lb.Success, Status: 200, Latency: time.Millisecond}
	refused   = lb.Outcome{Kind: lb.ConnectFailed}
	timedOut  = lb.Outcome{Kind: lb.Timeout, Latency: time.Second}
	internal  = lb.Outcome{Kind: lb.Success, Status: 500, Latency: time.Millisecond}
	cancelled = lb.Outcome{Kind: lb.Canceled}
)

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// about fails unless got is within share of want.
func about(t testing.TB, what string, got int, want, share float64) {
	t.Helper()
	if float64(got) < want*(1-share) || float64(got) > want*(1+share) {
		t.Errorf("%s: got %d, want %.0f, %.0f %% more or less", what, got, want, share*100)
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	cfg := config.DefaultUpstream()
	cfg.Targets = parse("a")
	cfg.Balance = "round_rubin"
	_, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: map[string]lb.Algorithm{"mine": nil}}, nil)
	var p config.Problem
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want a config.Problem", err)
	}
	equal(t, "key", p.Key, "balance")
	equal(t, "hint", p.Hint, "round_robin")
	equal(t, "want", p.Want, `one of "round_robin", "random", "least_connections", "p2c", "ewma", "hash", "mine"`)
}

func TestCheck(t *testing.T) {
	check := func(want string, set func(*config.Upstream)) {
		t.Helper()
		cfg := config.DefaultUpstream()
		set(&cfg)
		var got []string
		for _, p := range lb.Check(&cfg) {
			got = append(got, p.Error())
		}
		equal(t, "problems", strings.Join(got, "\n"), want)
	}
	// The defaults are good.
	check("", func(c *config.Upstream) {})
	// An embedder's own names are only good if they are told.
	check(`balance: found "mine": want one of "round_robin", "random", "least_connections", "p2c", "ewma", "hash"`,
		func(c *config.Upstream) { c.Balance = "mine" })
	// What is hashed is only looked at if something is.
	check("", func(c *config.Upstream) { c.Hash.By = "moon" })
	check(`hash.by: found "header:": want one of "client_address", "path", "header:NAME", "cookie:NAME", "query:NAME"`,
		func(c *config.Upstream) { c.Balance, c.Hash.By = "hash", "header:" })
	// All at once, each with its place.
	check(`retry.on[1]: found "200": want one of "connect", "reset", "timeout", or a status from "400" to "599"
limits.adaptive: found "gradiant": want one of "off", "gradient"; did you mean "gradient"?`,
		func(c *config.Upstream) {
			c.Retry.On = []string{"connect", "200"}
			c.Limits.Adaptive = "gradiant"
		})
}

func TestReloadKeepsPositionCountsAndHealth(t *testing.T) {
	s := newStand(t, "a b c", nil)
	equal(t, "before", s.picks(2, ok), "a b")
	var p lb.Pick
	running, err := s.Acquire(&p) // c
	if err != nil {
		t.Fatal(err)
	}
	s.Eject(s.target("a"), "test")
	old := s.Upstream

	s.Upstream = s.build("a b c d", nil, old)
	equal(t, "health of a", s.target("a").State(), lb.Ejected)
	equal(t, "in flight on c", s.target("c").InFlight(), 1)
	equal(t, "transport of b", s.target("b").Transport(), old.Targets()[1].Transport())
	// Position 3 is d's.
	equal(t, "after", s.picks(3, ok), "d b c")

	// The old generation's exchange ends after the reload.
	old.Release(running, ok)
	old.Close()
	equal(t, "in flight on c", s.target("c").InFlight(), 0)
	equal(t, "in flight", s.InFlight(), 0)

	// Other settings of connections make another target.
	other := s.build("a b c d", func(c *config.Upstream) { c.Timeouts.Connect = 1 }, s.Upstream)
	equal(t, "health of a with other settings", other.Targets()[0].State(), lb.Healthy)
}

func TestOldGenerationStillLearns(t *testing.T) {
	// 1. An exchange begins. 2. A reload. 3. The exchange's connect fails.
	// The new generation must try that target again some time.
	s := newStand(t, "a b", nil)
	var p lb.Pick
	a, err := s.Acquire(&p)
	if err != nil {
		t.Fatal(err)
	}
	old := s.Upstream
	s.Upstream = s.build("a b", nil, old)
	old.Release(a, refused)
	old.Close()
	equal(t, "a", s.target("a").State(), lb.Unreachable)
	equal(t, "meanwhile", s.picks(3, ok), "b b b")
	s.pass(time.Second)
	if got := s.picks(2, ok); !strings.Contains(got, "a") {
		t.Errorf("after a while: got %s, want a among them", got)
	}
	equal(t, "a", s.target("a").State(), lb.Healthy)
}

func TestFailedBuildLeavesOldAlone(t *testing.T) {
	s := newStand(t, "a b", nil)
	cfg := config.DefaultUpstream()
	cfg.Targets = append(parse("a b"), config.Target{URL: "ftp://c"})
	if _, err := lb.NewUpstream("test", &cfg, s.o, s.Upstream); err == nil {
		t.Fatal("a target of an unknown scheme was accepted")
	}
	equal(t, "picks", s.picks(4, ok), "a b a b")
}

func TestSetEndpoints(t *testing.T) {
	s := newStand(t, "a b", nil)
	var p lb.Pick
	a, err := s.Acquire(&p)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://b"}, {URL: "http://c", Weight: 2}, {URL: "http://d", Drain: true}}); err != nil {
		t.Fatal(err)
	}
	got := s.shares(30, 1)
	if want := (map[string]int{"b": 10, "c": 20}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	s.Release(a, ok) // its target is gone
	equal(t, "in flight", s.InFlight(), 0)

	if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://b"}, {URL: "http://b"}}); err == nil {
		t.Error("the same target twice was accepted")
	}
	if err := s.SetEndpoints(nil); err != nil {
		t.Fatal(err)
	}
	equal(t, "no targets", s.picks(1, ok), "(no usable target)")
}

func TestDrain(t *testing.T) {
	s := newStand(t, "a b c!drain", nil)
	var p lb.Pick
	a, err := s.Acquire(&p)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDrain(s.target("a"), true)
	equal(t, "state", s.target("a").State(), lb.Draining)
	equal(t, "by config", s.target("c").State(), lb.Draining)
	equal(t, "running exchange", s.target("a").InFlight(), 1)
	equal(t, "new ones", s.picks(3, ok), "b b b")
	s.Release(a, ok)
	// Draining the last one is the operator's wish.
	s.SetDrain(s.target("b"), true)
	equal(t, "all drained", s.picks(1, ok), "(no usable target)")
	s.SetDrain(s.target("a"), false)
	equal(t, "back", s.picks(2, ok), "a a")
}

func TestTriedTargetsAreNotPickedAgain(t *testing.T) {
	for _, balance := range lb.Algorithms() {
		s := newStand(t, "a b c", func(c *config.Upstream) { c.Balance = balance })
		for range 50 {
			var p lb.Pick
			p.SetKey([]byte("x"))
			var got []string
			for {
				target, err := s.Acquire(&p)
				if err != nil {
					equal(t, "error", err, lb.ErrNoTarget)
					break
				}
				got = append(got, name(target))
				s.Release(target, ok)
			}
			slices.Sort(got)
			equal(t, balance, strings.Join(got, " "), "a b c")
			equal(t, "attempts", p.Attempt(), 3)
			p.Again = true
			if _, err := s.Acquire(&p); err != nil {
				t.Errorf("%s: again: %v", balance, err)
			}
		}
	}
}

func TestPriorityGroups(t *testing.T) {
	for _, balance := range lb.Algorithms() {
		s := newStand(t, "a b spare@1 last@2", func(c *config.Upstream) {
			c.Balance = balance
			c.Health.PanicBelow = 0.3
		})
		got := slices.Collect(maps.Keys(s.shares(100, 1)))
		slices.Sort(got)
		equal(t, balance+", all up", strings.Join(got, " "), "a b")
		s.SetDown(s.target("a"), "test")
		equal(t, balance+", a down", s.picks(3, ok), "b b b")
		s.SetDown(s.target("b"), "test")
		equal(t, balance+", a and b down", s.picks(2, ok), "spare spare")
		s.SetDrain(s.target("spare"), true)
		equal(t, balance+", spare drains", s.picks(1, ok), "last")
		s.SetUp(s.target("b"))
		equal(t, balance+", b up", s.picks(2, ok), "b b")
	}
}

func TestOwnAlgorithm(t *testing.T) {
	cfg := config.DefaultUpstream()
	cfg.Targets = parse("a b c")
	cfg.Balance = "last"
	u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: map[string]lb.Algorithm{
		"last": func(in lb.Input) (lb.Picker, error) { return last(in.Targets), nil },
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var p lb.Pick
	first, _ := u.Acquire(&p)
	second, _ := u.Acquire(&p)
	equal(t, "first", name(first), "c")
	equal(t, "second", name(second), "b")
}

// last is an algorithm as an embedder may write it.
type last []*lb.Target

func (l last) Pick(p *lb.Pick) *lb.Target {
	for _, t := range slices.Backward(l) {
		if p.Admits(t) {
			return t
		}
	}
	return nil
}

func TestConcurrentUse(t *testing.T) {
	for _, balance := range lb.Algorithms() {
		s := newStand(t, "a b*2 c d@1", func(c *config.Upstream) {
			c.Balance = balance
			c.SlowStart = config.Duration(time.Second)
			c.Limits = config.UpstreamLimits{InFlight: 7, TargetInFlight: 3, Queue: 4,
				QueueTimeout: config.Duration(time.Second), Adaptive: "gradient"}
			c.Breaker.Failures = 0.9
			c.Retry.Hedge = 0.9
		})
		var running sync.WaitGroup
		for worker := range 8 {
			running.Go(func() {
				chance := rand.New(rand.NewPCG(uint64(worker), 1))
				for range 300 {
					var p lb.Pick
					p.SetKey([]byte{byte(chance.Uint32())})
					if target, err := s.Acquire(&p); err == nil {
						o := []lb.Outcome{ok, ok, ok, ok, ok, refused, timedOut, internal, cancelled}[chance.IntN(9)]
						s.Release(target, o)
					}
					s.Retry().Budget.Deposit(s.clock.Load())
					s.Retry().Budget.Withdraw(s.clock.Load())
					s.HedgeDelay(s.clock.Load())
				}
			})
		}
		running.Go(func() {
			for i := range 100 {
				target := s.Targets()[i%4]
				s.SetDown(target, "test")
				s.Eject(target, "test")
				s.SetUp(target)
				s.SetDrain(target, i%2 == 0)
				s.pass(50 * time.Millisecond)
			}
			for _, target := range s.Targets() {
				s.SetDrain(target, false)
			}
		})
		running.Wait()
		equal(t, balance+": in flight", s.InFlight(), 0)
		equal(t, balance+": queued", s.Queued(), 0)
		for _, target := range s.Targets() {
			equal(t, balance+": in flight on "+name(target), target.InFlight(), 0)
		}
	}
}
