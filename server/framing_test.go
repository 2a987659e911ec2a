package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
)

const get = "GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n"

// What clients get of each way to frame a response.
func TestResponseFraming(t *testing.T) {
	t.Parallel()
	check := func(name, request, response string, then bool, test func(t *testing.T, c *testkit.Client, m *testkit.Message)) {
		t.Run(name, func(t *testing.T) {
			closes := strings.Contains(name, "until close")
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					c.Request()
					c.Send(response)
					if closes {
						return
					}
				}
			})
			w := through(t, origin)
			c := w.dial()
			c.Send(request)
			method, _, _ := strings.Cut(request, " ")
			m := c.Response(method)
			test(t, c, m)
			if !then {
				rest, end := c.Rest()
				equal(t, "what follows", rest, "")
				equal(t, "the end", end, testkit.Closed)
				return
			}
			// The connection is where it should be, on both sides.
			c.Send(request)
			again := c.Response(method)
			equal(t, "the second response", again.Line+again.Body, m.Line+m.Body)
			if !closes {
				equal(t, "connections to the origin", len(origin.Conns()), 1)
			}
		})
	}
	body := func(framing, want string) func(*testing.T, *testkit.Client, *testkit.Message) {
		return func(t *testing.T, _ *testkit.Client, m *testkit.Message) {
			t.Helper()
			equal(t, "framing", m.Framing, framing)
			equal(t, "body", m.Body, want)
		}
	}
	const v10 = "GET / HTTP/1.0\r\n\r\n"
	const v10keep = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
	const head = "HEAD / HTTP/1.1\r\nHost: weir.test\r\n\r\n"

	const length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	check("length", get, length, true, body("length", "hello"))
	check("length to HTTP/1.0", v10, length, false, body("length", "hello"))
	check("length to HTTP/1.0 that stays", v10keep, length, true, func(t *testing.T, c *testkit.Client, m *testkit.Message) {
		equal(t, "body", m.Body, "hello")
		equal(t, "Connection", strings.ToLower(m.Get("Connection")), "keep-alive")
	})
	check("empty", get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, body("length", ""))

	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n"
	check("chunked", get, chunked, true, body("chunked", "hello!"))
	check("chunked to HTTP/1.0", v10, chunked, false, body("close", "hello!"))
	check("chunked to HTTP/1.0 that asked to stay", v10keep, chunked, false, body("close", "hello!"))
	check("chunked and empty", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true, body("chunked", ""))
	check("chunked with trailers", get,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n", true,
		func(t *testing.T, c *testkit.Client, m *testkit.Message) {
			equal(t, "body", m.Body, "hello")
			equal(t, "trailer", m.Trailer, "X-Sum: 1\r\n")
			equal(t, "Trailer", m.Get("Trailer"), "X-Sum")
		})
	check("chunked with trailers to HTTP/1.0", v10,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", false, body("close", "hello"))

	check("until close", get, "HTTP/1.1 200 OK\r\n\r\nhello", true, body("chunked", "hello"))
	check("until close to HTTP/1.0", v10, "HTTP/1.1 200 OK\r\n\r\nhello", false, body("close", "hello"))
	check("until close from HTTP/1.0", get, "HTTP/1.0 200 OK\r\n\r\nhello", true, body("chunked", "hello"))
	check("length from HTTP/1.0, until close", get, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, body("length", "hello"))

	header := func(name, want string) func(*testing.T, *testkit.Client, *testkit.Message) {
		return func(t *testing.T, _ *testkit.Client, m *testkit.Message) {
			t.Helper()
			equal(t, name, m.Get(name), want)
		}
	}
	check("HEAD with a length", head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, header("Content-Length", "5"))
	check("HEAD with length 0", head, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, header("Content-Length", "0"))
	check("HEAD with chunked", head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, header("Content-Length", ""))
	check("HEAD with neither", head, "HTTP/1.1 200 OK\r\n\r\n", true, header("Content-Length", ""))
	check("HEAD from HTTP/1.0 with close", head, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true, header("Content-Length", "7"))
	check("HEAD in HTTP/1.0 with chunked", "HEAD / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, header("Transfer-Encoding", ""))
	check("HEAD in HTTP/1.0", "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, header("Content-Length", "5"))
	check("204", get, "HTTP/1.1 204 No Content\r\n\r\n", true, header("Content-Length", ""))
	check("204 with length 0", get, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true, header("Content-Length", ""))
	check("304", get, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", true, header("Etag", `"a"`))
	check("304 with a length", get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", true, header("Content-Length", "500"))
	check("304 with chunked", get, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", true, header("Content-Length", ""))
	check("205", get, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", true, header("Content-Length", "0"))
	check("no reason phrase", get, "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", true, func(t *testing.T, _ *testkit.Client, m *testkit.Message) {
		equal(t, "status", m.Status(), 299)
	})
	check("Date and Server stay", get, "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: o/1\r\nContent-Length: 0\r\n\r\n", true,
		func(t *testing.T, _ *testkit.Client, m *testkit.Message) {
			equal(t, "Date", m.Get("Date"), "Thu, 01 Jan 1970 00:00:00 GMT")
			equal(t, "Server", m.Get("Server"), "o/1")
		})
	check("no Content-Type is added", get, length, true, header("Content-Type", ""))
	check("a missing Date is added", get, length, true, func(t *testing.T, _ *testkit.Client, m *testkit.Message) {
		equal(t, "number of Dates", len(m.All("Date")), 1)
	})
}

// The connection of a response with two lengths is not used again.
func TestTwoLengths(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	c := through(t, origin).dial()
	for range 2 {
		m := c.Get("/")
		equal(t, "framing", m.Framing, "chunked")
		equal(t, "body", m.Body, "hello")
	}
	equal(t, "connections", len(origin.Conns()), 2)
}

// A response that was cut short must not look whole, to whatever client.
func TestTruncatedResponse(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	const cl = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	clients := map[string]string{
		"HTTP/1.1":                    get,
		"HTTP/1.1 that closes":        "GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n",
		"HTTP/1.0":                    "GET / HTTP/1.0\r\n\r\n",
		"HTTP/1.0 that wants to stay": "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	}
	check := func(name, response, cause string) {
		for client, request := range clients {
			for _, how := range []string{"closes", "resets"} {
				t.Run(fmt.Sprintf("%s, origin %s, to %s", name, how, client), func(t *testing.T) {
					sent := make(chan struct{})
					origin := testkit.Listen(t, func(c *testkit.Conn) {
						c.Request()
						c.Send(response)
						if how == "resets" {
							c.Wait(sent) // a reset could overtake what was sent
							c.Reset()
						}
					})
					w := through(t, origin)
					c := w.dial()
					c.Send(request)
					// The head may not have left yet when the fault is found.
					m, err := testkit.ReadResponseHead(c.Reader, "GET")
					close(sent)
					status := "200 "
					switch {
					case err != nil:
						status = "0 "
					case m.Status() == 502 && cause == "bad_response":
						status = "502 " // what is wrong came with the head
					case m.ReadBody(c.Reader) == nil:
						t.Errorf("the response looks whole: %+v", m)
					}
					equal(t, "the log's line", w.ended(), status+cause)
				})
			}
		}
	}
	check("length without a byte", cl, "truncated")
	check("length", cl+"hello", "truncated")
	check("chunked without a byte", chunked, "truncated")
	check("inside a chunk line", chunked+"5\r\nhello\r\n5", "truncated")
	check("inside a chunk", chunked+"5\r\nhello\r\n5\r\nhe", "truncated")
	check("behind a chunk's bytes", chunked+"5\r\nhello", "truncated")
	check("between chunks", chunked+"5\r\nhello\r\n", "truncated")
	check("inside the last chunk", chunked+"5\r\nhello\r\n0\r\n", "truncated")
	check("inside the trailers", chunked+"5\r\nhello\r\n0\r\nX-A: 1\r\n", "truncated")
	check("garbage for a chunk line", chunked+"5\r\nhello\r\nHTTP\r\n", "bad_response")
	check("garbage behind a chunk", chunked+"5\r\nhelloworld\r\n0\r\n\r\n", "bad_response")
	check("negative chunk", chunked+"5\r\nhello\r\n-1\r\n", "bad_response")
	check("chunk too large for a number", chunked+"5\r\nhello\r\nfffffffffffffffff\r\n", "bad_response")
	check("bare line feeds", chunked+"5\r\nhello\r\n0\n\n", "bad_response")
	check("garbage for a trailer", chunked+"5\r\nhello\r\n0\r\ngarbage\r\n\r\n", "bad_response")
}

// No client gets bytes that a target sends after a response.
func TestPlantedBytes(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	const planted = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nPLANTED"
	const other = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean"
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")

	check := func(name, method, response string) {
		for _, secure := range []bool{false, true} {
			for _, when := range []string{"same", "next", "later"} {
				t.Run(fmt.Sprintf("%s, tls %v, in %s write", name, secure, when), func(t *testing.T) {
					answered := make(chan struct{})
					sent := make(chan struct{})
					script := func(c *testkit.Conn) {
						if c.Index > 0 {
							testkit.Answer(other)(c)
							return
						}
						c.Request()
						switch when {
						case "same":
							c.Send(response + planted)
						case "next":
							c.Send(response)
							c.TrySend(planted) // weir may be gone
						case "later":
							c.Send(response)
							c.Wait(answered)
							c.TrySend(planted)
						}
						close(sent)
						// A request on this connection gets what is planted.
						if _, err := c.TryHead(); err == nil {
							c.TrySend(planted)
						}
					}
					var origin *testkit.Origin
					if secure {
						origin = testkit.ListenTLS(t, tlsServer(pair), script)
					} else {
						origin = testkit.Listen(t, script)
					}
					w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\ntls = {ca = %q}\n", origin.URL, authority.File)
					first := w.dial()
					first.Send(method + " / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
					m := first.Response(method)
					if strings.Contains(m.Body, "PLANTED") {
						t.Errorf("first client got %q", m.Body)
					}
					close(answered)
					receive(t, sent)
					for range 3 {
						c := w.dial()
						equal(t, "another client's body", c.Get("/other").Body, "clean")
						equal(t, "first client's next body", first.Get("/other").Body, "clean")
					}
				})
			}
		}
	}
	check("length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	check("chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
	check("HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
	check("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n")
	check("304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n")
}
