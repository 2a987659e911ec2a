package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// mounted are the same handlers for both libraries: the option mounts them as "handler:app".
type mounted struct {
	name   string
	option server.Option
}

// app is what the tests ask for, in both libraries.
type app struct {
	calls  atomic.Int64
	goOn   chan struct{} // lets /stream end
	ended  chan error    // gets how the wait of /wait ended
	failed atomic.Bool   // lets /health fail
}

func newApp() *app { return &app{goOn: make(chan struct{}), ended: make(chan error, 1)} }

func (a *app) both() []mounted {
	return []mounted{
		{"http", server.WithHandler("app", http.HandlerFunc(a.http))},
		{"fasthttp", server.WithFastHTTP("app", a.fast)},
	}
}

func (a *app) http(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	switch r.URL.Path {
	case "/plain":
		w.Header().Set("X-Who", r.Host+" "+r.Header.Get("X-Forwarded-For"))
		io.WriteString(w, "<html>")
	case "/typed":
		w.Header().Set("Content-Type", "a/b")
		w.Header().Set("Server", "app")
		w.Header().Set("Cache-Control", "max-age=600")
		w.WriteHeader(201)
		fmt.Fprint(w, a.calls.Load())
	case "/dated": // fasthttp does not let handlers do that
		w.Header().Set("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
	case "/empty":
	case "/stream":
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-a.goOn
		io.WriteString(w, "last")
		w.Header().Set("X-Sum", "9")
	case "/upgrade":
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, switching)
		io.Copy(c, rw)
	case "/count":
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(err)
		}
		fmt.Fprint(w, n)
	case "/zeros":
		n, _ := strconv.ParseInt(r.URL.RawQuery, 10, 64)
		w.Header().Set("Content-Length", r.URL.RawQuery)
		io.CopyN(w, zeros{}, n)
	case "/wait":
		<-r.Context().Done()
		a.ended <- r.Context().Err()
	case "/panic":
		panic("as the test wants")
	case "/late":
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		panic("as the test wants")
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/health":
		if a.failed.Load() {
			w.WriteHeader(500)
		}
	case "/head":
		fmt.Fprint(w, len(r.Header.Get("X-Long")))
	case "/unread": // net/http closes after that, with the request's body unread
		w.Header().Set("Transfer-Encoding", "identity")
		io.WriteString(w, strings.Repeat("x", 5000))
	}
}

func (a *app) fast(ctx *fasthttp.RequestCtx) {
	a.calls.Add(1)
	h := &ctx.Response.Header
	switch string(ctx.Path()) {
	case "/plain":
		h.Set("X-Who", string(ctx.Host())+" "+string(ctx.Request.Header.Peek("X-Forwarded-For")))
		ctx.WriteString("<html>")
	case "/typed":
		h.SetContentType("a/b")
		h.SetServer("app")
		h.Set("Cache-Control", "max-age=600")
		ctx.SetStatusCode(201)
		fmt.Fprint(ctx, a.calls.Load())
	case "/empty":
		ctx.Response.Reset()
	case "/stream":
		h.SetTrailer("X-Sum")
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
			w.WriteString("first")
			w.Flush()
			<-a.goOn
			w.WriteString("last")
			h.Set("X-Sum", "9")
		})
	case "/upgrade":
		ctx.SetStatusCode(101)
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
		h.Set("Sec-WebSocket-Accept", "x")
		ctx.Hijack(func(c net.Conn) { io.Copy(c, c) })
	case "/count":
		n, err := io.Copy(io.Discard, ctx.RequestBodyStream())
		if err != nil {
			panic(err)
		}
		fmt.Fprint(ctx, n)
	case "/zeros":
		n, _ := strconv.Atoi(string(ctx.QueryArgs().QueryString()))
		ctx.SetBodyStream(io.LimitReader(zeros{}, int64(n)), n)
	case "/wait":
		<-ctx.Done()
		a.ended <- ctx.Err()
	case "/panic":
		ctx.WriteString("not this")
		panic("as the test wants")
	case "/late":
		ctx.SetBodyStream(&broken{}, -1)
	case "/abort":
		ctx.Conn().Close()
	case "/health":
		if a.failed.Load() {
			ctx.SetStatusCode(500)
		}
	case "/head":
		fmt.Fprint(ctx, len(ctx.Request.Header.Peek("X-Long")))
	}
}

// broken panics when it is read a second time.
type broken struct{ begun bool }

func (b *broken) Read(p []byte) (int, error) {
	if b.begun {
		panic("as the test wants")
	}
	b.begun = true
	return copy(p, "begun"), nil
}

const toApp = "[[routes]]\nupstream = \"app\"\n[upstreams.app]\ntargets = [\"handler:app\"]\n"

// each runs a test for a handler of either library.
func each(t *testing.T, text string, test func(t *testing.T, a *app, w *weir), more ...server.Option) {
	for i, kind := range newApp().both() {
		t.Run(kind.name, func(t *testing.T) {
			a := newApp()
			test(t, a, launch(t, text, append(more, a.both()[i].option)...))
		})
	}
}

// A handler's response is what it made, and nothing is invented.
func TestHandlerResponse(t *testing.T) {
	t.Parallel()
	each(t, toApp, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		check := func(target string, status int, body string, fields map[string]string) {
			t.Helper()
			m := c.Get(target)
			equal(t, target+" status", m.Status(), status)
			equal(t, target+" body", m.Body, body)
			for name, value := range fields {
				equal(t, target+" "+name, m.Get(name), value)
			}
			if n := len(m.All("Date")); n != 1 {
				t.Errorf("%s has %d Date fields", target, n)
			}
		}
		check("/plain", 200, "<html>", map[string]string{"Content-Type": "", "Server": "", "X-Who": "weir.test 127.0.0.1", "Content-Length": "6"})
		check("/empty", 200, "", map[string]string{"Content-Type": "", "Server": "", "Content-Length": "0"})
		check("/typed", 201, "3", map[string]string{"Content-Type": "a/b", "Server": "app"})
		if strings.HasSuffix(t.Name(), "/http") {
			check("/dated", 200, "", map[string]string{"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})
		} else {
			check("/dated", 200, "", nil)
		}
		// All of it on one connection, which is counted as any target's.
		w.becomes("attempts", `weir_upstream_attempts_total{upstream="app",target="handler:app",cause="ok"}`, "4")
		w.becomes("connections", `weir_upstream_connections{upstream="app",target="handler:app",state="open"}`, "1")
		// As long a head as the listener lets in.
		c.Send("GET /head HTTP/1.1\r\nHost: weir.test\r\nX-Long: " + strings.Repeat("x", 16_000) + "\r\n\r\n")
		equal(t, "long field", c.Response("GET").Body, "16000")
		c.Send("HEAD /plain HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		equal(t, "HEAD", c.Response("HEAD").Get("Content-Length"), "6")
		equal(t, "after HEAD", c.Get("/plain").Body, "<html>")
		before := a.calls.Load()
		c.Send("OPTIONS * HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		equal(t, "OPTIONS", c.Response("OPTIONS").Status(), 200)
		equal(t, "calls", a.calls.Load(), before+1)
	})
}

// A handler is one of several targets, and its responses are cached.
func TestHandlerBalancedAndCached(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	text := "[[routes]]\npath = \"/typed\"\nupstream = \"app\"\ncache = true\n[[routes]]\nupstream = \"both\"\n" +
		"[upstreams.app]\ntargets = [\"handler:app\"]\n[upstreams.both]\nbalance = \"round_robin\"\ntargets = [\"handler:app\", \"" + origin.URL + "\"]\n"
	each(t, text, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		for range 3 {
			m := c.Get("/typed")
			equal(t, "status", m.Status(), 201)
			equal(t, "body", m.Body, "1")
		}
		equal(t, "calls", a.calls.Load(), 1)
		before := origin.Requests()
		for range 6 {
			c.Get("/plain")
		}
		equal(t, "calls", a.calls.Load(), 4)
		equal(t, "the other target's", origin.Requests()-before, 3)
	})
}

// What a handler flushes arrives while it waits, and trailers follow.
func TestHandlerStreams(t *testing.T) {
	t.Parallel()
	each(t, toApp, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		c.Send("GET /stream HTTP/1.1\r\nHost: weir.test\r\nTE: trailers\r\n\r\n")
		m := c.Head("GET")
		equal(t, "first chunk", c.Chunk(m), "first")
		close(a.goOn)
		equal(t, "last chunk", c.Chunk(m), "last")
		equal(t, "end", c.Chunk(m), "")
		equal(t, "trailer", m.Trailer, "X-Sum: 9\r\n")
		equal(t, "next", c.Get("/plain").Body, "<html>")
	})
}

// A handler takes its connection over.
func TestHandlerUpgrade(t *testing.T) {
	t.Parallel()
	each(t, toApp, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		c.Send(strings.Replace(upgrade, "/chat", "/upgrade", 1) + "early ")
		equal(t, "status", c.Head("GET").Status(), 101)
		equal(t, "first bytes", c.Take(6), "early ")
		c.Send("late")
		equal(t, "next bytes", c.Take(4), "late")
		c.CloseWrite()
		rest, end := c.Rest()
		equal(t, "end", rest+string(end), string(testkit.Closed))
		equal(t, "log line", w.ended(), "101 upgraded")
	})
}

// Bodies of any length pass in both directions and are never gathered.
func TestHandlerLargeBodies(t *testing.T) {
	size := testkit.Rounds(32, 64) << 20
	each(t, toApp, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.Send("GET /zeros?" + strconv.Itoa(size) + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		equal(t, "length", c.Head("GET").Get("Content-Length"), strconv.Itoa(size))
		if _, err := io.CopyN(io.Discard, c.Reader, int64(size)); err != nil {
			t.Fatal(err)
		}
		for _, head := range []string{fmt.Sprintf("Content-Length: %d\r\n", size), "Transfer-Encoding: chunked\r\n"} {
			c.Send("POST /count HTTP/1.1\r\nHost: weir.test\r\nExpect: 100-continue\r\n" + head + "\r\n")
			sent := make(chan error, 1)
			go func() { sent <- upload(c.Conn, size, strings.HasPrefix(head, "T")) }()
			m := c.Response("POST")
			equal(t, "status", m.Status(), 200)
			equal(t, "interim responses", len(m.Interim), 1)
			equal(t, "bytes", m.Body, strconv.Itoa(size))
			if err := receive(t, sent); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(size)/2 {
			t.Errorf("%d bytes were allocated", used)
		}
	})
}

// A handler of net/http answers until its connection ends, and does not read the request: the answer is whole all the same, and its end
// comes before the library's wait for what is still sent.
func TestHandlerEndsByClosing(t *testing.T) {
	t.Parallel()
	w := launch(t, toApp, newApp().both()[0].option)
	for range 20 {
		c := w.dial()
		c.Send("POST /unread HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 600000\r\n\r\n" + strings.Repeat("x", 600_000))
		m := c.Response("POST")
		equal(t, "status", m.Status(), 200)
		equal(t, "body", len(m.Body), 5000)
		c.Close()
	}
}

// upload writes a body of zeros.
func upload(w io.Writer, size int, chunked bool) error {
	p := make([]byte, 1<<20)
	for ; size > 0; size -= len(p) {
		if chunked {
			fmt.Fprintf(w, "%x\r\n", len(p))
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		if chunked {
			io.WriteString(w, "\r\n")
		}
	}
	if chunked {
		io.WriteString(w, "0\r\n\r\n")
	}
	return nil
}

// A request's context ends when its client leaves.
func TestHandlerClientLeaves(t *testing.T) {
	t.Parallel()
	a := newApp()
	w := launch(t, toApp, a.both()[0].option)
	c := w.dial()
	c.Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	testkit.Eventually(t, "the handler is called", func() bool { return a.calls.Load() == 1 })
	c.Reset()
	equal(t, "context's error", receive(t, a.ended), context.Canceled)
	equal(t, "cause", w.logged(1)[0].Cause, "client_gone")
}

// A reload keeps the handler and its connections; closing the server ends its calls, and nothing
// of it stays.
func TestHandlerLife(t *testing.T) {
	each(t, toApp, func(t *testing.T, a *app, w *weir) {
		w.dial().Get("/plain")
		if err := w.Reload(parse(t, plainListener+strings.Replace(toApp, "app\"]\n", "app\", \"demo:x\"]\n", 1))); err != nil {
			t.Fatal(err)
		}
		c := w.dial()
		c.Get("/plain")
		c.Get("/plain")
		equal(t, "calls", a.calls.Load(), 2)
		w.becomes("connections", `weir_upstream_connections{upstream="app",target="handler:app",state="open"}`, "1")

		if err := w.Reload(parse(t, plainListener+toApp)); err != nil {
			t.Fatal(err)
		}
		w.dial().Send("GET /wait HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		stream := w.dial()
		stream.Send("GET /stream HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		equal(t, "chunk", stream.Chunk(stream.Head("GET")), "first") // a handler must not set a trailer before its head has left
		tunnel := w.dial()
		tunnel.Send(strings.Replace(upgrade, "/chat", "/upgrade", 1))
		equal(t, "status", tunnel.Head("GET").Status(), 101)
		testkit.Eventually(t, "all handlers are called", func() bool { return a.calls.Load() == 5 })
		close(a.goOn)
		w.Close()
		equal(t, "context's error", receive(t, a.ended), context.Canceled)
		testkit.Eventually(t, "no goroutine of the handler is left", func() bool {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			return !strings.Contains(string(stacks), "internal/mount") && !strings.Contains(string(stacks), "server_test.(*app)")
		})
	})
}

// A panic of a handler costs its own exchange, and weir's log has it.
func TestHandlerPanics(t *testing.T) {
	t.Parallel()
	var log textLog
	each(t, toApp, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		c.Get("/plain")
		c.Send("POST /panic HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 10_000))
		m := c.Response("POST")
		equal(t, "status", m.Status(), 500)
		equal(t, "body", m.Body, "Internal Server Error\n")
		equal(t, "calls", a.calls.Load(), 2)

		c = w.dial()
		c.Send("GET /late HTTP/1.1\r\nHost: weir.test\r\n\r\n")
		equal(t, "chunk", c.Chunk(c.Head("GET")), "begun")
		_, end := c.Rest()
		equal(t, "end", end, testkit.WasReset)

		equal(t, "next status", w.dial().Get("/plain").Status(), 200)
		testkit.Eventually(t, "both panics are counted", func() bool { return w.metric("weir_panics_total") == "2" })
		if text := log.String(); strings.Count(text, "as the test wants") < 2 || !strings.Contains(text, "handler_test.go") {
			t.Errorf("log has no panics with a stack: %s", text)
		}
		// To give up is no panic.
		equal(t, "status", w.dial().Get("/abort").Status(), 502)
		w.becomes("panics", "weir_panics_total", "2")
	}, server.WithLog(log.logger()))
}

// What a handler did not answer is tried again elsewhere.
func TestHandlerRetried(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	text := strings.Replace(toApp, "app\"]\n", "app\", \""+origin.URL+"\"]\nbalance = \"round_robin\"\n", 1)
	each(t, text, func(t *testing.T, a *app, w *weir) {
		c := w.dial()
		for range 4 {
			equal(t, "status", c.Get("/abort").Status(), 200)
		}
		if a.calls.Load() == 0 {
			t.Error("the handler was not called")
		}
	})
}

// Probes find out whether a handler works.
func TestHandlerProbed(t *testing.T) {
	t.Parallel()
	state := func(w *weir, state string) string {
		return w.metric(`weir_upstream_target_state{upstream="app",target="handler:app",state="` + state + `"}`)
	}
	probes := "[upstreams.app.health]\ninterval = \"10ms\"\npath = \"/health\"\nwait = \"10s\"\nrise = 1\nfall = 1\nprobe = "
	each(t, toApp+probes+"\"http\"\n", func(t *testing.T, a *app, w *weir) {
		equal(t, "healthy", state(w, "healthy"), "1")
		a.failed.Store(true)
		testkit.Eventually(t, "the target is down", func() bool { return state(w, "healthy") == "" })
		a.failed.Store(false)
		testkit.Eventually(t, "the target is up", func() bool { return state(w, "healthy") == "1" })
	})
	each(t, toApp+probes+"\"tcp\"\n", func(t *testing.T, a *app, w *weir) {
		equal(t, "healthy", state(w, "healthy"), "1")
		equal(t, "calls", a.calls.Load(), 0)
	})
}

// A handler that is not there is an error of the configuration, which says what is there.
func TestHandlerUnknown(t *testing.T) {
	t.Parallel()
	check := func(want string, options ...server.Option) {
		t.Helper()
		text := plainListener + strings.Replace(toApp, "handler:app", "handler:shop", 1)
		cfg, err := config.Parse("test.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = server.New(cfg, options...)
		var problems config.Errors
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Fatalf("error is %v", err)
		}
		equal(t, "error", err.Error(), want)
	}
	const found = `test.toml:7: upstreams.app.targets[0].url: found "handler:shop": want `
	check(found + "another target: this program has no handlers (server.WithHandler)")
	a := newApp()
	check(found+`"handler:app"; did you mean "handler:app"?`, a.both()[0].option)
	check(found+`one of "handler:app", "handler:shops"; did you mean "handler:shops"?`,
		a.both()[1].option, server.WithFastHTTP("shops", a.fast))
}

// The Go code in docs/embedding.md stands in example_test.go, which is compiled and run; but
// for the whole program, which a test of the program builds.
func TestEmbeddingDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 3 {
		t.Errorf("the page has %d blocks of Go code", len(blocks))
	}
	for _, b := range blocks {
		if !strings.HasPrefix(b[1], "package main\n") && !strings.Contains(string(examples), b[1]) {
			t.Errorf("example_test.go lacks this:\n%s", b[1])
		}
	}
}
