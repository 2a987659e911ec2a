package server_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"weir/internal/testkit"
)

// pipelined starts weir with shared connections to an origin. more is
// configuration that follows.
func pipelined(t testing.TB, origin *testkit.Origin, depth int, more string) *weir {
	t.Helper()
	return run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
[upstreams.origin.connections]
pipeline = %d
%s
`, origin.URL, depth, more)
}

// figure returns the value of an upstream's metric.
func (w *weir) figure(name string) string {
	w.t.Helper()
	for line := range strings.Lines(w.metrics()) {
		if strings.HasPrefix(line, name+"{") {
			return strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])
		}
	}
	return ""
}

// asks sends a GET request without reading the answer.
func asks(w *weir, target string) *testkit.Client {
	c := w.dial()
	c.Send("GET " + target + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	return c
}

// answerTo answers with the request's target.
func answerTo(target string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target)
}

// echoes answers everything so.
func echoes(c *testkit.Conn) {
	for {
		c.Send(answerTo(c.Request().Target()))
	}
}

// name is the target of the i-th of them.
func name(i int) string { return "/" + string(rune('a'+i)) }

// gathered has n clients ask for "/a", "/b" and so on, which end up on one
// connection: the origin has the first two requests, and the others wait for an
// answer. start makes what is needed, with holding, and does so again if the
// clients took so long that the first had a slow turn.
func gathered(t *testing.T, n int, start func(seen *atomic.Int32) (*weir, *testkit.Origin)) (*weir, []*testkit.Client) {
	t.Helper()
	for range 10 {
		var seen atomic.Int32
		w, origin := start(&seen)
		var clients []*testkit.Client
		for i := range n {
			clients = append(clients, asks(w, name(i)))
			testkit.Eventually(t, "the exchange runs", func() bool {
				return w.log.len() > 0 || w.running() == i+1 && int(seen.Load()) == min(i+1, 2)
			})
		}
		if w.log.len() == 0 && len(origin.Conns()) == 1 {
			return w, clients
		}
		w.Close()
		origin.Close()
	}
	t.Fatal("requests do not gather")
	return nil, nil
}

// running returns the number of running attempts.
func (w *weir) running() (sum int) {
	for line := range strings.Lines(w.metrics()) {
		if strings.HasPrefix(line, "weir_upstream_in_flight{") {
			var n int
			fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n)
			sum += n
		}
	}
	return sum
}

// holding is a script that does with the first connection what act says, once it
// has read two requests and may go on. It echoes on all others.
func holding(seen *atomic.Int32, on <-chan struct{}, act func(c *testkit.Conn)) func(*testkit.Conn) {
	return func(c *testkit.Conn) {
		if c.Index > 0 {
			echoes(c)
		}
		for range 2 {
			c.Request()
			seen.Add(1)
		}
		c.Wait(on)
		act(c)
	}
}

// Requests share a connection without waiting for answers, two writes at most
// are on their way, and what has gathered meanwhile leaves together.
func TestPipeline(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tcp", "unix", "tls"} {
		t.Run(kind, func(t *testing.T) {
			held, more := make(chan string), make(chan struct{})
			script := func(c *testkit.Conn) {
				if c.Index > 0 {
					echoes(c)
				}
				for range 2 {
					held <- c.Request().Target()
				}
				c.Wait(more)
				c.Send(answerTo("/a") + answerTo("/b"))
				echoes(c)
			}
			var origin *testkit.Origin
			switch kind {
			case "tcp":
				origin = testkit.Listen(t, script)
			case "unix":
				origin = testkit.ListenUnix(t, script)
			case "tls":
				pair := testkit.NewAuthority(t).Issue("127.0.0.1")
				origin = testkit.ListenTLS(t, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}, script)
			}
			w := pipelined(t, origin, 4, "[upstreams.origin.tls]\ninsecure_skip_verify = true")
			targets := []string{"/a", "/b", "/c", "/d"}
			var clients []*testkit.Client
			for i, target := range targets {
				clients = append(clients, asks(w, target))
				if i < 2 {
					equal(t, "request", receive(t, held), target)
				}
				testkit.Eventually(t, "the exchange runs", func() bool {
					return w.figure("weir_upstream_in_flight") == fmt.Sprint(i+1)
				})
			}
			// No client is refused: the request that does not fit has a connection of its own,
			// and so has one that must not be sent twice.
			equal(t, "one too many", asks(w, "/e").Response("GET").Body, "/e")
			own := w.dial()
			own.Send("POST /f HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 0\r\n\r\n")
			equal(t, "POST", own.Response("POST").Body, "/f")
			own.Send("HEAD /g HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			equal(t, "HEAD", own.Head("HEAD").Get("Content-Length"), "2")
			close(more)
			for i, c := range clients {
				equal(t, "answer", c.Response("GET").Body, targets[i])
			}
			w.becomes("repeated requests", "weir_upstream_pipeline_retries_total", "0")
			w.becomes("shared", "weir_upstream_pipeline_requests_total", "5")
			w.becomes("writes", "weir_upstream_pipeline_writes_total", "4")
		})
	}
}

// What happens to three exchanges on one connection when the answer to the
// first, or the connection, is not as it should be. The third was not sent yet.
func TestPipelineSurprises(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	check := func(name string, act func(c *testkit.Conn), first string, conns int, repeated string) {
		t.Run(name, func(t *testing.T) {
			on := make(chan struct{})
			var origin *testkit.Origin
			w, clients := gathered(t, 3, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
				origin = testkit.Listen(t, holding(seen, on, act))
				return pipelined(t, origin, 8, ""), origin
			})
			close(on)
			m := clients[0].Response("GET")
			equal(t, "first answer", fmt.Sprintf("%d %.20s %d", m.Status(), m.Body, len(m.Interim)), first)
			equal(t, "second answer", clients[1].Response("GET").Body, "/b")
			equal(t, "third answer", clients[2].Response("GET").Body, "/c")
			w.becomes("repeated requests", "weir_upstream_pipeline_retries_total", repeated)
			equal(t, "connections beyond", len(origin.Conns()) >= conns, true)
			for _, e := range w.logged(3) {
				equal(t, "attempts of "+e.Target, e.Attempts, 1)
			}
			if n := w.figure("weir_upstream_retry_budget_used"); n != "0" {
				t.Errorf("%s retries were taken out of the budget", n)
			}
		})
	}
	rest := func(c *testkit.Conn) { c.Rest() }
	send := func(s string, then func(*testkit.Conn)) func(*testkit.Conn) {
		return func(c *testkit.Conn) { c.Send(s); then(c) }
	}
	// The origin goes on with what is asked, if weir lets it.
	goesOn := func(c *testkit.Conn) { c.TrySend(answerTo("/b")); echoes(c) }
	stops := func(*testkit.Conn) {}

	check("nothing surprising", send(answerTo("/a"), goesOn), "200 /a 0", 1, "0")
	check("chunked", send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n/a\r\n0\r\n\r\n", goesOn), "200 /a 0", 1, "0")
	check("keep-alive", send("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n/a", goesOn), "200 /a 0", 1, "0")
	check("Keep-Alive", send("HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n/a", goesOn), "200 /a 0", 1, "0")
	check("304", send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", goesOn), "304  0", 1, "0")
	check("chunked, with trailer", send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\n/a\r\n0\r\nX-T: 1\r\n\r\n", goesOn), "200 /a 0", 1, "0")
	check("204", send("HTTP/1.1 204 No Content\r\n\r\n", goesOn), "204  0", 1, "0")
	check("no content", send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", goesOn), "200  0", 1, "0")
	check("404", send("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n/a", goesOn), "404 /a 0", 1, "0")
	check("in pieces", func(c *testkit.Conn) {
		c.Send("HTTP/1.1 200 OK\r\nContent-Le", "ngth: 2\r\n\r", "\n/", "a")
		goesOn(c)
	}, "200 /a 0", 1, "0")

	check("closed", stops, "200 /a 0", 2, "2")
	check("reset", func(c *testkit.Conn) { c.Reset() }, "200 /a 0", 2, "2")
	check("closed behind the first", send(answerTo("/a"), stops), "200 /a 0", 2, "2") // the third was sent by then
	check("Connection: close", send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n/a", rest), "200 /a 0", 2, "1")
	check("HTTP/1.0", send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n/a", rest), "200 /a 0", 2, "1")
	check("until close", send("HTTP/1.1 200 OK\r\n\r\n/a", stops), "200 /a 0", 2, "1")
	check("204 that is chunked", send("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", rest), "204  0", 2, "1")
	check("400, closed", send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", stops), "400  0", 2, "1")
	check("400, closed without a word", send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", stops), "400  0", 2, "2")
	check("100 Continue", send("HTTP/1.1 100 Continue\r\n\r\n"+answerTo("/a"), rest), "200 /a 1", 2, "1")
	check("two interim responses", send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"+answerTo("/a"), rest), "200 /a 2", 2, "1")
	check("interim response", send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+answerTo("/a"), rest), "200 /a 1", 2, "1")
	check("large body", send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("a", 100_000), rest), "200 "+strings.Repeat("a", 20)+" 0", 2, "1")
	check("large chunk", send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"+strings.Repeat("a", 100_000)+"\r\n0\r\n\r\n", rest), "200 "+strings.Repeat("a", 20)+" 0", 2, "1")
	check("length and chunked", send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n/a\r\n0\r\n\r\n", rest), "200 /a 0", 2, "1")
	check("304 with a length", send("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", rest), "304  0", 2, "1")
	check("not HTTP", send("SSH-2.0-OpenSSH\r\n\r\n", rest), "200 /a 0", 2, "2")
	check("more than was announced", send(answerTo("/a")+"!\r\n", rest), "200 /a 0", 2, "1")
	check("a body behind a 204", send("HTTP/1.1 204 No Content\r\n\r\n/a", rest), "204  0", 2, "1")
	check("a body behind a 304", send("HTTP/1.1 304 Not Modified\r\n\r\n/a\r\n", rest), "304  0", 2, "1")
	check("zeros", send(strings.Repeat("\x00", 100)+"\r\n", rest), "200 /a 0", 2, "2")
	check("no line ends", send(strings.Repeat("x", 100_000), rest), "200 /a 0", 2, "2")
	check("bad chunk", send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", rest), "200 /a 0", 2, "2")
}

// A response that is on its way slowly reaches its client as it comes, and those
// behind it do not wait for it.
func TestPipelineSlowBody(t *testing.T) {
	t.Parallel()
	on, more := make(chan struct{}), make(chan struct{})
	_, clients := gathered(t, 2, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
		origin := testkit.Listen(t, holding(seen, on, func(c *testkit.Conn) {
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
			c.Wait(more)
			c.Send("3\r\ntwo\r\n0\r\n\r\n")
			c.Rest()
		}))
		return pipelined(t, origin, 8, ""), origin
	})
	close(on)
	a, b := clients[0], clients[1]
	m := a.Head("GET")
	equal(t, "first piece", a.Chunk(m), "one")
	equal(t, "second answer", b.Response("GET").Body, "/b")
	close(more)
	equal(t, "second piece", a.Chunk(m), "two")
}

// No other client gets the answer of one that went away.
func TestPipelineClientGone(t *testing.T) {
	t.Parallel()
	check := func(what string, gone int) {
		t.Run(what, func(t *testing.T) {
			left := make(chan struct{})
			w, clients := gathered(t, 2, func(seen *atomic.Int32) (*weir, *testkit.Origin) {
				origin := testkit.Listen(t, holding(seen, left, func(c *testkit.Conn) {
					if c.TrySend(answerTo("/a")+answerTo("/b")) == nil {
						c.Rest()
					}
				}))
				return pipelined(t, origin, 8, ""), origin
			})
			clients[gone].Reset()
			testkit.Eventually(t, "it is noticed", func() bool { return w.log.len() > 0 })
			close(left)
			stays := 1 - gone
			equal(t, "answer", clients[stays].Response("GET").Body, name(stays))
			for _, e := range w.logged(2) {
				want := "ok"
				if e.Target == name(gone) {
					want = "client_gone"
				}
				equal(t, "cause of "+e.Target, e.Cause, want)
			}
		})
	}
	check("the first", 0)
	check("the second", 1)
}

// No client gets bytes that no request asked for.
func TestPipelinePlantedBytes(t *testing.T) {
	t.Parallel()
	planted := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		if c.Index > 0 {
			echoes(c)
		}
		c.Send(answerTo(c.Request().Target()))
		c.Send(answerTo("/planted"))
		close(planted)
		c.Rest()
	})
	w := pipelined(t, origin, 8, "")
	c := w.dial()
	equal(t, "first answer", c.Get("/a").Body, "/a")
	receive(t, planted)
	equal(t, "second answer", c.Get("/b").Body, "/b")
}

// A target that costs too much is left in peace for a while.
func TestPipelinePauses(t *testing.T) {
	t.Parallel()
	held := make(chan *testkit.Conn)
	var odd atomic.Bool
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if _, err := c.TryHead(); err != nil {
				return
			}
			if odd.Load() {
				held <- c
			} else if c.TrySend(ok) != nil {
				return
			}
		}
	})
	w := pipelined(t, origin, 2, "")
	for range 10 {
		if w.figure("weir_upstream_pipeline_paused") == "1" {
			break
		}
		odd.Store(true)
		a := asks(w, "/a")
		receive(t, held)
		b := asks(w, "/b")
		c := receive(t, held)
		odd.Store(false)
		c.Reset()
		equal(t, "first answer", a.Response("GET").Status(), 200)
		equal(t, "second answer", b.Response("GET").Status(), 200)
	}
	w.becomes("paused", "weir_upstream_pipeline_paused", "1")
	before := w.figure("weir_upstream_pipeline_writes_total")
	odd.Store(false)
	equal(t, "answer meanwhile", asks(w, "/c").Response("GET").Status(), 200)
	w.becomes("writes", "weir_upstream_pipeline_writes_total", before)
}
