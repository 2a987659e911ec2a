package server_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
	"weir/lb"
	"weir/server"
)

// ahead starts weir in front of an origin whose first exchange has left a connection at which a goroutine waits, so that the
// requests that follow are sent ahead. The next stream is 3.
func ahead(t *testing.T, script func(c *testkit.Conn, m *testkit.Message), settings string, more ...string) (*framed, *testkit.Origin, *testkit.Frames) {
	t.Helper()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if m := c.Request(); m.Target() == "/first" {
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			} else {
				script(c, m)
			}
		}
	})
	targets := fmt.Sprintf("%q", origin.URL)
	for _, url := range more {
		targets += fmt.Sprintf(", %q", url)
	}
	w := overTLS(t, "", "[[routes]]\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [%s]\n%s", targets, settings)
	c := w.dial()
	c.Get(1, "/first")
	equal(t, "the first answer", c.Whole(1).Status(), "200")
	w.waitsAt(origin)
	w.logged(1)
	return w, origin, c
}

// waitsAt waits until there is an unused connection to the origin: a goroutine comes back to one after the client has its answer.
func (w *framed) waitsAt(origin *testkit.Origin) {
	w.t.Helper()
	w.becomes("unused connections", fmt.Sprintf("weir_upstream_connections{upstream=\"origin\",target=%q,state=\"idle\"}", origin.URL), "1")
}

// Answers of every framing, in pieces and with what comes before them, reach the client on connections that are used again.
func TestH2Ahead(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 20<<10)
	w, origin, c := ahead(t, func(c *testkit.Conn, m *testkit.Message) {
		switch m.Target() {
		case "/length":
			c.Send("HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\n", "he", "llo")
		case "/chunked":
			c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\n", "hel\r\n2\r", "\nlo\r\n0\r\nX-Sum: 1\r\n\r\n")
		case "/hints":
			c.Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		case "/none":
			c.Send("HTTP/1.1 204 No Content\r\n\r\n")
		case "/head":
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
		case "/large":
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(large)), large)
		}
	}, "")
	stream := uint32(3)
	for range 3 {
		for _, target := range []string{"/length", "/chunked", "/hints", "/none", "/head", "/large"} {
			switch target {
			case "/head":
				c.Headers(stream, true, ":method: HEAD", ":scheme: https", ":authority: weir.test", ":path: /head")
			default:
				c.Get(stream, target)
			}
			a := c.Whole(stream)
			want, body := "200", "hello"
			switch target {
			case "/none":
				want, body = "204", ""
			case "/head":
				body = ""
			case "/large":
				body = large
			}
			equal(t, target, a.Status(), want)
			if string(a.Body) != body {
				t.Errorf("%s: a body of %d bytes, want %d", target, len(a.Body), len(body))
			}
			stream += 2
			w.waitsAt(origin)
		}
	}
	equal(t, "connections to the target", len(origin.Conns()), 1)
}

// What fails after the request was sent ahead fails as it does elsewhere.
func TestH2AheadFails(t *testing.T) {
	t.Parallel()
	check := func(name, settings string, script func(c *testkit.Conn, m *testkit.Message), status, line string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _, c := ahead(t, script, settings)
			c.Get(3, "/second")
			a := c.Until(3, "the stream has ended", func(a *testkit.Answered) bool { return a.Ended || a.Reset >= 0 })
			equal(t, "status", a.Status(), status)
			equal(t, "log line", w.logged(2)[1].String(), line)
			for _, series := range []string{"weir_upstream_in_flight", "weir_listener_requests_in_flight"} {
				w.becomes(series, series, "0")
			}
		})
	}
	once := "[upstreams.origin.retry]\nattempts = 1\n"
	check("no answer", once+"[upstreams.origin.timeouts]\nfirst_byte = \"100ms\"\n", func(c *testkit.Conn, _ *testkit.Message) { c.Hold() }, "504", "504 first_byte_timeout")
	check("no answer in all", once+"[upstreams.origin.timeouts]\ntotal = \"100ms\"\n", func(c *testkit.Conn, _ *testkit.Message) { c.Hold() }, "504", "504 total_timeout")
	check("no response", once, func(c *testkit.Conn, _ *testkit.Message) { c.Send("nonsense\r\n\r\n") }, "502", "502 bad_response")
	check("a part of a head", once, func(c *testkit.Conn, _ *testkit.Message) { c.Send("HTTP/1.1 200 OK\r\nA: "); c.CloseWrite() }, "502", "502 bad_response")
	check("a part of a body", once, func(c *testkit.Conn, _ *testkit.Message) {
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
		c.CloseWrite()
	}, "200", "200 truncated")
	check("101", once, func(c *testkit.Conn, _ *testkit.Message) {
		c.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
	}, "502", "502 bad_response")
}

// A request that was sent ahead is repeated as others are: on another connection if the target has closed the one that was used, at another
// target if the answer is one to try again.
func TestH2AheadRepeats(t *testing.T) {
	t.Parallel()
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		var closes atomic.Bool
		closes.Store(true)
		w, origin, c := ahead(t, func(c *testkit.Conn, _ *testkit.Message) {
			if closes.Swap(false) {
				c.Reset()
				c.Hold()
			}
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}, "")
		c.Get(3, "/second")
		equal(t, "status", c.Whole(3).Status(), "200")
		equal(t, "attempts", w.logged(2)[1].Attempts, 1)
		equal(t, "connections", len(origin.Conns()), 2)
	})
	t.Run("status", func(t *testing.T) {
		t.Parallel()
		other := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"))
		w, _, c := ahead(t, func(c *testkit.Conn, _ *testkit.Message) {
			c.Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		}, "", other.URL)
		most := 0
		for i := range 2 { // one of which goes to the first target
			stream := uint32(2*i + 3)
			c.Get(stream, "/second")
			a := c.Whole(stream)
			equal(t, "answer", a.Status()+" "+string(a.Body), "200 other")
			most = max(most, w.logged(i + 2)[i+1].Attempts)
		}
		equal(t, "attempts", most, 2)
	})
}

// A client that resets its stream ends what was sent ahead for it.
func TestH2AheadCanceled(t *testing.T) {
	t.Parallel()
	asked, ended := make(chan struct{}), make(chan struct{})
	w, _, c := ahead(t, func(c *testkit.Conn, _ *testkit.Message) {
		close(asked)
		c.Rest()
		close(ended)
	}, "")
	c.Get(3, "/second")
	<-asked
	c.Reset(3, h2.ErrCodeCancel)
	<-ended
	equal(t, "log line", w.logged(2)[1].String(), "0 client_gone")
	w.becomes("in flight", "weir_upstream_in_flight", "0")
}

// A panic where the request is sent costs its exchange and nothing else.
func TestH2AheadPanics(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	var panics atomic.Bool
	w := launch(t, strings.Replace(toOrigin(origin.URL), "[[routes]]", "protocols = [\"h1\", \"h2c\"]\n[[routes]]", 1),
		server.WithLoadBalance(func(p *lb.Pick, targets []*lb.Target) *lb.Target {
			if panics.Load() {
				panic("as the test wants")
			}
			return targets[0]
		}))
	c := testkit.DialFrames(t, w.addr, nil)
	for i, want := range []string{"200", "500", "200"} {
		panics.Store(want == "500")
		c.Get(uint32(2*i+1), "/")
		equal(t, "status", c.Whole(uint32(2*i+1)).Status(), want)
	}
	w.becomes("panics", "weir_panics_total", "1")
	w.becomes("in flight", "weir_upstream_in_flight", "0")
	w.becomes("in flight", "weir_listener_requests_in_flight", "0")
}
