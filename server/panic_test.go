package server_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// launch starts weir as run does, with options.
func launch(t testing.TB, text string, options ...server.Option) *weir {
	t.Helper()
	if !strings.Contains(text, "[[listeners]]") {
		text = plainListener + text
	}
	cfg, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	w := &weir{t: t, log: &accessLog{}}
	if w.Server, err = server.New(cfg, append([]server.Option{server.WithAccessLogWriter(w.log), server.WithSlowTurn(time.Hour)}, options...)...); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	w.addr = w.Addr("main")
	return w
}

const plainListener = "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n"

// reservedListener is plainListener at an address where no other test listens once weir has stopped.
func reservedListener(t testing.TB) string {
	t.Helper()
	return strings.Replace(plainListener, "127.0.0.1:0", testkit.Reserve(t), 1)
}

// toOrigin is a configuration with one route to these targets.
func toOrigin(targets ...string) string {
	return fmt.Sprintf("[[routes]]\nname = \"all\"\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [\"%s\"]\n", strings.Join(targets, `", "`))
}

// metric returns the value of a series, as text; "" if there is none.
func (w *weir) metric(series string) string {
	for line := range strings.Lines(w.metrics()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// becomes waits until a series, or the first one of a name, has a value: what is counted of an
// exchange may follow its answer.
func (w *weir) becomes(what, series, want string) {
	w.t.Helper()
	got := ""
	defer func() {
		w.t.Helper()
		equal(w.t, what, got, want)
	}()
	testkit.Eventually(w.t, what+" is as it should be", func() bool {
		if got = w.metric(series); got == "" {
			got = w.figure(series)
		}
		return got == want
	})
}

func (w *weir) metrics() string {
	var b bytes.Buffer
	w.WriteMetrics(&b)
	return b.String()
}

// textLog keeps weir's own log.
type textLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *textLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *textLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *textLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// A panic in any hook costs its own exchange and nothing else.
func TestPanicInHook(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
	check := func(name string, status int, hooks func(panics func(x hook.Exchange)) hook.Hooks) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.Listen(t, testkit.Answer(answer))
			var log textLog
			panics := func(x hook.Exchange) {
				if x.Request().Get("X-Panic") != "" {
					panic("as the test wants")
				}
			}
			w := launch(t, toOrigin(origin.URL), server.WithLog(log.logger()), server.WithHooks(hooks(panics)))

			c := w.dial()
			c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nX-Panic: yes\r\nContent-Length: 3\r\n\r\nabc")
			m := c.Response("POST")
			equal(t, "status", m.Status(), status)
			if status == 500 {
				equal(t, "body", m.Body, "500 Internal Server Error: panic\n")
				equal(t, "Connection", m.Get("Connection"), "close")
				rest, end := c.Rest()
				equal(t, "end", rest+string(end), string(testkit.Closed))
				equal(t, "log line", w.ended(), "500 panic")
			}
			// The next request works, on another connection and on the same.
			c = w.dial()
			for range 3 {
				equal(t, "next status", c.Get("/").Status(), 200)
			}
			testkit.Eventually(t, "the panic is counted and logged", func() bool {
				return w.metric("weir_panics_total") != "0" && strings.Contains(log.String(), "as the test wants")
			})
			if !strings.Contains(log.String(), "as the test wants") || !strings.Contains(log.String(), "panic_test.go") {
				t.Errorf("log has no panic with its stack: %s", log.String())
			}
			// Everything was given back.
			labels := fmt.Sprintf("upstream=%q,target=%q", "origin", origin.URL)
			w.becomes("in flight", "weir_upstream_in_flight{"+labels+"}", "0")
			testkit.Eventually(t, "nothing runs and all connections but one are closed", func() bool {
				return w.metric(`weir_listener_requests_in_flight{listener="main"}`) == "0" &&
					w.metric("weir_upstream_connections{"+labels+`,state="open"}`) == "1" &&
					w.metric("weir_upstream_connections{"+labels+`,state="idle"}`) == "1"
			})
		})
	}
	check("OnRequest", 500, func(p func(hook.Exchange)) hook.Hooks { return hook.Hooks{OnRequest: p} })
	check("OnUpstream", 500, func(p func(hook.Exchange)) hook.Hooks { return hook.Hooks{OnUpstream: p} })
	check("OnResponse", 500, func(p func(hook.Exchange)) hook.Hooks { return hook.Hooks{OnResponse: p} })
	check("OnReply", 500, func(p func(hook.Exchange)) hook.Hooks { return hook.Hooks{OnReply: p} })
	// The answer has left when OnDone is called.
	check("OnDone", 200, func(p func(hook.Exchange)) hook.Hooks { return hook.Hooks{OnDone: p} })
	// Two hooks that panic for the same request.
	check("OnReply and OnDone", 500, func(p func(hook.Exchange)) hook.Hooks { return hook.Hooks{OnReply: p, OnDone: p} })
}

// A panic while the request's body is still on its way.
func TestPanicDuringUpload(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Head()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		c.Rest()
	})
	w := launch(t, toOrigin(origin.URL), server.WithHooks(hook.Hooks{OnResponse: func(hook.Exchange) { panic("no") }}))
	c := w.dial()
	c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 100\r\n\r\nabc")
	equal(t, "status", c.Response("POST").Status(), 500)
	equal(t, "log line", w.ended(), "500 panic")
}
