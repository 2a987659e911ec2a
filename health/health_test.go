package health_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/config"
	"weir/health"
	"weir/lb"
	"weir/lb/balance"
)

// world is an upstream with a Monitor, and what its targets do.
type world struct {
	*testing.T
	*lb.Upstream
	m *health.Monitor

	mu     sync.Mutex
	broken map[string]bool
	probes map[string]int
	dials  map[string]int
}

// newWorld starts a Monitor; it must run in a synctest bubble.
func newWorld(t *testing.T, targets string, settings func(*config.Upstream)) *world {
	w := &world{T: t, broken: map[string]bool{}, probes: map[string]int{}, dials: map[string]int{}}
	w.Upstream, w.m = w.build(targets, settings, nil)
	w.m.Start()
	t.Cleanup(func() {
		w.m.Stop()
		w.Close()
	})
	synctest.Wait()
	return w
}

func (w *world) build(targets string, settings func(*config.Upstream), old *lb.Upstream) (*lb.Upstream, *health.Monitor) {
	w.Helper()
	cfg := config.DefaultUpstream()
	cfg.Health.Jitter = 0
	cfg.Health.Interval = config.Duration(10 * time.Second)
	for name := range strings.FieldsSeq(targets) {
		cfg.Targets = append(cfg.Targets, config.Target{URL: "http://" + name, Weight: 1})
	}
	if settings != nil {
		settings(&cfg)
	}
	u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: balance.Algorithms(), NewTransport: w.connect}, old)
	if err != nil {
		w.Fatal(err)
	}
	var o health.Options
	if cfg.Health.Probe != "off" {
		o.NewProbe = func(_ *lb.Upstream, t *lb.Target) (health.Probe, error) {
			return func(context.Context) error { return w.ask(t.URL(), w.probes) }, nil
		}
	}
	m, err := health.New(u, o)
	if err != nil {
		w.Fatal(err)
	}
	return u, m
}

// conns stands for the connections to a target of a world.
type conns struct {
	w   *world
	url string
}

func (w *world) connect(url string, _ *config.Upstream) (lb.Transport, error) {
	return &conns{w, url}, nil
}

func (*conns) Retire()      {}
func (*conns) Host() string { return "" }

func (*conns) Protocols() []string { return nil }

func (c *conns) Dial(context.Context, ...string) (net.Conn, error) {
	if err := c.w.ask(c.url, c.w.dials); err != nil {
		return nil, err
	}
	conn, _ := net.Pipe()
	return conn, nil
}

func (w *world) ask(url string, counter map[string]int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	counter[url]++
	if w.broken[url] {
		return errors.New("broken")
	}
	return nil
}

func (w *world) set(name string, broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken["http://"+name] = broken
}

func (w *world) count(counter map[string]int, name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return counter["http://"+name]
}

// states returns the targets' states in order.
func (w *world) states() string {
	synctest.Wait()
	var list []string
	for _, t := range w.Targets() {
		list = append(list, t.State().String())
	}
	return strings.Join(list, " ")
}

// send ends n exchanges with o on the target of that name.
func (w *world) send(n int, name string, o lb.Outcome) {
	w.Helper()
	for range n {
		for try := 0; ; try++ {
			if try == 100 {
				w.Fatalf("no exchange goes to %s", name)
			}
			t, err := w.Acquire(new(lb.Pick))
			if err != nil {
				w.Fatal(err)
			}
			if t.Name() == "http://"+name {
				w.Release(t, o)
				break
			}
			w.Release(t, lb.Outcome{Kind: lb.Canceled})
		}
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func probing(c *config.Upstream) { c.Health.Probe = "http" }

func TestActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a b c", probing) // rise 2, fall 3, each 10 s
		equal(t, "at first", w.states(), "healthy healthy healthy")
		time.Sleep(time.Second)
		w.set("b", true)
		time.Sleep(10 * time.Second)
		equal(t, "one failed probe", w.states(), "healthy healthy healthy")
		time.Sleep(10 * time.Second)
		w.set("b", false)
		time.Sleep(10 * time.Second)
		w.set("b", true)
		time.Sleep(20 * time.Second)
		equal(t, "two in a row", w.states(), "healthy healthy healthy")
		time.Sleep(10 * time.Second)
		equal(t, "three in a row", w.states(), "healthy down healthy")
		equal(t, "reason", w.Targets()[1].Reason(), "probe: broken")

		w.set("b", false)
		time.Sleep(10 * time.Second)
		equal(t, "one good probe", w.states(), "healthy down healthy")
		time.Sleep(10 * time.Second)
		equal(t, "two good probes", w.states(), "healthy healthy healthy")
		equal(t, "probes of a", w.count(w.probes, "a"), 9)
	})
}

func TestFirstProbeDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, broken: map[string]bool{"http://b": true}, probes: map[string]int{}, dials: map[string]int{}}
		w.Upstream, w.m = w.build("a b c", func(c *config.Upstream) {
			c.Health.Probe, c.Health.Wait = "http", config.Duration(5*time.Second)
		}, nil)
		defer w.Close()
		defer w.m.Stop()
		w.m.Start()
		w.m.Wait(t.Context())
		equal(t, "after the wait", w.states(), "healthy down healthy")
	})
}

func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config.DefaultUpstream()
		cfg.Targets = []config.Target{{URL: "http://a", Weight: 1}}
		cfg.Health.Wait = config.Duration(5 * time.Second)
		cfg.Health.Timeout = config.Duration(time.Minute)
		u, err := lb.NewUpstream("test", &cfg, lb.Options{Algorithms: balance.Algorithms()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		m, err := health.New(u, health.Options{NewProbe: func(*lb.Upstream, *lb.Target) (health.Probe, error) {
			return func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		m.Start()
		defer m.Stop()
		began := time.Now()
		m.Wait(t.Context())
		equal(t, "waited", time.Since(began), 5*time.Second)
	})
}

func TestReloadKeepsVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a b", probing)
		w.set("b", true)
		time.Sleep(31 * time.Second)
		equal(t, "before", w.states(), "healthy down")

		u, m := w.build("a b c", probing, w.Upstream)
		m.Start()
		oldU, oldM := w.Upstream, w.m
		w.Upstream, w.m = u, m
		oldM.Stop()
		oldU.Close()
		equal(t, "after", w.states(), "healthy down healthy")
		equal(t, "the new target was probed at once", w.count(w.probes, "c"), 1)
		w.set("b", false)
		time.Sleep(20 * time.Second)
		equal(t, "b recovers", w.states(), "healthy healthy healthy")
		// The new Monitor dials.
		w.set("a", true)
		w.send(1, "a", lb.Outcome{Kind: lb.ConnectFailed})
		time.Sleep(time.Second)
		if n := w.count(w.dials, "a"); n == 0 {
			t.Error("nothing dials a")
		}
	})
}

func TestProbesFollowTheSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "", probing)
		w.find("a", "b")
		synctest.Wait()
		w.set("c", true)
		w.find("b", "c")
		equal(t, "at once", w.states(), "healthy down")
		before := w.count(w.probes, "a")
		time.Sleep(65 * time.Second)
		equal(t, "probes of a, which is gone", w.count(w.probes, "a"), before)
		equal(t, "probes of b", w.count(w.probes, "b"), 7)
	})
}

// find reports the endpoints of these names.
func (w *world) find(names ...string) {
	w.Helper()
	var list []lb.Endpoint
	for _, name := range names {
		list = append(list, lb.Endpoint{URL: "http://" + name})
	}
	if err := w.SetEndpoints(list); err != nil {
		w.Fatal(err)
	}
}

// A target that goes and comes back at once is another one, and is probed and dialled
// as such.
func TestTargetComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", probing)
		w.find("b")
		equal(t, "at first", w.states(), "healthy healthy")
		w.set("b", true)
		w.find()
		w.find("b")
		equal(t, "probed at once", w.states(), "healthy down")
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", nil)
		refused := lb.Outcome{Kind: lb.ConnectFailed}
		w.find("b")
		w.send(1, "b", refused)
		w.find()
		w.find("b")
		w.send(1, "b", refused)
		time.Sleep(2 * time.Second)
		equal(t, "dialled", w.count(w.dials, "b"), 1)
		equal(t, "reachable", w.states(), "healthy healthy")
	})
}

func TestFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a b c", nil) // 5 failures, 10 s
		failed := lb.Outcome{Kind: lb.Timeout, Latency: time.Second}
		w.send(4, "b", failed)
		w.send(1, "b", lb.Outcome{Kind: lb.Success, Status: 404})
		w.send(4, "b", failed)
		equal(t, "a success in between", w.states(), "healthy healthy healthy")
		w.send(1, "b", lb.Outcome{Kind: lb.Success, Status: 502})
		equal(t, "five in a row", w.states(), "healthy ejected healthy")
		equal(t, "reason", w.Targets()[1].Reason(), "5 failures in a row, the last: status 502")
		time.Sleep(10 * time.Second)
		w.send(1, "b", lb.Outcome{Kind: lb.Success, Status: 200})
		equal(t, "after the trial", w.states(), "healthy healthy healthy")
	})
}

func TestDeadTargetIsDialledInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a b", nil)
		w.set("a", true)
		w.send(1, "a", lb.Outcome{Kind: lb.ConnectFailed})
		equal(t, "one failed dial", w.states(), "unreachable healthy")
		for range 60 {
			target, err := w.Acquire(new(lb.Pick))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "target", target.Name(), "http://b")
			w.Release(target, lb.Outcome{Kind: lb.Success, Status: 200})
			time.Sleep(time.Second)
		}
		if n := w.count(w.dials, "a"); n < 55 || n > 75 {
			t.Errorf("%d dials in a minute, want about one a second", n)
		}
		w.set("a", false)
		time.Sleep(1100 * time.Millisecond)
		equal(t, "within one redial", w.states(), "healthy healthy")

		// It dies again: that is not forgotten, and all of it ends with Stop.
		w.set("a", true)
		w.send(1, "a", lb.Outcome{Kind: lb.ConnectFailed})
		equal(t, "dead again", w.states(), "unreachable healthy")
	})
}

func TestAllDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a b c", nil)
		for _, name := range []string{"a", "b", "c"} {
			w.set(name, true)
			w.send(1, name, lb.Outcome{Kind: lb.ConnectFailed})
		}
		for range 1000 {
			_, err := w.Acquire(new(lb.Pick))
			equal(t, "error", err, lb.ErrNoTarget)
			time.Sleep(time.Millisecond)
		}
		for _, name := range []string{"a", "b", "c"} {
			w.set(name, false)
		}
		time.Sleep(1100 * time.Millisecond)
		equal(t, "within one redial", w.states(), "healthy healthy healthy")
	})
}

func TestOutlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a b c d e", func(c *config.Upstream) {
			c.Health.Passive.Failures = 0
			c.Health.Passive.Outlier = 1.5
		})
		chance := rand.New(rand.NewPCG(1, 1))
		rates := map[string]float64{"a": 0.99, "b": 0.98, "c": 0.6, "d": 0.97, "e": 0.99}
		minute := func(n int) {
			for range n {
				target, err := w.Acquire(new(lb.Pick))
				if err != nil {
					t.Fatal(err)
				}
				o := lb.Outcome{Kind: lb.Success, Status: 200}
				if chance.Float64() > rates[strings.TrimPrefix(target.Name(), "http://")] {
					o.Status = 500
				}
				w.Release(target, o)
			}
			time.Sleep(10 * time.Second)
		}
		minute(5) // so that there is a first count
		minute(300)
		equal(t, "too few exchanges each", w.states(), "healthy healthy healthy healthy healthy")
		minute(2000)
		equal(t, "enough", w.states(), "healthy healthy ejected healthy healthy")
		// If all do about as well, no target is ejected.
		rates = map[string]float64{"a": 0.99, "b": 0.96, "c": 0.96, "d": 0.99, "e": 0.99}
		time.Sleep(10 * time.Second)
		w.send(1, "c", lb.Outcome{Kind: lb.Success, Status: 200})
		minute(2000)
		minute(2000)
		equal(t, "all alike", w.states(), "healthy healthy healthy healthy healthy")
	})
}

func TestStopWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", probing)
		w.set("a", true)
		w.send(1, "a", lb.Outcome{Kind: lb.ConnectFailed})
		w.m.Stop()
		before := w.count(w.probes, "a") + w.count(w.dials, "a")
		time.Sleep(time.Hour)
		equal(t, "probes and dials after Stop", w.count(w.probes, "a")+w.count(w.dials, "a"), before)
		w.m.Stop() // twice does no harm
	})
}

func TestCheck(t *testing.T) {
	check := func(want string, set func(*config.Health)) {
		t.Helper()
		cfg := config.DefaultUpstream()
		set(&cfg.Health)
		var got []string
		for _, p := range health.Check(&cfg) {
			got = append(got, p.Error())
		}
		equal(t, "problems", strings.Join(got, "\n"), want)
	}
	check("", func(*config.Health) {})
	check("", func(h *config.Health) { h.Probe, h.Status = "grpc", []string{"200", "300-399"} })
	check(`health.probe: found "https": want one of "off", "http", "tcp", "grpc"; did you mean "http"?`,
		func(h *config.Health) { h.Probe = "https" })
	const want = `: want a status such as "200" or a range such as "200-299", from 100 to 599`
	check(`health.status[0]: found "2xx"`+want+"\n"+`health.status[1]: found "299-200"`+want,
		func(h *config.Health) { h.Status = []string{"2xx", "299-200"} })
	check(`health.status: found nothing: want at least one status or range such as "200-299"`,
		func(h *config.Health) { h.Status = nil })
}
