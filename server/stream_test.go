package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
)

// Events arrive one by one, and the head before the first of them, whatever the
// framing and the client.
func TestEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	check := func(name, request, head string, frame func(string) string) {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				c.Send(head)
				for i := range 5 {
					c.Wait(next)
					c.Send(frame(fmt.Sprintf("data: %d\n\n", i)))
				}
			})
			c := through(t, origin).dial()
			c.Send(request)
			m := c.Head("GET")
			equal(t, "Content-Type", m.Get("Content-Type"), "text/event-stream")
			for i := range 5 {
				next <- struct{}{}
				want := fmt.Sprintf("data: %d\n\n", i)
				if m.Framing == "chunked" {
					equal(t, "event", c.Chunk(m), want)
				} else {
					equal(t, "event", c.Take(len(want)), want)
				}
			}
		})
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	same := func(s string) string { return s }
	check("chunked", get, head+"Transfer-Encoding: chunked\r\n\r\n", chunk)
	check("until close", get, head+"\r\n", same)
	check("length", get, head+"Content-Length: 45\r\n\r\n", same)
	check("chunked to HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", head+"Transfer-Encoding: chunked\r\n\r\n", chunk)
}

// Chunks that come byte by byte make the same body.
func TestBytewiseResponse(t *testing.T) {
	t.Parallel()
	const response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-A: b\r\n\r\n"
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			c.Request()
			c.Send(strings.Split(response, "")...)
		}
	})
	c := through(t, origin).dial()
	for range 3 {
		m := c.Get("/")
		equal(t, "body", m.Body, "hello!")
		equal(t, "trailer", m.Trailer, "X-A: b\r\n")
	}
	equal(t, "connections", len(origin.Conns()), 1)
}

// What a target has sent reaches the client before the target goes on, however much it is; a body that
// ends there is no whole one.
func TestTargetThatStalls(t *testing.T) {
	t.Parallel()
	const most = 300 << 10
	body := strings.Repeat("0123456789abcdef", most/16)
	goOn := make(chan bool)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			target := strings.TrimPrefix(c.Request().Target(), "/")
			chunk, chunked := strings.CutPrefix(target, "chunked/")
			n, _ := strconv.Atoi(chunk)
			head, sent, last := fmt.Sprintf("Content-Length: %d", n+1), body[:n], "!"
			if chunked {
				head, last = "Transfer-Encoding: chunked", "1\r\n!\r\n0\r\n\r\n"
				sent = ""
				for at := 0; at < n; {
					k := min(n-at, 5000+at%3001) // of different lengths, so that lines lie everywhere in the buffers
					sent += fmt.Sprintf("%x\r\n%s\r\n", k, body[at:at+k])
					at += k
				}
			}
			c.Send("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n" + sent)
			select {
			case whole := <-goOn:
				if !whole {
					return
				}
				c.Send(last)
			case <-t.Context().Done():
				return
			}
		}
	})
	w := framedThrough(t, origin)
	for _, version := range []string{"HTTP/1.1", "HTTP/1.1 by TLS", "HTTP/2"} {
		var p http.Protocols
		p.SetHTTP2(version == "HTTP/2")
		p.SetHTTP1(version != "HTTP/2")
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), Protocols: &p}}
		t.Cleanup(client.CloseIdleConnections)
		url := "https://" + w.addr.String()
		if version == "HTTP/1.1" {
			url = "http://" + w.Addr("plain").String()
		}
		// Around the sizes of the buffers on the way; with the head, 16<<10-42 fills the first one.
		for _, n := range []int{1, 16<<10 - 43, 16<<10 - 42, 16 << 10, 16<<10 + 1, 64 << 10, 80 << 10, 80<<10 + 1, 112 << 10, most} {
			for _, turn := range []struct {
				form  string
				whole bool
			}{{"", true}, {"", false}, {"chunked/", true}, {"chunked/", false}} {
				form, whole := turn.form, turn.whole
				r, err := client.Get(fmt.Sprintf("%s/%s%d", url, form, n))
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, n)
				if _, err := io.ReadFull(r.Body, got); err != nil || string(got) != body[:n] {
					t.Fatalf("%s, %s%d bytes: other ones came, or not all: %v", version, form, n, err)
				}
				goOn <- whole
				rest, err := io.ReadAll(r.Body)
				r.Body.Close()
				if whole && (string(rest) != "!" || err != nil) || !whole && err == nil {
					t.Errorf("%s, %s%d bytes, whole %v: then came %q, %v", version, form, n, whole, rest, err)
				}
			}
		}
	}
}

// Large bodies pass unchanged, by whatever way they take inside.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	check := func(name, head string, chunked bool) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					c.Request()
					c.Send(head)
					for rest := body; rest != ""; {
						n := min(len(rest), 100_003)
						if chunked {
							c.Send(fmt.Sprintf("%x\r\n", n))
						}
						c.Send(rest[:n])
						if chunked {
							c.Send("\r\n")
						}
						rest = rest[n:]
					}
					if chunked {
						c.Send("0\r\n\r\n")
					}
				}
			})
			c := through(t, origin).dial()
			for range 2 {
				if m := c.Get("/"); m.Body != body {
					t.Errorf("%d bytes arrive, and not as they were", len(m.Body))
				}
			}
			equal(t, "connections", len(origin.Conns()), 1)
		})
	}
	check("length", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size), false)
	check("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true)
}

// Endless framing around nothing is cut.
func TestEndlessOverhead(t *testing.T) {
	t.Parallel()
	check := func(name, piece string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
				for c.TrySend(piece) == nil {
				}
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(get)
			m, err := testkit.ReadResponse(c.Reader, "GET")
			if err == nil {
				t.Errorf("the response looks whole: %+v", m)
			}
			equal(t, "the log's line", w.ended(), "200 bad_response")
		})
	}
	check("chunk extension", "5;"+strings.Repeat("a", 8000))
	check("extensions of small chunks", "1;"+strings.Repeat("a", 4000)+"\r\nx\r\n")
	check("trailers", "0\r\n"+strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100))
	check("a trailer line", "0\r\nX-A: "+strings.Repeat("a", 100_000))
}

// limited starts weir with one limit of time, of a client or of a target, that a
// test can wait for.
func limited(t *testing.T, target, client, upstream string) *weir {
	t.Helper()
	return run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
timeouts = { %s }
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
timeouts = { %s }
`, client, target, upstream)
}

const (
	shortIdle      = `idle = "300ms"`
	shortHeader    = `header = "200ms"`
	shortFirstByte = `first_byte = "300ms"`
	// slow is a client that is behind min_rate for too long.
	slow = `grace = "300ms", min_rate = "10KB"`
)

// Each limit of time ends what it bounds, with its own cause.
func TestTargetTimeouts(t *testing.T) {
	t.Parallel()
	check := func(name, request, limit, want string, script func(c *testkit.Conn)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := testkit.Listen(t, script)
			w := limited(t, origin.URL, "", limit)
			c := w.dial()
			c.Send(request)
			m, err := testkit.ReadResponse(c.Reader, "GET")
			if want[0] != '2' {
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "status", fmt.Sprint(m.Status()), want[:3])
			} else if err == nil {
				t.Errorf("the response looks whole: %+v", m)
			}
			equal(t, "the log's line", w.ended(), want)
			equal(t, "requests", origin.Requests() <= 1, true)
		})
	}
	check("first byte", get, shortFirstByte, "504 first_byte_timeout", func(c *testkit.Conn) { c.Request(); c.Rest() })
	check("first byte after an upload", post(-1)+"5\r\nhello\r\n0\r\n\r\n", shortFirstByte, "504 first_byte_timeout", func(c *testkit.Conn) { c.Request(); c.Rest() })
	check("middle of a body", get, shortIdle, "200 stalled", func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		c.Rest()
	})
	check("middle of a large body", get, shortIdle, "200 stalled", func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 1<<20))
		c.Rest()
	})
	check("between chunks", get, shortIdle, "200 stalled", func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		c.Rest()
	})
}

func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	w := limited(t, strings.Replace(origin.URL, "http:", "https:", 1), "", `tls = "300ms"`)
	c := w.dial()
	equal(t, "status", c.Get("/").Status(), 502)
	equal(t, "the log's line", w.ended(), "502 tls_failed")
}

// A target that takes nothing.
func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Hold() })
	w := limited(t, origin.URL, "", `write = "300ms"`)
	c := w.dial()
	c.Send(post(1 << 30))
	go func() {
		piece := strings.Repeat("x", 1<<20)
		for range 1 << 10 {
			if _, err := io.WriteString(c.Conn, piece); err != nil {
				return
			}
		}
	}()
	equal(t, "status", c.Response("POST").Status(), 504)
	equal(t, "the log's line", w.ended(), "504 write_timeout")
}

// Clients below the limits end; those that are only slow enough go on.
func TestClientLimits(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := c.TryHead()
			if err != nil || m.ReadBody(c.Reader) != nil {
				return
			}
			if m.Target() != "/big" {
				c.TrySend(ok)
				continue
			}
			c.TrySend("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			piece := strings.Repeat("x", 1<<20)
			for c.TrySend(piece) == nil {
			}
			return
		}
	})
	check := func(name, limit, want string, client func(t *testing.T, c *testkit.Client)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := limited(t, origin.URL, limit, "")
			c := w.dial()
			client(t, c)
			if want != "" {
				equal(t, "the log's line", w.ended(), want)
			}
		})
	}
	ends := func(t *testing.T, c *testkit.Client, status int) {
		t.Helper()
		if status != 0 {
			equal(t, "status", c.Response("POST").Status(), status)
		}
		_, end := c.Rest()
		equal(t, "the end", end, testkit.Closed)
	}
	check("says nothing", shortIdle, "", func(t *testing.T, c *testkit.Client) { ends(t, c, 0) })
	check("says nothing more", `idle = "2s"`, "200 ok", func(t *testing.T, c *testkit.Client) { c.Get("/"); ends(t, c, 0) })
	check("head without end", shortHeader, "408 head_timeout", func(t *testing.T, c *testkit.Client) {
		c.Send("GET / HTTP/1.1\r\n")
		ends(t, c, 408)
	})
	check("head that drips", shortHeader, "408 head_timeout", func(t *testing.T, c *testkit.Client) {
		stop := drip(c, "GET / HTTP/1.1\r\nX: ", "x")
		ends(t, c, 408)
		receive(t, stop)
	})
	check("body without end", slow, "408 client_slow", func(t *testing.T, c *testkit.Client) {
		c.Send(post(10) + "hello")
		ends(t, c, 408)
	})
	check("body that drips", slow, "408 client_slow", func(t *testing.T, c *testkit.Client) {
		stop := drip(c, post(100_000), "x")
		ends(t, c, 408)
		receive(t, stop)
	})
	check("chunks without end", slow, "408 client_slow", func(t *testing.T, c *testkit.Client) {
		c.Send(post(-1) + "5\r\nhello\r\n")
		ends(t, c, 408)
	})
	check("chunks that drip", `grace = "3s", min_rate = "10KB"`, "200 ok", func(t *testing.T, c *testkit.Client) {
		// A body that is made while it is sent has no rate of its own.
		c.Send(post(-1))
		for range 160 {
			receive(t, after(25)) // this is how slow it is
			c.Send("1\r\nx\r\n")
		}
		c.Send("0\r\n\r\n")
		equal(t, "status", c.Response("POST").Status(), 200)
	})
	check("reads nothing", slow, "200 client_slow", func(t *testing.T, c *testkit.Client) {
		c.Send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
	})
}

// drip sends a piece every now and then until the connection is closed.
func drip(c *testkit.Client, first, piece string) <-chan struct{} {
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		_, err := io.WriteString(c.Conn, first)
		for i := 0; err == nil && i < 200; i++ {
			time.Sleep(20 * time.Millisecond) // this is how slow it is
			_, err = io.WriteString(c.Conn, piece)
		}
	}()
	return stop
}

// A client that goes away takes its exchange with the origin along.
func TestClientGone(t *testing.T) {
	t.Parallel()
	check := func(name string, script func(c *testkit.Conn), client func(c *testkit.Client)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			started := make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				close(started)
				script(c)
				c.Rest()
				close(ended)
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(get)
			receive(t, started)
			client(c)
			c.Reset()
			receive(t, ended)
			line := w.logged(1)[0]
			equal(t, "cause", line.Cause, "client_gone")
			if line.Duration > testkit.Limit.Seconds()/2 {
				t.Errorf("it took %v seconds", line.Duration)
			}
		})
	}
	check("before the answer", func(c *testkit.Conn) {}, func(c *testkit.Client) {})
	check("between events", func(c *testkit.Conn) {
		c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	}, func(c *testkit.Client) { c.Head("GET") })
	check("between events until close", func(c *testkit.Conn) {
		c.Send("HTTP/1.1 200 OK\r\n\r\nhello")
	}, func(c *testkit.Client) { c.Head("GET") })
}

// One that only ended its sending side still gets its answer, where weir is told to wait.
func TestHalfClosedClient(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Wait(answer)
		c.Send(ok)
	})
	c := run(t, "[forwarding]\ncancel_on_half_close = false\n%s", toOne(origin.URL)).dial()
	c.Send(get)
	c.CloseWrite()
	receive(t, after(1500)) // long enough for weir to have looked
	close(answer)
	equal(t, "body", c.Response("GET").Body, "ok")
}

// What a client sent in a hurry is no credit for silence after it.
func TestStallAfterHurry(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Rest() })
	w := limited(t, origin.URL, slow, "")
	c := w.dial()
	c.Send(post(1<<20) + strings.Repeat("x", 1<<19)) // 52 seconds at min_rate
	equal(t, "status", c.Response("POST").Status(), 408)
	equal(t, "the log's line", w.ended(), "408 client_slow")
}
