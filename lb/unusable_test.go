package lb_test

import (
	"errors"
	"testing"

	"weir/lb"
)

// The error of an exchange without a target says why.
func TestWhy(t *testing.T) {
	s := newStand(t, "a b c", nil)
	check := func(what, want string) {
		t.Helper()
		err := s.Why()
		equal(t, what, err.Error(), want)
		equal(t, "whether it is ErrNoTarget", errors.Is(err, lb.ErrNoTarget), true)
	}
	name := func(target string) string { return s.Target(target).Name() }
	s.SetDown(s.Target("b"), "probe: timeout")
	check("one is down", "no usable target: "+name("b")+" is down: probe: timeout")
	s.SetDown(s.Target("a"), "probe: status is 500, want 200-399")
	s.SetDrain(s.Target("c"), true)
	check("all are out", "no usable target: "+name("a")+" is down: probe: status is 500, want 200-399; and 2 more are out")
	equal(t, "the reason while there are targets", s.EmptyReason(), "")

	s = newStand(t, "", nil)
	check("none", "no usable target: there are none")
	s.SetEmptyReason("lookup app: no such host")
	check("none, and why", "no usable target: there are none: lookup app: no such host")
	s.SetEmptyReason("")
	check("none again", "no usable target: there are none")
}
