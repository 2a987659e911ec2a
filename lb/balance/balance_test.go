package balance_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/lb"
	"weir/lb/lbtest"
)

var ok = lb.Outcome{Kind: lb.Success, Status: 200, Latency: time.Millisecond}

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

func named(name string) func(*config.Upstream) {
	return func(c *config.Upstream) { c.Balance = name }
}

func TestRoundRobin(t *testing.T) {
	check := func(targets, want string) {
		t.Helper()
		n := len(strings.Fields(want))
		equal(t, targets, lbtest.New(t, targets, nil).Picks(n, ok), want)
	}
	check("a b c", "a b c a b c")
	// Smooth: the turns of the heavy one are spread.
	check("a*3 b*1", "a a a b a a a b")
	check("a*5 b*1 c*1", "a a a b a a c a a a b a a c")
	// Also that of many light ones, which do not stand in a block.
	check("a*5 b c d e", "a a b a c a d a e a a b a c a d a e")
	check("a*4 b c d e", "a b a c a d a e a b a c a d a e")
	// Only the ratio matters.
	check("a*200 b*100", "a a b a a b")
	check("a*7 b*7", "a b a b")
}

func TestRoundRobinStaysFair(t *testing.T) {
	// The share of a target that is out goes to all others evenly, not to its neighbour.
	s := lbtest.New(t, "a b c d", nil)
	s.SetDown(s.Target("b"), "test")
	equal(t, "b down", s.Picks(6, ok), "a c d a c d")

	// At no time is a target more than one turn ahead of or behind its share, whatever the
	// weights.
	within := func(weights ...int) {
		t.Helper()
		var targets []string
		total := 0
		for i, w := range weights {
			targets = append(targets, fmt.Sprintf("t%d*%d", i, w))
			total += w
		}
		s := lbtest.New(t, strings.Join(targets, " "), nil)
		got := make(map[string]int)
		for i := 1; i <= 2*total; i++ {
			got[s.Picks(1, ok)]++
			for k, w := range weights {
				name := fmt.Sprint("t", k)
				if d := float64(got[name]) - float64(i*w)/float64(total); d > 1 || d < -1 {
					t.Fatalf("%v: after %d picks %s had %d, which is %.1f turns off", weights, i, name, got[name], d)
				}
			}
		}
	}
	within(13, 7, 3, 1)
	within(5, 1, 1, 1, 1)
	within(append([]int{20}, slices.Repeat([]int{1}, 20)...)...)
	within(append([]int{1}, slices.Repeat([]int{2}, 30)...)...)
	for range 30 {
		var weights []int
		for range 2 + rand.IntN(12) {
			weights = append(weights, 1+rand.IntN(1+rand.IntN(30)))
		}
		within(weights...)
	}

	// Where the heaviest ones are out, the others keep their shares.
	s = lbtest.New(t, "a*60000 b*2 c*1 d*50000", func(c *config.Upstream) { c.Health.PanicBelow = 0 })
	s.SetDown(s.Target("a"), "test")
	s.SetDown(s.Target("d"), "test")
	shares := s.Shares(3000, 1)
	about(t, "b of the light ones", shares["b"], 2000, 0.1)

	// Weights whose exact schedule would be too long are rounded.
	s = lbtest.New(t, "a*999983 b*500009", nil)
	shares = s.Shares(30000, 1)
	about(t, "a", shares["a"], 20000, 0.01)
	about(t, "b", shares["b"], 10000, 0.01)
}

// used is the processor's time that the process has used, which other processes do not lengthen.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// No weights make a refused exchange, or the start, take long.
func TestOddWeights(t *testing.T) {
	s := lbtest.New(t, "a*99991 b*65537 c*31", func(c *config.Upstream) { c.Health.PanicBelow = 0 })
	for _, target := range s.Targets() {
		s.SetDrain(target, true)
	}
	const picks = 2000
	began := used(t)
	for range picks {
		if _, err := s.Acquire(new(lb.Pick)); err != lb.ErrNoTarget {
			t.Fatal(err)
		}
	}
	if took := used(t) - began; took > picks*100*time.Microsecond {
		t.Errorf("%d refusals took %v", picks, took)
	}
	list := make([]string, 10_000)
	for i := range list {
		list[i] = fmt.Sprint("t", i)
	}
	list[0] += "*1000000"
	began = used(t)
	lbtest.New(t, strings.Join(list, " "), named("hash"))
	if took := used(t) - began; took > 5*time.Second {
		t.Errorf("a table of weights that differ by a million took %v", took)
	}
}

func TestRandom(t *testing.T) {
	shares := lbtest.New(t, "a b*2 c*7", named("random")).Shares(20000, 1)
	about(t, "a", shares["a"], 2000, 0.1)
	about(t, "b", shares["b"], 4000, 0.1)
	about(t, "c", shares["c"], 14000, 0.1)

	// Nearly all are out: the rest is found, and evenly.
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
	}
	s := lbtest.New(t, strings.Join(names, " "), func(c *config.Upstream) {
		c.Balance = "random"
		c.Health.PanicBelow = 0
	})
	for i, target := range s.Targets() {
		if i != 70 && i != 71 {
			s.SetDown(target, "test")
		}
	}
	shares = s.Shares(2000, 1)
	about(t, "t70", shares["t70"], 1000, 0.1)
	about(t, "t71", shares["t71"], 1000, 0.1)
}

func TestLeastConnections(t *testing.T) {
	// Idle targets take turns by weight.
	equal(t, "idle", lbtest.New(t, "a*2 b", named("least_connections")).Picks(6, ok), "a a b a a b")

	// Running exchanges are as many as the weights say.
	s := lbtest.New(t, "a*2 b c", named("least_connections"))
	for range 40 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "on a", s.Target("a").InFlight(), 20)
	equal(t, "on b", s.Target("b").InFlight(), 10)
	equal(t, "on c", s.Target("c").InFlight(), 10)

	// A busy target is left alone.
	s = lbtest.New(t, "a b", named("least_connections"))
	if _, err := s.Acquire(new(lb.Pick)); err != nil {
		t.Fatal(err)
	}
	equal(t, "a busy", s.Picks(4, ok), "b b b b")
}

func TestPowerOfTwo(t *testing.T) {
	// Idle targets are drawn by weight.
	shares := lbtest.New(t, "a b*3", named("p2c")).Shares(8000, 1)
	about(t, "a", shares["a"], 2000, 0.1)
	about(t, "b", shares["b"], 6000, 0.1)

	// Many running exchanges are spread far more evenly than by chance.
	s := lbtest.New(t, "a b c d e f g h i j", named("p2c"))
	for range 1000 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range s.Targets() {
		about(t, target.Name(), target.InFlight(), 100, 0.05)
	}

	// Of more choices the least busy one gets it: with as many choices as
	// targets, nearly always the idle one.
	s = lbtest.New(t, "a b c d", func(c *config.Upstream) {
		c.Balance = "p2c"
		c.BalanceOptions = config.Table{"choices": int64(10)}
	})
	for range 3 {
		if _, err := s.Acquire(new(lb.Pick)); err != nil {
			t.Fatal(err)
		}
	}
	least := 0
	for range 1000 {
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			t.Fatal(err)
		}
		if target.InFlight() == 1 {
			least++
		}
		s.Release(target, ok)
	}
	about(t, "picks of the idle target", least, 950, 0.05)

	// Of two, the busy one is never picked.
	s = lbtest.New(t, "a b", named("p2c"))
	busy, err := s.Acquire(new(lb.Pick))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Picks(50, ok); strings.Contains(got, lbtest.Name(busy)) {
		t.Errorf("%s was busy: got %s", lbtest.Name(busy), got)
	}
}

// serve sends n exchanges, one every millisecond, to targets of these latencies.
func serve(s *lbtest.Stand, n int, latency map[string]time.Duration) map[string]int {
	type running struct {
		target *lb.Target
		end    int64
	}
	got := map[string]int{}
	var open []running
	for range n {
		now := s.Clock.Load()
		for i := 0; i < len(open); {
			if open[i].end > now {
				i++
				continue
			}
			s.Release(open[i].target, lb.Outcome{Kind: lb.Success, Status: 200, Latency: latency[lbtest.Name(open[i].target)]})
			open = append(open[:i], open[i+1:]...)
		}
		target, err := s.Acquire(new(lb.Pick))
		if err != nil {
			s.Fatal(err)
		}
		got[lbtest.Name(target)]++
		open = append(open, running{target, now + int64(latency[lbtest.Name(target)])})
		s.Pass(time.Millisecond)
	}
	for _, r := range open {
		s.Release(r.target, ok)
	}
	return got
}

func TestPeakEWMA(t *testing.T) {
	// Equal targets get equal shares.
	latency := map[string]time.Duration{"a": 5e6, "b": 5e6, "c": 5e6}
	s := lbtest.New(t, "a b c", named("ewma"))
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
func keys(s *lbtest.Stand, n int) map[string]string {
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
		got[key] = lbtest.Name(target)
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
	sizes := []int{2, 10, 100, 3, 5, 40}
	for _, size := range sizes[:testkit.Rounds(3, len(sizes))] {
		var names []string
		for i := range size {
			names = append(names, fmt.Sprint("t", i))
		}
		s := lbtest.New(t, strings.Join(names, " "), named("hash"))
		before := keys(s, n)
		if !maps.Equal(before, keys(s, n)) {
			t.Errorf("%d targets: keys do not stay", size)
		}
		gone := names[rand.IntN(size)]

		// A target that is out moves exactly its own keys, and they come back.
		if size > 2 {
			s.SetDown(s.Target(gone), "test")
			stray, _ := moved(before, keys(s, n), gone)
			equal(t, fmt.Sprint(size, " targets: keys moved without need when one is out"), stray, 0)
			s.SetUp(s.Target(gone))
			if !maps.Equal(before, keys(s, n)) {
				t.Errorf("%d targets: keys do not come back", size)
			}
		}

		// A target that is removed moves its own keys, which are about 1/size, and few others.
		left := strings.Join(strings.Fields(strings.ReplaceAll(" "+strings.Join(names, " ")+" ", " "+gone+" ", " ")), " ")
		stray, forced := moved(before, keys(lbtest.New(t, left, named("hash")), n), gone)
		about(t, fmt.Sprint(size, " targets: keys on the one that is gone"), forced, float64(n)/float64(size), 0.25)
		if limit := max(n/size/2, n*3/100); stray > limit {
			t.Errorf("%d targets: %d other keys moved, want at most %d", size, stray, limit)
		}
	}
}

func TestHashDoesNotDependOnOrder(t *testing.T) {
	a := keys(lbtest.New(t, "a b*2 c", named("hash")), 1000)
	b := keys(lbtest.New(t, "c a b*2", named("hash")), 1000)
	if !maps.Equal(a, b) {
		t.Error("keys moved when the order of the targets changed")
	}
}

func TestHashWeights(t *testing.T) {
	got := map[string]int{}
	for _, name := range keys(lbtest.New(t, "a b*2 c*5", named("hash")), 16000) {
		got[name]++
	}
	about(t, "a", got["a"], 2000, 0.1)
	about(t, "b", got["b"], 4000, 0.1)
	about(t, "c", got["c"], 10000, 0.1)
}

func TestHashBoundedLoad(t *testing.T) {
	s := lbtest.New(t, "a b c d", func(c *config.Upstream) {
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
	shares := lbtest.New(t, "a b", named("hash")).Shares(2000, 1)
	about(t, "a", shares["a"], 1000, 0.1)
}
