package server_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// A pooled connection that the origin has closed is not the client's problem.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	check := func(name, request string, closeIt func(c *testkit.Conn), status, requests int) {
		t.Run(name, func(t *testing.T) {
			answered, closed := make(chan struct{}), make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				c.Send(ok)
				if c.Index == 0 {
					c.Wait(answered) // a reset could overtake the answer
					closeIt(c)
					close(closed)
					return
				}
				testkit.Answer(ok)(c)
			})
			w := through(t, origin)
			c := w.dial()
			equal(t, "first response", c.Get("/").Status(), 200)
			close(answered)
			receive(t, closed)
			c.Send(request)
			method, _, _ := strings.Cut(request, " ")
			equal(t, "second response", c.Response(method).Status(), status)
			equal(t, "requests", origin.Requests(), requests)
		})
	}
	// The end is seen before anything is sent: whatever the method.
	shut := func(c *testkit.Conn) { c.Close() }
	check("closed, GET", get, shut, 200, 2)
	check("closed, POST", post(5)+"hello", shut, 200, 2)
	check("reset, GET", get, func(c *testkit.Conn) { c.Reset() }, 200, 2)
	check("reset, POST", post(5)+"hello", func(c *testkit.Conn) { c.Reset() }, 200, 2)
	check("half-closed, POST", post(5)+"hello", func(c *testkit.Conn) { c.CloseWrite() }, 200, 2)
	check("unasked answer, POST", post(5)+"hello", func(c *testkit.Conn) {
		c.Send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
	}, 200, 2)
}

// A connection that ends when the request is already on its way: it may have
// been served. What can be repeated is; nothing else is sent twice.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	check := func(name, request string, warm bool, lose func(c *testkit.Conn), status, requests int, cause string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				if warm && c.Index == 0 {
					c.Request()
					c.Send(ok)
				}
				if c.Index == 0 {
					c.Request()
					lose(c)
					return
				}
				testkit.Answer(ok)(c)
			})
			w := through(t, origin)
			c := w.dial()
			lines := 1
			if warm {
				equal(t, "first response", c.Get("/").Status(), 200)
				lines++
			}
			c.Send(request)
			method, _, _ := strings.Cut(request, " ")
			equal(t, "response", c.Response(method).Status(), status)
			equal(t, "the log's line", w.logged(lines)[lines-1].String(), fmt.Sprintf("%d %s", status, cause))
			equal(t, "requests", origin.Requests(), requests+lines-1)
		})
	}
	gone := func(c *testkit.Conn) { c.Close() }
	chunked := post(-1) + "5\r\nhello\r\n0\r\n\r\n"
	check("POST on a new connection", post(5)+"hello", false, gone, 502, 1, "reset")
	check("POST on a used connection", post(5)+"hello", true, gone, 502, 1, "reset")
	check("chunked POST on a used connection", chunked, true, gone, 502, 1, "reset")
	check("PATCH on a used connection", strings.Replace(post(5), "POST", "PATCH", 1)+"hello", true, gone, 502, 1, "reset")
	check("POST without a body on a used connection", post(0), true, gone, 502, 1, "reset")
	check("unknown method on a used connection", strings.Replace(get, "GET", "BREW", 1), true, gone, 502, 1, "reset")
	check("GET on a used connection", get, true, gone, 200, 2, "ok")
	check("HEAD on a used connection", strings.Replace(get, "GET", "HEAD", 1), true, gone, 200, 2, "ok")
	check("PUT on a used connection", strings.Replace(post(5), "POST", "PUT", 1)+"hello", true, gone, 200, 2, "ok")
	check("GET after half a head", get, true, func(c *testkit.Conn) { c.Send("HTTP/1.1 20") }, 502, 1, "bad_response")
	check("POST after an interim response", post(5)+"hello", true, func(c *testkit.Conn) { c.Send("HTTP/1.1 102 Processing\r\n\r\n") }, 502, 1, "reset")
}

// The bytes of a POST that stalls on a dead connection are counted once.
func TestUploadToNobody(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Take(1000)
		c.Reset()
	})
	w := through(t, origin)
	c := w.dial()
	c.Send(post(1<<20) + strings.Repeat("x", 1<<20))
	equal(t, "status", c.Response("POST").Status(), 502)
	equal(t, "the log's line", w.ended(), "502 reset")
	equal(t, "requests", origin.Requests(), 1)
}

// The next target is tried when one refuses the connection.
func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q, %q]\n", refused(t), origin.URL)
	c := w.dial()
	for range 4 {
		c.Send(post(5) + "hello")
		equal(t, "status", c.Response("POST").Status(), 200)
	}
	equal(t, "requests", origin.Requests(), 4)
}

// An answer that breaks off in what came with its head does not count: another target answers, or weir with an error. The
// client is not cut off, and nothing is asked twice that must not be.
func TestAnswerBrokenAtOnce(t *testing.T) {
	t.Parallel()
	const chunked = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	plain := func(answer string) func(*testkit.Conn) {
		return func(c *testkit.Conn) {
			if c.Request() != nil {
				c.Send(answer)
			}
		}
	}
	framed := func(reset bool) func(*testkit.Conn) {
		return func(c *testkit.Conn) {
			if _, err := c.Reader.Discard(len(h2.ClientPreface)); err != nil {
				return
			}
			var out bytes.Buffer
			f := h2.NewFramer(&out, c.Reader)
			f.WriteSettings()
			f.WriteSettingsAck()
			c.Send(out.String())
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if _, ok := frame.(*h2.HeadersFrame); !ok {
					continue
				}
				stream := frame.Header().StreamID
				out.Reset()
				// 8 is the entry of the static table for a status of 200.
				f.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x80 | 8}, EndHeaders: true})
				f.WriteData(stream, !reset, []byte("hello"))
				if reset {
					f.WriteRSTStream(stream, h2.ErrCodeInternal)
				}
				c.Send(out.String())
			}
		}
	}
	check := func(name, keys string, broken, sound func(*testkit.Conn), scheme string) {
		for _, method := range []string{"GET", "POST"} {
			for _, client := range []string{"h1", "h2"} {
				t.Run(name+", "+method+" by "+client, func(t *testing.T) {
					t.Parallel()
					var connections atomic.Int32
					script := func(c *testkit.Conn) {
						if connections.Add(1) == 1 {
							broken(c)
						} else {
							sound(c)
						}
					}
					one, two := testkit.Listen(t, script), testkit.Listen(t, script)
					w := overTLS(t, "", "[[routes]]\nupstream = \"origin\"\n%s\n[upstreams.origin]\ntargets = [%q, %q]\n", keys,
						strings.Replace(one.URL, "http:", scheme, 1), strings.Replace(two.URL, "http:", scheme, 1))
					w.weir.secure = w.secure
					status, attempts := 200, 2
					if method == "POST" {
						status, attempts = 502, 1
					}
					if client == "h1" {
						c := w.weir.dial()
						c.Send(method + " / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 0\r\n\r\n")
						equal(t, "the answer", c.Response(method).Status(), status)
					} else {
						c := testkit.DialFrames(t, w.addr, w.secure)
						if method == "GET" {
							c.Get(1, "/")
						} else {
							c.Post(1, "/")
							c.Data(1, true, "")
						}
						equal(t, "the answer", c.Whole(1).Status(), strconv.Itoa(status))
					}
					equal(t, "attempts", w.logged(1)[0].Attempts, attempts)
				})
			}
		}
	}
	for _, keys := range []string{"", "[routes.cache]", "compress = true"} {
		check("chunk line, "+keys, keys, plain(chunked+"HTTP\r\n"), testkit.Answer(ok), "http:")
		check("trailer section, "+keys, keys, plain(chunked+"0\r\ngarbage\r\n\r\n"), testkit.Answer(ok), "http:")
		check("a reset stream, "+keys, keys, framed(true), framed(false), "h2c:")
	}
}
