package server_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// Interim responses pass, in order, to those who can take them.
func TestInterimResponses(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			c.Request()
			c.Send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: y\r\n\r\n")
			c.Wait(step)
			c.Send("HTTP/1.1 102 Processing\r\n\r\n" + ok)
		}
	})
	w := through(t, origin)
	c := w.dial()
	for range 2 {
		c.Send(get)
		m, err := testkit.ReadHead(c.Reader) // before the rest is sent
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "first head", m.Line, "HTTP/1.1 103 Early Hints")
		equal(t, "Link", m.Get("Link"), "</a.css>")
		equal(t, "field that Connection names", m.Get("X"), "")
		step <- struct{}{}
		m = c.Response("GET")
		equal(t, "other interim responses", len(m.Interim), 1)
		equal(t, "interim status", m.Interim[0].Status(), 102)
		equal(t, "body", m.Body, "ok")
		equal(t, "Link of the final head", m.Get("Link"), "")
	}
	old := w.dial()
	old.Send("GET / HTTP/1.0\r\n\r\n")
	step <- struct{}{}
	m := old.Response("GET")
	equal(t, "interim responses to HTTP/1.0", len(m.Interim), 0)
	equal(t, "body", m.Body, "ok")
}

// A target that has begun to answer by an interim response, and then breaks off, has got the request: that a connection was used
// before, or that the target says that it refuses the request, is no reason to send it again.
func TestInterimResponseThenEnd(t *testing.T) {
	t.Parallel()
	check := func(name, url string, requests func() int) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", url)
			c := w.dial()
			c.Send(get)
			equal(t, "first answer", c.Response("GET").Status(), 200)
			c.Send(get)
			m := c.Response("GET")
			equal(t, "status", m.Status(), 502)
			equal(t, "interim responses", len(m.Interim), 1)
			equal(t, "requests", requests(), 2)
		})
	}
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
	one := testkit.Listen(t, func(c *testkit.Conn) {
		if c.Request(); c.Index == 0 {
			c.Send(ok)
			c.Request()
		}
		c.Send(hints)
	})
	check("closed", one.URL, one.Requests)
	var asked atomic.Int64
	two := testkit.Listen(t, func(c *testkit.Conn) {
		c.Reader.Discard(len(h2.ClientPreface))
		f := h2.NewFramer(c, c.Reader)
		f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			head, ok := frame.(*h2.HeadersFrame)
			switch {
			case !ok:
			case asked.Add(1) == 1:
				f.WriteHeaders(h2.HeadersFrameParam{StreamID: head.StreamID, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true}) // :status: 200
			default:
				f.WriteHeaders(h2.HeadersFrameParam{StreamID: head.StreamID, BlockFragment: []byte{0x08, 3, '1', '0', '3'}, EndHeaders: true})
				f.WriteRSTStream(head.StreamID, h2.ErrCodeRefusedStream)
			}
		}
	})
	check("refused", strings.Replace(two.URL, "http:", "h2c:", 1), func() int { return int(asked.Load()) })
}

// A target that ends an unused connection by a 408 as a request is on its way to it gets that on another one, if it may be
// repeated. On a new connection a 408 is an answer like any other.
func TestTimedOutConnection(t *testing.T) {
	t.Parallel()
	const late = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	for _, method := range []string{"GET", "POST", "always"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				if c.Index > 0 && method == "always" {
					c.Request()
					c.Send(late)
					return
				}
				c.Request()
				c.Send(ok)
				if c.Request(); c.Index == 0 {
					c.Send(late)
				}
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(get)
			equal(t, "first answer", c.Response("GET").Status(), 200)
			request, want, requests := get, 200, 3
			switch method {
			case "POST":
				request, want, requests = strings.Replace(get, "GET", "POST", 1), 408, 2
			case "always":
				want = 408
			}
			c.Send(request)
			equal(t, "status", c.Response("GET").Status(), want)
			equal(t, "requests", origin.Requests(), requests)
		})
	}
}

// What is no sound response head is a 502 with a bound on what it costs.
func TestBadResponses(t *testing.T) {
	t.Parallel()
	check := func(name string, want string, script func(c *testkit.Conn)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				script(c)
			})
			firstByte := "1m"
			if strings.HasPrefix(want, "504") {
				firstByte = "500ms"
			}
			w := run(t, `
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
timeouts.first_byte = %q
`, origin.URL, firstByte)
			c := w.dial()
			c.Send(get)
			m := c.Response("GET")
			equal(t, "response", fmt.Sprint(m.Status()), want[:3])
			equal(t, "the log's line", w.ended(), want)
			for _, oc := range origin.Conns() {
				equal(t, "requests on a connection", strings.Count(oc.Seen(), "GET / "), 1)
			}
		})
	}
	says := func(s string) func(*testkit.Conn) {
		return func(c *testkit.Conn) { c.TrySend(s); c.Rest() }
	}
	closes := func(s string) func(*testkit.Conn) {
		return func(c *testkit.Conn) { c.TrySend(s) }
	}
	endless := func(first, piece string) func(*testkit.Conn) {
		return func(c *testkit.Conn) {
			for err := c.TrySend(first); err == nil; {
				err = c.TrySend(piece)
			}
		}
	}
	// One byte every now and then must not keep the limit of the first byte away.
	drip := func(first, piece string) func(*testkit.Conn) {
		return func(c *testkit.Conn) {
			c.TrySend(first)
			for c.TrySend(piece) == nil {
				c.Wait(after(50))
			}
		}
	}
	const head = "HTTP/1.1 200 OK\r\n"
	check("closes at once", "502 reset", func(c *testkit.Conn) {})
	check("resets at once", "502 reset", func(c *testkit.Conn) { c.Reset() })
	check("silence", "504 first_byte_timeout", func(c *testkit.Conn) { c.Rest() })
	check("half a head, closes", "502 bad_response", closes(head))
	check("half a head, silence", "504 first_byte_timeout", says(head))
	check("garbage", "502 bad_response", says("SSH-2.0-OpenSSH_9.9\r\n"))
	check("HTTP/0.9", "502 bad_response", says("<html>\r\n\r\n"))
	check("HTTP/2.0", "502 bad_response", says("HTTP/2.0 200 OK\r\n\r\n"))
	check("TLS alert", "502 bad_response", closes("\x15\x03\x01\x00\x02\x02\x46"))
	check("status 000", "502 bad_response", says("HTTP/1.1 000 OK\r\n\r\n"))
	check("status 099", "502 bad_response", says("HTTP/1.1 099 OK\r\n\r\n"))
	check("unasked 101", "502 bad_response", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))
	check("NUL in a value", "502 bad_response", says(head+"X: a\x00b\r\n\r\n"))
	check("no colon", "502 bad_response", says(head+"nothing\r\n\r\n"))
	check("bare line feeds", "502 bad_response", says("HTTP/1.1 200 OK\n\nhello"))
	check("two lengths", "502 bad_response", says(head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"))
	check("two equal lengths", "502 bad_response", says(head+"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"))
	check("bad length", "502 bad_response", says(head+"Content-Length: 2a\r\n\r\nab"))
	check("unknown coding", "502 bad_response", says(head+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"))
	check("identity", "502 bad_response", says(head+"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n"))
	check("chunked in HTTP/1.0", "502 bad_response", says("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	check("head without end", "502 bad_response", endless(head, "X-A: "+strings.Repeat("a", 1000)+"\r\n"))
	check("line without end", "502 bad_response", endless(head, strings.Repeat("a", 1000)))
	check("interim responses without end", "502 bad_response", endless("", "HTTP/1.1 102 Processing\r\n\r\n"))
	check("head that drips", "504 first_byte_timeout", drip(head, "a"))
	check("interim responses that drip", "504 first_byte_timeout", drip("", "HTTP/1.1 102 Processing\r\n\r\n"))
}

// The fields that fasthttp keeps once are not lost.
func TestRepeatedResponseFields(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nX-A: 1\r\nSet-Cookie: a=1; Path=/\r\n"+
		"Content-Encoding: gzip\r\nX-A: 2\r\nSet-Cookie: a=1\r\nVary: a\r\nVary: b\r\nContent-Length: 0\r\n\r\n"))
	m := through(t, origin).dial().Get("/")
	equal(t, "Content-Encoding", m.Get("Content-Encoding"), "br, gzip")
	equal(t, "X-A", m.Get("X-A"), "1, 2")
	equal(t, "Set-Cookie", strings.Join(m.All("Set-Cookie"), " | "), "a=1; Path=/ | a=1")
	equal(t, "Vary", m.Get("Vary"), "a, b")
}

// Heads of all sizes up to the limit pass, both ways, however they come.
func TestLargeHeads(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			field := "X-Back: " + m.Get("X-Large") + "\r\n"
			head := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + field + "\r\nok"
			if m.Target() == "/slow" {
				for i := range head {
					c.Send(head[i : i+1])
				}
			} else {
				c.Send(head)
			}
		}
	})
	w := through(t, origin)
	c := w.dial()
	for _, n := range []int{10, 3000, 4070, 4096, 5000, 8192, 12_000, 16_000} {
		value := strings.Repeat("v", n)
		c.Send("GET / HTTP/1.1\r\nHost: a\r\nX-Large: " + value + "\r\n\r\n")
		m := c.Response("GET")
		equal(t, fmt.Sprintf("status with %d bytes", n), m.Status(), 200)
		equal(t, "field", m.Get("X-Back"), value)
	}
	for _, b := range []byte("GET /slow HTTP/1.1\r\nHost: a\r\nX-Large: " + strings.Repeat("v", 5000) + "\r\n\r\n") {
		c.Send(string(b))
	}
	equal(t, "status of a slow head", c.Response("GET").Status(), 200)

	refused := func(request string, want string) {
		t.Helper()
		lines := w.log.len()
		c := w.dial()
		c.Send(request)
		m := c.Response("GET")
		_, end := c.Rest()
		equal(t, "the end", end, testkit.Closed)
		equal(t, "status", fmt.Sprint(m.Status()), want[:3])
		all := w.logged(lines + 1)
		equal(t, "the log's line", all[lines].String(), want)
	}
	w.logged(9)
	refused("GET / HTTP/1.1\r\nHost: a\r\nX-Large: "+strings.Repeat("v", 20_000)+"\r\n\r\n", "431 head_too_large")
	refused("GET / HTTP/1.1\r\nHost: a\r\nX-Large: "+strings.Repeat("v", 1_000_000), "431 head_too_large")
	refused("GET / HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("X: y\r\n", 100_000), "431 head_too_large")
	refused("GET /"+strings.Repeat("v", 20_000)+" HTTP/1.1\r\nHost: a\r\n\r\n", "414 target_too_long")
	refused(strings.Repeat("G", 20_000), "414 target_too_long")
}

// Pipelined requests are answered in order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			if m.Target() == "/hints" {
				c.Send("HTTP/1.1 103 Early Hints\r\n\r\n")
			}
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.Target()), m.Target()))
		}
	})
	w := through(t, origin)
	c := w.dial()
	request := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n" }
	c.Send(request("/1") + request("/hints") + post(3) + "abc" + request("/4"))
	equal(t, "first", c.Response("GET").Body, "/1")
	m := c.Response("GET")
	equal(t, "second", m.Body, "/hints")
	equal(t, "its interim responses", len(m.Interim), 1)
	equal(t, "third", c.Response("POST").Body, "/up")
	equal(t, "fourth", c.Response("GET").Body, "/4")

	c.Send(request("/1") + "GET /\x01 HTTP/1.1\r\n\r\n" + request("/3"))
	equal(t, "first", c.Response("GET").Body, "/1")
	equal(t, "second", c.Response("GET").Status(), 400)
	rest, end := c.Rest()
	equal(t, "what follows", rest, "")
	equal(t, "the end", end, testkit.Closed)

	c = w.dial()
	c.Send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + request("/2"))
	m = c.Response("GET")
	equal(t, "Connection", m.Get("Connection"), "close")
	rest, end = c.Rest()
	equal(t, "what follows", rest, "")
	equal(t, "the end", end, testkit.Closed)
}
