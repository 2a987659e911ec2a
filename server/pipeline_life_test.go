package server_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/testkit"
)

// sharing is a configuration with shared connections to targets.
func sharing(depth int, more string, targets ...string) string {
	return plainListener + toOrigin(targets...) + fmt.Sprintf("connections.pipeline = %d\n%s", depth, more)
}

// answersAll answers n requests of gathered, of which it has read two.
func answersAll(n int) func(c *testkit.Conn) {
	return func(c *testkit.Conn) {
		c.Send(answerTo("/a"), answerTo("/b"))
		for range n - 2 {
			c.Send(answerTo(c.Request().Target()))
		}
		c.Rest()
	}
}

// A reload, with the same connections and with others, and a drain of the target
// leave alone what is under way on a shared connection.
func TestPipelineKeepsRunningExchanges(t *testing.T) {
	t.Parallel()
	check := func(what string, act func(w *weir, first, second string), conns int) {
		t.Run(what, func(t *testing.T) {
			on := make(chan struct{})
			second := testkit.Listen(t, echoes)
			var first *testkit.Origin
			w, clients := gathered(t, 6, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
				first = testkit.Listen(t, holding(seen, on, answersAll(6)))
				return launch(t, sharing(8, "", first.URL)), first
			})
			act(w, first.URL, second.URL)
			equal(t, "one that comes later", asks(w, "/later").Response("GET").Body, "/later")
			close(on)
			for i, c := range clients {
				m := c.Response("GET")
				equal(t, "answer", m.Body, name(i))
				equal(t, "Connection", m.Get("Connection"), "")
			}
			equal(t, "requests to the old target", first.Requests(), 6)
			equal(t, "requests to the new one", second.Requests(), 1)
			// No exchange has them: they are closed or unused.
			testkit.Eventually(t, "the connections are given back", func() bool {
				for line := range strings.Lines(w.metrics()) {
					if strings.HasPrefix(line, "weir_upstream_connections{") && strings.Contains(line, first.URL) &&
						strings.Contains(line, `"open"`) && !strings.HasSuffix(line, fmt.Sprint(" ", conns, "\n")) {
						return false
					}
				}
				return true
			})
		})
	}
	check("another target", func(w *weir, first, second string) {
		if err := w.Reload(parse(t, sharing(8, "", second))); err != nil {
			t.Error(err)
		}
	}, 0)
	check("drained", func(w *weir, first, second string) {
		if err := w.Reload(parse(t, sharing(8, "", first, second))); err != nil {
			t.Error(err)
		}
		if err := w.Drain("origin", first, true); err != nil {
			t.Error(err)
		}
	}, 1)
}

// A drain of weir lets everybody on a shared connection finish.
func TestPipelineShutdown(t *testing.T) {
	t.Parallel()
	on := make(chan struct{})
	w, clients := gathered(t, 6, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
		origin := testkit.Listen(t, holding(seen, on, answersAll(6)))
		return launch(t, sharing(8, "", origin.URL)), origin
	})
	drained := w.shutdown()
	testkit.Eventually(t, "it drains", func() bool {
		c, err := net.Dial("tcp", w.addr.String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(on)
	for i, c := range clients {
		equal(t, "answer", c.Response("GET").Body, name(i))
		c.Close()
	}
	if err := receive(t, drained); err != nil {
		t.Error(err)
	}
}

// Nothing is left of a server that is closed while exchanges share connections,
// in whatever state these are.
func TestPipelineCloseLeaksNothing(t *testing.T) {
	check := func(name string, script func(c *testkit.Conn), ready int, more string) {
		t.Run(name, func(t *testing.T) {
			done := leaksNothing(t)
			t.Run("life", func(t *testing.T) {
				origin := testkit.Listen(t, script)
				w := launch(t, sharing(4, "connections.idle = \"20ms\"\n"+more, origin.URL))
				asks(w, "/first").Response("GET") // it knows such connections
				var clients []*testkit.Client
				for range 10 {
					clients = append(clients, asks(w, "/x"))
				}
				testkit.Eventually(t, "all requests have come, and the origin has some", func() bool {
					return w.inFlight() == len(clients) && origin.Requests() >= ready
				})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				defer cancel()
				w.Shutdown(ctx)
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				for _, c := range clients {
					c.Rest()
				}
				equal(t, "lines in the log", len(w.logged(11)), 11)
			})
			done()
		})
	}
	after := func(what string) func(c *testkit.Conn) {
		return func(c *testkit.Conn) {
			for {
				if c.Request().Target() == "/first" {
					c.Send(answerTo("/first"))
					continue
				}
				c.Send(what)
				c.Rest()
				return
			}
		}
	}
	check("no answer", after(""), 4, "")
	check("part of a head", after("HTTP/1.1 200 OK\r\nConte"), 4, "")
	check("part of a body", after("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\nx"), 4, "")
	check("no limits", after(""), 4, "timeouts = { first_byte = \"0s\", idle = \"0s\", write = \"0s\" }\n")
}

// What a target that dies has not answered is sent again, each once and alone; if
// it stays away that is what is answered.
func TestPipelineTargetDies(t *testing.T) {
	t.Parallel()
	const n = 10
	check := func(what string, act func(o *testkit.Origin, c *testkit.Conn), want func(i int) string, repeats, requests int) {
		t.Run(what, func(t *testing.T) {
			on := make(chan struct{})
			var origin *testkit.Origin
			w, clients := gathered(t, n, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
				origin = testkit.Listen(t, holding(seen, on, func(c *testkit.Conn) { act(origin, c) }))
				return launch(t, sharing(16, "", origin.URL)), origin
			})
			close(on)
			for i, c := range clients {
				m := c.Response("GET")
				equal(t, "answer", fmt.Sprintf("%d %.2s", m.Status(), m.Body), want(i))
			}
			w.logged(n)
			w.becomes("repeats", "weir_upstream_pipeline_retries_total", fmt.Sprint(repeats))
			equal(t, "requests", origin.Requests(), requests)
		})
	}
	own := func(i int) string { return "200 " + name(i) }
	check("and comes back", func(_ *testkit.Origin, c *testkit.Conn) {
		c.Send(answerTo("/a"), answerTo("/b"))
		c.Request()
		c.Reset() // with more to read
	}, own, n-2, n+1)
	check("for good", func(o *testkit.Origin, c *testkit.Conn) {
		go o.Close()
		c.Hold()
	}, func(int) string { return "502 50" }, 2, 2)
}

// Nothing is lost under load while the configuration is read again and again, with
// the same connections and with others, and one of two targets dies and comes back.
func TestPipelineUnderLoad(t *testing.T) {
	t.Parallel()
	first, second := newMortal(t, echo), newMortal(t, echo)
	text := func(depth int) string {
		return sharing(depth, "retry = { attempts = 4, budget = 1.0 }\nhealth.passive = { failures = 0, redial = \"10ms\" }\n", "http://"+first.addr, "http://"+second.addr)
	}
	w := launch(t, text(8))
	stop, stopped := make(chan struct{}), make(chan struct{})
	reloads := 0
	go func() {
		defer close(stopped)
		for ; ; reloads++ {
			select {
			case <-stop:
				return
			case <-after(5):
			}
			if reloads%8 == 3 {
				first.kill()
			}
			if err := w.Reload(parse(t, text(4+reloads/4%2))); err != nil {
				t.Error(err)
			}
			if reloads%8 == 7 {
				first.start()
			}
		}
	}()
	var clients sync.WaitGroup
	for i := range 16 {
		c := w.dial()
		clients.Go(func() {
			for n := range testkit.Soak(t, "PIPELINE_REQUESTS", testkit.Rounds(25, 60)) {
				path := fmt.Sprintf("/%d-%d", i, n)
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: weir.test\r\n\r\n", path)
				m, err := testkit.ReadResponse(c.Reader, "GET")
				if err != nil {
					t.Errorf("request %s: %v", path, err)
					return
				}
				equal(t, "answer", fmt.Sprintf("%d %s", m.Status(), strings.TrimSpace(m.Body)), "200 "+path)
			}
		})
	}
	clients.Wait()
	close(stop)
	<-stopped
	t.Logf("%d reloads", reloads)
}

// A client that takes nothing of a large response, or of a small one, does not hold up the
// requests behind it.
func TestPipelineSlowClient(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	check := func(name string, size int, most int) {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat("x", size)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					if m, err := c.TryHead(); err != nil {
						return
					} else if target := m.Target(); target != "/large" {
						c.Send(answerTo(target))
					} else if c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) != nil {
						return
					}
				}
			})
			w := pipelined(t, origin, 8, "")
			slow := asks(w, "/large")
			c := w.dial()
			for i := range 50 {
				equal(t, "answer", c.Get(fmt.Sprint("/", i)).Body, fmt.Sprint("/", i))
			}
			equal(t, "few connections", len(origin.Conns()) <= most, true)
			equal(t, "bytes of the large one", len(slow.Response("GET").Body), size)
		})
	}
	check("large", 16_000_000, 2)
	check("small", 10_000, 2)
}

// Time-outs are those of the exchange that they are about: who waits behind a slow
// one does not fail of it, and a body that stops coming ends its own exchange.
func TestPipelineTimeouts(t *testing.T) {
	t.Parallel()
	check := func(what, more string, act func(c *testkit.Conn), look func(w *weir, a, b *testkit.Client)) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			on := make(chan struct{})
			w, clients := gathered(t, 2, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
				origin := testkit.Listen(t, holding(seen, on, act))
				return pipelined(t, origin, 8, more), origin
			})
			close(on)
			look(w, clients[0], clients[1])
			w.becomes("repeats", "weir_upstream_pipeline_retries_total", "1")
		})
	}
	route := func(path, limits string) string {
		return fmt.Sprintf("[[routes]]\npath = %q\nupstream = \"origin\"\n[routes.timeouts]\n%s", path, limits)
	}
	silent := func(c *testkit.Conn) { c.Rest() }
	half := "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"

	check("first_byte of the first", route("/a", `first_byte = "3s"`), silent, func(_ *weir, a, b *testkit.Client) {
		equal(t, "first answer", a.Response("GET").Status(), 504)
		equal(t, "second answer", b.Response("GET").Body, "/b")
	})
	check("first_byte of the second", route("/b", `first_byte = "2s"`), silent, func(w *weir, a, b *testkit.Client) {
		equal(t, "second answer", b.Response("GET").Body, "/b")
		testkit.Eventually(t, "only the first one runs", func() bool { return w.running() == 1 })
		a.Close()
	})
	check("total of the second", route("/b", `total = "3s"`), silent, func(w *weir, a, b *testkit.Client) {
		equal(t, "second answer", b.Response("GET").Status(), 504)
		equal(t, "log", w.logged(1)[0].String(), "504 total_timeout")
		a.Close()
	})
	cut := func(_ *weir, a, b *testkit.Client) {
		a.Head("GET")
		rest, end := a.Rest()
		equal(t, "first answer", rest+" "+string(end), "half reset")
		equal(t, "second answer", b.Response("GET").Body, "/b")
	}
	check("idle", "[upstreams.origin.timeouts]\nidle = \"2s\"", func(c *testkit.Conn) { c.Send(half); c.Rest() }, cut)
	check("broken off", "", func(c *testkit.Conn) { c.Send(half) }, cut)
}
