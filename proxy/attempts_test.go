package proxy

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/head"
	"weir/internal/transport"
)

// resets is the script of a target that takes the request and breaks the connection.
func resets(s *fakeStream) { s.fail(syscall.ECONNRESET) }

// refuses is what open is for a target that refuses connections.
func refuses(*fakeStream) error {
	return &transport.DialError{Phase: "connect", Refused: true, Err: syscall.ECONNREFUSED}
}

// Which failures are followed by another attempt, on another target.
func TestRetry(t *testing.T) {
	const on = twoTargets + "retry = { on = [\"connect\", \"reset\", \"timeout\", \"503\"] }\n"
	check := func(request, body string, first func(a *fakeTarget), want string, attempts int) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, on+"timeouts = { first_byte = \"1s\" }\n")
			first(s.targets["a"])
			c := s.request(request)
			if body != "" {
				c.with(int64(len(body)), body)
			}
			equal(t, request, c.serve(), want)
			equal(t, request+": attempts", c.Result.Attempts, attempts)
			if attempts == 2 {
				equal(t, "the body", s.targets["b"].stream(0).held, body)
				equal(t, "the target", c.Result.Target.URL(), "http://b")
			}
		})
	}
	refused := func(a *fakeTarget) { a.open = refuses }
	reset := func(a *fakeTarget) { a.scripts = []script{resets} }
	slow := func(a *fakeTarget) { a.scripts = []script{silent} }
	busy := func(a *fakeTarget) { a.scripts = []script{answer("503", "busy")} }
	garbage := func(a *fakeTarget) { a.scripts = []script{func(s *fakeStream) { s.heads <- "HTTP/1.1 2000\r\n\r\n" }} }
	local := func(a *fakeTarget) { a.open = func(*fakeStream) error { return syscall.EMFILE } }

	check("GET /", "", refused, "200 ok", 2)
	check("POST /", "abc", refused, "200 ok", 2) // nothing was sent
	check("GET /", "", reset, "200 ok", 2)
	check("PUT /", "abc", reset, "200 ok", 2)
	check("POST /", "abc", reset, "502 reset", 1)
	check("POST /\nIdempotency-Key: 1", "abc", reset, "200 ok", 2)
	check("GET /", "", slow, "200 ok", 2)
	check("POST /", "", slow, "504 first_byte_timeout", 1)
	check("GET /", "", busy, "200 ok", 2)
	check("POST /", "", busy, "503 ok", 1)
	check("GET /", "", garbage, "200 ok", 2)
	check("POST /", "", garbage, "502 bad_response", 1)
	check("GET /", "", local, "503 busy", 1)
}

// Which requests go past a target whose last answer was a failure: those that the failure
// would be the end of.
func TestRequestsThatCannotBeRepeatedAreNotRisked(t *testing.T) {
	check := func(text, request, body string, whole, risked bool) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, twoTargets+text)
			s.on("a", answer("503", "busy"), answer("200", "hello"))
			s.request("GET /").serve()
			before := s.targets["a"].count()
			for range 2 {
				c := s.request(request)
				switch {
				case whole && body != "":
					c.with(int64(len(body)), body)
				case body != "":
					c.with(int64(len(body)), body[:1])
					c.start()
					c.front.body.send(body[1:])
					equal(t, request, c.ended(), "200 ok")
					continue
				}
				equal(t, request, c.serve(), "200 ok")
			}
			equal(t, text+request+" goes to a", s.targets["a"].count() > before, risked)
		})
	}
	check("", "GET /", "", true, true)
	check("", "PUT /", "body", true, true)
	check("", "PUT /", "body", false, false)
	check("", "POST /", "body", true, false)
	check("", "POST /\nIdempotency-Key: 1", "body", true, true)
	check("retry = { attempts = 1 }\n", "GET /", "", true, false)
}

// A body that takes its time makes its target no silent one.
func TestLongBodyIsNoSilence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets)
		s.on("a", answer("200", "hello"), answer("200", "hello"), func(s *fakeStream) {
			time.Sleep(time.Millisecond)
			s.heads <- "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
			time.Sleep(900 * time.Millisecond)
			s.body.send("hello").end()
		}, answer("200", "hello"))
		for range 4 {
			equal(t, "the end", s.request("GET /").serve(), "200 ok")
		}
		long := s.request("GET /").start() // a
		time.Sleep(500 * time.Millisecond)
		before := s.targets["a"].count()
		all := []*client{long, s.request("POST /").start(), s.request("POST /").start()}
		equal(t, "POSTs to a", s.targets["a"].count()-before, 1)
		time.Sleep(time.Second)
		for _, c := range all {
			equal(t, "the end", c.ended(), "200 ok")
		}
	})
}

// Why there is no other attempt although the failure would be tried again.
func TestNoRetry(t *testing.T) {
	check := func(name, text string, a, b script, want, refused string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, text)
			s.on("a", a)
			if b != nil {
				s.on("b", b)
			}
			equal(t, name, s.request("GET /").serve(), want)
			if refused != "attempts" {
				equal(t, name+": retries of the budget", s.retries("origin"), 0)
			}
			if refused != "" {
				equal(t, name+": refused", s.metric(`weir_upstream_retries_refused_total{upstream="origin",reason="`+refused+`"}`), "1")
			}
		})
	}
	busy := answer("503", "busy")
	later := answer("503\nRetry-After: 60", "busy")
	const on503 = "retry = { on = [\"503\"] }\n"
	check("one attempt", twoTargets+"retry = { attempts = 1 }\n", resets, nil, "502 reset", "attempts")
	check("both attempts", twoTargets, resets, resets, "502 reset", "attempts")
	check("no budget", twoTargets+"retry = { budget = 0.0, budget_floor = 0 }\n", resets, nil, "502 reset", "budget")
	check("no other target", oneTarget, resets, nil, "502 reset", "no_target")
	check("not asked for", twoTargets+"retry = { on = [\"connect\"] }\n", resets, nil, "502 reset", "not_asked")
	check("Retry-After too long", twoTargets+on503, later, nil, "503 ok", "retry_after")
	check("a status of the only target", oneTarget+on503, busy, nil, "503 ok", "no_target")
	check("a status at last", twoTargets+on503, busy, answer("503", "still"), "503 ok", "attempts")
	check("too late", twoTargets+"timeouts = { total = \"1s\" }\nretry = { backoff = \"1s\", backoff_max = \"2s\" }\n",
		func(s *fakeStream) { time.Sleep(700 * time.Millisecond); resets(s) }, nil, "502 reset", "too_late")
	check("no time", twoTargets+"timeouts = { total = \"1s\" }\n", silent, nil, "504 total_timeout", "")
}

// A response that asks to come back is waited for, as long as that is allowed.
func TestRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets+"retry = { on = [\"503\"] }\n")
		s.on("a", answer("503\nRetry-After: 1", "busy"))
		c := s.request("GET /")
		equal(t, "the end", c.serve(), "200 ok")
		if d := c.Result.End.Sub(c.Start); d != time.Second {
			t.Errorf("the retry came after %v", d)
		}
	})
}

// No target at all, and no connection.
func TestNoTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets)
		s.targets["a"].open, s.targets["b"].open = refuses, refuses
		c := s.request("GET /")
		equal(t, "the end", c.serve(), "502 connect_failed")
		equal(t, "attempts", c.Result.Attempts, 2)
		c = s.request("GET /")
		equal(t, "the end once both are out", c.serve(), "503 no_target")
		contains(t, "the answer", c.front.head, "Retry-After: 1\r\n")
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.targets["a"].open = func(*fakeStream) error { return transport.ErrNoConn }
		equal(t, "the end", s.request("GET /").serve(), "503 busy")
	})
}

// A pooled connection that died while it was unused costs no attempt.
func TestStale(t *testing.T) {
	dead := func(a *fakeTarget, n int) {
		for range n {
			a.scripts = append([]script{func(s *fakeStream) { s.fail(io.EOF) }}, a.scripts...)
		}
		a.open = func(s *fakeStream) error {
			s.reused = a.count() < n
			return nil
		}
	}
	check := func(request string, n int, want string, attempts, streams, idle int) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, twoTargets)
			a := s.targets["a"]
			dead(a, n)
			c := s.request(request)
			equal(t, request, c.serve(), want)
			equal(t, request+": attempts", c.Result.Attempts, attempts)
			equal(t, request+": streams", a.count(), streams)
			equal(t, request+": calls of CloseIdle", int(a.idle.Load()), idle)
		})
	}
	check("GET /", 1, "200 ok", 1, 2, 1)
	check("GET /", maxStale, "200 ok", 1, maxStale+1, maxStale)
	check("GET /", maxStale+1, "200 ok", 2, maxStale+1, maxStale) // that is a failure of the target
	check("POST /", 1, "502 reset", 1, 1, 0)
}

// A request that could not be written was not sent.
func TestUnsent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets)
		a := s.targets["a"]
		a.open = func(s *fakeStream) error {
			s.reused, s.sendErr = true, syscall.EPIPE
			return nil
		}
		c := s.request("POST /").with(3, "abc")
		equal(t, "the end", c.serve(), "200 ok")
		equal(t, "streams", a.count(), maxStale+1)
		equal(t, "the body", s.targets["b"].stream(0).held, "abc")
	})
}

// Interim responses go to the client, those that it must not get do not.
func TestInterim(t *testing.T) {
	check := func(name string, play script, want string, informs int) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			s.on("a", play)
			c := s.request("GET /")
			equal(t, name, c.serve(), want)
			equal(t, name+": interim responses", len(c.front.informs), informs)
			if informs > 0 {
				equal(t, name, c.front.informs[0], "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
			}
		})
	}
	times := func(n int) script {
		return func(s *fakeStream) {
			for range n {
				// No body follows, whatever the target says of one.
				s.respond("103\nContent-Length: 5\nLink: </x>\nConnection: x-y\nTransfer-Encoding: chunked\nX-Y: z")
			}
			s.answer("200", "hello")
		}
	}
	check("one", times(1), "200 ok", 1)
	check("as many as are allowed", times(maxInterim-1), "200 ok", maxInterim-1)
	check("too many", times(maxInterim), "502 bad_response", maxInterim)
	check("a 101 without a request for it", answer("101\nUpgrade: x"), "502 bad_response", 0)
	check("then nothing", func(s *fakeStream) { s.respond("103\nLink: </x>"); s.fail(io.EOF) }, "502 reset", 1)
}

// What the time of an exchange is bounded by.
func TestLimits(t *testing.T) {
	stalls := func(s *fakeStream) {
		s.respond("200\nContent-Length: 10")
		s.body.send("hello")
		<-s.gone
	}
	drips := func(s *fakeStream) {
		s.respond("200")
		for !closed(s.gone) {
			s.body.send("x")
			time.Sleep(300 * time.Millisecond)
		}
	}
	check := func(limits string, play script, want string, took time.Duration) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget+limits+"\n")
			s.on("a", play)
			c := s.request("GET /")
			equal(t, limits, c.serve(), want)
			if d := c.Result.End.Sub(c.Start).Round(time.Second / 10); d != took {
				t.Errorf("%s: it took %v, want %v", limits, d, took)
			}
		})
	}
	const second = time.Second
	check(`timeouts = { first_byte = "1s" }`, silent, "504 first_byte_timeout", second)
	check(`timeouts = { first_byte = "3s", total = "2s" }`, silent, "504 total_timeout", 2*second)
	check(`retry = { try_timeout = "2s" }`, silent, "504 first_byte_timeout", 2*second)
	check(`timeouts = { idle = "4s" }`, stalls, "200 stalled", 4*second)
	check(`timeouts = { total = "3s" }`, stalls, "200 total_timeout", 3*second)
	check(`timeouts = { idle = "1s", total = "3s" }`, drips, "200 total_timeout", 3*second)
}

// What a hook changes of the request holds for one attempt.
func TestOnUpstream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets, Hooks{OnUpstream: func(x *Exchange) {
			x.Outgoing().Add(head.NewName("X-Hook"), []byte(x.Result.Target.URL()))
		}})
		s.on("a", resets)
		equal(t, "the end", s.request("GET /").serve(), "200 ok")
		for name, f := range s.targets {
			got := f.stream(0).head
			contains(t, "the request", got, "X-Hook: http://"+name+"\r\n")
			equal(t, "lines", strings.Count(got, "X-Hook"), 1)
		}
	})
}

// The target is told how much time there is; the client's own words about that go.
func TestDeadlineHeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget+"timeouts = { total = \"3s\", deadline_header = \"X-Left\" }\n")
		equal(t, "the end", s.request("GET /\nX-Left: 99999").serve(), "200 ok")
		got := s.targets["a"].stream(0).head
		contains(t, "the request", got, "X-Left: 3000\r\n")
		lacks(t, "the request", got, "99999")
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget+"timeouts = { deadline_header = \"X-Left\" }\n")
		equal(t, "the end", s.request("GET /\nX-Left: 99999").serve(), "200 ok")
		lacks(t, "the request without a bound", s.targets["a"].stream(0).head, "X-Left")
	})
}

// Exchanges wait for a place, and a client that leaves gives its place up.
func TestQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget+"limits = { in_flight = 1, queue = 1, queue_timeout = \"5s\" }\n")
		free := make(chan struct{})
		s.on("a", func(s *fakeStream) { <-free; s.answer("200") }, answer("200"))
		first := s.request("GET /1").start()
		second := s.request("GET /2").start()
		third := s.request("GET /3")
		s.Serve(third.Exchange)
		equal(t, "one too many", third.Result.Cause, CauseBusy)
		second.gone.Cancel()
		settle()
		equal(t, "the one that left", second.Result.Cause, CauseClientGone)
		fourth := s.request("GET /4").start()
		close(free)
		settle()
		equal(t, "the first", first.ended(), "200 ok")
		equal(t, "the last", fourth.ended(), "200 ok")
		equal(t, "streams", s.targets["a"].count(), 2)
	})
}

// threeTargets is the configuration of a route to three targets, of which one exchange at a time is lent a
// place, and others wait.
const threeTargets = "[[routes]]\nname = \"all\"\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [\"http://a\", \"http://b\", \"http://c\"]\n" +
	"limits = { in_flight = 1, queue = 5, queue_timeout = \"1h\" }\nretry = { on = [\"connect\", \"reset\", \"503\"] }\n"

// While others wait an exchange keeps its place until its last attempt has ended, and gives it back whatever
// that end is.
func TestPlaceIsKept(t *testing.T) {
	check := func(name, text, first string, scripts [3]script, hooks Hooks, acts func(c *client), want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, text, hooks)
			for i, target := range []string{"a", "b", "c"} {
				s.on(target, scripts[i], answer("200", "hello"))
			}
			c := s.request(first)
			c.front.on["start"] = func() error {
				if want != "200 ok" {
					settle()
					equal(t, name+": waiting while the client gets an error", s.sets["origin"].Queued(), 0)
				}
				return nil
			}
			c.start()
			waits := s.request("GET /waits").start()
			equal(t, name+": waiting", s.sets["origin"].Queued(), 1)
			time.Sleep(time.Second) // the scripts go on
			if acts != nil {
				acts(c)
			}
			time.Sleep(time.Minute)
			settle()
			if hooks.OnUpstream != nil {
				s.panics++
			}
			equal(t, name, c.ended(), want)
			equal(t, name+": the one that waited", waits.ended(), "200 ok")
			if d := waits.Result.End.Sub(c.Result.End); d < 0 {
				t.Errorf("%s: the one that waited was served %v earlier", name, -d)
			}
		})
	}
	later := func(play script) script { return after(time.Second/2, play) }
	fails, busy, good := later(resets), later(answer("503", "busy")), answer("200", "hello")
	check("a retry", threeTargets, "GET /", [3]script{fails, good, good}, Hooks{}, nil, "200 ok")
	check("a status", threeTargets, "GET /", [3]script{busy, good, good}, Hooks{}, nil, "200 ok")
	check("no second retry", threeTargets, "GET /", [3]script{fails, resets, good}, Hooks{}, nil, "502 reset")
	check("no retry", threeTargets, "POST /", [3]script{fails, good, good}, Hooks{}, nil, "502 reset")
	check("a retry that takes its time", threeTargets+"timeouts = { first_byte = \"20s\" }\n", "GET /", [3]script{fails, silent, good}, Hooks{}, nil, "504 first_byte_timeout")
	check("a client that leaves", threeTargets, "GET /", [3]script{fails, silent, good}, Hooks{}, func(c *client) { c.gone.Cancel() }, "400 client_gone")
	paused := strings.Replace(threeTargets, "\"503\"]", "\"503\"], backoff = \"10s\", backoff_max = \"20s\"", 1)
	check("a client that leaves the pause", paused, "GET /", [3]script{fails, good, good}, Hooks{}, func(c *client) { c.gone.Cancel() }, "400 client_gone")
	check("a pause", paused, "GET /", [3]script{fails, good, good}, Hooks{}, nil, "200 ok")
	panics := func(x *Exchange) {
		if x.Result.Attempts == 2 {
			panic("a hook")
		}
	}
	check("a panic", threeTargets, "GET /", [3]script{fails, good, good}, Hooks{OnUpstream: panics}, nil, "500 panic")
}

// A retry that finds no place at any target waits for one, within the exchange's time, as long as its
// client does.
func TestRetryWaits(t *testing.T) {
	check := func(name, timeouts string, free time.Duration, acts func(c *client), want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, twoTargets+"limits = { target_in_flight = 1, queue = 1, queue_timeout = \"20s\" }\n"+timeouts)
			s.on("a", after(time.Second, resets), after(50*time.Second, answer("200")))
			s.on("b", after(free, answer("200")))
			c := s.request("GET /1").start()
			atB := s.request("GET /2").start()
			atA := s.request("GET /3").start() // takes the place that the first one had
			time.Sleep(2 * time.Second)
			settle()
			equal(t, name+": waiting", s.sets["origin"].Queued(), 1)
			if acts != nil {
				acts(c)
			}
			time.Sleep(2 * time.Minute)
			equal(t, name, c.ended(), want)
			equal(t, name+": the second", atB.ended(), "200 ok")
			equal(t, name+": the third", atA.ended(), "200 ok")
		})
	}
	check("a place", "", 10*time.Second, nil, "200 ok")
	check("no place in the queue's time", "", 50*time.Second, nil, "502 reset")
	check("a client that leaves", "", 10*time.Second, func(c *client) { c.gone.Cancel() }, "400 client_gone")
	bubble(t, func(t *testing.T) {
		s := newStand(t, twoTargets+"limits = { in_flight = 1, queue = 5, queue_timeout = \"1h\" }\ntimeouts = { total = \"5s\" }\n")
		s.on("a", after(3*time.Second, answer("200")))
		s.on("b", silent)
		first, second := s.request("GET /1").start(), s.request("GET /2").start()
		third := s.request("GET /3").start()
		time.Sleep(10 * time.Second)
		equal(t, "the first", first.ended(), "200 ok")
		equal(t, "the second", second.ended(), "504 total_timeout")
		equal(t, "one whose time was over while it waited", third.ended(), "504 total_timeout")
		equal(t, "its attempts", third.Result.Attempts, 0)
	})
}
