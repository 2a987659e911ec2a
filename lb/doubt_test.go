package lb_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/lbtest"
)

// take acquires with p.
func (s *stand) take(p *lb.Pick) *lb.Target {
	s.Helper()
	t, err := s.Acquire(p)
	if err != nil {
		s.Fatal(err)
	}
	return t
}

// took returns the names of the targets of n exchanges that go on, separated by spaces.
func (s *stand) took(n int, once bool) string {
	var list []string
	for range n {
		list = append(list, lbtest.Name(s.take(&lb.Pick{Once: once})))
	}
	return strings.Join(list, " ")
}

// know makes every target known for answers after that time.
func (s *stand) know(latency time.Duration) {
	for range 20 * len(s.Targets()) {
		s.Release(s.take(new(lb.Pick)), lb.Outcome{Kind: lb.Success, Status: 200, Latency: latency})
	}
}

// Whatever the algorithm, an exchange that cannot be repeated does not go where the last answer
// was a failure, until another exchange has succeeded there.
func TestFailureKeepsExchangesAwayThatCannotBeRepeated(t *testing.T) {
	for _, algorithm := range names() {
		if algorithm == "ewma" {
			continue // it avoids what was slow, and is with TestNoExchangeIsRisked
		}
		s := newStand(t, "a b c*5", func(c *config.Upstream) { c.Balance = algorithm })
		check := func(what string, want bool) {
			t.Helper()
			s.Once = true
			got := s.Picks(60, lb.Outcome{Kind: lb.Success, Status: 404, Latency: time.Millisecond})
			s.Once = false
			if strings.Contains(got, "c") != want {
				t.Errorf("%s, %s: c is picked is %v: %s", algorithm, what, !want, got)
			}
		}
		check("at first", true)
		for _, failure := range []lb.Outcome{busy, timedOut, {Kind: lb.Reset}, {Kind: lb.BadResponse}} {
			s.on("c", failure)
			check(failure.String(), false)
			equal(t, algorithm+": state", s.Target("c").State(), lb.Healthy)
			if got := s.Picks(60, cancelled); !strings.Contains(got, "c") {
				t.Errorf("%s: exchanges that can be repeated go past c: %s", algorithm, got)
			}
			s.on("c", ok)
			check("after a success", true)
		}
		for _, other := range []lb.Outcome{cancelled, {Kind: lb.LocalError}, internal} {
			s.on("c", other)
			check(other.String(), true)
		}
	}
}

// An upstream that has no exchanges which can be repeated finds out by the others, one at a time.
func TestFailedTargetIsTriedAgain(t *testing.T) {
	s := newStand(t, "a b", nil)
	s.on("b", timedOut)
	s.Once = true
	equal(t, "at first", s.Picks(4, ok), "a a a a")
	s.Pass(10*time.Second - 1)
	equal(t, "before the time of an ejection", s.Picks(4, ok), "a a a a")
	s.Pass(1)
	equal(t, "after it", strings.Count(s.took(10, true), "b"), 1)
	s.Pass(10 * time.Second)
	equal(t, "another one", strings.Contains(s.Picks(4, ok), "b"), true)
}

// With no other target there, a target in doubt is better than none.
func TestAllAreInDoubt(t *testing.T) {
	for _, algorithm := range names() {
		s := newStand(t, "a b c", func(c *config.Upstream) { c.Balance, c.Health.Passive.Failures = algorithm, 0 })
		s.Picks(60, busy)
		s.Once = true
		if got := s.Picks(60, busy); strings.Contains(got, "(") || len(s.Shares(60, 1)) != 3 {
			t.Errorf("%s: got %s", algorithm, got)
		}
	}
}

// Those who belong to a target stay with it.
func TestDoubtPartsNobody(t *testing.T) {
	s := newStand(t, "a b c", func(c *config.Upstream) { c.Sticky.Cookie = "at" })
	s.on("b", busy)
	b := s.Target("b")
	for range 10 {
		for what, p := range map[string]lb.Pick{
			"cookie":     {Sticky: []byte(b.Cookie())},
			"preference": {Prefer: []lb.Identity{b.Identity()}},
		} {
			p.Once = true
			target := s.take(&p)
			equal(t, what, target.Same(b), true)
			s.Release(target, cancelled)
		}
	}
	s = newStand(t, "a b c", func(c *config.Upstream) { c.Balance = "hash" })
	key := func() string {
		p := lb.Pick{Once: true}
		p.SetKey([]byte("key"))
		target := s.take(&p)
		defer s.Release(target, busy)
		return lbtest.Name(target)
	}
	equal(t, "key", key(), key())
}

// A target that owes answers for much longer than usual gets a few exchanges that can be
// repeated, and none that cannot.
func TestSilence(t *testing.T) {
	check := func(usual, tolerance time.Duration) {
		t.Run(usual.String(), func(t *testing.T) {
			s := newStand(t, "a b c", nil)
			s.know(usual)
			answer := func(once bool) string {
				target := s.take(&lb.Pick{Once: once})
				if name := lbtest.Name(target); name == "c" {
					return name // which never answers
				}
				s.Release(target, lb.Outcome{Kind: lb.Success, Status: 200, Latency: usual})
				return ""
			}
			round := func(once bool) string { return answer(once) + answer(once) + answer(once) }
			equal(t, "while all is well", round(true), "c")
			s.Pass(tolerance)
			equal(t, "just in time", round(true), "c")
			s.Pass(1)
			equal(t, "silent", round(true)+round(true)+round(true), "")
			equal(t, "for one that can be repeated", round(false)+round(false)+round(false), "c")
			var gaps []time.Duration
			last := s.Clock.Load()
			for range 1000 {
				s.Pass(tolerance / 10)
				if round(false) == "c" {
					gaps = append(gaps, time.Duration(s.Clock.Load()-last))
					last = s.Clock.Load()
				}
				equal(t, "still silent", round(true), "")
			}
			if len(gaps) < 5 || len(gaps) > 8 {
				t.Errorf("%d exchanges find out about c, want few: %v", len(gaps), gaps)
			}
			for i := 1; i < len(gaps); i++ {
				if gaps[i] < gaps[i-1]*3/2 {
					t.Errorf("the gaps do not grow: %v", gaps)
				}
			}
		})
	}
	check(time.Microsecond, 20*time.Millisecond)
	check(time.Millisecond, 20*time.Millisecond)
	check(100*time.Millisecond, 400*time.Millisecond)
}

// Signs of life, and what is none.
func TestSignsOfLife(t *testing.T) {
	check := func(what string, silent bool, end func(s *stand, first, second *lb.Target)) {
		t.Helper()
		s := newStand(t, "a b", nil)
		s.know(time.Millisecond)
		first := s.take(&lb.Pick{Prefer: []lb.Identity{s.Target("b").Identity()}})
		s.Pass(10 * time.Millisecond)
		second := s.take(&lb.Pick{Prefer: []lb.Identity{s.Target("b").Identity()}})
		end(s, first, second)
		s.Pass(time.Minute)
		equal(t, what, !strings.Contains(s.took(2, true), "b"), silent)
	}
	check("nothing", true, func(s *stand, first, second *lb.Target) {})
	check("an answer", false, func(s *stand, first, second *lb.Target) { s.Release(second, ok) })
	check("an answer that is late", true, func(s *stand, first, second *lb.Target) {
		s.Release(second, lb.Outcome{Kind: lb.Success, Status: 200, Latency: time.Second})
	})
	check("all answers, late", false, func(s *stand, first, second *lb.Target) {
		for _, target := range []*lb.Target{first, second} {
			s.Release(target, lb.Outcome{Kind: lb.Success, Status: 200, Latency: time.Second})
		}
	})
	check("the head of an answer", false, func(s *stand, first, second *lb.Target) { s.Heard(second, time.Millisecond) })
	check("the head of an endless answer", false, func(s *stand, first, second *lb.Target) { s.Report(second, ok) })
	check("a client that left", true, func(s *stand, first, second *lb.Target) { s.Release(second, cancelled) })
	check("all clients left", false, func(s *stand, first, second *lb.Target) {
		s.Release(first, cancelled)
		s.Release(second, cancelled)
	})
	check("a long poll beside other answers", false, func(s *stand, first, second *lb.Target) {
		s.Release(second, ok)
		s.Pass(time.Second)
		s.Release(s.take(&lb.Pick{Prefer: []lb.Identity{s.Target("b").Identity()}}), ok)
	})
	// Nothing is usual for an upstream that has never answered.
	s := newStand(t, "a b", nil)
	s.took(2, true)
	s.Pass(time.Hour)
	equal(t, "nothing is known", s.took(2, true), "a b")
}

// A target that has become slow for good gets its share again, and not before that is sure.
func TestSlownessBecomesUsual(t *testing.T) {
	const slow = 50 * time.Millisecond
	s := newStand(t, "a b", nil)
	for range 100 {
		s.know(time.Millisecond)
	}
	silent := func() bool {
		b := s.take(&lb.Pick{Prefer: []lb.Identity{s.Target("b").Identity()}})
		s.Pass(slow - 1)
		got := s.Picks(1, ok) + s.Picks(1, ok)
		s.Pass(1)
		s.Release(b, lb.Outcome{Kind: lb.Success, Status: 200, Latency: slow})
		return !strings.Contains(got, "b")
	}
	s.Once = true
	equal(t, "at first", silent(), true)
	for range 20 {
		silent()
	}
	equal(t, "after a second", silent(), true)
	for range 1200 {
		silent()
	}
	equal(t, "after a minute", silent(), false)
}

// Exchanges that can be repeated find out early whether an ejected target is well again.
func TestEarlyTrials(t *testing.T) {
	s := newStand(t, "a b", nil)
	b := s.Target("b")
	s.Eject(b, "test")
	s.Pass(time.Second - 1)
	equal(t, "before a tenth", s.Picks(4, ok), "a a a a")
	s.Pass(1)
	s.Once = true
	equal(t, "not by one that cannot be repeated", s.Picks(4, ok), "a a a a")
	s.Once = false
	equal(t, "one at a time", strings.Count(s.took(6, false), "b"), 1)

	// It is not found out if that costs an answer.
	s = newStand(t, "a b", func(c *config.Upstream) { c.Retry.On = []string{"connect", "reset", "timeout"} })
	s.on("b", busy)
	s.Eject(s.Target("b"), "test")
	s.Pass(9 * time.Second)
	equal(t, "a failure that is not repeated", s.Picks(4, ok), "a a a a")
	s.Pass(time.Second)
	equal(t, "a failure that is not repeated, after the time", strings.Contains(s.Picks(4, ok), "b"), true)

	s = newStand(t, "a b", func(c *config.Upstream) { c.Retry.On = []string{"timeout", "503"} })
	b = s.Target("b")
	s.Eject(b, "test")

	// Failures put the next trial off by another tenth; the time of the ejection does not grow.
	for i := range 9 {
		s.Pass(time.Second)
		s.on("b", timedOut)
		equal(t, fmt.Sprint("failed ", i), b.State(), lb.Ejected)
		equal(t, fmt.Sprint("after failure ", i), s.Picks(4, ok), "a a a a")
	}
	// After it, a failure does let it grow.
	s.Pass(time.Second)
	s.on("b", busy)
	s.Pass(2*time.Second - 1)
	equal(t, "before a tenth of 20 s", s.Picks(4, ok), "a a a a")
	s.Pass(1)
	s.on("b", internal) // the target answers again
	equal(t, "after a success", b.State(), lb.Healthy)
	s.Once = true
	equal(t, "others too", strings.Contains(s.Picks(4, ok), "b"), true)
}

// 500 may be the fault of a page: it ejects no target unless the configuration says so, but
// counts in shares.
func TestStatuses(t *testing.T) {
	s := newStand(t, "a b", func(c *config.Upstream) { c.Breaker.Failures = 0.9 })
	s.watch()
	s.Picks(19, internal)
	for _, target := range s.Targets() {
		equal(t, "state after errors", target.State(), lb.Healthy)
		_, bad, inARow := target.Counts()
		equal(t, "bad", bad > 0, true)
		equal(t, "in a row", inARow, 0)
	}
	equal(t, "breaker", s.Breaker(), lb.BreakerClosed)
	s.Picks(1, internal)
	equal(t, "breaker after as many as it takes", s.Breaker(), lb.BreakerOpen)

	// An error neither forgives nor adds.
	s = newStand(t, "a b", nil)
	s.watch()
	for _, o := range []lb.Outcome{busy, internal, busy, internal} {
		s.on("b", o)
	}
	equal(t, "two failures", s.Target("b").State(), lb.Healthy)
	s.on("b", busy)
	equal(t, "three failures", s.Target("b").State(), lb.Ejected)

	s = newStand(t, "a b", func(c *config.Upstream) { c.Health.Passive.Statuses = []string{"500", "429"} })
	s.watch()
	for range 5 {
		s.on("b", busy)
	}
	equal(t, "503 is not among them", s.Target("b").State(), lb.Healthy)
	for range 2 {
		s.on("b", internal)
	}
	s.on("b", lb.Outcome{Kind: lb.Success, Status: 429})
	equal(t, "500 and 429 are", s.Target("b").State(), lb.Ejected)
}

// Over any course of events: an exchange that cannot be repeated never goes to a target whose
// last answer was a failure, or that owes an answer for too long, while there is another one;
// and no exchange goes without a target while one is usable.
func TestNoExchangeIsRisked(t *testing.T) {
	for _, algorithm := range []string{"round_robin", "random", "least_connections", "p2c", "ewma"} {
		for seed := range uint64(20) {
			chance := rand.New(rand.NewPCG(seed, 7))
			s := newStand(t, "a b*3 c d*2", func(c *config.Upstream) {
				c.Balance = algorithm
				c.Health.Passive.Eject, c.Health.Passive.EjectMax = config.Duration(time.Hour), config.Duration(time.Hour)
			})
			s.know(time.Millisecond)
			w := courses{stand: s, running: map[string][]running{}, failed: map[string]bool{}, asked: map[string]int64{}}
			for range 400 {
				w.step(chance)
				if t.Failed() {
					t.Fatalf("%s, seed %d", algorithm, seed)
				}
			}
		}
	}
}

// courses is a stand, and what a simple model knows of its targets.
type courses struct {
	*stand
	running map[string][]running
	failed  map[string]bool
	asked   map[string]int64 // since when there was no sign; 0: none is due
}

type running struct {
	target *lb.Target
	began  int64
}

func (w *courses) doubted(name string) bool {
	asked := w.asked[name]
	return w.failed[name] || asked != 0 && w.Clock.Load()-asked > int64(20*time.Millisecond)
}

func (w *courses) step(chance *rand.Rand) {
	w.Helper()
	w.Pass(time.Duration(chance.IntN(4000)) * time.Microsecond)
	now := w.Clock.Load()
	if chance.IntN(2) == 0 {
		well := 0
		for _, t := range w.Targets() {
			if !w.doubted(lbtest.Name(t)) {
				well++
			}
		}
		p := lb.Pick{Once: chance.IntN(2) == 0}
		t := w.take(&p)
		name := lbtest.Name(t)
		if p.Once && well > 0 && w.doubted(name) {
			w.Errorf("an exchange goes to %s, which is in doubt; %d are well", name, well)
		}
		w.running[name] = append(w.running[name], running{t, now})
		if w.asked[name] == 0 {
			w.asked[name] = now
		}
		return
	}
	name := string("abcd"[chance.IntN(4)])
	list := w.running[name]
	if len(list) == 0 {
		return
	}
	i := chance.IntN(len(list))
	r := list[i]
	o := []lb.Outcome{ok, ok, ok, busy, timedOut, cancelled, internal}[chance.IntN(7)]
	if o.Kind == lb.Success {
		o.Latency = time.Duration(now - r.began)
		if o.Latency <= 20*time.Millisecond {
			w.asked[name] = 0
		} else {
			o = timedOut // so that the usual latency stays
		}
	}
	w.running[name] = append(list[:i:i], list[i+1:]...)
	w.Release(r.target, o)
	if len(list) == 1 {
		w.asked[name] = 0
	}
	switch o.Kind {
	case lb.Success:
		w.failed[name] = o.Status == 503 || w.failed[name] && o.Status == 500
	case lb.Timeout:
		w.failed[name] = true
	}
}
