package lb_test

import (
	"testing"
	"time"

	"weir/config"
	"weir/lb"
)

// What an operator wants of a target outlives it for an hour, and other settings of its connections.
func TestOverrides(t *testing.T) {
	t.Parallel()
	s := newStand(t, "a", nil)
	s.find("b c")
	set := func() {
		t.Helper()
		s.SetDrain(s.Target("b"), true)
		if err := s.SetWeight(s.Target("b"), 3); err != nil {
			t.Fatal(err)
		}
	}
	has := func(what string, state lb.State, weight int) {
		t.Helper()
		equal(t, what+": state", s.Target("b").State(), state)
		equal(t, what+": weight", s.Target("b").Weight(), weight)
	}
	set()
	s.find("c")
	s.Pass(59 * time.Minute)
	s.find("b c")
	has("back within the hour", lb.Draining, 3)
	equal(t, "the reason", s.Target("b").Reason(), "by the operator")
	s.reload("a", func(c *config.Upstream) { c.Connections.HeaderBytes *= 2 }).Close()
	has("other connections", lb.Draining, 3)
	s.find("c")
	s.Pass(time.Minute)
	s = s.replaced("a", nil)
	s.find("c")
	s.Pass(59 * time.Minute)
	s.find("b c")
	has("another process", lb.Draining, 3)
	// It is over when the operator says so.
	s.SetDrain(s.Target("b"), false)
	if err := s.SetWeight(s.Target("b"), 0); err != nil {
		t.Fatal(err)
	}
	s.find("c")
	s.find("b c")
	has("the operator wants nothing more", lb.Healthy, 1)
	// An hour later the address may be another one's.
	set()
	s.find("c")
	s.Pass(time.Hour + 1)
	s.find("b c")
	has("back after the hour", lb.Healthy, 1)
}
