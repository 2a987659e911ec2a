package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
)

// say is a whole response with a body.
func say(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// answering starts an origin for each name that answers with it.
func answering(t *testing.T, names ...string) (urls string) {
	t.Helper()
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf("%q", testkit.Listen(t, testkit.Answer(say(n))).URL))
	}
	return strings.Join(list, ", ")
}

// Each source of a hash key leads equal keys to equal targets, and different
// ones to different targets.
func TestHashKeys(t *testing.T) {
	t.Parallel()
	check := func(by, format string) {
		t.Run(by, func(t *testing.T) {
			w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%s]
balance = "hash"
hash.by = %q
`, answering(t, "a", "b", "c"), by)
			c := w.dial()
			// Which keys reach which target depends on the targets' ports: keys are sent until
			// each target has had one.
			seen := map[string]bool{}
			for key := 0; len(seen) < 3 && key < 500; key++ {
				request := strings.ReplaceAll(format, "KEY", fmt.Sprint(key))
				first := ""
				for range 3 {
					c.Send(request + "\r\n")
					got := c.Response("GET").Body
					if first == "" {
						first = got
					}
					equal(t, fmt.Sprintf("target of key %d", key), got, first)
				}
				seen[first] = true
			}
			equal(t, "targets of all keys", len(seen), 3)
		})
	}
	check("path", "GET /KEY HTTP/1.1\r\nHost: a\r\n")
	check("header:X-Key", "GET / HTTP/1.1\r\nHost: a\r\nx-key: KEY\r\n")
	check("cookie:user", "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; user=KEY; b=2\r\n")
	check("query:id", "GET /?x=1&id=KEY HTTP/1.1\r\nHost: a\r\n")
}

func TestHashByClientAddress(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%s]
balance = "hash"
`, answering(t, "a", "b", "c"))
	first := w.dial().Get("/").Body
	for range 10 {
		equal(t, "target", w.dial().Get("/").Body, first)
	}
}

// A client comes back to the target whose cookie it has, and gets a cookie only
// if it needs one. Its other cookies reach the target as they were.
func TestStickyCookie(t *testing.T) {
	t.Parallel()
	var origins []*testkit.Origin
	for _, n := range []string{"a", "b", "c"} {
		origins = append(origins, testkit.Listen(t, testkit.Answer(say(n))))
	}
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q, %q]
sticky.cookie = "weir"
`, origins[0].URL, origins[1].URL, origins[2].URL)
	c := w.dial()
	m := c.Get("/")
	cookie, attributes, _ := strings.Cut(m.Get("Set-Cookie"), ";")
	equal(t, "attributes", attributes, " Path=/; HttpOnly; SameSite=Lax")
	for range 5 {
		c.Send("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=\"1 \"; " + cookie + ";y\r\n\r\n")
		again := c.Response("GET")
		equal(t, "target", again.Body, m.Body)
		equal(t, "Set-Cookie", again.Get("Set-Cookie"), "")
	}
	for _, o := range origins {
		for _, conn := range o.Conns() {
			if seen := conn.Seen(); strings.Contains(seen, "Cookie") && !strings.Contains(seen, "Cookie: x=\"1 \"; "+cookie+";y\r\n") {
				t.Errorf("the target got %q", seen)
			}
		}
	}
	c.Send("GET / HTTP/1.1\r\nHost: a\r\nCookie: weir=unknown\r\n\r\n")
	if got := c.Response("GET").Get("Set-Cookie"); !strings.HasPrefix(got, "weir=") {
		t.Errorf("Set-Cookie for an unknown value is %q", got)
	}
}

// A target that closes connections while no exchange uses them is not ejected, however
// many there are.
func TestIdleClosesDoNotEject(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Send(ok)
		c.Head() // and goes without an answer
	})
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
health.passive.failures = 1
`, origin.URL)
	c := w.dial()
	for range 6 {
		equal(t, "GET", c.Get("/").Status(), 200)
	}
	w.becomes("state", fmt.Sprintf(`weir_upstream_target_state{upstream="origin",target=%q,state="healthy"}`, origin.URL), "1")
}

// All of an exchange's attempts and waits together are bounded. Where something has to come before a limit passes, the
// limit is seconds away: the machine may stand still for a while.
func TestTotalTimeout(t *testing.T) {
	t.Parallel()
	get := "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	check := func(name, settings, script, want string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scripts := map[string]func(*testkit.Conn){
				"hangs": func(c *testkit.Conn) { c.Request(); c.Hold() },
				"stalls": func(c *testkit.Conn) {
					c.Request()
					c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
					c.Hold()
				},
				"resets": func(c *testkit.Conn) { c.Request(); c.Reset() },
			}
			one, two := testkit.Listen(t, scripts[script]), testkit.Listen(t, scripts[script])
			w := run(t, "[[routes]]\nupstream = \"origin\"\n%s", fmt.Sprintf(settings, one.URL, two.URL))
			c := w.dial()
			c.Send(get)
			c.Rest()
			equal(t, "the log's line", w.ended(), want)
		})
	}
	check("no head", "[upstreams.origin]\ntargets = [%q, %q]\ntimeouts.total = '100ms'\n", "hangs", "504 total_timeout")
	check("no end", "[upstreams.origin]\ntargets = [%q, %q]\ntimeouts.total = '3s'\n", "stalls", "200 total_timeout")
	check("tries first", "[upstreams.origin]\ntargets = [%q, %q]\ntimeouts.total = '4s'\nretry.try_timeout = '2s'\n", "hangs", "504 total_timeout")
	check("no time to wait", "[upstreams.origin]\ntargets = [%q, %q]\ntimeouts.total = '10s'\nretry.backoff = '20s'\nretry.backoff_max = '20s'\n", "resets", "502 reset")
	check("the route's", "timeouts.total = '100ms'\n[upstreams.origin]\ntargets = [%q, %q]\n", "hangs", "504 total_timeout")
	check("the route's first byte", "timeouts.first_byte = '50ms'\n[upstreams.origin]\ntargets = [%q, %q]\n", "hangs", "504 first_byte_timeout")
	check("the route's try", "timeouts.try = '50ms'\n[upstreams.origin]\ntargets = [%q, %q]\n", "hangs", "504 first_byte_timeout")
	check("the route's idle", "timeouts.idle = '50ms'\n[upstreams.origin]\ntargets = [%q, %q]\n", "stalls", "200 stalled")
}

// Targets are told how much time is left by weir, never by a client.
func TestDeadlineHeader(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			got <- c.Request().Get("X-Timeout-Ms")
			c.Send(ok)
		}
	})
	w := run(t, `
[[routes]]
path = "/bounded"
upstream = "origin"
timeouts.total = "10m"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
timeouts.deadline_header = "X-Timeout-Ms"
`, origin.URL)
	c := w.dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\nX-Timeout-Ms: 5\r\n\r\n")
	c.Response("GET")
	equal(t, "without a total", <-got, "")
	c.Send("GET /bounded HTTP/1.1\r\nHost: a\r\nX-Timeout-Ms: 5\r\n\r\n")
	c.Response("GET")
	if ms := <-got; len(ms) != 6 || ms[:2] != "59" && ms[:2] != "60" {
		t.Errorf("of ten minutes %s ms are left", ms)
	}
}

// A client that leaves the queue makes room for the next one, and a full queue
// says when to come again.
func TestQueue(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			c.Request()
			c.Wait(release)
			c.Send(ok)
		}
	})
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
limits = { in_flight = 1, queue = 1, queue_timeout = "1m", retry_after = "7s" }
`, origin.URL)
	queued := func(n string) {
		t.Helper()
		testkit.Eventually(t, n+" wait", func() bool { return w.metric(`weir_upstream_queued{upstream="origin"}`) == n })
	}
	first := w.dial()
	first.Send(get)
	testkit.Eventually(t, "the first one runs", func() bool { return origin.Requests() == 1 })
	second := w.dial()
	second.Send(get)
	queued("1")
	m := w.dial().Get("/")
	equal(t, "beyond the queue", m.Status(), 503)
	equal(t, "Retry-After", m.Get("Retry-After"), "7")
	second.Reset()
	queued("0")
	third := w.dial()
	third.Send(get)
	queued("1")
	close(release)
	equal(t, "first", first.Response("GET").Status(), 200)
	equal(t, "third", third.Response("GET").Status(), 200)
	equal(t, "requests", origin.Requests(), 2)
}

// A wait before another attempt ends when the client leaves.
func TestClientLeavesBackoff(t *testing.T) {
	t.Parallel()
	reset := func(c *testkit.Conn) { c.Request(); c.Reset() }
	one, two := testkit.Listen(t, reset), testkit.Listen(t, reset)
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q]
retry = { backoff = "1h", backoff_max = "1h" }
`, one.URL, two.URL)
	c := w.dial()
	c.Send(get)
	testkit.Eventually(t, "an attempt has failed", func() bool { return one.Requests()+two.Requests() == 1 })
	c.Reset()
	if got := w.ended(); !strings.HasSuffix(got, " client_gone") {
		t.Errorf("the log's line is %q", got)
	}
	w.becomes("budget used", `weir_upstream_retry_budget_used{upstream="origin"}`, "0")
}

// A response that would be tried again is delivered if it may not be.
func TestUnwelcomeResponse(t *testing.T) {
	t.Parallel()
	busy := testkit.Answer("HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy")
	one, two := testkit.Listen(t, busy), testkit.Listen(t, busy)
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q]
retry = { on = ["503"], budget = 0.0, budget_floor = 1, backoff = "1ms", retry_after = "10s" }
health.passive.failures = 0
`, one.URL, two.URL)
	c := w.dial()
	check := func(name, request string, requests int) {
		t.Helper()
		before := one.Requests() + two.Requests()
		c.Send(request)
		m := c.Response("GET")
		equal(t, name, fmt.Sprint(m.Status(), " ", m.Body, " ", m.Get("Retry-After")), "503 busy 3")
		equal(t, name+": attempts", one.Requests()+two.Requests()-before, requests)
	}
	check("not safe", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1)
	w.becomes("refused", `weir_upstream_retries_refused_total{upstream="origin",reason="unsafe"}`, "1")
}

// Where a target's connections are all lent, another target is asked, and the
// busy one is not blamed.
func TestNoFreeConnection(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	busy := testkit.Listen(t, func(c *testkit.Conn) { c.Request(); c.Wait(release); c.Send(say("busy")) })
	other := testkit.Listen(t, testkit.Answer(say("other")))
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q]
connections = { max = 1, wait = "1ms" }
`, busy.URL, other.URL)
	first := w.dial()
	first.Send(get)
	testkit.Eventually(t, "the first one runs", func() bool { return busy.Requests() == 1 })
	c := w.dial()
	for range 6 {
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
		equal(t, "answer", c.Response("POST").Body, "other")
	}
	w.becomes("state", fmt.Sprintf(`weir_upstream_target_state{upstream="origin",target=%q,state="healthy"}`, busy.URL), "1")
	w.becomes("budget used", `weir_upstream_retry_budget_used{upstream="origin"}`, "0")
	close(release)
	equal(t, "the first one", first.Response("GET").Body, "busy")
}

// Where no other target is left the client gets the last response, and does not wait for
// a retry.
func TestLastResponse(t *testing.T) {
	t.Parallel()
	busy := func(name string) func(*testkit.Conn) {
		return testkit.Answer("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\n" + name)
	}
	check := func(name string, targets string, attempts int) {
		t.Run(name, func(t *testing.T) {
			w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%s]
retry = { attempts = 8, on = ["503", "reset"], backoff = "1ms", retry_after = "1h" }
health.passive.failures = 0
timeouts.total = "1h"
`, targets)
			m := w.dial().Get("/")
			equal(t, "answer", fmt.Sprint(m.Status(), " ", m.Body, " ", m.Get("Retry-After")), "503 busy 1")
			equal(t, "attempts", w.logged(1)[0].Attempts, attempts)
			w.becomes("refused", `weir_upstream_retries_refused_total{upstream="origin",reason="no_target"}`, "1")
			w.becomes("budget used", `weir_upstream_retry_budget_used{upstream="origin"}`, fmt.Sprint(attempts-1))
		})
	}
	target := func(script func(*testkit.Conn)) string { return fmt.Sprintf("%q", testkit.Listen(t, script).URL) }
	check("one target", target(busy("busy")), 1)
	check("one that is left", target(func(c *testkit.Conn) { c.Request(); c.Reset() })+fmt.Sprintf(", { url = %s, priority = 1 }", target(busy("busy"))), 2)
	check("the others drain", target(busy("busy"))+fmt.Sprintf(", { url = %s, drain = true }", target(busy("not me"))), 1)
}

// An upload that has streamed through is sent again if it was kept whole.
func TestUploadIsRepeated(t *testing.T) {
	t.Parallel()
	check := func(name, head string, pieces []string, fits bool) {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{}, 2)
			got := make(chan *testkit.Message, 1)
			script := func(fails bool) func(*testkit.Conn) {
				return func(c *testkit.Conn) {
					h := c.Head()
					arrived <- struct{}{}
					if err := h.ReadBody(c.Reader); err != nil {
						return
					}
					if fails {
						c.Reset()
						return
					}
					got <- h
					c.Send(ok)
				}
			}
			bad, good := testkit.Listen(t, script(true)), testkit.Listen(t, script(false))
			w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, { url = %q, priority = 1 }]
retry = { body = "16", backoff = "1ms", attempts = 3 }
health.passive.failures = 1
`, bad.URL, good.URL)
			c := w.dial()
			c.Send(head)
			<-arrived // so that the body streams
			for _, p := range pieces {
				c.Send(p)
			}
			m := c.Response("PUT")
			if !fits {
				equal(t, "status", m.Status(), 502)
				return
			}
			equal(t, "status", m.Status(), 200)
			sent := <-got
			equal(t, "body", sent.Body, "hello you")
			equal(t, "attempts", w.logged(1)[0].Attempts, 2)
		})
	}
	const line = "PUT / HTTP/1.1\r\nHost: a\r\n"
	check("length", line+"Content-Length: 9\r\n\r\n", []string{"hello", " you"}, true)
	check("chunked", line+"Transfer-Encoding: chunked\r\n\r\n", []string{"5\r\nhello\r\n", "4\r\n you\r\n", "0\r\n\r\n"}, true)
	check("too long", line+"Content-Length: 20\r\n\r\n", []string{"0123456789", "0123456789"}, false)
	check("chunked and too long", line+"Transfer-Encoding: chunked\r\n\r\n", []string{"a\r\n0123456789\r\n", "a\r\n0123456789\r\n", "0\r\n\r\n"}, false)
	check("not safe", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", []string{"hello", " you"}, false)
	check("POST with a key", "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nContent-Length: 9\r\n\r\n", []string{"hello", " you"}, true)
}

// An embedder drains targets; running exchanges finish.
func TestDrainTarget(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	one := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			c.Request()
			c.Wait(release)
			c.Send(say("one"))
		}
	})
	two := testkit.Listen(t, testkit.Answer(say("two")))
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, { url = %q, priority = 1 }]
`, one.URL, two.URL)
	c := w.dial()
	c.Send(get)
	testkit.Eventually(t, "it runs", func() bool { return one.Requests() == 1 })
	if err := w.Drain("origin", one.URL, true); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		equal(t, "while one drains", w.dial().Get("/").Body, "two")
	}
	close(release)
	equal(t, "the running one", c.Response("GET").Body, "one")
	if err := w.Drain("origin", one.URL, false); err != nil {
		t.Fatal(err)
	}
	equal(t, "afterwards", c.Get("/").Body, "one")

	bad := func(upstream, target, want string) {
		t.Helper()
		err := w.Drain(upstream, target, true)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	bad("no", one.URL, `cannot drain: found upstream "no": there is "origin"`)
	bad("origin", "no", fmt.Sprintf(`cannot drain: found target "no": there is one of %q, %q`, one.URL, two.URL))
}

// Without a descriptor left weir blames itself, not the target: see lb's tests
// for what follows. Here: a refused connection does take the target out at once.
func TestRefusedIsKnownToAll(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
`, refused(t))
	c := w.dial()
	equal(t, "first", c.Get("/").Body, "502 Bad Gateway: connect_failed\n")
	equal(t, "second", c.Get("/").Body, "503 Service Unavailable: no_target\n")
	equal(t, "attempts of the second", w.logged(2)[1].Attempts, 0)
}

// compare sends requests until there is something to compare a slow one with: more
// than a hundred, and for longer than an estimate is kept. Many clients send them, so
// that they are all recent on a busy machine too. It returns how many, when all are
// in the log.
func compare(w *weir, look func(m *testkit.Message)) (n int) {
	var clients []*testkit.Client
	for range 20 {
		clients = append(clients, w.dial())
	}
	for begun := time.Now(); n < 200 || time.Since(begun) < 300*time.Millisecond; n += len(clients) {
		for _, c := range clients {
			c.Send(get)
		}
		for _, c := range clients {
			look(c.Response("GET"))
		}
	}
	w.logged(n)
	return n
}

// A second attempt starts when the first is slower than most were; what answers
// first is used, and the other one is given up.
func TestHedging(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	check := func(name string, slow func(c *testkit.Conn, hedged <-chan struct{}), fast func(c *testkit.Conn), want, result string) {
		t.Run(name, func(t *testing.T) {
			hedged := make(chan struct{})
			hung := make(chan struct{}, 2)
			one := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					if c.Request().Target() == "/slow" {
						hung <- struct{}{}
						slow(c, hedged)
						return
					}
					c.Send(say("one"))
				}
			})
			two := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					if c.Request().Target() == "/slow" {
						close(hedged)
						fast(c)
						return
					}
					c.Send(say("two"))
				}
			})
			// Path /slow goes to the first target first, by its cookie.
			w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q]
sticky.cookie = "weir"
retry = { hedge = 0.5, hedge_min = "2s", on = ["reset", "503"] }
`, one.URL, two.URL)
			c := w.dial()
			cookie := ""
			n := compare(w, func(m *testkit.Message) {
				if m.Body == "one" {
					cookie, _, _ = strings.Cut(m.Get("Set-Cookie"), ";")
				}
			})
			c.Send("GET /slow HTTP/1.1\r\nHost: a\r\nCookie: " + cookie + "\r\n\r\n")
			m := c.Response("GET")
			<-hung
			equal(t, "answer", fmt.Sprint(m.Status(), " ", m.Body), want)
			equal(t, "attempts", w.logged(n + 1)[n].Attempts, 2)
			if result != "" {
				w.becomes("hedges", fmt.Sprintf(`weir_upstream_hedges_total{upstream="origin",result=%q}`, result), "1")
			}
			// Both targets still serve, and nothing of the loser is left.
			for range 4 {
				equal(t, "afterwards", c.Get("/").Status(), 200)
			}
			testkit.Eventually(t, "nothing runs", func() bool {
				return w.metric(`weir_upstream_running{upstream="origin"}`) == "0"
			})
		})
	}
	hang := func(c *testkit.Conn) { c.Rest() }
	check("the hedge wins", func(c *testkit.Conn, _ <-chan struct{}) { hang(c) },
		func(c *testkit.Conn) { c.Send(say("hedge")) }, "200 hedge", "won")
	check("the first wins", func(c *testkit.Conn, hedged <-chan struct{}) { c.Wait(hedged); c.Send(say("first")) },
		hang, "200 first", "lost")
	failed := make(chan struct{})
	check("the hedge answers 503", func(c *testkit.Conn, _ <-chan struct{}) { c.Wait(failed); c.Send(say("first")) },
		func(c *testkit.Conn) {
			c.Send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
			close(failed)
			c.Rest()
		}, "200 first", "")
}

// A client that leaves during a race ends both attempts.
func TestClientLeavesHedge(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 2)
	ended := make(chan struct{}, 2)
	script := func(c *testkit.Conn) {
		for {
			if c.Request().Target() == "/slow" {
				asked <- struct{}{}
				c.Rest()
				ended <- struct{}{}
				return
			}
			c.Send(ok)
		}
	}
	one, two := testkit.Listen(t, script), testkit.Listen(t, script)
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q, %q]
retry = { hedge = 0.5, hedge_min = "2s" }
`, one.URL, two.URL)
	c := w.dial()
	n := compare(w, func(*testkit.Message) {})
	c.Send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	receive(t, asked)
	receive(t, asked)
	c.Reset()
	receive(t, ended)
	receive(t, ended)
	if got := w.logged(n + 1)[n].String(); !strings.HasSuffix(got, " client_gone") {
		t.Errorf("the log's line is %q", got)
	}
}
