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

// TestPacesAreApart: of the clients of a body of unknown length, which turns out too large for
// the cache, none waits for another one, and none is cut because of another one.
func TestPacesAreApart(t *testing.T) {
	t.Parallel()
	size := testkit.Rounds(14, 24) << 20 // more than the buffers of the sockets take
	var asked, sent atomic.Int64
	both := make(chan struct{})
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		rw.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(rw, "begin")
		rw.(http.Flusher).Flush()
		<-both
		io.WriteString(rw, strings.Repeat("x", size-5))
		sent.Add(1)
	}), "")
	slow := w.dial()
	slow.Send("GET /x HTTP/1.1\r\nHost: cached.example\r\nConnection: close\r\n\r\n")
	equal(t, "status of the slow one", slow.Head("GET").Status(), 200)
	// Two fast ones: neither waits for the slow one, which reads nothing.
	fast := make(chan string, 2)
	for range 2 {
		go func() {
			_, _, body := w.get("GET", "/x")
			fast <- body
		}()
	}
	testkit.Eventually(t, "all are there", func() bool { return w.inFlight() == 3 })
	close(both)
	for range 2 {
		if body := receive(t, fast); len(body) != size {
			t.Errorf("a fast one has %d bytes: %.60q", len(body), body)
		}
	}
	if body, end := slow.Rest(); strings.Count(body, "x") != size-5 || end != testkit.Closed {
		t.Errorf("the slow one has %d bytes, %v", len(body), end)
	}
	equal(t, "the origin was asked", asked.Load(), 3)
}

// TestLeftFetches: a fetch goes on when its client leaves, by FIN or RST, before the head is in
// or when little of the body is missing, and what it brings is stored.
func TestLeftFetches(t *testing.T) {
	t.Parallel()
	check := func(name, half, path, more string, leave func(c *testkit.Client)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			started, left := make(chan struct{}, 1), make(chan struct{})
			origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				rw.Header().Set("Cache-Control", "max-age=60")
				if path == "/body" {
					rw.Header().Set("Content-Length", "1000000")
				}
				if path != "/head" {
					rw.Write(make([]byte, 300_000))
					rw.(http.Flusher).Flush()
				}
				started <- struct{}{}
				select {
				case <-left:
				case <-r.Context().Done():
					return
				}
				rw.Write(make([]byte, 700_000))
			})
			w := run(t, `
[forwarding]
cancel_on_half_close = %s
[[routes]]
upstream = "origin"
[routes.cache]
%s
[upstreams.origin]
targets = [%q]
`, half, more, origin)
			c := w.dial()
			c.Send(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: cached.example\r\n\r\n", path))
			receive(t, started)
			if path != "/head" {
				c.Head("GET")
			}
			leave(c)
			receive(t, after(1500)) // long enough for weir to have looked
			close(left)
			testkit.Eventually(t, "it is stored", func() bool {
				_, h, _ := w.get("GET", path)
				return strings.HasPrefix(h.Get("Cache-Status"), "weir; hit")
			})
			equal(t, "the origin was asked", asked.Load(), 1)
		})
	}
	fin := func(c *testkit.Client) { c.CloseWrite() }
	reset := func(c *testkit.Client) { c.Reset() }
	for _, path := range []string{"/head", "/body", "/chunked"} {
		check("FIN"+path, "true", path, "", fin)
		check("RST"+path, "false", path, "", reset)
	}
}
