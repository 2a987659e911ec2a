package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/testkit"
)

// refused is a target that refuses connections.
func refused(t testing.TB) string {
	t.Helper()
	return "http://" + testkit.Reserve(t)
}

// named is a script that answers with a name.
func named(name string) func(*testkit.Conn) {
	return testkit.Answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name))
}

func TestRoundRobinSpreads(t *testing.T) {
	t.Parallel()
	a, b, c := testkit.Listen(t, named("a")), testkit.Listen(t, named("b")), testkit.Listen(t, named("c"))
	w := launch(t, toOrigin(a.URL, b.URL, c.URL))
	client := w.dial()
	counts := make(map[string]int)
	for range 300 {
		counts[client.Get("/").Body]++
	}
	equal(t, "spread", fmt.Sprint(counts), "map[a:100 b:100 c:100]")
}

// No client sees that one of two targets refuses connections, however many come
// at once and whatever they send.
func TestRefusedConnectionGoesElsewhere(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			m := c.Request()
			c.Send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.Body), m.Body))
		}
	})
	w := launch(t, toOrigin(refused(t), origin.URL))
	var clients []*testkit.Client
	for range 50 {
		clients = append(clients, w.dial())
	}
	for _, c := range clients {
		c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 5\r\n\r\nhello")
	}
	for _, c := range clients {
		m := c.Response("POST")
		equal(t, "answer", m.Line+" "+m.Body, "HTTP/1.1 200 OK hello")
	}
}

// All targets dead: an answer at once.
func TestAllTargetsDead(t *testing.T) {
	t.Parallel()
	w := launch(t, toOrigin(refused(t), refused(t)))
	c := w.dial()
	for range 5 {
		if m := c.Get("/"); m.Status() != 502 && m.Status() != 503 {
			t.Errorf("%s", m.Line)
		}
	}
}

// A pooled connection that the target has closed is no error of the exchange; not
// of a POST either, if nothing of it was sent.
func TestDeadPooledConnection(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 10)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		c.Conn.Close()
		closed <- struct{}{}
	})
	w := launch(t, toOrigin(origin.URL))
	c := w.dial()
	for range 10 {
		c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 5\r\n\r\nhello")
		equal(t, "status", c.Response("POST").Status(), 200)
		<-closed
	}
}

// What a broken or malicious target costs is bounded, and clients of other targets do not notice.
func TestBadTargets(t *testing.T) {
	t.Parallel()
	drip := func(c *testkit.Conn, s string) {
		for i := range len(s) {
			if c.TrySend(s[i:i+1]) != nil {
				return
			}
		}
	}
	endless := func(first, more string) func(*testkit.Conn) {
		return func(c *testkit.Conn) {
			c.Head()
			if c.TrySend(first) != nil {
				return
			}
			piece := strings.Repeat(more, 1+(32<<10)/len(more))
			for c.TrySend(piece) == nil {
			}
		}
	}
	check := func(name string, want int, timeouts string, script func(*testkit.Conn)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := testkit.Listen(t, script), testkit.Listen(t, named("good"))
			w := launch(t, fmt.Sprintf(`
[[routes]]
path = "/bad"
upstream = "bad"
[[routes]]
upstream = "good"
[upstreams.good]
targets = [%q]
[upstreams.bad]
targets = [%q]
timeouts = { %s }
`, good.URL, bad.URL, timeouts))
			other := w.dial()
			for range 3 {
				c := w.dial()
				c.Send("GET /bad HTTP/1.1\r\nHost: weir.test\r\n\r\n")
				m, err := testkit.ReadResponse(c.Reader, "GET")
				switch {
				case want == 0:
					if err == nil {
						t.Errorf("the answer looks whole: %.200q", m.Head)
					}
				case err != nil:
					t.Error(err)
				case m.Status() != want && m.Status() != 503: // 503: the target was ejected
					t.Errorf("%s, want %d", m.Line, want)
				}
				equal(t, "answer of the other route", other.Get("/").Body, "good")
			}
		})
	}
	check("closes at once", 502, "", func(c *testkit.Conn) { c.Conn.Close() })
	check("resets at once", 502, "", func(c *testkit.Conn) { c.Reset() })
	check("closes after the request", 502, "", func(c *testkit.Conn) { c.Head() })
	check("garbage", 502, "", func(c *testkit.Conn) { c.Head(); c.TrySend("\x00\x01\x02 garbage\r\n\r\n"); c.Rest() })
	check("silence", 504, `first_byte = "100ms"`, func(c *testkit.Conn) { c.Head(); c.Rest() })
	check("half a head", 504, `first_byte = "100ms"`, func(c *testkit.Conn) { c.Head(); c.TrySend("HTTP/1.1 200 OK\r\nX-A: "); c.Rest() })
	check("byte by byte", 200, "", func(c *testkit.Conn) {
		for {
			c.Head()
			drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	})
	check("endless line", 502, "", endless("HTTP/1.1 200 OK\r\nX-A: ", "x"))
	check("endless head", 502, "", endless("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"))
	check("endless interim responses", 502, "", endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"))
	check("endless trailer", 0, "", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: b\r\n"))
	check("endless chunk extension", 0, "", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", ";a=b"))
	check("body stops", 0, `idle = "100ms"`, func(c *testkit.Conn) {
		c.Head()
		c.TrySend("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		c.Rest()
	})
}

// Slow clients, in their heads and in taking what they asked for, do not make
// other clients wait. WEIR_SOAK_SLOW is their number.
func TestManySlowClients(t *testing.T) {
	// Not parallel: it measures what a normal client gets.
	n := testkit.Soak(t, "WEIR_SOAK_SLOW", testkit.Rounds(50, 200))
	origin := newMortal(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large" {
			io.CopyN(w, zeros{}, 8<<20)
			return
		}
		io.WriteString(w, "hello")
	})
	w := launch(t, toOrigin("http://"+origin.addr))
	normal := func() time.Duration {
		t.Helper()
		c := w.dial()
		defer c.Close()
		took := make([]time.Duration, 500)
		for i := range took {
			began := time.Now()
			if body := c.Get("/").Body; body != "hello" {
				t.Fatalf("body %q", body)
			}
			took[i] = time.Since(began)
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	before := normal()
	stop := make(chan struct{})
	var slow, ready sync.WaitGroup
	for i := range n {
		ready.Add(1)
		slow.Go(func() {
			c, err := net.Dial("tcp", w.addr.String())
			if err != nil {
				t.Error(err)
				ready.Done()
				return
			}
			defer c.Close()
			head := "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Slow: " + strings.Repeat("x", 100)
			if i%2 == 1 { // takes next to nothing of what it asks for
				c.(*net.TCPConn).SetReadBuffer(4 << 10)
				io.WriteString(c, "GET /large HTTP/1.1\r\nHost: weir.test\r\n\r\n")
				bufio.NewReaderSize(c, 16).ReadByte()
			}
			ready.Done()
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for j := 0; ; j++ {
				if i%2 == 0 {
					_, err = io.WriteString(c, head[j%len(head):j%len(head)+1])
				} else {
					_, err = c.Read(make([]byte, 1))
				}
				if err != nil {
					return // weir had enough of it
				}
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	ready.Wait()
	during := normal()
	close(stop)
	slow.Wait()
	t.Logf("p99 of a normal client: %s before, %s with %d slow ones", before, during, n)
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A client that sends its head too slowly is told so and logged.
func TestSlowHead(t *testing.T) {
	t.Parallel()
	w := launch(t, plainListener+"timeouts = { header = \"50ms\" }\n[[routes]]\nrespond = { body = \"hello\" }\n")
	c := w.dial()
	c.Send("GET /slow HTTP/1.1\r\nHo")
	m := c.Response("GET")
	equal(t, "status", m.Status(), 408)
	e := w.logged(1)[0]
	equal(t, "log line", e.String()+" "+e.Method+" "+e.Target, "408 head_timeout GET /slow")
}

// Connections beyond the limit of an address are closed, those beyond the
// listener's limit wait.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	w := launch(t, plainListener+"limits = { connections_per_address = 2 }\n[[routes]]\nrespond = { body = \"hello\" }\n")
	first := w.dial()
	first.Get("/")
	second := w.dial()
	second.Get("/")
	third := w.dial()
	rest, _ := third.Rest()
	equal(t, "what the third gets", rest, "")
	w.becomes("refused", `weir_listener_refused_total{listener="main",reason="address_limit"}`, "1")
	first.Close()
	testkit.Eventually(t, "there is room again", func() bool {
		c := w.dial()
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		m, err := testkit.ReadResponse(c.Reader, "GET")
		return err == nil && m.Body == "hello"
	})

	w = launch(t, plainListener+"limits = { connections = 1 }\n[[routes]]\nrespond = { body = \"hello\" }\n")
	first = w.dial()
	first.Get("/")
	second = w.dial()
	second.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	first.Get("/")
	w.becomes("open connections", `weir_listener_connections{listener="main"}`, "1")
	first.Close()
	equal(t, "body", second.Response("GET").Body, "hello")
}
