package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// Requests share a connection without waiting for answers, two writes at most
// are on their way, and what has gathered meanwhile leaves together.
func TestPipeline(t *testing.T) {
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
			// Nobody is told no: one more than fits is on another connection, and
			// so is what must not be sent twice.
			equal(t, "one too many", asks(w, "/e").Response("GET").Body, "/e")
			own := w.dial()
			own.Send("POST /f HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 0\r\n\r\n")
			equal(t, "POST", own.Response("POST").Body, "/f")
			close(more)
			for i, c := range clients {
				equal(t, "answer", c.Response("GET").Body, targets[i])
			}
			equal(t, "repeated requests", w.figure("weir_upstream_pipeline_retries_total"), "0")
			equal(t, "shared", w.figure("weir_upstream_pipeline_requests_total"), "5")
			equal(t, "writes", w.figure("weir_upstream_pipeline_writes_total"), "4")
		})
	}
}

// What happens to three exchanges on one connection when the answer to the
// first, or the connection, is not as it should be. The third was not sent yet.
func TestPipelineSurprises(t *testing.T) {
	check := func(name string, act func(c *testkit.Conn), first string, conns int, repeated string) {
		t.Run(name, func(t *testing.T) {
			held, queued := make(chan struct{}), make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				if c.Index > 0 {
					echoes(c)
				}
				for range 2 {
					c.Request()
					held <- struct{}{}
				}
				c.Wait(queued)
				act(c)
			})
			w := pipelined(t, origin, 8, "")
			a := asks(w, "/a")
			receive(t, held)
			b := asks(w, "/b")
			receive(t, held)
			c := asks(w, "/c")
			testkit.Eventually(t, "all wait", func() bool { return w.figure("weir_upstream_in_flight") == "3" })
			close(queued)
			m := a.Response("GET")
			equal(t, "first answer", fmt.Sprintf("%d %.20s %d", m.Status(), m.Body, len(m.Interim)), first)
			equal(t, "second answer", b.Response("GET").Body, "/b")
			equal(t, "third answer", c.Response("GET").Body, "/c")
			equal(t, "repeated requests", w.figure("weir_upstream_pipeline_retries_total"), repeated)
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
	check("304", send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", goesOn), "304  0", 1, "0")
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
	check("interim response", send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+answerTo("/a"), rest), "200 /a 1", 2, "1")
	check("large body", send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("a", 100_000), rest), "200 "+strings.Repeat("a", 20)+" 0", 2, "1")
	check("length and chunked", send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n/a\r\n0\r\n\r\n", rest), "200 /a 0", 2, "1")
	check("304 with a length", send("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", rest), "304  0", 2, "1")
	check("not HTTP", send("SSH-2.0-OpenSSH\r\n\r\n", rest), "200 /a 0", 2, "2")
	check("more than was announced", send(answerTo("/a")+"!\r\n", rest), "200 /a 0", 2, "1")
	check("bad chunk", send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", rest), "200 /a 0", 2, "2")
}

// A response that is on its way slowly reaches its client as it comes, and those
// behind it do not wait for it.
func TestPipelineSlowBody(t *testing.T) {
	held, more := make(chan struct{}), make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		if c.Index > 0 {
			echoes(c)
		}
		c.Request()
		c.Request()
		held <- struct{}{}
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
		c.Wait(more)
		c.Send("3\r\ntwo\r\n0\r\n\r\n")
		c.Rest()
	})
	w := pipelined(t, origin, 8, "")
	a := asks(w, "/a")
	testkit.Eventually(t, "the first waits", func() bool { return w.figure("weir_upstream_in_flight") == "1" })
	b := asks(w, "/b")
	receive(t, held)
	m := a.Head("GET")
	equal(t, "first piece", a.Chunk(m), "one")
	equal(t, "second answer", b.Response("GET").Body, "/b")
	close(more)
	equal(t, "second piece", a.Chunk(m), "two")
}

// A time-out of the first is its own alone.
func TestPipelineTimeout(t *testing.T) {
	held := make(chan struct{}, 2)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		if c.Index > 0 {
			echoes(c)
		}
		c.Request()
		held <- struct{}{}
		c.Request()
		held <- struct{}{}
		c.Rest()
	})
	w := pipelined(t, origin, 8, "[[routes]]\npath = \"/a\"\nupstream = \"origin\"\n[routes.timeouts]\nfirst_byte = \"300ms\"")
	a := asks(w, "/a")
	receive(t, held)
	b := asks(w, "/b")
	receive(t, held)
	equal(t, "first answer", a.Response("GET").Status(), 504)
	equal(t, "second answer", b.Response("GET").Body, "/b")
	equal(t, "repeated requests", w.figure("weir_upstream_pipeline_retries_total"), "1")
}

// A client that goes away leaves its answer to nobody.
func TestPipelineClientGone(t *testing.T) {
	check := func(name string, gone int) {
		t.Run(name, func(t *testing.T) {
			held, left := make(chan struct{}), make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				if c.Index > 0 {
					echoes(c)
				}
				for range 2 {
					c.Request()
					held <- struct{}{}
				}
				c.Wait(left)
				for _, target := range []string{"/0", "/1"} {
					if c.TrySend(answerTo(target)) != nil {
						return
					}
				}
				c.Rest()
			})
			w := pipelined(t, origin, 8, "")
			clients := []*testkit.Client{asks(w, "/0")}
			receive(t, held)
			clients = append(clients, asks(w, "/1"))
			receive(t, held)
			clients[gone].Reset()
			testkit.Eventually(t, "it is noticed", func() bool { return w.log.len() > 0 })
			close(left)
			stays := 1 - gone
			equal(t, "answer", clients[stays].Response("GET").Body, fmt.Sprint("/", stays))
			for _, e := range w.logged(2) {
				want := "ok"
				if e.Target == fmt.Sprint("/", gone) {
					want = "client_gone"
				}
				equal(t, "cause of "+e.Target, e.Cause, want)
			}
		})
	}
	check("the first", 0)
	check("the second", 1)
}

// Bytes that nobody asked for are nobody's answer.
func TestPipelinePlantedBytes(t *testing.T) {
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
	equal(t, "paused", w.figure("weir_upstream_pipeline_paused"), "1")
	before := w.figure("weir_upstream_pipeline_writes_total")
	odd.Store(false)
	equal(t, "answer meanwhile", asks(w, "/c").Response("GET").Status(), 200)
	equal(t, "writes", w.figure("weir_upstream_pipeline_writes_total"), before)
}

// Nobody ever gets the answer of another, whatever clients and origin do.
func TestPipelineOwnAnswers(t *testing.T) {
	const clients, requests = 24, 120
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		r := rand.New(rand.NewPCG(1, uint64(c.Index)))
		for {
			m, err := c.TryHead()
			if err != nil {
				return
			}
			id := m.Get("X-Id")
			answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(id), id)
			switch r.IntN(60) {
			case 0:
				c.TrySend(answer[:r.IntN(len(answer))])
				return
			case 1:
				<-after(r.IntN(20))
			case 2:
				long := strings.Repeat(id, 4000)
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(long), long)
			case 3:
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", id, len(id), id)
			case 4:
				c.TrySend(answer[:40])
				<-after(r.IntN(20))
				answer = answer[40:]
			case 5:
				answer += "HTTP/1.1 200 OK\r\nX-Id: nobody\r\n" // no whole one: it breaks off
				c.TrySend(answer)
				return
			case 6:
				c.Reset()
				return
			case 7:
				answer = strings.Replace(answer, "200 OK\r\n", "200 OK\r\nConnection: close\r\n", 1)
				c.TrySend(answer)
				return
			}
			if c.TrySend(answer) != nil {
				return
			}
		}
	})
	w := pipelined(t, origin, 6, "")
	var wrong, right atomic.Int64
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(i)))
			var nc net.Conn
			var br *bufio.Reader
			for n := range requests {
				if nc == nil {
					var err error
					if nc, err = net.Dial("tcp", w.addr.String()); err != nil {
						t.Error(err)
						return
					}
					nc.SetDeadline(time.Now().Add(testkit.Limit))
					br = bufio.NewReader(nc)
				}
				id := fmt.Sprintf("%d-%d.", i, n)
				fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Id: %s\r\n\r\n", id)
				if r.IntN(20) == 0 { // goes away
					nc.Close()
					nc = nil
					continue
				}
				m, err := http.ReadResponse(br, nil)
				if err != nil {
					nc.Close()
					nc = nil
					continue
				}
				body, err := io.ReadAll(m.Body)
				if got := m.Header.Get("X-Id"); m.StatusCode == 200 && (got != id || strings.ReplaceAll(string(body), id, "") != "" && err == nil) {
					wrong.Add(1)
					t.Errorf("client %s got the answer of %q: %.60q", id, got, body)
				} else if m.StatusCode == 200 && err == nil {
					right.Add(1)
				}
				if err != nil || m.Close {
					nc.Close()
					nc = nil
				}
			}
			if nc != nil {
				nc.Close()
			}
		})
	}
	all.Wait()
	if right.Load() < clients*requests/2 {
		t.Errorf("only %d of %d exchanges were answered", right.Load(), clients*requests)
	}
	testkit.Eventually(t, "nothing runs", func() bool { return w.figure("weir_upstream_in_flight") == "0" })
}
