package proxy

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// after is a script that plays another one later.
func after(wait time.Duration, play script) script {
	return func(s *fakeStream) {
		select {
		case <-time.After(wait):
			play(s)
		case <-s.gone:
		}
	}
}

// hedgeAfter is when a hedge is sent.
const hedgeAfter = 10 * time.Millisecond

// newHedging makes a stand whose next exchange goes to target a, and is hedged by b.
func newHedging(t testing.TB, retry string, hooks ...Hooks) *stand {
	t.Helper()
	s := newStand(t, twoTargets+"retry = { on = [\"connect\", \"reset\", \"503\"], hedge = 0.9, hedge_min = \"10ms\""+retry+" }\n", hooks...)
	for range 100 { // as many as a quantile needs
		s.Serve(s.request("GET /").Exchange)
	}
	s.settled()
	time.Sleep(time.Second) // an old estimate is used for a while
	return s
}

func (s *stand) hedges(result string) string {
	return s.metric(`weir_upstream_hedges_total{upstream="origin",result="` + result + `"}`)
}

// Of two attempts at the same exchange the client gets the one that answers first, and
// both are given back.
func TestHedge(t *testing.T) {
	ok := func(text string) script { return answer("200", text) }
	check := func(name string, a, b script, want, text, result string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newHedging(t, "")
			s.on("a", a)
			s.on("b", b)
			c := s.request("GET /x\nX-A: 1")
			equal(t, name, c.serve(), want)
			if d := time.Since(c.Result.End); d != 0 {
				t.Errorf("%s: the attempt that lost ended %v later", name, d)
			}
			equal(t, name+": the body", c.front.sent(), text)
			equal(t, name+": attempts", c.Result.Attempts, 2)
			equal(t, name+": "+result, s.hedges(result), "1")
			contains(t, name+": the second request", s.targets["b"].stream(50).head, "GET /x HTTP/1.1\r\nHost: weir.test\r\nX-A: 1\r\n")
		})
	}
	const late = 2 * hedgeAfter
	check("the first wins", after(late, ok("a")), silent, "200 ok", "a", "lost")
	check("the second wins", silent, ok("b"), "200 ok", "b", "won")
	check("the second wins, the first breaks later", after(5*late, resets), after(late, ok("b")), "200 ok", "b", "won")
	check("the first wins, the second has failed", after(late, ok("a")), resets, "200 ok", "a", "failed")
	check("the first wins, the second is to be tried again", after(late, ok("a")), answer("503", "b"), "200 ok", "a", "failed")
	check("the first is to be tried again, the second wins", after(late, answer("503", "a")), after(2*late, ok("b")), "200 ok", "b", "won")
	check("the first breaks, the second wins", after(late, resets), after(2*late, ok("b")), "200 ok", "b", "won")
	const failed = "502 Bad Gateway: reset\n"
	check("both break", after(late, resets), after(late, resets), "502 reset", failed, "failed")
	check("both are to be tried again", after(late, answer("503", "a")), answer("503", "b"), "503 ok", "a", "failed")
}

// A call of gRPC whose second attempt is answered with UNAVAILABLE, with the HTTP status 200, gets the answer of the first, and
// the second one's request is a call's too.
func TestHedgeUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", after(2*hedgeAfter, answer("200\nContent-Type: application/grpc\nGrpc-Status: 0")))
		s.on("b", answer("200\nContent-Type: application/grpc\nGrpc-Status: 14"))
		c := s.request("POST /x\nContent-Type: application/grpc\nIdempotency-Key: 1")
		equal(t, "the call", c.serve(), "200 ok")
		equal(t, "the status", c.Result.GRPC.String(), "OK")
		equal(t, "the attempts", c.Result.Attempts, 2)
		equal(t, "hedges that have failed", s.hedges("failed"), "1")
		equal(t, "whether the second request is a call", s.targets["b"].stream(50).call, true)
	})
}

// Interim responses of the attempt that wins reach the client, those of the other do not.
func TestHedgeInterim(t *testing.T) {
	hints := func(name string, wait time.Duration) script {
		return func(s *fakeStream) {
			after(wait, func(s *fakeStream) {
				s.respond("103\nX-From: " + name)
				s.answer("200", name)
			})(s)
		}
	}
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", hints("a", 3*hedgeAfter))
		s.on("b", hints("b", hedgeAfter))
		c := s.request("GET /")
		equal(t, "the end", c.serve(), "200 ok")
		equal(t, "interim responses", len(c.front.informs), 1)
		contains(t, "the interim response", c.front.informs[0], "X-From: b")
	})
}

// A client that leaves ends both.
func TestHedgeAbandoned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", silent)
		s.on("b", silent)
		c := s.request("GET /").start()
		time.Sleep(2 * hedgeAfter)
		equal(t, "streams", s.targets["b"].count(), 51)
		c.gone.Cancel()
		settle()
		equal(t, "the end", c.ended(), "400 client_gone")
	})
}

// The exchange does not wait for a hedge that has lost, which gives back what it gets
// later.
func TestHedgeLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", after(2*hedgeAfter, answer("200", "a")))
		dialled := make(chan struct{})
		s.targets["b"].open = func(*fakeStream) error {
			<-dialled
			return nil
		}
		c := s.request("GET /").start()
		time.Sleep(3 * hedgeAfter)
		settle()
		equal(t, "the phase", c.phase, phaseSettled)
		equal(t, "the body", c.front.sent(), "a")
		equal(t, "running on b", s.sets["origin"].Targets()[1].InFlight(), 1)
		c.Reset() // the hedge uses nothing of the exchange
		close(dialled)
		s.settled()
		equal(t, "the request", s.targets["b"].stream(50).head, "")
	})
}

// Without budget, without another target or before there are figures there is no hedge.
func TestNoHedge(t *testing.T) {
	check := func(name string, s *stand, refused string) {
		t.Helper()
		s.on("a", after(5*hedgeAfter, answer("200", "a")))
		equal(t, name, s.request("GET /").serve(), "200 ok")
		equal(t, name+": refused", s.hedges("refused"), refused)
		equal(t, name+": retries of the budget", s.retries("origin"), 0)
	}
	bubble(t, func(t *testing.T) { check("no budget", newHedging(t, ", budget = 0.0, budget_floor = 0"), "1") })
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.sets["origin"].SetDrain(s.sets["origin"].Targets()[1], true)
		check("no other target", s, "1")
	})
	bubble(t, func(t *testing.T) {
		check("too few figures", newStand(t, twoTargets+"retry = { hedge = 0.9 }\n"), "")
	})
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", after(5*hedgeAfter, answer("200", "a")))
		equal(t, "a POST", s.request("POST /").serve(), "200 ok")
		equal(t, "streams", s.targets["b"].count(), 50)
	})
}

// The time for the head holds for both attempts.
func TestHedgeTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newHedging(t, ", try_timeout = \"1s\"")
		s.on("a", silent)
		s.on("b", silent)
		c := s.request("GET /")
		equal(t, "the end", c.serve(), "504 first_byte_timeout")
		if d := c.Result.End.Sub(c.Start); d != time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// A panic while a hedge is made, or in it, costs neither target nor stream.
func TestHedgePanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		armed := false
		s := newHedging(t, "", Hooks{OnUpstream: func(x *Exchange) {
			if armed && x.Result.Attempts == 2 {
				panic("in the hook")
			}
		}})
		armed = true
		s.on("a", silent)
		s.panics = 1
		equal(t, "the end", s.request("GET /").serve(), "500 panic")
	})
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", after(2*hedgeAfter, answer("200", "a")))
		s.targets["b"].open = func(*fakeStream) error { panic("in open") }
		s.panics = 1
		equal(t, "the end", s.request("GET /").serve(), "200 ok")
	})
	bubble(t, func(t *testing.T) {
		s := newHedging(t, "")
		s.on("a", after(2*hedgeAfter, resets))
		s.targets["b"].open = func(*fakeStream) error { panic("in open") }
		s.panics = 1
		equal(t, "the end", s.request("GET /").serve(), "502 reset")
	})
}

// A hedge is an exchange of its own to the limits: it is sent if there is a place at once, and each of the two
// gives back one place.
func TestHedgeWithinLimits(t *testing.T) {
	first := func(play script) script {
		var played atomic.Bool
		return func(s *fakeStream) {
			if !played.Swap(true) {
				play(s)
				return
			}
			s.answer("200", "later")
		}
	}
	check := func(name string, inFlight int, a, b script, want, result string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newHedging(t, fmt.Sprintf(", attempts = 3 }\nlimits = { in_flight = %d, queue = 5, queue_timeout = \"1h\"", inFlight))
			s.on("a", first(a))
			s.on("b", first(b))
			c := s.request("GET /x").start()
			time.Sleep(2 * hedgeAfter)
			var waiting []*client
			for range 3 {
				waiting = append(waiting, s.request("GET /waits").start())
			}
			equal(t, name+": waiting", s.sets["origin"].Queued(), 3)
			time.Sleep(time.Minute)
			equal(t, name, c.ended(), want)
			for _, w := range waiting {
				equal(t, name+": one that waited", w.ended(), "200 ok")
			}
			equal(t, name+": "+result, s.hedges(result), "1")
		})
	}
	const late = 4 * hedgeAfter
	check("no place", 1, after(late, answer("200", "a")), resets, "200 ok", "refused")
	check("the second wins", 2, silent, after(late, answer("200", "b")), "200 ok", "won")
	check("the first wins", 2, after(late, answer("200", "a")), silent, "200 ok", "lost")
	check("both break", 2, after(late, resets), after(2*late, resets), "502 reset", "failed")
	check("both are to be tried again", 2, after(late, answer("503", "a")), after(2*late, answer("503", "b")), "503 ok", "failed")
}
