package server_test

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// keeping answers requests with ok, but for those for whose target there is a script, after which the
// connection ends.
func keeping(t testing.TB, by map[string]func(c *testkit.Conn)) *testkit.Origin {
	t.Helper()
	return testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if script := by[c.Request().Target()]; script != nil {
				script(c)
				return
			}
			c.Send(ok)
		}
	})
}

// later connects a client that has had an answer already: what it asks for now may be served inside its
// wait for a request.
func (w *weir) later() *testkit.Client {
	w.t.Helper()
	c := w.dial()
	equal(w.t, "first status", c.Get("/").Status(), 200)
	return c
}

// launcher starts weir in front of an origin.
type launcher = func(t testing.TB, origin *testkit.Origin) *weir

// both tests clients without TLS and clients with TLS.
func both(t *testing.T, name string, test func(t *testing.T, through launcher)) {
	for how, l := range map[string]launcher{"": through, " over TLS": secured} {
		t.Run(name+how, func(t *testing.T) {
			t.Parallel()
			test(t, l)
		})
	}
}

// A connection that is kept takes a request of any form after any other.
func TestLaterRequests(t *testing.T) {
	t.Parallel()
	check := func(name, requests string, methods ...string) {
		both(t, name, func(t *testing.T, through launcher) {
			c := through(t, keeping(t, nil)).later()
			for range 3 {
				for i, piece := range strings.Split(requests, "|") {
					if i > 0 {
						receive(t, after(20)) // so that it comes by itself
					}
					c.Send(piece)
				}
				for _, method := range methods {
					equal(t, "status", c.Response(method).Status(), 200)
				}
				equal(t, "body of the next", c.Get("/").Body, "ok")
			}
		})
	}
	const request = "GET / HTTP/1.1\r\nHost: weir.test\r\n"
	check("GET", get, "GET")
	check("HEAD", "HEAD"+get[3:], "HEAD")
	check("OPTIONS", "OPTIONS"+get[3:], "OPTIONS")
	check("POST", post(5)+"hello", "POST")
	check("POST in pieces", post(5)+"he|llo", "POST")
	check("GET with a body", request+"Content-Length: 5\r\n\r\nhello", "GET")
	check("GET with a body that comes later", request+"Content-Length: 5\r\n\r\n|hello", "GET")
	check("GET with an empty body", request+"Content-Length: 0\r\n\r\n", "GET")
	check("GET with chunks", request+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "GET")
	check("GET with chunks that come later", request+"Transfer-Encoding: chunked\r\n\r\n|5\r\nhello\r\n0\r\n\r\n", "GET")
	check("two at once", get+get, "GET", "GET")
	check("one and a half", get+"GET /|half HTTP/1.1\r\nHost: weir.test\r\n\r\n", "GET", "GET")
	check("a head in pieces", "G|ET / HTTP/1.1\r\nHost: we|ir.test\r\n\r|\n", "GET")
	check("empty lines before it", "\r\n\r\n"+get, "GET")
	check("empty lines that come first", "\r\n\r\n|"+get, "GET")
	check("a protocol that the route does not allow", request+"Connection: upgrade\r\nUpgrade: foo\r\n\r\n", "GET")
	for _, size := range []int{4095, 4096, 4097} { // about what is read at once
		check(fmt.Sprint("a head of ", size, " bytes"), filled(size), "GET")
		check(fmt.Sprint("a head of ", size, " bytes and one more"), filled(size)+get, "GET", "GET")
	}
}

// filled is a request with a head of size bytes.
func filled(size int) string {
	const h = "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Fill: "
	return h + strings.Repeat("x", size-len(h)-4) + "\r\n\r\n"
}

// What ends a connection ends one that was kept.
func TestLaterEnds(t *testing.T) {
	t.Parallel()
	hooks := hook.Hooks{OnRequest: func(x hook.Exchange) {
		if x.Request().Target() == "/panic" {
			panic("as the test wants")
		}
	}}
	check := func(name, request string, status int, want testkit.End) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := keeping(t, map[string]func(c *testkit.Conn){
				"/cut": func(c *testkit.Conn) { c.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello") },
			})
			w := launch(t, toOrigin(origin.URL), server.WithHooks(hooks), server.WithLog((&textLog{}).logger()))
			c := w.later()
			c.Get("/")
			c.Send(request)
			equal(t, "status", c.Head("GET").Status(), status)
			_, end := c.Rest()
			equal(t, "the end", end, want)
		})
	}
	check("the client wants it", "GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n", 200, testkit.Closed)
	check("HTTP/1.0", "GET / HTTP/1.0\r\nHost: weir.test\r\n\r\n", 200, testkit.Closed)
	check("a defect", "GET / HTTP/1.1\r\n\r\n", 400, testkit.Closed)
	check("another protocol", "PRI * HTTP/2.0\r\n\r\n", 505, testkit.Closed)
	check("a panic", "GET /panic HTTP/1.1\r\nHost: weir.test\r\n\r\n", 500, testkit.Closed)
	check("the origin cuts the body", "GET /cut HTTP/1.1\r\nHost: weir.test\r\n\r\n", 200, testkit.WasReset)
}

// waiting is an origin that waits with its answer to /wait until release is closed, and says when it was asked.
func waiting(t testing.TB) (origin *testkit.Origin, asked, release chan struct{}) {
	t.Helper()
	asked, release = make(chan struct{}, 1), make(chan struct{})
	return keeping(t, map[string]func(c *testkit.Conn){"/wait": func(c *testkit.Conn) {
		asked <- struct{}{}
		c.Wait(release)
		c.Send(ok)
	}}), asked, release
}

// A request that comes while another one runs is served after it.
func TestLaterRequestMeanwhile(t *testing.T) {
	t.Parallel()
	both(t, "meanwhile", func(t *testing.T, through launcher) {
		origin, asked, release := waiting(t)
		c := through(t, origin).later()
		c.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		receive(t, asked)
		c.Send(get)
		receive(t, after(1500)) // long enough for weir to have looked
		close(release)
		for range 3 {
			equal(t, "body", c.Response("GET").Body, "ok")
			c.Send(get)
		}
	})
}

// A request that comes after the last one is not served.
func TestLaterRequestAfterLast(t *testing.T) {
	t.Parallel()
	origin, asked, release := waiting(t)
	c := through(t, origin).later()
	c.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n")
	receive(t, asked)
	c.Send(get)
	close(release)
	equal(t, "body", c.Response("GET").Body, "ok")
	rest, end := c.Rest()
	equal(t, "the end", rest+string(end), string(testkit.Closed))
	equal(t, "requests to the origin", origin.Requests(), 2)
}

// A connection that was kept may become a tunnel, if its client asks for that.
func TestLaterUpgrade(t *testing.T) {
	t.Parallel()
	both(t, "tunnel", func(t *testing.T, through launcher) {
		origin := keeping(t, map[string]func(c *testkit.Conn){"/chat": func(c *testkit.Conn) {
			c.Send(switching)
			c.Send("<" + c.Take(4) + ">")
		}})
		c := through(t, origin).later()
		c.Send(upgrade)
		equal(t, "status", c.Head("GET").Status(), 101)
		c.Send("one.")
		equal(t, "echo", c.Take(6), "<one.>")
	})
}

// A client that goes away while its exchange waits takes it along.
func TestLaterClientGone(t *testing.T) {
	t.Parallel()
	check := func(name string, leave func(c *testkit.Client)) {
		both(t, name, func(t *testing.T, through launcher) {
			started, ended := make(chan struct{}), make(chan struct{})
			w := through(t, keeping(t, map[string]func(c *testkit.Conn){"/wait": func(c *testkit.Conn) {
				close(started)
				c.Rest()
				close(ended)
			}}))
			c := w.later()
			c.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			receive(t, started)
			leave(c)
			receive(t, ended)
			equal(t, "cause", w.logged(2)[1].Cause, "client_gone")
		})
	}
	check("FIN", func(c *testkit.Client) { wire(c.Conn).CloseWrite() })
	check("RST", func(c *testkit.Client) {
		wire(c.Conn).SetLinger(0)
		wire(c.Conn).Close()
	})
}

// wire is the socket of a client with or without TLS.
func wire(c net.Conn) *net.TCPConn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return c.(*net.TCPConn)
}

// A client's silence counts from the end of its last answer, however long the target took for that.
func TestLaterIdle(t *testing.T) {
	t.Parallel()
	origin := keeping(t, map[string]func(c *testkit.Conn){"/slow": func(c *testkit.Conn) {
		receive(t, after(4000)) // longer than clients may be idle
		c.Send(ok)
	}})
	c := limited(t, origin.URL, `idle = "3s"`, "").later()
	for range 2 {
		equal(t, "body", c.Get("/slow").Body, "ok")
		equal(t, "body of the next", c.Get("/").Body, "ok")
	}
	rest, end := c.Rest()
	equal(t, "the end", rest+string(end), string(testkit.Closed))
}

// A drain ends connections that were kept as it ends others: at once while they wait for a request, and
// after the answer that is under way.
func TestLaterDrain(t *testing.T) {
	t.Parallel()
	both(t, "drain", testLaterDrain)
}

func testLaterDrain(t *testing.T, through launcher) {
	release, started := make(chan struct{}), make(chan struct{}, 2)
	w := through(t, keeping(t, map[string]func(c *testkit.Conn){
		"/wait": func(c *testkit.Conn) {
			started <- struct{}{}
			c.Wait(release)
			c.Send(ok)
		},
		"/stream": func(c *testkit.Conn) {
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
			started <- struct{}{}
			c.Wait(release)
			c.Send("half")
		},
	}))
	idle, waiting, streaming := w.later(), w.later(), w.later()
	idle.Get("/")
	waiting.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	streaming.Send("GET /stream HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	receive(t, started)
	receive(t, started)
	equal(t, "the first half", streaming.Head("GET").Status(), 200)
	equal(t, "the first half", streaming.Take(4), "half")

	drained := w.shutdown()
	rest, end := idle.Rest()
	equal(t, "end of an idle connection", rest+string(end), string(testkit.Closed))
	close(release)
	m := waiting.Response("GET")
	equal(t, "answer", m.Get("Connection")+" "+m.Body, "close ok")
	for _, c := range []*testkit.Client{waiting, streaming} {
		rest, end := c.Rest()
		equal(t, "the end", string(end), string(testkit.Closed))
		equal(t, "the rest", strings.TrimPrefix(rest, "half"), "")
	}
	if err := receive(t, drained); err != nil {
		t.Error(err)
	}
}

// Clients whose requests wait for a target are cut all together, not one after the other.
func TestLaterCloseCuts(t *testing.T) {
	t.Parallel()
	both(t, "close", testLaterCloseCuts)
}

func testLaterCloseCuts(t *testing.T, through launcher) {
	asked := make(chan struct{}, 200)
	w := through(t, keeping(t, map[string]func(c *testkit.Conn){"/wait": func(c *testkit.Conn) {
		asked <- struct{}{}
		c.Hold()
	}}))
	var clients []*testkit.Client
	for range cap(asked) {
		c := w.later()
		c.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		clients = append(clients, c)
	}
	for range clients {
		receive(t, asked)
	}
	closed := make(chan error)
	go func() { closed <- w.Close() }()
	if err := receive(t, closed); err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		rest, _ := c.Rest()
		equal(t, "the answer", rest, "")
	}
}

// Where the records of TLS end in what comes at once makes no difference.
func TestLaterRecords(t *testing.T) {
	t.Parallel()
	w := secured(t, keeping(t, nil))
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			socket, err := net.Dial("tcp", w.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(seed, 0))
			sent := &pieces{Conn: socket, random: random}
			secure := tls.Client(sent, w.secure)
			if err := secure.Handshake(); err != nil {
				t.Fatal(err)
			}
			c := testkit.NewClient(t, secure)
			for range 100 {
				sent.keep = true
				n := 1 + random.IntN(3)
				for range n {
					c.Send(get[:16])
					c.Send(get[16:])
					if random.IntN(2) > 0 {
						c.Send(filled(60 + random.IntN(5000)))
						n++
					}
				}
				if err := sent.flush(); err != nil {
					t.Fatal(err)
				}
				for range n {
					equal(t, "body", c.Response("GET").Body, "ok")
				}
			}
		})
	}
}

// pieces is a connection that sends what is written to it in pieces of random sizes.
type pieces struct {
	net.Conn
	random *rand.Rand
	keep   bool // all until flush
	kept   []byte
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.kept = append(p.kept, b...); p.keep {
		return len(b), nil
	}
	return len(b), p.flush()
}

func (p *pieces) flush() error {
	p.keep = false
	for len(p.kept) > 0 {
		n := min(1+p.random.IntN(3000), len(p.kept))
		if _, err := p.Conn.Write(p.kept[:n]); err != nil {
			return err
		}
		p.kept = p.kept[n:]
	}
	return nil
}
