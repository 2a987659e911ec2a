package lb_test

import (
	"fmt"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/lbtest"
)

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

func TestSlowStart(t *testing.T) {
	for _, algorithm := range names() {
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
				got[lbtest.Name(target)]++
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
		equal(t, algorithm+", at first", s.Target("b").State(), lb.Healthy)

		s.SetDown(s.Target("b"), "test")
		s.SetUp(s.Target("b"))
		equal(t, algorithm+", recovered", s.Target("b").State(), lb.SlowStart)
		for _, running := range []int{0, 40} {
			what := fmt.Sprint(running, " running")
			within(what+", at once", part(running), 0.02, 0.12)
		}
		s.Pass(50 * time.Second)
		for _, running := range []int{0, 40} {
			within(fmt.Sprint(running, " running, half time"), part(running), 0.2, 0.36)
		}
		s.Pass(51 * time.Second)
		within("full time", part(0), 0.4, 0.6)
		equal(t, algorithm+", after it", s.Target("b").State(), lb.Healthy)

		// One that joins warms up too, and alone it gets everything.
		if err := s.SetEndpoints([]lb.Endpoint{{URL: "http://a"}, {URL: "http://b"}, {URL: "http://c"}}); err != nil {
			t.Fatal(err)
		}
		equal(t, algorithm+", joined", s.Target("c").State(), lb.SlowStart)
		s.SetDrain(s.Target("a"), true)
		s.SetDrain(s.Target("b"), true)
		equal(t, algorithm+", alone", s.Picks(3, ok), "c c c")
	}
}
