package server_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// Bugs that another proxy over fasthttp shipped, each by the number of its issue
// at github.com/traefik/traefik.

// 11407, 11442: answers to HEAD hung until a time-out, because a body was waited
// for that never comes.
func TestHEADDoesNotHang(t *testing.T) {
	t.Parallel()
	check := func(name, head string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, testkit.Answer(head))
			c := through(t, origin).dial()
			for range 3 {
				c.Send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n")
				equal(t, "status", c.Response("HEAD").Status(), 200)
			}
			equal(t, "connections", len(origin.Conns()), 1)
		})
	}
	check("with a length", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
	check("with chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	check("with neither", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
	check("compressed", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n\r\n")
	check("with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n")
}

// 11507: pages had the sizes of chunks in them.
func TestNoChunkSizesInPages(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("<p>paragraph</p>\n", 5000)
	for _, size := range []int{1, 7, 1000, 4095, 4096, 4097, 16 << 10, 64 << 10, 1 << 20} {
		text := page[:min(len(page), 200*size)]
		var body strings.Builder
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			fmt.Fprintf(&body, "%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+body.String()+"0\r\n\r\n"))
		w := through(t, origin)
		c := w.dial()
		for range 2 {
			equal(t, fmt.Sprintf("page in chunks of %d", size), c.Get("/").Body, text)
		}
		old := w.dial()
		old.Send("GET / HTTP/1.0\r\n\r\n")
		equal(t, "page for HTTP/1.0", old.Response("GET").Body, text)
	}
}

// 11437: responses without a Content-Length were lost.
func TestNoContentLength(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n", "hello, ", "world")
	})
	c := through(t, origin).dial()
	for range 2 {
		equal(t, "body", c.Get("/").Body, "hello, world")
	}
}

// 11434, 11728: streams never started, because the head waited for a body.
func TestStreamsStart(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"Transfer-Encoding: chunked\r\n", "Content-Length: 100\r\n", ""} {
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			c.Request()
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + head + "\r\n")
			c.Rest()
		})
		c := through(t, origin).dial()
		c.Send(get)
		equal(t, "status", c.Head("GET").Status(), 200)
	}
}

// 11258, 11664: uploads hung, because nothing read the answer while the body was
// on its way, or nothing read the body once the answer was there.
func TestUploadsDoNotHang(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	check := func(name string, script func(c *testkit.Conn)) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, script)
			c := through(t, origin).dial()
			go func() {
				io.WriteString(c.Conn, post(size))
				piece := strings.Repeat("x", 1<<16)
				for range size >> 16 {
					if _, err := io.WriteString(c.Conn, piece); err != nil {
						return
					}
				}
			}()
			m := c.Response("POST")
			equal(t, "status", m.Status(), 200)
			equal(t, "bytes", len(m.Body), size)
		})
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
	check("echo", func(c *testkit.Conn) {
		c.Head()
		c.Send(head)
		io.CopyN(c.Conn, c.Reader, size)
	})
	check("answer after the body", func(c *testkit.Conn) {
		m := c.Head()
		m.ReadBody(c.Reader)
		c.Send(head, m.Body)
	})
	check("large answer before the body", func(c *testkit.Conn) {
		m := c.Head()
		c.Send(head, strings.Repeat("y", size-1))
		m.ReadBody(c.Reader)
		c.Send("y")
	})
}

// 11212: pooled connections that broke became 502s.
func TestBrokenIdleConnections(t *testing.T) {
	t.Parallel()
	for _, reset := range []bool{false, true} {
		answered, broke := make(chan struct{}), make(chan struct{})
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			c.Request()
			c.Send(ok)
			c.Wait(answered) // a reset could overtake the answer
			if reset {
				c.Reset()
			}
			c.Close()
			broke <- struct{}{}
		})
		w := through(t, origin)
		c := w.dial()
		for i := range 20 {
			request := get
			if i%2 == 1 {
				request = post(5) + "hello"
			}
			c.Send(request)
			equal(t, "status", c.Response("GET").Status(), 200)
			answered <- struct{}{}
			receive(t, broke)
		}
		equal(t, "requests", origin.Requests(), 20)
	}
}

// 13568: the text of an error was appended to a body that was half sent.
func TestNoErrorTextInBodies(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"Content-Length: 200\r\n", "Transfer-Encoding: chunked\r\n"} {
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			c.Request()
			c.Send("HTTP/1.1 200 OK\r\n" + head + "\r\n5\r\nhello\r\n")
		})
		c := through(t, origin).dial()
		c.Send(get)
		rest, _ := c.Rest()
		if strings.Contains(rest, "502") || strings.Contains(rest, "truncated") || strings.Count(rest, "HTTP/1.1") > 1 {
			t.Errorf("client got %q", rest)
		}
	}
}

// 13747: time-outs cut connections that were only idle, or upgraded. The upgraded
// ones are in TestUpgradeOutlivesTimeouts.
func TestTimeoutsSpareIdleConnections(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	w := run(t, `
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
timeouts = {first_byte = "3s", idle = "3s", write = "3s"}
`, origin.URL)
	c := w.dial()
	for i := range 2 {
		if i > 0 {
			receive(t, after(3500)) // longer than each of them
		}
		c.Send(post(5) + "hello")
		equal(t, "body", c.Response("POST").Body, "ok")
	}
	equal(t, "connections", len(origin.Conns()), 1)
}
