package lb_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"weir/config"
	"weir/lb"
	"weir/lb/balance"
	"weir/lb/lbtest"
)

// stand is an upstream with a clock and a source of chance of its own.
type stand struct{ *lbtest.Stand }

func newStand(t testing.TB, targets string, settings func(*config.Upstream)) *stand {
	t.Helper()
	return &stand{lbtest.New(t, targets, settings)}
}

// names returns the names of weir's own algorithms.
func names() (list []string) {
	for _, a := range balance.Algorithms() {
		list = append(list, a.Name)
	}
	return list
}

var (
	ok        = lb.Outcome{Kind: lb.Success, Status: 200, Latency: time.Millisecond}
	refused   = lb.Outcome{Kind: lb.ConnectFailed}
	timedOut  = lb.Outcome{Kind: lb.Timeout, Latency: time.Second}
	internal  = lb.Outcome{Kind: lb.Success, Status: 500, Latency: time.Millisecond}
	busy      = lb.Outcome{Kind: lb.Success, Status: 503, Latency: time.Millisecond}
	cancelled = lb.Outcome{Kind: lb.Canceled}
)

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	cfg := config.DefaultUpstream()
	cfg.Targets = lbtest.Parse("a")
	cfg.Balance = "round_rubin"
	_, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: append(balance.Algorithms(), lb.Algorithm{Name: "mine"})}, nil)
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
		for _, p := range lb.Check(&cfg, balance.Algorithms()) {
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
	check(`retry.on[1]: found "200": want one of "connect", "reset", "timeout", "unavailable", or a status from "400" to "599"
limits.adaptive: found "gradiant": want one of "off", "gradient"; did you mean "gradient"?`,
		func(c *config.Upstream) {
			c.Retry.On = []string{"connect", "200"}
			c.Limits.Adaptive = "gradiant"
		})
}

func TestReloadKeepsPositionCountsAndHealth(t *testing.T) {
	s := newStand(t, "a b c", nil)
	equal(t, "before", s.Picks(2, ok), "a b")
	var p lb.Pick
	running, err := s.Acquire(&p) // c
	if err != nil {
		t.Fatal(err)
	}
	s.Eject(s.Target("a"), "test")
	old := s.Upstream

	s.Upstream = s.Build("a b c d", nil, old)
	equal(t, "health of a", s.Target("a").State(), lb.Ejected)
	equal(t, "in flight on c", s.Target("c").InFlight(), 1)
	equal(t, "transport of b", s.Target("b").Transport(), old.Targets()[1].Transport())
	// Position 3 is d's.
	equal(t, "after", s.Picks(3, ok), "d b c")

	// The old generation's exchange ends after the reload.
	old.Release(running, ok)
	old.Close()
	equal(t, "in flight on c", s.Target("c").InFlight(), 0)
	equal(t, "in flight", s.InFlight(), 0)

	// Other settings of connections make another target.
	other := s.Build("a b c d", func(c *config.Upstream) { c.Timeouts.Connect = 1 }, s.Upstream)
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
	s.Upstream = s.Build("a b", nil, old)
	old.Release(a, refused)
	old.Close()
	equal(t, "a", s.Target("a").State(), lb.Unreachable)
	equal(t, "meanwhile", s.Picks(3, ok), "b b b")
	s.Pass(time.Second)
	if got := s.Picks(2, ok); !strings.Contains(got, "a") {
		t.Errorf("after a while: got %s, want a among them", got)
	}
	equal(t, "a", s.Target("a").State(), lb.Healthy)
}

func TestFailedBuildLeavesOldAlone(t *testing.T) {
	s := newStand(t, "a b", nil)
	cfg := config.DefaultUpstream()
	cfg.Targets = append(lbtest.Parse("a b"), config.Target{URL: "ftp://c"})
	if _, err := lb.NewUpstream("test", &cfg, s.Options, s.Upstream); err == nil {
		t.Fatal("a target of an unknown scheme was accepted")
	}
	equal(t, "picks", s.Picks(4, ok), "a b a b")
}

func TestSetEndpoints(t *testing.T) {
	s := newStand(t, "", nil)
	s.find("a b")
	var p lb.Pick
	a, err := s.Acquire(&p)
	if err != nil {
		t.Fatal(err)
	}
	s.find("b c*2 d!drain")
	got := s.Shares(30, 1)
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
	equal(t, "no targets", s.Picks(1, ok), "(no usable target)")
}

func TestDrain(t *testing.T) {
	s := newStand(t, "a b c!drain", nil)
	var p lb.Pick
	a, err := s.Acquire(&p)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDrain(s.Target("a"), true)
	equal(t, "state", s.Target("a").State(), lb.Draining)
	equal(t, "by config", s.Target("c").State(), lb.Draining)
	equal(t, "running exchange", s.Target("a").InFlight(), 1)
	equal(t, "new ones", s.Picks(3, ok), "b b b")
	s.Release(a, ok)
	// Draining the last one is the operator's wish.
	s.SetDrain(s.Target("b"), true)
	equal(t, "all drained", s.Picks(1, ok), "(no usable target)")
	s.SetDrain(s.Target("a"), false)
	equal(t, "back", s.Picks(2, ok), "a a")
}

func TestTriedTargetsAreNotPickedAgain(t *testing.T) {
	for _, algorithm := range names() {
		s := newStand(t, "a b c", func(c *config.Upstream) { c.Balance = algorithm })
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
				got = append(got, lbtest.Name(target))
				s.Release(target, ok)
			}
			slices.Sort(got)
			equal(t, algorithm, strings.Join(got, " "), "a b c")
			equal(t, "attempts", p.Attempt(), 3)
			p.Forget()
			if _, err := s.Acquire(&p); err != nil {
				t.Errorf("%s: after Forget: %v", algorithm, err)
			}
		}
	}
}

func TestPriorityGroups(t *testing.T) {
	for _, algorithm := range names() {
		s := newStand(t, "a b spare@1 last@2", func(c *config.Upstream) {
			c.Balance = algorithm
			c.Health.PanicBelow = 0.3
		})
		got := slices.Collect(maps.Keys(s.Shares(100, 1)))
		slices.Sort(got)
		equal(t, algorithm+", all up", strings.Join(got, " "), "a b")
		s.SetDown(s.Target("a"), "test")
		equal(t, algorithm+", a down", s.Picks(3, ok), "b b b")
		s.SetDown(s.Target("b"), "test")
		equal(t, algorithm+", a and b down", s.Picks(2, ok), "spare spare")
		s.SetDrain(s.Target("spare"), true)
		equal(t, algorithm+", spare drains", s.Picks(1, ok), "last")
		s.SetUp(s.Target("b"))
		equal(t, algorithm+", b up", s.Picks(2, ok), "b b")
	}
}

func TestOwnAlgorithm(t *testing.T) {
	cfg := config.DefaultUpstream()
	cfg.Targets = lbtest.Parse("a b c")
	cfg.Balance = "last"
	u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: []lb.Algorithm{
		{Name: "last", New: func(in lb.Input) (lb.Picker, error) { return last(in.Targets), nil }},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var p lb.Pick
	first, _ := u.Acquire(&p)
	second, _ := u.Acquire(&p)
	equal(t, "first", lbtest.Name(first), "c")
	equal(t, "second", lbtest.Name(second), "b")
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

// Options of an algorithm's own are read strictly, and the algorithm gets them.
func TestAlgorithmOptions(t *testing.T) {
	var got *ownOptions
	algorithms := append(balance.Algorithms(), lb.Algorithm{
		Name:    "last",
		Options: func() any { return &ownOptions{Wait: config.Duration(time.Second), Share: 0.5} },
		New: func(in lb.Input) (lb.Picker, error) {
			got = in.Options.(*ownOptions)
			return last(in.Targets), nil
		},
	})
	check := func(algorithm, table, want string) {
		t.Helper()
		cfg := config.DefaultUpstream()
		cfg.Targets = lbtest.Parse("a b")
		cfg.Balance = algorithm
		if err := toml.Unmarshal([]byte(table), &cfg.BalanceOptions); err != nil {
			t.Fatal(err)
		}
		u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: algorithms}, nil)
		if err == nil {
			u.Close()
			err = errors.New("")
		}
		equal(t, algorithm+", "+table, err.Error(), want)
	}
	check("last", "", "")
	equal(t, "the defaults", *got, ownOptions{Wait: config.Duration(time.Second), Share: 0.5})
	check("last", "wait = '3s'\nshare = 1", "")
	equal(t, "as the file says", *got, ownOptions{Wait: config.Duration(3 * time.Second), Share: 1})
	check("last", "weight = 1", `balance_options.weight: found an unknown key: want one of wait, share`)
	check("last", "wait = 3\nshare = 'x'", `balance_options.wait: found integer 3: want a time span such as "250ms", "5s" or "1h30m"
balance_options.share: found "x": want a number`)
	check("last", "share = 2", "balance_options.share: found 2: want 0 to 1")
	check("random", "share = 1", `balance_options.share: found an unknown key: want no options, because "random" has none`)
	check("p2c", "choices = 2", "")
	check("p2c", "choices = 1", "balance_options.choices: found integer 1: want 2 to 10")
	check("p2c", "choice = 2", `balance_options.choice: found an unknown key: want one of choices; did you mean "choices"?`)
}

// ownOptions are options as an embedder's algorithm may have them.
type ownOptions struct {
	Wait  config.Duration `toml:"wait"`
	Share float64         `toml:"share"`
}

func (o *ownOptions) Check() []config.Problem {
	if o.Share > 1 {
		return []config.Problem{{Key: "share", Found: fmt.Sprint(o.Share), Want: "0 to 1"}}
	}
	return nil
}

func TestConcurrentUse(t *testing.T) {
	for _, algorithm := range names() {
		s := newStand(t, "a b*2 c d@1", func(c *config.Upstream) {
			c.Balance = algorithm
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
						o := []lb.Outcome{ok, ok, ok, ok, ok, refused, timedOut, busy, internal, cancelled}[chance.IntN(10)]
						s.Release(target, o)
					}
					s.Retry().Budget.Deposit(s.Clock.Load())
					s.Retry().Budget.Withdraw(s.Clock.Load())
					s.HedgeDelay(s.Clock.Load())
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
				s.Pass(50 * time.Millisecond)
			}
			for _, target := range s.Targets() {
				s.SetDrain(target, false)
			}
		})
		running.Wait()
		equal(t, algorithm+": in flight", s.InFlight(), 0)
		equal(t, algorithm+": queued", s.Queued(), 0)
		for _, target := range s.Targets() {
			equal(t, algorithm+": in flight on "+lbtest.Name(target), target.InFlight(), 0)
		}
	}
}

// A target of which some exchanges fail looks slower than it is, but not ever slower.
func TestLatencyOfFailures(t *testing.T) {
	t.Parallel()
	s := newStand(t, "a b", nil)
	s.know(10 * time.Millisecond)
	for i := range 4000 {
		o := lb.Outcome{Kind: lb.Success, Status: 200, Latency: 10 * time.Millisecond}
		if i%10 == 0 {
			o = lb.Outcome{Kind: lb.Success, Status: 500, Latency: time.Millisecond}
		}
		s.on("a", o)
	}
	if got := s.Targets()[0].Latency(); got < 10*time.Millisecond || got > 20*time.Millisecond {
		t.Errorf("the latency is %s", got)
	}
}
