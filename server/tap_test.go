package server_test

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// tap keeps what one tap has seen.
type tap struct {
	mu    sync.Mutex
	body  strings.Builder
	ended int
	late  bool // called after the end
}

func (w *tap) watch(piece []byte, end bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late = w.late || w.ended > 0
	w.body.Write(piece)
	if end {
		w.ended++
	}
}

// taps are those of all exchanges, in the order in which they were made.
type taps struct {
	mu   sync.Mutex
	list []*tap
}

func (s *taps) add(x hook.Exchange, d hook.Direction, limit int64) {
	w := new(tap)
	s.mu.Lock()
	s.list = append(s.list, w)
	s.mu.Unlock()
	x.Tap(d, limit, w.watch)
}

// next waits until the oldest tap has ended, and returns what it has seen.
func (s *taps) next(t *testing.T) string {
	t.Helper()
	var w *tap
	testkit.Eventually(t, "a tap has ended", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.list) == 0 {
			return false
		}
		w = s.list[0]
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ended > 0
	})
	s.mu.Lock()
	s.list = s.list[1:]
	s.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != 1 || w.late {
		t.Errorf("the tap was ended %d times, and called after that: %t", w.ended, w.late)
	}
	return w.body.String()
}

// all taps everything in both directions.
func (s *taps) all(d hook.Direction) hook.Hooks {
	return hook.Hooks{OnRequest: func(x hook.Exchange) { s.add(x, d, math.MaxInt64) }}
}

// text is a body of n bytes of which no two parts are alike.
func text(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()[:n]
}

// chunked is a body in chunks of up to n bytes.
func chunked(body string, n int) string {
	var b strings.Builder
	for len(body) > 0 {
		n = min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// A request's body is seen whole and once, however it moves.
func TestTapRequestBody(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := testkit.ReadRequest(c.Reader)
			if err != nil {
				return // the last one is cut
			}
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.Body), m.Body))
		}
	})
	var s taps
	w := hooked(t, "[[routes]]\npath = \"/own\"\nrespond = { body = \"own\" }\n"+
		"[[routes]]\npath = \"/bounded\"\nmax_body = \"1KiB\"\nupstream = \"origin\"\n"+toOrigin(origin.URL), s.all(hook.ToTarget))
	c := w.dial()
	check := func(what, fields, body, sent string) {
		t.Helper()
		c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\n" + fields + "\r\n")
		done := make(chan struct{})
		go func() { io.WriteString(c.Conn, sent); close(done) }()
		m := c.Response("POST")
		<-done
		equal(t, what, m.Body, body)
		equal(t, what+" seen", s.next(t), body)
	}
	c.Get("/")
	equal(t, "no body", s.next(t), "")
	check("empty", "Content-Length: 0\r\n", "", "")
	check("empty in chunks", "Transfer-Encoding: chunked\r\n", "", "0\r\n\r\n")
	for _, n := range []int{1, 100, 5000, 100_000, testkit.Rounds(1, 3) << 20} {
		body := text(n)
		check(fmt.Sprint(n, " bytes"), fmt.Sprintf("Content-Length: %d\r\n", n), body, body)
		check(fmt.Sprint(n, " bytes in chunks"), "Transfer-Encoding: chunked\r\n", body, chunked(body, 70_000))
		check(fmt.Sprint(n, " bytes in small chunks"), "Transfer-Encoding: chunked\r\n", body, chunked(body, n/50+1))
	}
	// In one segment with the head, so that it is kept until it is sent.
	c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 4\r\n\r\nkept")
	equal(t, "kept", c.Response("POST").Body, "kept")
	equal(t, "kept seen", s.next(t), "kept")
	// One that no target gets, but that is there.
	c.Send("POST /own HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 4\r\n\r\nread")
	equal(t, "own", c.Response("POST").Body, "own")
	equal(t, "own seen", s.next(t), "read")
	// One that is not read.
	c.Send("POST /own HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 400\r\n\r\npart")
	equal(t, "own", c.Response("POST").Body, "own")
	equal(t, "unread seen", s.next(t), "")
	// One that turns out too long.
	c = w.dial()
	c.Send("POST /bounded HTTP/1.1\r\nHost: weir.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(text(2000), 1000))
	equal(t, "status", c.Response("POST").Status(), 413)
	equal(t, "bounded seen", s.next(t), text(1000))
}

// With several attempts the request's body is seen once.
func TestTapRequestBodyOnce(t *testing.T) {
	t.Parallel()
	check := func(what, request, body string) {
		t.Run(what, func(t *testing.T) {
			bad := testkit.Listen(t, func(c *testkit.Conn) { c.Request(); c.Close() })
			good := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					m := c.Request()
					c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.Body), m.Body))
				}
			})
			var s taps
			w := hooked(t, strings.Replace(toOrigin(bad.URL, good.URL), "targets", "balance = \"round_robin\"\nretry.body = \"64KiB\"\ntargets", 1), s.all(hook.ToTarget))
			retried := 0
			for i := range 4 {
				c := w.dial()
				c.Send(request)
				equal(t, "body", c.Response("PUT").Body, body)
				equal(t, "seen", s.next(t), body)
				retried += w.logged(i + 1)[i].Attempts - 1
			}
			if retried == 0 {
				t.Error("nothing was tried again")
			}
		})
	}
	const head = "PUT / HTTP/1.1\r\nHost: weir.test\r\n"
	check("kept", head+"Content-Length: 4\r\n\r\nkept", "kept")
	check("uploaded", head+fmt.Sprintf("Content-Length: %d\r\n\r\n", 30_000)+text(30_000), text(30_000))
}

// A response's body is seen whole and once, whatever it comes from.
func TestTapResponseBody(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	bodies := map[string]string{"/small": text(100), "/large": text(2 << 20)}
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			kind, path, _ := strings.Cut(m.Target()[1:], "/")
			body := bodies["/"+path]
			head := "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n"
			switch {
			case kind == "length" && strings.HasPrefix(m.Line, "HEAD"):
				c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, len(body)))
			case kind == "length":
				c.Send(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, len(body)), body)
			case kind == "chunked":
				c.Send(head+"Transfer-Encoding: chunked\r\n\r\n", chunked(body, 50_000))
			case kind == "close":
				c.Send(head+"\r\n", body)
				c.CloseWrite()
				return
			case kind == "none":
				c.Send("HTTP/1.1 204 No Content\r\n\r\n")
			}
		}
	})
	conf := func(cached string) string {
		return "[cache]\nsize = \"64MiB\"\nmax_object = \"8MiB\"\n[[routes]]\npath = \"/own\"\nrespond = { body = \"own\" }\n[[routes]]\npath = \"/moved\"\nredirect = { to = \"/\" }\n" +
			strings.Replace(toOrigin(origin.URL), "\"all\"", "\"all\"\n"+cached, 1)
	}
	for point, hooks := range map[string]func(s *taps) hook.Hooks{
		"OnRequest": func(s *taps) hook.Hooks { return s.all(hook.ToClient) },
		"OnResponse": func(s *taps) hook.Hooks {
			return hook.Hooks{OnResponse: func(x hook.Exchange) { s.add(x, hook.ToClient, math.MaxInt64) }}
		},
		"OnReply": func(s *taps) hook.Hooks {
			return hook.Hooks{OnReply: func(x hook.Exchange) { s.add(x, hook.ToClient, math.MaxInt64) }}
		},
	} {
		for _, cached := range []string{"", "cache = true\n"} {
			t.Run(point+" "+cached, func(t *testing.T) {
				var s taps
				w := hooked(t, conf(cached), hooks(&s))
				c := w.dial()
				check := func(method, target, body string) {
					t.Helper()
					c.Send(method + " " + target + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
					m := c.Response(method)
					if method == "HEAD" {
						equal(t, target, m.Body, "")
						body = ""
					}
					equal(t, target, m.Body, body)
					equal(t, target+" seen", s.next(t), body)
				}
				for path, body := range bodies {
					for _, kind := range []string{"/length", "/chunked", "/close"} {
						check("GET", kind+path, body)
					}
					if point == "OnResponse" {
						continue // what comes next has no target's response
					}
					for range 6 { // often enough to be sent from a file
						check("GET", "/length"+path, body)
					}
					check("HEAD", "/length"+path, body)
				}
				if point == "OnResponse" {
					return
				}
				check("GET", "/none/", "")
				check("GET", "/own", "own")
				check("GET", "/moved", "")
				s.mu.Lock()
				defer s.mu.Unlock()
				equal(t, "taps", len(s.list), 0)
			})
		}
	}
}

// A tap gets no more than its limit, and the rest of the body passes all the same.
func TestTapLimit(t *testing.T) {
	t.Parallel()
	body := text(300_000)
	origin := testkit.Listen(t, testkit.Answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)))
	limits := []int64{-1, 0, 1, 1000, int64(len(body)) - 1, int64(len(body)), int64(len(body)) + 1, math.MaxInt64}
	var s taps
	w := hooked(t, toOrigin(origin.URL), hook.Hooks{OnRequest: func(x hook.Exchange) {
		for _, limit := range limits {
			s.add(x, hook.ToClient, limit)
			s.add(x, hook.ToTarget, limit)
		}
	}})
	c := w.dial()
	for range 2 {
		c.Send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		equal(t, "body", c.Response("POST").Body, body)
		for _, limit := range limits {
			want := body[:min(max(limit, 0), int64(len(body)))]
			equal(t, fmt.Sprint("response up to ", limit), s.next(t), want)
			equal(t, fmt.Sprint("request up to ", limit), s.next(t), want)
		}
	}
}

// A tap ends once, also where the body does not.
func TestTapEnds(t *testing.T) {
	t.Parallel()
	check := func(name, cached string, script func(c *testkit.Conn), client func(w *weir, c *testkit.Client), up, down string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, script)
			var s taps
			w := hooked(t, strings.Replace(toOrigin(origin.URL), "\"all\"", "\"all\"\n"+cached, 1),
				hook.Hooks{OnRequest: func(x hook.Exchange) {
					s.add(x, hook.ToTarget, math.MaxInt64)
					s.add(x, hook.ToClient, math.MaxInt64)
				}})
			client(w, w.dial())
			equal(t, "request's", s.next(t), up)
			equal(t, "response's", s.next(t), down)
		})
	}
	const gone = "400 Bad Request: client_gone\n" // which no client gets
	const begun = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 100\r\n\r\nbegun"
	// With finish a fetch for the cache would go on without its client.
	for _, cached := range []string{"", "cache = { finish = \"0\" }\n"} {
		taken := make(chan struct{})
		check("the target breaks off "+cached, cached, func(c *testkit.Conn) { c.Request(); c.Send(begun); c.Wait(taken) }, func(w *weir, c *testkit.Client) {
			c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			c.Head("GET")
			c.Take(5)
			close(taken)
			c.Rest()
		}, "", "begun")
		check("the client leaves "+cached, cached, func(c *testkit.Conn) { c.Request(); c.Send(begun); c.Rest() }, func(w *weir, c *testkit.Client) {
			c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			c.Head("GET")
			c.Take(5)
			c.Reset()
		}, "", "begun")
		check("the client leaves before the head "+cached, cached, func(c *testkit.Conn) { c.Request(); c.Rest() }, func(w *weir, c *testkit.Client) {
			c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 2\r\n\r\nhi")
			testkit.Eventually(w.t, "the request runs", func() bool {
				return strings.HasPrefix(w.metric(`weir_listener_requests_in_flight{listener="main"}`), "1")
			})
			c.Reset()
			w.ended()
		}, "hi", gone)
	}
	check("the client leaves in its body", "", func(c *testkit.Conn) { c.Head(); c.Rest() }, func(w *weir, c *testkit.Client) {
		c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 100\r\n\r\nbegun")
		testkit.Eventually(w.t, "the request runs", func() bool {
			return strings.HasPrefix(w.metric(`weir_listener_requests_in_flight{listener="main"}`), "1")
		})
		c.Reset()
		w.ended()
	}, "begun", gone)
	check("an upgrade", "", func(c *testkit.Conn) { c.Head(); c.Send(switching + "not a body") }, func(w *weir, c *testkit.Client) {
		c.Send(upgrade + "nor this")
		c.Head("GET")
		c.CloseWrite()
		c.Rest()
	}, "", "")
	check("weir stops", "", func(c *testkit.Conn) { c.Request(); c.Send(begun); c.Rest() }, func(w *weir, c *testkit.Client) {
		c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		c.Head("GET")
		c.Take(5)
		w.Close()
	}, "", "begun")
}

// A request of weir's own has no client: a tap of its response ends without a byte.
func TestTapOfValidation(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nCache-Control: max-age=600, stale-while-revalidate=600\r\nContent-Length: 2\r\n\r\nok"))
	var s taps
	w := hooked(t, "[cache]\npurge_from = [\"127.0.0.1\"]\n"+strings.Replace(toOrigin(origin.URL), "\"all\"", "\"all\"\ncache = true", 1),
		hook.Hooks{OnResponse: func(x hook.Exchange) { s.add(x, hook.ToClient, math.MaxInt64) }})
	c := w.dial()
	c.Get("/")
	equal(t, "seen", s.next(t), "ok")
	c.Send("PURGE / HTTP/1.1\r\nHost: weir.test\r\nPurge-Mode: soft\r\n\r\n")
	c.Response("PURGE")
	c.Get("/")
	equal(t, "seen", s.next(t), "")
}

// A tap that panics costs its exchange and nothing else: others of the exchange end, and
// nothing is left running.
func TestTapPanics(t *testing.T) {
	t.Parallel()
	large := text(1 << 20)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m, err := testkit.ReadRequest(c.Reader)
			if err != nil {
				return
			}
			body := "ok"
			if strings.HasPrefix(m.Target(), "/large") {
				body = large
			}
			if c.TrySend(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)) != nil {
				return
			}
		}
	})
	check := func(name string, d hook.Direction, when func(piece []byte, end bool) bool, request, want string) {
		t.Run(name, func(t *testing.T) {
			var log textLog
			var s taps
			w := launch(t, toOrigin(origin.URL), server.WithLog(log.logger()), server.WithHooks(hook.Hooks{OnRequest: func(x hook.Exchange) {
				if x.Request().Get("X-Panic") == "" {
					return
				}
				s.add(x, d, math.MaxInt64)
				called := false
				x.Tap(d, math.MaxInt64, func(piece []byte, end bool) {
					if called {
						t.Error("a tap that panicked is called again")
					}
					if called = when(piece, end); called {
						panic("as the test wants")
					}
				})
				s.add(x, d, math.MaxInt64)
			}}))
			c := w.dial()
			go io.WriteString(c.Conn, request)
			if m, err := testkit.ReadResponse(c.Reader, "POST"); err == nil {
				equal(t, "status", fmt.Sprint(m.Status()), want)
			} else if want != "" {
				t.Errorf("no response: %v", err)
			}
			s.next(t)
			s.next(t)
			testkit.Eventually(t, "the panic is counted once, and nothing runs", func() bool {
				return w.metric("weir_panics_total") == "1" && w.metric(`weir_listener_requests_in_flight{listener="main"}`) == "0" &&
					w.metric(fmt.Sprintf("weir_upstream_in_flight{upstream=\"origin\",target=%q}", origin.URL)) == "0"
			})
			if !strings.Contains(log.String(), "tap_test.go") {
				t.Errorf("the log has no stack: %s", log.String())
			}
			w.logged(1)
			c = w.dial()
			equal(t, "next", c.Get("/").Body, "ok")
			equal(t, "next", c.Get("/large").Body, large)
		})
	}
	first := func(piece []byte, end bool) bool { return true }
	last := func(piece []byte, end bool) bool { return end }
	const head = "POST / HTTP/1.1\r\nHost: weir.test\r\nX-Panic: yes\r\n"
	long := head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large
	check("a request's that is kept", hook.ToTarget, first, head+"Content-Length: 3\r\n\r\nabc", "500")
	check("a request's that is uploaded", hook.ToTarget, first, long, "500")
	check("a request's in chunks", hook.ToTarget, last, head+"Transfer-Encoding: chunked\r\n\r\n"+chunked(large, 9999), "500")
	check("a request's end", hook.ToTarget, last, long, "500")
	check("a request's without a body", hook.ToTarget, last, head+"\r\n", "200")
	check("a response's", hook.ToClient, first, head+"\r\n", "")
	check("a response's end", hook.ToClient, last, head+"\r\n", "")
	check("a large response's", hook.ToClient, first, strings.Replace(head, "/", "/large", 1)+"\r\n", "")
}
