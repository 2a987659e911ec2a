package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// shutdown begins a drain that has all the time of the test.
func (w *weir) shutdown() <-chan error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Limit)
		defer cancel()
		done <- w.Shutdown(ctx)
	}()
	return done
}

// A drain finishes what runs, says so to the client, and ends everything else,
// whether it sent something before or not.
func TestDrain(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			target := c.Head().Target()
			if target == "/stream" {
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
				c.Wait(release)
				c.Send("half")
				continue
			}
			if target == "/wait" {
				c.Wait(release)
			}
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	p := testkit.NewAuthority(t).Issue("weir.test")
	w := launch(t, reservedListener(t)+fmt.Sprintf("[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.2:0\"\ncertificates = [{ cert = %q, key = %q }]\n", p.Cert, p.Key)+
		toOrigin(origin.URL)+"[metrics]\naddress = \"127.0.0.1:0\"\n")
	page := func(path string) int {
		t.Helper()
		r, err := http.Get("http://" + w.MetricsAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode
	}
	equal(t, "ready", page("/-/ready"), 200)

	silent, idle, waiting, streaming := w.dial(), w.dial(), w.dial(), w.dial()
	secureIdle := testkit.DialTLS(t, w.Addr("tls"), insecure())
	noHandshake := testkit.Dial(t, w.Addr("tls"))
	equal(t, "status", idle.Get("/").Status(), 200)
	equal(t, "status", secureIdle.Get("/").Status(), 200)
	waiting.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	streaming.Send("GET /stream HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	streaming.Head("GET")
	equal(t, "first half", streaming.Take(4), "half")
	testkit.Eventually(t, "the origin has all requests", func() bool { return origin.Requests() == 4 })

	drained := w.shutdown()
	for name, c := range map[string]*testkit.Client{
		"one that never sent anything": silent, "an idle one": idle, "an idle one with TLS": secureIdle, "one without a handshake": noHandshake,
	} {
		if rest, end := c.Rest(); rest != "" || end == testkit.Cut {
			t.Errorf("connection %s ends with %q, %s", name, rest, end)
		}
	}
	if c, err := net.Dial("tcp", w.addr.String()); err == nil {
		c.Close()
		t.Error("a draining weir accepts")
	}
	equal(t, "ready while draining", page("/-/ready"), 503)
	equal(t, "healthy while draining", page("/-/healthy"), 200)
	select {
	case err := <-drained:
		t.Fatalf("drained with two exchanges running: %v", err)
	default:
	}
	close(release)
	m := waiting.Response("GET")
	equal(t, "answer", fmt.Sprint(m.Status(), " ", m.Get("Connection"), " ", m.Body), "200 close ok")
	rest, end := streaming.Rest()
	equal(t, "end of the stream", rest+" "+string(end), "half closed")
	waiting.Rest()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A request that was on its way when the drain began is answered, on a connection
// that was idle and on a new one. Ten clients, because it is a race.
func TestDrainServesWhatHasArrived(t *testing.T) {
	t.Parallel()
	for range 10 {
		w := launch(t, "[[routes]]\nrespond = { body = \"hello\" }\n")
		var clients []*testkit.Client
		for i := range 10 {
			c := w.dial()
			if i%2 == 0 {
				c.Get("/")
			}
			clients = append(clients, c)
		}
		for _, c := range clients {
			c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		}
		drained := w.shutdown()
		for _, c := range clients {
			equal(t, "body", c.Response("GET").Body, "hello")
			c.Close()
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	}
}

// A client that has just connected when the drain begins gets an answer to its first request, which it
// sends later.
func TestDrainAnswersWhoHasJustConnected(t *testing.T) {
	t.Parallel()
	for {
		w := launch(t, "[[routes]]\nrespond = { body = \"hello\" }\n")
		used := w.dial()
		used.Get("/")
		began := time.Now()
		c := w.dial()
		w.becomes("connections", `weir_listener_connections{listener="main"}`, "2")
		drained := w.shutdown()
		used.Rest() // which the drain has ended
		c.Send(get)
		rest, end := c.Rest()
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(rest, "HTTP/1.1 200 OK\r\n") && strings.Contains(rest, "onnection: close\r\n") {
			return
		}
		if since := time.Since(began); since < time.Second/2 {
			t.Fatalf("after %s the client got %q, %v", since, rest, end)
		}
	}
}

// What does not end by itself is cut by Close after the deadline, so that no
// client takes it for whole: an endless stream, a tunnel, an upload that does not
// go on, a request that waits for its answer.
func TestDrainDeadline(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		switch c.Head().Target() {
		case "/events":
			c.Send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n")
		case "/tunnel":
			c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		}
		c.Hold()
	})
	w := launch(t, toOrigin(origin.URL))
	events, tunnel, upload, waiting := w.dial(), w.dial(), w.dial(), w.dial()
	events.Send("GET /events HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	events.Chunk(events.Head("GET"))
	tunnel.Send(upgradeRequest)
	tunnel.Head("GET")
	upload.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 10\r\n\r\n123")
	waiting.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	testkit.Eventually(t, "the origin has all requests", func() bool { return origin.Requests() == 4 })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	<-w.Done()
	rest, _ := events.Rest()
	equal(t, "end of the stream", rest, "")
	for _, c := range []*testkit.Client{tunnel, upload, waiting} {
		rest, _ := c.Rest()
		equal(t, "rest", rest, "")
	}
	causes := make(map[string]int)
	for _, e := range w.logged(4) {
		causes[e.Cause]++
	}
	if causes["shutdown"] < 3 || causes["upgraded"]+causes["shutdown"] != 4 {
		t.Errorf("causes are %v, want shutdown", causes)
	}
}

// resources counts the goroutines and descriptors of the process.
func resources(t testing.TB) (goroutines, descriptors int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return runtime.NumGoroutine(), len(entries)
}

// leaksNothing returns a function that fails the test if there are more
// goroutines or descriptors than now. Connections of clients and origins have
// to be closed before, and no other test may run meanwhile.
func leaksNothing(t testing.TB) func() {
	t.Helper()
	// What fasthttp starts once in a process.
	w := launch(t, "[[routes]]\nrespond = { body = \"hello\" }\n")
	c := w.dial()
	c.Get("/")
	c.Close()
	w.Close()
	http.DefaultClient.CloseIdleConnections()
	goroutines, descriptors := resources(t)
	return func() {
		t.Helper()
		end := time.Now().Add(testkit.Limit)
		for {
			runtime.GC() // pipes that were pooled are closed when they are collected
			g, d := resources(t)
			if g <= goroutines && d <= descriptors {
				return
			}
			if time.Now().After(end) {
				b := make([]byte, 1<<20)
				t.Fatalf("%d goroutines and %d descriptors, before there were %d and %d\n%s", g, d, goroutines, descriptors, b[:runtime.Stack(b, true)])
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// Nothing of a closed server is left, whatever it was doing.
func TestCloseLeaksNothing(t *testing.T) {
	check := func(name string, end func(w *weir)) {
		t.Run(name, func(t *testing.T) {
			done := leaksNothing(t)
			t.Run("life", func(t *testing.T) {
				origin := testkit.Listen(t, func(c *testkit.Conn) {
					for {
						switch c.Head().Target() {
						case "/tunnel":
							c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
							c.Hold()
						case "/large":
							c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1000000))
						case "/wait":
							c.Hold()
						default:
							c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
						}
					}
				})
				text := plainListener + toOrigin(origin.URL) + "[upstreams.origin.health]\nprobe = \"tcp\"\ninterval = \"100ms\"\n[upstreams.origin.connections]\nidle = \"20ms\"\n[metrics]\naddress = \"127.0.0.1:0\"\n"
				w := launch(t, text)
				for range 5 {
					c := w.dial()
					c.Get("/")
					c.Get("/large")
				}
				w.dial().Send(upgradeRequest)
				w.dial().Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
				w.dial().Send("POST /wait HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 10\r\n\r\n123")
				for range 3 {
					if err := w.Reload(parse(t, text)); err != nil {
						t.Fatal(err)
					}
				}
				end(w)
			})
			done()
		})
	}
	check("Close", func(w *weir) {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	check("Shutdown and Close", func(w *weir) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		w.Shutdown(ctx)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	check("Close twice, at the same time", func(w *weir) {
		other := make(chan error)
		go func() { other <- w.Close() }()
		if err := errors.Join(w.Close(), <-other); err != nil {
			t.Error(err)
		}
	})
}

// A server that was never started, or could not be, leaves nothing either.
func TestCloseBeforeStart(t *testing.T) {
	done := leaksNothing(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, plainListener+fmt.Sprintf("[[listeners]]\naddress = %q\n[[routes]]\nupstream = \"a\"\n[upstreams.a]\ntargets = [\"demo:a\"]\n", taken.Addr()))
	s, err := server.New(cfg, server.WithAccessLogWriter(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error is %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	taken.Close()
	done()
}

// Serve takes listeners of an embedder, returns when the server ends, and leaves
// reloads alone.
func TestServeForeignListener(t *testing.T) {
	done := leaksNothing(t)
	s, err := server.New(embedded("first"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	get := func() string {
		c := testkit.Dial(t, ln.Addr())
		defer c.Close()
		return c.Get("/").Body
	}
	equal(t, "answer", get(), "first")
	if err := s.Reload(embedded("second")); err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", get(), "second")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returns %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(other); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Close returns %v", err)
	}
	done()
}

// embedded is a configuration made in Go, without listeners.
func embedded(body string) *config.Config {
	cfg := config.Default()
	cfg.AccessLog.Output = "off"
	route := config.DefaultRoute()
	respond := config.DefaultRespond()
	respond.Body = body
	route.Respond = &respond
	cfg.Routes = []config.Route{route}
	return cfg
}

// TestDelay: after a shutdown began, weir is not ready and serves new clients until
// lifecycle.delay has passed.
func TestDelay(t *testing.T) {
	t.Parallel()
	text := reservedListener(t) + "[[routes]]\nrespond = { body = \"hello\" }\n[metrics]\naddress = \"127.0.0.1:0\"\n[lifecycle]\ndelay = %q\n"
	ready := func(w *weir) int {
		t.Helper()
		r, err := http.Get("http://" + w.MetricsAddr().String() + "/-/ready")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode
	}
	w := launch(t, fmt.Sprintf(text, "1h"))
	equal(t, "ready", ready(w), 200)
	first, second := w.shutdown(), w.shutdown()
	testkit.Eventually(t, "it is not ready", func() bool { return ready(w) == 503 })
	equal(t, "status of a new client", w.dial().Get("/").Status(), 200)
	if err := w.Reload(parse(t, fmt.Sprintf(text, "0s"))); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("a reload meanwhile: %v", err)
	}
	// Close does not wait for it.
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(receive(t, first), receive(t, second)); err != nil {
		t.Error(err)
	}
	// It ends by itself, and then the listeners close.
	w = launch(t, fmt.Sprintf(text, "1ms"))
	if err := receive(t, w.shutdown()); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", w.addr.String()); err == nil {
		c.Close()
		t.Error("it accepts after its end")
	}
	// The context bounds it.
	w = launch(t, fmt.Sprintf(text, "1h"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}
