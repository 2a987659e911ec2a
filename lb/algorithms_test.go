package lb_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
)

func balance(name string) func(*config.Upstream) {
	return func(c *config.Upstream) { c.Balance = name }
}

func TestRoundRobin(t *testing.T) {
	check := func(targets, want string) {
		t.Helper()
		n := len(strings.Fields(want))
		equal(t, targets, newStand(t, targets, nil).picks(n, ok), want)
	}
	check("a b c", "a b c a b c")
	// Smooth: the turns of the heavy one are spread.
	check("a*3 b*1", "a a b a a a b a")
	check("a*5 b*1 c*1", "a a a b c a a a a a b c a a")
	// Only the ratio matters.
	check("a*200 b*100", "a b a a b a")
	check("a*7 b*7", "a b a b")
}

func TestRoundRobinStaysFair(t *testing.T) {
	// The share of a target that is out goes to all others evenly, not to its neighbour.
	s := newStand(t, "a b c d", nil)
	s.SetDown(s.target("b"), "test")
	equal(t, "b down", s.picks(6, ok), "a c d a c d")

	// At no time is a target more than one turn ahead of or behind its share.
	s = newStand(t, "a*13 b*7 c*3 d*1", nil)
	got := map[string]int{}
	for i := 1; i <= 480; i++ {
		got[s.picks(1, ok)]++
		for name, weight := range map[string]int{"a": 13, "b": 7, "c": 3, "d": 1} {
			if d := float64(got[name]) - float64(i*weight)/24; d > 1 || d < -1 {
				t.Fatalf("after %d picks %s had %d, which is %.1f turns off", i, name, got[name], d)
			}
		}
	}

	// Weights whose exact schedule would be too long are rounded.
	s = newStand(t, "a*999983 b*500009", nil)
	shares := s.shares(30000, 1)
	about(t, "a", shares["a"], 20000, 0.01)
	about(t, "b", shares["b"], 10000, 0.01)
}

func TestRandom(t *testing.T) {
	shares := newStand(t, "a b*2 c*7", balance("random")).shares(20000, 1)
	about(t, "a", shares["a"], 2000, 0.1)
	about(t, "b", shares["b"], 4000, 0.1)
	about(t, "c", shares["c"], 14000, 0.1)

	// Nearly all are out: the rest is found, and evenly.
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
	}
	s := newStand(t, strings.Join(names, " "), func(c *config.Upstream) {
		c.Balance = "random"
		c.Health.PanicBelow = 0
	})
	for i, target := range s.Targets() {
		if i != 70 && i != 71 {
			s.SetDown(target, "test")
		}
	}
	shares = s.shares(2000, 1)
	about(t, "t70", shares["t70"], 1000, 0.1)
	about(t, "t71", shares["t71"], 1000, 0.1)
}

func TestLeastConnections(t *testing.T) {
	// Idle targets take turns by weight.
	equal(t, "idle", newStand(t, "a*2 b", balance("least_connections")).picks(6, ok), "a b a a b a")

	// Running exchanges are as many as the weights say.
	s := newStand(t, "a*2 b c", balance("least_connections"))
	for range 40 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "on a", s.target("a").InFlight(), 20)
	equal(t, "on b", s.target("b").InFlight(), 10)
	equal(t, "on c", s.target("c").InFlight(), 10)

	// A busy target is left alone.
	s = newStand(t, "a b", balance("least_connections"))
	if _, err := s.Acquire(new(lb.Pick)); err != nil {
		t.Fatal(err)
	}
	equal(t, "a busy", s.picks(4, ok), "b b b b")
}

func TestPowerOfTwo(t *testing.T) {
	// Idle targets are drawn by weight.
	shares := newStand(t, "a b*3", balance("p2c")).shares(8000, 1)
	about(t, "a", shares["a"], 2000, 0.1)
	about(t, "b", shares["b"], 6000, 0.1)

	// Many running exchanges are spread far more evenly than by chance.
	s := newStand(t, "a b c d e f g h i j", balance("p2c"))
	for range 1000 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range s.Targets() {
		about(t, target.Name(), target.InFlight(), 100, 0.05)
	}

	// Of two, the busy one is never picked.
	s = newStand(t, "a b", balance("p2c"))
	busy, err := s.Acquire(new(lb.Pick))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.picks(50, ok); strings.Contains(got, name(busy)) {
		t.Errorf("%s was busy: got %s", name(busy), got)
	}
}

// serve sends n exchanges, one every millisecond, to targets of these latencies.
func serve(s *stand, n int, latency map[string]time.Duration) map[string]int {
	type running struct {
		target *lb.Target
		end    int64
	}
	got := map[string]int{}
	var open []running
	for range n {
		now := s.clock.Load()
		for i := 0; i < len(open); {
			if open[i].end > now {
				i++
				continue
			}
			s.Release(open[i].target, lb.Outcome{Kind: lb.Success, Status: 200, Latency: latency[name(open[i].target)]})
			open = append(open[:i], open[i+1:]...)
		}
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			s.Fatal(err)
		}
		got[name(target)]++
		open = append(open, running{target, now + int64(latency[name(target)])})
		s.pass(time.Millisecond)
	}
	for _, r := range open {
		s.Release(r.target, ok)
	}
	return got
}

func TestPeakEWMA(t *testing.T) {
	// Equal targets get equal shares.
	latency := map[string]time.Duration{"a": 5e6, "b": 5e6, "c": 5e6}
	s := newStand(t, "a b c", balance("ewma"))
	shares := serve(s, 3000, latency)
	for _, name := range []string{"a", "b", "c"} {
		about(t, name, shares[name], 1000, 0.15)
	}

	// One becomes slow: nearly nothing goes there any more.
	latency["c"] = 500e6
	shares = serve(s, 3000, latency)
	if shares["c"] > 100 {
		t.Errorf("slow target got %d of 3000", shares["c"])
	}
	// It is fast again: its share comes back.
	latency["c"] = 5e6
	serve(s, 30000, latency)
	about(t, "c after recovery", serve(s, 3000, latency)["c"], 1000, 0.2)

	// A target without a latency yet is not flooded.
	if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://a"}, {URL: "http://b"}, {URL: "http://c"}, {URL: "http://new"}}); err != nil {
		t.Fatal(err)
	}
	latency["new"] = 200e6
	if got := serve(s, 100, latency)["new"]; got == 0 || got > 35 {
		t.Errorf("the new target got %d of the first 100", got)
	}
}

// keys returns where n keys go.
func keys(s *stand, n int) map[string]string {
	s.Helper()
	got := make(map[string]string, n)
	for i := range n {
		key := fmt.Sprint("10.0.", i/256, ".", i%256)
		var p lb.Pick
		p.SetKey([]byte(key))
		target, err := s.Acquire(&p)
		if err != nil {
			s.Fatal(err)
		}
		got[key] = name(target)
		s.Release(target, ok)
	}
	return got
}

// moved counts the keys that go elsewhere, but for those that were on gone.
func moved(before, after map[string]string, gone string) (stray, forced int) {
	for key, was := range before {
		switch {
		case was == gone:
			forced++
		case after[key] != was:
			stray++
		}
	}
	return stray, forced
}

func TestHashIsStable(t *testing.T) {
	const n = 20000
	for _, size := range []int{2, 3, 5, 10, 40, 100} {
		var names []string
		for i := range size {
			names = append(names, fmt.Sprint("t", i))
		}
		s := newStand(t, strings.Join(names, " "), balance("hash"))
		before := keys(s, n)
		if !maps.Equal(before, keys(s, n)) {
			t.Errorf("%d targets: keys do not stay", size)
		}
		gone := names[rand.IntN(size)]

		// A target that is out moves exactly its own keys, and they come back.
		if size > 2 {
			s.SetDown(s.target(gone), "test")
			stray, _ := moved(before, keys(s, n), gone)
			equal(t, fmt.Sprint(size, " targets: keys moved without need when one is out"), stray, 0)
			s.SetUp(s.target(gone))
			if !maps.Equal(before, keys(s, n)) {
				t.Errorf("%d targets: keys do not come back", size)
			}
		}

		// A target that is removed moves its own keys, which are about 1/size, and few others.
		left := strings.Join(strings.Fields(strings.ReplaceAll(" "+strings.Join(names, " ")+" ", " "+gone+" ", " ")), " ")
		stray, forced := moved(before, keys(newStand(t, left, balance("hash")), n), gone)
		about(t, fmt.Sprint(size, " targets: keys on the one that is gone"), forced, float64(n)/float64(size), 0.25)
		if limit := max(n/size/2, n*3/100); stray > limit {
			t.Errorf("%d targets: %d other keys moved, want at most %d", size, stray, limit)
		}
	}
}

func TestHashDoesNotDependOnOrder(t *testing.T) {
	a := keys(newStand(t, "a b*2 c", balance("hash")), 1000)
	b := keys(newStand(t, "c a b*2", balance("hash")), 1000)
	if !maps.Equal(a, b) {
		t.Error("keys moved when the order of the targets changed")
	}
}

func TestHashWeights(t *testing.T) {
	got := map[string]int{}
	for _, name := range keys(newStand(t, "a b*2 c*5", balance("hash")), 16000) {
		got[name]++
	}
	about(t, "a", got["a"], 2000, 0.1)
	about(t, "b", got["b"], 4000, 0.1)
	about(t, "c", got["c"], 10000, 0.1)
}

func TestHashBoundedLoad(t *testing.T) {
	s := newStand(t, "a b c d", func(c *config.Upstream) {
		c.Balance = "hash"
		c.Hash.BoundedLoad = 1.25
	})
	// All exchanges have the same key.
	for range 400 {
		var p lb.Pick
		p.SetKey([]byte("popular"))
		if _, err := s.Acquire(&p); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range s.Targets() {
		if target.InFlight() > 126 {
			t.Errorf("%s has %d of 400 running exchanges, want at most 126", target.Name(), target.InFlight())
		}
	}
}

func TestHashWithoutKey(t *testing.T) {
	shares := newStand(t, "a b", balance("hash")).shares(2000, 1)
	about(t, "a", shares["a"], 1000, 0.1)
}

func TestHashSource(t *testing.T) {
	check := func(by, kind, name string) {
		t.Helper()
		s := newStand(t, "a", func(c *config.Upstream) { c.Balance, c.Hash.By = "hash", by })
		equal(t, by, s.HashSource(), lb.HashSource{Kind: kind, Name: name})
	}
	check("client_address", "client_address", "")
	check("path", "path", "")
	check("header:X-User", "header", "X-User")
	check("cookie:id", "cookie", "id")
	check("query:q", "query", "q")
	equal(t, "round_robin", newStand(t, "a", nil).HashSource(), lb.HashSource{})
}

func TestSticky(t *testing.T) {
	for _, algorithm := range lb.Algorithms() {
		s := newStand(t, "a b c", func(c *config.Upstream) {
			c.Balance = algorithm
			c.Sticky.Cookie = "weir"
		})
		c := s.target("c")
		follow := func() string {
			p := lb.Pick{Sticky: []byte(c.Cookie())}
			target, err := s.Acquire(&p)
			if err != nil {
				t.Fatal(err)
			}
			s.Release(target, ok)
			return name(target)
		}
		for range 10 {
			equal(t, algorithm, follow(), "c")
		}
		s.SetDown(c, "test")
		if got := follow(); got == "c" {
			t.Errorf("%s: a cookie leads to a target that is down", algorithm)
		}
		s.SetUp(c)
		equal(t, algorithm+", up again", follow(), "c")

		// A retry does not go back.
		p := lb.Pick{Sticky: []byte(c.Cookie())}
		first, _ := s.Acquire(&p)
		second, err := s.Acquire(&p)
		if err != nil || first == second {
			t.Errorf("%s: the second attempt went to %v, %v", algorithm, second, err)
		}
	}
}

func TestStickyCookie(t *testing.T) {
	check := func(want string, overTLS bool, set func(*config.Sticky)) {
		t.Helper()
		s := newStand(t, "a", func(c *config.Upstream) {
			c.Sticky.Cookie = "weir"
			set(&c.Sticky)
		})
		a := s.target("a")
		got := string(s.Sticky().AppendSetCookie(nil, a, overTLS))
		equal(t, "Set-Cookie", strings.Replace(got, a.Cookie(), "VALUE", 1), want)
		if strings.Contains(got, "a=") || len(a.Cookie()) != 24 {
			t.Errorf("cookie %q", got)
		}
	}
	check("weir=VALUE; Path=/; HttpOnly; SameSite=Lax", false, func(*config.Sticky) {})
	check("weir=VALUE; Path=/; HttpOnly; SameSite=Lax; Secure", true, func(*config.Sticky) {})
	check("weir=VALUE; Path=/x; Max-Age=3600; SameSite=None; Secure", false, func(s *config.Sticky) {
		*s = config.Sticky{Cookie: "weir", Path: "/x", MaxAge: config.Duration(time.Hour), Secure: "always", SameSite: "none"}
	})
	// The secret changes the value; without one it is the same everywhere.
	value := func(secret string) string {
		return newStand(t, "a", func(c *config.Upstream) {
			c.Sticky.Cookie, c.Sticky.Secret = "weir", secret
		}).target("a").Cookie()
	}
	equal(t, "same secret", value("x"), value("x"))
	if value("x") == value("y") {
		t.Error("the secret does not change the value")
	}
	if newStand(t, "a", nil).Sticky() != nil {
		t.Error("a cookie without its name")
	}
}

func TestSlowStart(t *testing.T) {
	for _, algorithm := range lb.Algorithms() {
		s := newStand(t, "a b", func(c *config.Upstream) {
			c.Balance = algorithm
			c.SlowStart = config.Duration(100 * time.Second)
		})
		part := func(running int) float64 {
			got := map[string]int{}
			var open []*lb.Target
			const n = 4000
			for i := range n {
				var p lb.Pick
				p.SetKey(fmt.Append(nil, i))
				target, err := s.Acquire(&p)
				if err != nil {
					t.Fatal(err)
				}
				got[name(target)]++
				if open = append(open, target); len(open) > running {
					s.Release(open[0], ok)
					open = open[1:]
				}
			}
			for _, target := range open {
				s.Release(target, ok)
			}
			return float64(got["b"]) / n
		}
		within := func(what string, got, least, most float64) {
			t.Helper()
			if got < least || got > most {
				t.Errorf("%s, %s: b got %.3f of all, want %.2f to %.2f", algorithm, what, got, least, most)
			}
		}
		// At the start of everything nothing is cold in comparison.
		equal(t, algorithm+", at first", s.target("b").State(), lb.Healthy)

		s.SetDown(s.target("b"), "test")
		s.SetUp(s.target("b"))
		equal(t, algorithm+", recovered", s.target("b").State(), lb.SlowStart)
		for _, running := range []int{0, 40} {
			what := fmt.Sprint(running, " running")
			within(what+", at once", part(running), 0.02, 0.12)
		}
		s.pass(50 * time.Second)
		for _, running := range []int{0, 40} {
			within(fmt.Sprint(running, " running, half time"), part(running), 0.2, 0.36)
		}
		s.pass(51 * time.Second)
		within("full time", part(0), 0.4, 0.6)
		equal(t, algorithm+", after it", s.target("b").State(), lb.Healthy)

		// One that joins warms up too, and alone it gets everything.
		if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://a"}, {URL: "http://b"}, {URL: "http://c"}}); err != nil {
			t.Fatal(err)
		}
		equal(t, algorithm+", joined", s.target("c").State(), lb.SlowStart)
		s.SetDrain(s.target("a"), true)
		s.SetDrain(s.target("b"), true)
		equal(t, algorithm+", alone", s.picks(3, ok), "c c c")
	}
}
