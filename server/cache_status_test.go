package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/testkit"
)

// TestCacheStatusIsTrue: what Cache-Status says holds when the answer is sent, also in
// weir's own.
func TestCacheStatusIsTrue(t *testing.T) {
	t.Parallel()
	purge := make(chan func(), 1)
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		rw.Header().Set("Date", r.URL.Query().Get("date"))
		switch r.URL.Path {
		case "/purged":
			(<-purge)()
		case "/fails":
			if r.Header.Get("X-Fail") != "" {
				c, _, _ := rw.(http.Hijacker).Hijack()
				c.Close()
				return
			}
		}
		io.WriteString(rw, "hello")
	}), "")
	check := func(name, path, want string, fields ...string) {
		t.Helper()
		_, h, _ := w.get("GET", path, fields...)
		equal(t, name, h.Get("Cache-Status"), want)
	}
	old := time.Now().Add(-5 * time.Minute).UTC().Format(http.TimeFormat)
	_, h, _ := w.get("GET", "/old?cc=max-age=60&date="+url.QueryEscape(old))
	if got := h.Get("Cache-Status"); !strings.HasSuffix(got, "; detail=old-on-arrival") {
		t.Errorf("an origin's clock that is behind: %s", got)
	}
	check("what cannot be read", "/a?cc=max-age=1h", "weir; fwd=uri-miss; fwd-status=200; detail=bad-freshness")
	check("what was not said", "/b", "weir; fwd=uri-miss; fwd-status=200; detail=no-freshness")

	purge <- func() { w.get("PURGE", "/purged?cc=max-age=10") }
	check("not stored, because it was purged", "/purged?cc=max-age=10", "weir; fwd=uri-miss; fwd-status=200; detail=doomed")

	status, h, _ := w.get("GET", "/fails?cc=max-age=1", "X-Fail: 1")
	equal(t, "status", status, 502)
	equal(t, "an own 502", h.Get("Cache-Status"), "weir; fwd=uri-miss")
}

// TestCacheStatusOfOwnErrors: 503 and 504 have it too, and so has an answer on a route that
// sends none of it not.
func TestCacheStatusOfOwnErrors(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	origin := cachedOrigin(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) }) // before the origin is closed
	w := run(t, `
[[routes]]
path = "/quiet"
upstream = "origin"
cache = { status = false }
[[routes]]
path = "/full"
upstream = "full"
cache = true
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
[upstreams.origin.timeouts]
first_byte = "50ms"
[upstreams.full]
targets = [%q]
[upstreams.full.limits]
in_flight = 1
`, origin, origin)
	check := func(path string, status int, want string) {
		t.Helper()
		got, h, _ := w.get("GET", path)
		equal(t, path+": status", got, status)
		equal(t, path, h.Get("Cache-Status"), want)
	}
	check("/x", 504, "weir; fwd=uri-miss")
	check("/quiet", 504, "")
	c := w.dial()
	c.Send("GET /full?1 HTTP/1.1\r\nHost: a\r\n\r\n")
	testkit.Eventually(t, "the upstream is full", func() bool { return w.metric(`weir_upstream_running{upstream="full"}`) == "1" })
	check("/full?2", 503, "weir; fwd=uri-miss")
}

// TestCacheUntilClose: a body that ends with its connection is stored where the route says
// so, unless the connection was cut.
func TestCacheUntilClose(t *testing.T) {
	t.Parallel()
	script := func(c *testkit.Conn) {
		m := c.Request()
		c.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=60\r\n\r\n", "hello")
		switch {
		case strings.Contains(m.Line, "/reset"):
			c.Reset()
		case strings.Contains(m.Line, "/whole"):
			c.Close()
		}
	}
	ca := testkit.NewAuthority(t)
	plain, secure := testkit.Listen(t, script), testkit.ListenTLS(t, tlsServer(ca.Issue("127.0.0.1")), script)
	w := run(t, `
[[routes]]
path = "/tls/{rest...}"
upstream = "secure"
cache = { store_until_close = true }
[[routes]]
path = "/never/{rest...}"
upstream = "plain"
cache = true
[[routes]]
upstream = "plain"
cache = { store_until_close = true }
[upstreams.plain]
targets = [%q]
[upstreams.secure]
targets = [%q]
[upstreams.secure.tls]
ca = %q
`, plain.URL, secure.URL, ca.File)
	check := func(path, body, first, second string) {
		t.Helper()
		for _, want := range []string{first, second} {
			_, h, got := w.get("GET", path)
			if got != body && !(body == "cut" && strings.HasPrefix(got, "cut: ")) || !strings.HasPrefix(h.Get("Cache-Status"), want) {
				t.Errorf("%s: %q, %q", path, got, h.Get("Cache-Status"))
			}
		}
	}
	const stored, never = "weir; fwd=uri-miss; fwd-status=200; stored", "weir; fwd=uri-miss; fwd-status=200; detail=close-delimited"
	check("/whole", "hello", stored, "weir; hit")
	check("/never/whole", "hello", never, never)
	check("/tls/whole", "hello", stored, "weir; hit")
	for _, path := range []string{"/reset", "/tls/reset"} {
		for range 2 {
			if _, h, body := w.get("GET", path); !strings.HasPrefix(body, "cut: ") || strings.Contains(h.Get("Cache-Status"), "hit") {
				t.Errorf("%s: %q, %q", path, body, h.Get("Cache-Status"))
			}
		}
	}
}

// TestCacheBackgroundBound: however many stale answers are asked for, no more than the bound
// are validated at once, and each client is answered.
func TestCacheBackgroundBound(t *testing.T) {
	t.Parallel()
	var running, most atomic.Int64
	release := make(chan struct{})
	w := run(t, `
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
[upstreams.origin.limits]
background = 3
`, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-release
		}
		rw.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=600")
		rw.Header().Set("ETag", `"a"`)
		io.WriteString(rw, r.URL.Path)
	}))
	paths := make([]string, 20)
	for i := range paths {
		paths[i] = fmt.Sprintf("/%d", i)
		w.get("GET", paths[i])
	}
	for range 5 {
		for _, path := range paths {
			_, h, body := w.get("GET", path)
			equal(t, "body", body, path)
			if got := h.Get("Cache-Status"); !strings.HasPrefix(got, "weir; hit") {
				t.Errorf("%s: %s", path, got)
			}
		}
	}
	testkit.Eventually(t, "three are validated", func() bool { return running.Load() == 3 })
	close(release)
	testkit.Eventually(t, "they end", func() bool { return running.Load() == 0 })
	// There is room again.
	testkit.Eventually(t, "others are validated", func() bool {
		for _, path := range paths {
			w.get("GET", path)
		}
		return most.Load() == 3
	})
	equal(t, "at once", most.Load(), 3)
}

// TestCacheFills: what browsers ask for fills a cold cache, and each gets what it asked for.
func TestCacheFills(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	begun, release := make(chan struct{}, 100), make(chan struct{})
	body := strings.Repeat("0123456789abcdef", 64<<10)
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		begun <- struct{}{}
		<-release
		rw.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		rw.Header().Set("ETag", `"p1"`)
		rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
		http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(body))
	}), "")
	check := func(path string, requests int64, status int, size int, fields ...string) {
		t.Helper()
		asked.Store(0)
		release = make(chan struct{})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				got, h, b := w.get("GET", path, fields...)
				if got != status || len(b) != size || b != body[:size] {
					t.Errorf("%s: %d, %d bytes %.20q, %s", path, got, len(b), b, h.Get("Cache-Status"))
				}
			})
		}
		if requests > 0 {
			<-begun
		}
		close(release)
		wg.Wait()
		for len(begun) > 0 {
			<-begun
		}
		equal(t, path+fmt.Sprint(fields)+": requests", asked.Load(), requests)
	}
	const condition, other, open = `If-None-Match: "p1"`, `If-None-Match: "p2"`, "Range: bytes=0-"
	check("/a?cc=max-age=60", 1, 304, 0, condition)
	check("/a?cc=max-age=60", 0, 200, len(body))
	check("/b?cc=max-age=60", 1, 200, len(body), other)
	check("/c?cc=max-age=60", 1, 206, len(body), open)
	check("/c?cc=max-age=60", 0, 206, len(body), open, other)
	check("/d?cc=max-age=60", 1, 304, 0, open, condition)
	// What cannot be stored costs no more than before, and is what was asked for.
	check("/e?cc=private", 20, 304, 0, condition)
	check("/f?cc=private", 20, 206, len(body), open)
	check("/g?cc=private", 20, 200, len(body), other)
}
