package lb_test

import (
	"encoding/json"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
)

// replaced returns the upstream of a process that replaces the one of s: with its memory, and a
// clock that reads something else.
func (s *stand) replaced(targets string, settings func(*config.Upstream)) *stand {
	s.Helper()
	text, err := json.Marshal(s.Memory())
	if err != nil {
		s.Fatal(err)
	}
	var m lb.Memory
	if err := json.Unmarshal(text, &m); err != nil {
		s.Fatal(err)
	}
	next := newStand(s.TB, "z", nil)
	next.Clock.Store(int64(100 * time.Hour))
	next.Options.Memory = &m
	next.Upstream = next.Build(targets, settings, nil)
	return next
}

// TestMemory: the process that replaces another one knows its targets.
func TestMemory(t *testing.T) {
	settings := func(c *config.Upstream) {
		c.Health.Passive.Eject = config.Duration(10 * time.Second)
		c.Health.Passive.EjectMax = config.Duration(time.Minute)
		c.SlowStart = config.Duration(20 * time.Second)
	}
	s := newStand(t, "a b c d e f", settings)
	s.watch()
	s.Once = true
	s.Picks(7, ok) // the next one is b
	for range 3 {
		s.on("b", busy)
	}
	s.SetDown(s.Target("c"), "no answer")
	s.SetDrain(s.Target("d"), true)
	if err := s.SetWeight(s.Target("e"), 3); err != nil {
		t.Fatal(err)
	}
	s.SetDown(s.Target("f"), "no answer")
	s.SetUp(s.Target("f"))
	if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://found", Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	s.SetDrain(s.Target("found"), true)
	s.Pass(4 * time.Second)

	n := s.replaced("a b c d e f g", settings)
	if err := n.SetEndpoints([]lb.Endpoint{{URL: "http://found", Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	equal(t, "a", n.Target("a").State(), lb.Healthy)
	equal(t, "b", n.Target("b").State(), lb.Ejected)
	equal(t, "b's reason", n.Target("b").Reason(), "three failures")
	equal(t, "c", n.Target("c").State(), lb.Down)
	equal(t, "c is probed", n.Target("c").Probed(), true)
	equal(t, "d", n.Target("d").State(), lb.Draining)
	equal(t, "e's weight", n.Target("e").Weight(), 3)
	equal(t, "e's own weight", n.Target("e").ConfiguredWeight(), 1)
	equal(t, "f", n.Target("f").State(), lb.SlowStart)
	equal(t, "g, which was not known", n.Target("g").State(), lb.Healthy)
	equal(t, "what was found", n.Target("found").State(), lb.Draining)
	good, bad, _ := n.Target("b").Counts()
	wantGood, wantBad, _ := s.Target("b").Counts()
	equal(t, "b's successes", good, wantGood)
	equal(t, "b's failures", bad, wantBad)
	equal(t, "b's latency", n.Target("b").Latency(), s.Target("b").Latency())
	equal(t, "latency of all", n.Latency(), s.Latency())
	// Times go on: b's ejection ends 10 seconds after it began, the warm-up after 20.
	n.Once = true
	n.Pass(5999 * time.Millisecond)
	equal(t, "b before the end", n.Target("b").State(), lb.Ejected)
	n.Pass(time.Millisecond)
	n.on("b", ok)
	equal(t, "b after a trial", n.Target("b").State() == lb.Ejected, false)
	n.Pass(10 * time.Second)
	n.Picks(1, ok)
	equal(t, "f after its warm-up", n.Target("f").State(), lb.Healthy)
}

// TestMemoryPosition: round robin goes on where it was.
func TestMemoryPosition(t *testing.T) {
	s := newStand(t, "a b c", nil)
	equal(t, "before", s.Picks(4, ok), "a b c a")
	equal(t, "after", s.replaced("a b c", nil).Picks(3, ok), "b c a")
}

// TestMemoryBreaker: an open circuit breaker stays open as long as it would have.
func TestMemoryBreaker(t *testing.T) {
	settings := func(c *config.Upstream) {
		c.Breaker = config.Breaker{Failures: 0.5, Requests: 10, HalfOpen: 1, Window: config.Duration(10 * time.Second), Open: config.Duration(5 * time.Second)}
	}
	s := newStand(t, "a b", settings)
	equal(t, "closed", s.replaced("a b", settings).Breaker(), lb.BreakerClosed)
	s.Picks(10, internal)
	equal(t, "open", s.Breaker(), lb.BreakerOpen)
	s.Pass(4 * time.Second)
	n := s.replaced("a b", settings)
	equal(t, "still open", n.Breaker(), lb.BreakerOpen)
	n.Pass(time.Second)
	equal(t, "half open", n.Breaker(), lb.BreakerHalfOpen)
	n.Picks(1, ok)
	equal(t, "closed by a success", n.Breaker(), lb.BreakerClosed)
	// One that is half open is so at once.
	s.Pass(2 * time.Second)
	half := s.replaced("a b", settings)
	equal(t, "half open from the start", half.Breaker(), lb.BreakerHalfOpen)
	half.Picks(1, internal)
	equal(t, "open again", half.Breaker(), lb.BreakerOpen)
}
