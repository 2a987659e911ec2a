package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"weir/internal/testkit"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// post is the head of a request with a body of n bytes; n < 0 means chunked.
func post(n int) string {
	if n < 0 {
		return "POST /up HTTP/1.1\r\nHost: weir.test\r\nTransfer-Encoding: chunked\r\n\r\n"
	}
	return fmt.Sprintf("POST /up HTTP/1.1\r\nHost: weir.test\r\nContent-Length: %d\r\n\r\n", n)
}

// What origins get of each way to frame a request.
func TestRequestFraming(t *testing.T) {
	t.Parallel()
	check := func(name string, pieces []string, test func(t *testing.T, m *testkit.Message)) {
		t.Run(name, func(t *testing.T) {
			got := make(chan *testkit.Message, 2)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					got <- c.Request()
					c.Send(ok)
				}
			})
			c := through(t, origin).dial()
			for range 2 { // the second one shows that both sides are in step
				for _, p := range pieces {
					c.Send(p)
				}
				equal(t, "response", c.Response("POST").Body, "ok")
				test(t, receive(t, got))
			}
			equal(t, "connections to the origin", len(origin.Conns()), 1)
		})
	}
	body := func(framing, want string) func(*testing.T, *testkit.Message) {
		return func(t *testing.T, m *testkit.Message) {
			t.Helper()
			equal(t, "framing", m.Framing, framing)
			equal(t, "body", m.Body, want)
		}
	}
	bytewise := func(s string) []string { return strings.Split(s, "") }
	long := strings.Repeat("0123456789", 30_000)

	check("no body", []string{"DELETE / HTTP/1.1\r\nHost: weir.test\r\n\r\n"}, func(t *testing.T, m *testkit.Message) {
		equal(t, "body", m.Body, "")
	})
	check("GET stays without a length", []string{get}, body("none", ""))
	check("length", []string{post(5) + "hello"}, body("length", "hello"))
	check("length 0", []string{post(0)}, body("length", ""))
	check("length in two pieces", []string{post(5), "hello"}, body("length", "hello"))
	check("length, byte by byte", bytewise(post(5)+"hello"), body("length", "hello"))
	check("leading zeros", []string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello"}, func(t *testing.T, m *testkit.Message) {
		equal(t, "Content-Length", m.Get("Content-Length"), "5")
		equal(t, "body", m.Body, "hello")
	})
	check("long", []string{post(len(long)), long}, body("length", long))
	check("GET with a body", []string{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"}, body("length", "hello"))
	check("chunked", []string{post(-1) + "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"}, body("chunked", "hello!"))
	check("chunked and empty", []string{post(-1) + "0\r\n\r\n"}, body("chunked", ""))
	check("chunked, byte by byte", bytewise(post(-1)+"5;a=\"b c\"\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), body("chunked", "hello!"))
	check("chunked and long", []string{post(-1), fmt.Sprintf("%X\r\n%s\r\n", len(long), long), "0\r\n\r\n"}, body("chunked", long))
	check("GET, chunked", []string{"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"}, body("chunked", "hello"))
	check("trailers", []string{"POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\nHost: b\r\n\r\n"},
		func(t *testing.T, m *testkit.Message) {
			equal(t, "body", m.Body, "hello")
			equal(t, "trailer", m.Trailer, "X-Sum: 1\r\n")
			equal(t, "Trailer", m.Get("Trailer"), "X-Sum")
		})
	check("HTTP/1.0", []string{"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"}, func(t *testing.T, m *testkit.Message) {
		equal(t, "body", m.Body, "hello")
		equal(t, "version", m.Line, "POST / HTTP/1.1")
	})
}

// An upload that was cut short must not look whole to the origin.
func TestTruncatedUpload(t *testing.T) {
	t.Parallel()
	check := func(name, sent, status string) {
		for _, how := range []string{"half-closes", "resets", "goes"} {
			t.Run(name+", client "+how, func(t *testing.T) {
				seen := make(chan struct{})
				ended := make(chan error, 1)
				origin := testkit.Listen(t, func(c *testkit.Conn) {
					m, err := c.TryHead()
					close(seen)
					if err == nil {
						err = m.ReadBody(c.Reader)
					}
					ended <- err
				})
				w := through(t, origin)
				c := w.dial()
				c.Send(sent)
				receive(t, seen)
				want := "400 " + status
				switch how {
				case "half-closes":
					c.CloseWrite()
					if status == "client_gone" {
						equal(t, "status", c.Response("POST").Status(), 400)
					}
				case "resets":
					c.Reset()
				case "goes":
					c.Close()
				}
				if err := receive(t, ended); err == nil {
					t.Error("the origin took the upload for whole")
				}
				if how == "half-closes" {
					equal(t, "the log's line", w.ended(), want)
				} else {
					w.logged(1)
				}
			})
		}
	}
	check("length", post(10)+"hello", "client_gone")
	check("length, nothing yet", post(10), "client_gone")
	check("chunked, nothing yet", post(-1), "client_gone")
	check("inside a chunk", post(-1)+"5\r\nhello\r\n5\r\nhe", "client_gone")
	check("between chunks", post(-1)+"5\r\nhello\r\n", "client_gone")
	check("inside the last chunk", post(-1)+"5\r\nhello\r\n0\r\n", "client_gone")
	check("inside the trailers", post(-1)+"5\r\nhello\r\n0\r\nX-A: 1\r\n", "client_gone")
}

// Broken chunked coding is refused, and the origin does not get a whole request.
func TestBrokenChunks(t *testing.T) {
	t.Parallel()
	check := func(name, body string) {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				m, err := c.TryHead()
				if err == nil {
					err = m.ReadBody(c.Reader)
				}
				ended <- err
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(post(-1) + body)
			equal(t, "status", c.Response("POST").Status(), 400)
			rest, end := c.Rest()
			equal(t, "what follows", rest, "")
			equal(t, "the end", end, testkit.Closed)
			if err := receive(t, ended); err == nil {
				t.Error("the origin took the upload for whole")
			}
			equal(t, "the log's line", w.ended(), "400 bad_request")
		})
	}
	check("no hexadecimal digit", "x\r\n")
	check("0x", "0x5\r\nhello\r\n0\r\n\r\n")
	check("negative", "-5\r\nhello\r\n0\r\n\r\n")
	check("empty line", "\r\n5\r\nhello\r\n0\r\n\r\n")
	check("too many digits", "0000000000000005\r\nhello\r\n0\r\n\r\n")
	check("overflow", "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n")
	check("bare line feed", "5\nhello\r\n0\r\n\r\n")
	check("bare line feed behind the bytes", "5\r\nhello\n0\r\n\r\n")
	check("bytes behind the chunk", "5\r\nhello!\r\n0\r\n\r\n")
	check("carriage return in an extension", "5;a=\rb\r\nhello\r\n0\r\n\r\n")
	check("line feed in an extension", "5;a=\nb\r\nhello\r\n0\r\n\r\n")
	check("NUL in an extension", "5;a=\x00\r\nhello\r\n0\r\n\r\n")
	check("junk for an extension", "5 a\r\nhello\r\n0\r\n\r\n")
	check("trailer without a colon", "5\r\nhello\r\n0\r\nnothing\r\n\r\n")
	check("trailer with a space in its name", "5\r\nhello\r\n0\r\nX A: b\r\n\r\n")
	check("folded trailer", "5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n")
	check("endless extension", "5;"+strings.Repeat("a", 100_000)+"\r\nhello\r\n0\r\n\r\n")
	check("many tiny chunks with extensions", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 200)+"0\r\n\r\n")
}

// An answer that is moved inside the kernel while the request's body goes on leaves the bounds of the upload alone, which
// another goroutine sets: what the race detector sees.
func TestUploadBesideMovedAnswer(t *testing.T) {
	t.Parallel()
	const rounds, size = 30, 256 << 10
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		go io.Copy(io.Discard, c.Reader)
		c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
	})
	w := through(t, origin)
	for range rounds {
		c := w.dial()
		c.Send(post(1 << 30))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for err := error(nil); err == nil; {
				_, err = c.Conn.Write([]byte("body"))
			}
		}()
		io.Copy(io.Discard, c.Conn) // the end may be a reset: the client goes on sending
		c.Conn.Close()
		<-sent
	}
}

// Bytes move before the message is over, in both directions.
func TestStreamsBothWays(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"length", "chunked"} {
		t.Run(framing, func(t *testing.T) {
			const rounds = 20
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				m := c.Head()
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for range rounds {
					var piece string
					if framing == "chunked" {
						piece, _ = m.ReadChunk(c.Reader)
					} else {
						piece = c.Take(4)
					}
					c.Send(fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
				}
				if framing == "chunked" {
					m.ReadChunk(c.Reader)
				}
				c.Send("0\r\n\r\n")
				// The connection is good for more.
				c.Request()
				c.Send(ok)
			})
			c := through(t, origin).dial()
			n := 4 * rounds
			if framing == "chunked" {
				n = -1
			}
			c.Send(post(n))
			m := c.Head("POST") // before a byte of the body was sent
			for i := range rounds {
				piece := fmt.Sprintf("%04d", i)
				if framing == "chunked" {
					c.Send("4\r\n" + piece + "\r\n")
				} else {
					c.Send(piece)
				}
				equal(t, "echo", c.Chunk(m), piece)
			}
			if framing == "chunked" {
				c.Send("0\r\n\r\n")
			}
			equal(t, "end", c.Chunk(m), "")
		})
	}
}

// An upload's first bytes reach the origin before the last is sent.
func TestUploadStreams(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, -1} {
		arrived := make(chan string)
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			m := c.Head()
			if n < 0 {
				s, _ := m.ReadChunk(c.Reader)
				arrived <- s
				s, _ = m.ReadChunk(c.Reader)
				arrived <- s
				m.ReadChunk(c.Reader)
			} else {
				arrived <- c.Take(5)
				arrived <- c.Take(5)
			}
			c.Send(ok)
		})
		c := through(t, origin).dial()
		c.Send(post(n))
		for _, piece := range []string{"first", "other"} {
			if n < 0 {
				c.Send("5\r\n" + piece + "\r\n")
			} else {
				c.Send(piece)
			}
			equal(t, "what arrived", receive(t, arrived), piece)
		}
		if n < 0 {
			c.Send("0\r\n\r\n")
		}
		equal(t, "response", c.Response("POST").Body, "ok")
	}
}

// An answer that comes before the upload's end reaches the client, and the
// connection ends without a reset that could eat it.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	check := func(name string, n int, then func(c *testkit.Conn)) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Head()
				then(c)
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(post(n))
			stop := make(chan struct{})
			go func() { // sends on without looking, as simple clients do
				defer close(stop)
				piece := strings.Repeat("x", 16<<10)
				for range 2048 { // more than sockets hold
					if _, err := io.WriteString(c.Conn, piece); err != nil {
						return
					}
				}
			}()
			m := c.Response("POST")
			equal(t, "status", m.Status(), 413)
			equal(t, "body", m.Body, "too large")
			equal(t, "Connection", m.Get("Connection"), "close")
			c.Close()
			<-stop
			equal(t, "the log's line", w.ended(), "413 ok")
		})
	}
	const answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large"
	check("and the origin closes", 2048*16<<10, func(c *testkit.Conn) { c.Send(answer) })
	check("and the origin half-closes", 2048*16<<10, func(c *testkit.Conn) { c.Send(answer); c.CloseWrite(); c.Hold() })
	check("and the origin stays", 2048*16<<10, func(c *testkit.Conn) { c.Send(answer); c.Hold() })
	check("in mid upload", 2048*16<<10, func(c *testkit.Conn) { c.Take(100_000); c.Send(answer) })
	check("without closing", 2048*16<<10, func(c *testkit.Conn) {
		c.Send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
		c.Hold()
	})
}

// Bodies over the route's limit.
func TestMaxBody(t *testing.T) {
	t.Parallel()
	check := func(name, request string, status int, reaches bool) {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				m := c.Head()
				err := m.ReadBody(c.Reader)
				ended <- err
				if err == nil {
					c.Send(ok)
				}
			})
			w := run(t, "[[routes]]\nupstream = \"o\"\nmax_body = \"10\"\n[upstreams.o]\ntargets = [%q]\n", origin.URL)
			c := w.dial()
			c.Send(request)
			equal(t, "status", c.Response("POST").Status(), status)
			if status == 413 {
				_, end := c.Rest()
				equal(t, "the end", end, testkit.Closed)
				equal(t, "the log's line", w.ended(), "413 body_too_large")
			}
			if reaches {
				if err := receive(t, ended); (err == nil) != (status == 200) {
					t.Errorf("the origin's end of the body: %v", err)
				}
			} else {
				equal(t, "requests that reached the origin", origin.Requests(), 0)
			}
		})
	}
	check("at the limit", post(10)+"0123456789", 200, true)
	check("over it", post(11)+"0123456789a", 413, false)
	check("far over it", post(1<<20)+strings.Repeat("x", 1<<20), 413, false)
	check("far over it and not sent", post(1<<40), 413, false)
	check("chunked, at the limit", post(-1)+"a\r\n0123456789\r\n0\r\n\r\n", 200, true)
	check("chunked, over it", post(-1)+"b\r\n0123456789a\r\n0\r\n\r\n", 413, true)
	check("chunked, far over it", post(-1)+"100000\r\n"+strings.Repeat("x", 1<<20)+"\r\n0\r\n\r\n", 413, true)
}

// Expect: 100-continue goes to the origin and back.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: weir.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	t.Run("go on", func(t *testing.T) {
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			for {
				m := c.Head()
				equal(t, "Expect", m.Get("Expect"), "100-continue")
				c.Send("HTTP/1.1 100 Continue\r\n\r\n")
				equal(t, "body", c.Take(5), "hello")
				c.Send(ok)
			}
		})
		c := through(t, origin).dial()
		for range 2 {
			c.Send(head)
			m, err := testkit.ReadHead(c.Reader)
			if err != nil || m.Line != "HTTP/1.1 100 Continue" {
				t.Fatalf("interim response is %+v, %v", m, err)
			}
			c.Send("hello")
			m = c.Response("POST")
			equal(t, "response", m.Body, "ok")
			equal(t, "more interim responses", len(m.Interim), 0)
		}
		equal(t, "connections", len(origin.Conns()), 1)
	})
	refuse := func(name, answer string, status int) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Head()
				c.Send(answer)
				c.Rest()
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(head)
			m := c.Response("POST")
			equal(t, "status", m.Status(), status)
			equal(t, "interim responses", len(m.Interim), 0)
			rest, end := c.Rest()
			equal(t, "what follows", rest, "")
			equal(t, "the end", end, testkit.Closed)
			for _, oc := range origin.Conns() {
				if strings.HasSuffix(oc.Seen(), "hello") {
					t.Error("a body was sent")
				}
			}
			equal(t, "the log's line", w.ended(), fmt.Sprintf("%d ok", status))
		})
	}
	refuse("417", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", 417)
	refuse("401", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", 401)
	refuse("413 and close", "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", 413)
	t.Run("the client does not wait", func(t *testing.T) {
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			for {
				c.Request()
				c.Send("HTTP/1.1 100 Continue\r\n\r\n" + ok)
			}
		})
		c := through(t, origin).dial()
		for range 2 {
			c.Send(head + "hello")
			equal(t, "response", c.Response("POST").Body, "ok")
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			equal(t, "Expect", c.Request().Get("Expect"), "")
			c.Send("HTTP/1.1 100 Continue\r\n\r\n" + ok)
		})
		c := through(t, origin).dial()
		c.Send(strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "hello")
		m := c.Response("POST")
		equal(t, "response", m.Body, "ok")
		equal(t, "interim responses", len(m.Interim), 0)
	})
}

// A target dies while the body is on its way. The next target gets what was there, and then the rest, as
// the client sends it.
func TestUploadGoesOn(t *testing.T) {
	t.Parallel()
	begun, all := make(chan struct{}, 1), make(chan string, 1)
	var connections atomic.Int64
	origin := func() *testkit.Origin {
		return testkit.Listen(t, func(c *testkit.Conn) {
			for {
				chunked := c.Head().Get("Transfer-Encoding") != ""
				take := func(plain, chunk string) string {
					if chunked {
						return c.Take(len(chunk))
					}
					return c.Take(len(plain))
				}
				take("one ", "4\r\none \r\n")
				if connections.Add(1)%2 == 1 {
					c.Reset()
					return
				}
				begun <- struct{}{}
				all <- take("two", "3\r\ntwo\r\n0\r\n\r\n")
				c.Send(ok)
			}
		})
	}
	w := overTLS(t, "", "[[routes]]\nupstream = \"o\"\n[upstreams.o]\nretry.budget = 1.0\ntargets = [%q, %q]\n", origin().URL, origin().URL)
	check := func(name string, chunked bool, begin func(), goOn func(), status func() int) {
		t.Run(name, func(t *testing.T) {
			done := make(chan int, 1)
			begin()
			go func() { done <- status() }()
			receive(t, begun)
			goOn()
			want := "two"
			if chunked {
				want = "3\r\ntwo\r\n0\r\n\r\n"
			}
			equal(t, "the rest", receive(t, all), want)
			equal(t, "the status", receive(t, done), 200)
		})
	}
	for _, version := range []int{1, 2} {
		var p http.Protocols
		p.SetHTTP2(version == 2)
		p.SetHTTP1(version == 1)
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), Protocols: &p}}
		t.Cleanup(h.CloseIdleConnections)
		for _, length := range []int64{7, -1} {
			r, send := io.Pipe()
			check(fmt.Sprintf("HTTP/%d, length %d", version, length), length < 0,
				func() {},
				func() { io.WriteString(send, "two"); send.Close() },
				func() int {
					go io.WriteString(send, "one ")
					request, _ := http.NewRequest("PUT", "https://"+w.addr.String(), r)
					request.ContentLength = length
					response, err := h.Do(request)
					if err != nil {
						t.Error(err)
						return 0
					}
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
					return response.StatusCode
				})
		}
	}
	c := testkit.Dial(t, w.Addr("plain"))
	put := func(n int) string { return strings.Replace(post(n), "POST", "PUT", 1) }
	check("in a chunk's line", true, func() { c.Send(put(-1) + "4\r\none \r\n3") }, func() { c.Send("\r\ntwo\r\n0\r\n\r\n") },
		func() int { return c.Response("PUT").Status() })
	check("by length, on the same connection", false, func() { c.Send(put(7) + "one ") }, func() { c.Send("two") },
		func() int { return c.Response("PUT").Status() })
}
