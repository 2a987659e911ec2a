package server_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// A stream of events without an end counts as a success when its head is there:
// here it closes a breaker.
func TestEventStreamsAreHealthy(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	release := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if c.Request().Target() == "/events" {
				c.Send(head)
				c.Wait(release)
				c.Send("0\r\n\r\n")
				continue
			}
			c.Send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
		}
	})
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
breaker = { failures = 1.0, requests = 2, open = "1ms", half_open = 1 }
health.passive.failures = 0
`, origin.URL)
	breaker := func(state string) func() bool {
		return func() bool {
			return w.metric(fmt.Sprintf(`weir_upstream_breaker_state{upstream="origin",state=%q}`, state)) == "1"
		}
	}
	c := w.dial()
	c.Get("/")
	c.Get("/")
	testkit.Eventually(t, "the breaker is half open", breaker("half_open"))
	s := w.dial()
	s.Send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
	equal(t, "status", s.Head("GET").Status(), 200)
	testkit.Eventually(t, "the breaker is closed", breaker("closed"))
	w.becomes("running", `weir_upstream_running{upstream="origin"}`, "1")
	close(release)
	s.CloseWrite()
	s.Rest()
	testkit.Eventually(t, "nothing runs", func() bool { return w.metric(`weir_upstream_running{upstream="origin"}`) == "0" })
}

// An open breaker answers for the upstream: at once, with Retry-After, and
// without asking a target, over a reload too.
func TestBreaker(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if c.Request().Target() == "/good" {
				c.Send(say("good"))
				continue
			}
			c.Send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
		}
	})
	config := func(open string) string {
		return fmt.Sprintf(plainListener+`
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
breaker = { failures = 0.5, requests = 4, open = %q, half_open = 1 }
limits.retry_after = "7s"
health.passive.failures = 0
`, origin.URL, open)
	}
	w := run(t, "%s", config("1h"))
	c := w.dial()
	state := func() string {
		for line := range strings.SplitSeq(w.metrics(), "\n") {
			if state, ok := strings.CutPrefix(line, `weir_upstream_breaker_state{upstream="origin",state="`); ok && strings.HasSuffix(line, " 1") {
				state, _, _ = strings.Cut(state, `"`)
				return state
			}
		}
		return ""
	}
	equal(t, "at first", state(), "closed")
	for range 4 {
		equal(t, "GET", c.Get("/").Status(), 500)
	}
	// The client has the answer before the upstream has learned from it.
	testkit.Eventually(t, "the breaker is open", func() bool { return state() == "open" })
	for range 3 {
		m := c.Get("/good")
		equal(t, "answer", fmt.Sprint(m.Status(), " ", m.Get("Retry-After"), " ", m.Body), "503 7 503 Service Unavailable: breaker_open\n")
	}
	// A reload does not close it.
	if err := w.Reload(parse(t, config("1h"))); err != nil {
		t.Fatal(err)
	}
	equal(t, "after a reload", c.Get("/good").Status(), 503)
	equal(t, "requests", origin.Requests(), 4)
}
