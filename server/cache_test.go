package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/testkit"
)

// cachedOrigin is an origin whose answers tests write with net/http.
func cachedOrigin(t testing.TB, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// cached starts weir with a cache in front of an origin; more goes into the
// route's cache table.
func cached(t testing.TB, origin, more string) *weir {
	t.Helper()
	return run(t, `
[cache]
size = "64MiB"
purge_from = ["127.0.0.1"]
[[routes]]
upstream = "origin"
[routes.cache]
%s
[upstreams.origin]
targets = [%q]
`, more, origin)
}

// get is one exchange on a connection of the default client's.
func (w *weir) get(method, path string, fields ...string) (status int, h http.Header, body string) {
	w.t.Helper()
	req, err := http.NewRequest(method, "http://"+w.addr.String()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = "cached.example"
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, nil, "cut: " + err.Error()
	}
	defer r.Body.Close()
	var b strings.Builder
	b.Grow(max(0, int(r.ContentLength)))
	if _, err := io.Copy(&b, r.Body); err != nil {
		return r.StatusCode, r.Header, "cut: " + err.Error()
	}
	return r.StatusCode, r.Header, b.String()
}

func TestCacheAnswers(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	big := strings.Repeat("0123456789abcdef", 32<<10)
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		rw.Header().Set("ETag", `"v"`)
		rw.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		if r.Header.Get("If-None-Match") == `"v"` && r.URL.Path == "/again" {
			rw.Header().Set("ETag", `"w"`)
			rw.WriteHeader(304)
			return
		}
		if r.Header.Get("If-None-Match") == `"v"` {
			rw.WriteHeader(304)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/big") {
			for part := big; len(part) > 0; part = part[64<<10:] {
				io.WriteString(rw, part[:64<<10])
				rw.(http.Flusher).Flush()
			}
			return
		}
		fmt.Fprintf(rw, "answer %d", n)
	}), "")
	check := func(name, method, path string, status int, body, cacheStatus string, fields ...string) http.Header {
		t.Helper()
		s, h, b := w.get(method, path, fields...)
		equal(t, name+": status", s, status)
		equal(t, name+": body", b, body)
		if got := h.Get("Cache-Status"); !strings.HasPrefix(got, cacheStatus) {
			t.Errorf("%s: Cache-Status %q, want %q", name, got, cacheStatus)
		}
		return h
	}
	check("cold", "GET", "/a?cc=max-age=60", 200, "answer 1", "weir; fwd=uri-miss; fwd-status=200; stored; ttl=")
	h := check("warm", "GET", "/a?cc=max-age=60", 200, "answer 1", "weir; hit; ttl=")
	if h.Get("Age") == "" || h.Get("Date") == "" {
		t.Errorf("no Age or Date in %v", h)
	}
	check("HEAD", "HEAD", "/a?cc=max-age=60", 200, "", "weir; hit")
	check("condition", "GET", "/a?cc=max-age=60", 304, "", "weir; hit", `If-None-Match: "v"`)
	check("part", "GET", "/a?cc=max-age=60", 206, "swer", "weir; hit", "Range: bytes=2-5")
	check("another query", "GET", "/a?cc=max-age=60&", 200, "answer 2", "weir; fwd=uri-miss")
	check("POST", "POST", "/a?cc=max-age=60", 200, "answer 3", "weir; fwd=method")
	check("invalidated", "GET", "/a?cc=max-age=60", 200, "answer 4", "weir; fwd=uri-miss")
	check("not stored", "GET", "/b?cc=no-store", 200, "answer 5", "weir; fwd=uri-miss; fwd-status=200; detail=no-store")
	check("not stored again", "GET", "/b?cc=no-store", 200, "answer 6", "weir; fwd=uri-miss; fwd-status=200; detail=no-store")
	check("no-cache", "GET", "/c?cc=no-cache", 200, "answer 7", "weir; fwd=uri-miss; fwd-status=200; stored")
	check("validated", "GET", "/c?cc=no-cache", 200, "answer 7", "weir; fwd=stale; fwd-status=304")
	check("only if cached", "GET", "/d", 504, "", "weir; detail=only-if-cached", "Cache-Control: only-if-cached")
	check("large", "GET", "/big?cc=max-age=60", 200, big, "weir; fwd=uri-miss")
	h = check("large, stored", "GET", "/big?cc=max-age=60", 200, big, "weir; hit")
	equal(t, "length", h.Get("Content-Length"), strconv.Itoa(len(big)))
	check("a part of what is fetched whole", "GET", "/a2?cc=no-cache", 200, "answer 10", "weir; fwd=uri-miss")
	check("a part of what is validated", "GET", "/a2?cc=no-cache", 206, "wer", "weir; fwd=stale; fwd-status=304; stored", "Range: bytes=3-5")
	check("fills", "GET", "/again?cc=no-cache", 200, "answer 12", "weir; fwd=uri-miss")
	check("a 304 about something else", "GET", "/again?cc=no-cache", 200, "answer 14", "weir; fwd=stale; fwd-status=200; stored")
	check("large, part", "GET", "/big?cc=max-age=60", 206, big[100_000:300_001], "weir; hit", "Range: bytes=100000-300000")
	equal(t, "origin was asked", asked.Load(), 14)

	check("PURGE", "PURGE", "/a?cc=max-age=60", 200, "{\"purged\":1}\n", "")
	check("purged", "GET", "/a?cc=max-age=60", 200, "answer 15", "weir; fwd=uri-miss")
	check("soft PURGE", "PURGE", "/a?cc=max-age=60", 200, "{\"purged\":1}\n", "", "Purge-Mode: soft")
	check("softly purged", "GET", "/a?cc=max-age=60", 200, "answer 15", "weir; fwd=stale; fwd-status=304")
}

// TestCacheCollapses: hundreds of exchanges for a cold key ask the origin once. For a key whose response may not
// be stored they are all at the origin at once: the first time as soon as the first response has said so, and then
// without waiting for one.
func TestCacheCollapses(t *testing.T) {
	// Not parallel: so many clients leave no time for others.
	n := testkit.Rounds(60, 300)
	var asked atomic.Int64
	var release, together chan struct{} // of the crowd
	first := true                       // of a crowd: one response comes before the others
	// So many connections at once may take longer than connect allows.
	w := run(t, `
[cache]
[[routes]]
upstream = "origin"
cache = { wait = "1h" }
[upstreams.origin]
targets = [%q]
timeouts.connect = "1m"
`, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		number := asked.Add(1)
		if r.URL.Path == "/cold" {
			<-release
			rw.Header().Set("Cache-Control", "max-age=60")
			for range 8 {
				rw.Write(make([]byte, 32<<10))
				rw.(http.Flusher).Flush()
			}
			return
		}
		rw.Header().Set("Cache-Control", "no-store")
		if first && number == 1 {
			<-release
			return
		}
		if number == int64(n) {
			close(together)
		}
		select {
		case <-together:
		case <-r.Context().Done():
		}
	}))
	crowd := func(path string) {
		asked.Store(0)
		release, together = make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				c, err := net.Dial("tcp", w.addr.String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(testkit.Limit))
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
				b, err := io.ReadAll(c)
				if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") || path == "/cold" && len(b) < 256<<10 {
					t.Errorf("%s: %d bytes, %v", path, len(b), err)
				}
			})
		}
		if first {
			testkit.Eventually(t, "all are waiting", func() bool { return w.inFlight() == n && asked.Load() > 0 })
			equal(t, "the origin was asked at first", asked.Load(), 1)
			close(release)
		}
		wg.Wait()
	}
	crowd("/cold")
	equal(t, "the origin was asked", asked.Load(), 1)
	crowd("/never")
	equal(t, "the origin was asked", asked.Load(), int64(n))
	first = false
	crowd("/never")
	equal(t, "the origin was asked", asked.Load(), int64(n))
}

func (w *weir) inFlight() int {
	var b strings.Builder
	w.WriteMetrics(&b)
	for line := range strings.SplitSeq(b.String(), "\n") {
		if strings.HasPrefix(line, "weir_listener_requests_in_flight{") {
			n, _ := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
			return n
		}
	}
	return -1
}

// TestCacheSurvivesClients: neither a leader that goes away nor one that reads
// nothing keeps the others from their answer.
func TestCacheSurvivesClients(t *testing.T) {
	t.Parallel()
	part := strings.Repeat("x", 1<<20)
	step := make(chan struct{})
	var asked atomic.Int64
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		rw.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(rw, part)
		rw.(http.Flusher).Flush()
		<-step
		for range 4 {
			io.WriteString(rw, part)
		}
	}), "")
	leader, err := net.Dial("tcp", w.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer leader.Close()
	fmt.Fprintf(leader, "GET /x HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	testkit.Eventually(t, "the origin is asked", func() bool { return asked.Load() == 1 })
	// The leader takes nothing, and the other one gets everything.
	done := make(chan string)
	go func() {
		_, _, body := w.get("GET", "/x")
		done <- body
	}()
	testkit.Eventually(t, "both are there", func() bool { return w.inFlight() == 2 })
	close(step)
	if body := receive(t, done); len(body) != 5<<20 {
		t.Errorf("%d bytes", len(body))
	}
	leader.Close()
	if _, h, body := w.get("GET", "/x"); len(body) != 5<<20 || !strings.HasPrefix(h.Get("Cache-Status"), "weir; hit") {
		t.Errorf("%d bytes, %q", len(body), h.Get("Cache-Status"))
	}
	equal(t, "the origin was asked", asked.Load(), 1)
}

// TestCacheNeverStoresLostBodies: what ends before its end is cut towards the
// client and not stored.
func TestCacheNeverStoresLostBodies(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		c, _, _ := rw.(http.Hijacker).Hijack()
		defer c.Close()
		switch r.URL.Path {
		case "/length":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhello")
		case "/chunked":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		case "/close":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nhello")
		case "/breaks":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n")
		}
	}), "")
	for i, path := range []string{"/length", "/chunked"} {
		for range 2 {
			if _, _, body := w.get("GET", path); !strings.HasPrefix(body, "cut: ") {
				t.Errorf("%s: %q", path, body)
			}
		}
		equal(t, path+": asked", asked.Load(), int64(2*i+2))
	}
	for range 2 {
		if _, h, body := w.get("GET", "/close"); body != "hello" || !strings.HasSuffix(h.Get("Cache-Status"), "detail=close-delimited") {
			t.Errorf("/close: %q, %q", body, h.Get("Cache-Status"))
		}
	}
	if status, h, _ := w.get("GET", "/breaks"); status != 502 || h.Get("Set-Cookie") != "" {
		t.Errorf("/breaks: %d %v", status, h)
	}
}

// TestCacheKeepsUsersApart: nothing that an origin makes of one user's request
// reaches another.
func TestCacheKeepsUsersApart(t *testing.T) {
	t.Parallel()
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		switch r.URL.Path {
		case "/vary":
			h.Set("Cache-Control", "max-age=60")
			h.Set("Vary", "X-Forwarded-For")
		case "/language":
			h.Set("Cache-Control", "max-age=60")
			h.Set("Vary", "X-User")
		case "/private/logo.png":
			h.Set("Cache-Control", "private, max-age=60")
		case "/cookie":
			h.Set("Cache-Control", "max-age=60")
			h.Set("Set-Cookie", "session="+r.Header.Get("X-User"))
		default:
			h.Set("Cache-Control", "max-age=60")
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s%s for %s", r.RequestURI, b, r.Header.Get("X-User"))
	}), "")
	check := func(path string, fields ...string) {
		t.Helper()
		for _, user := range []string{"ann", "bob"} {
			_, h, body := w.get("GET", path, append(fields, "X-User: "+user)...)
			if body != path+" for "+user || strings.Contains(h.Get("Set-Cookie"), "ann") && user == "bob" {
				t.Errorf("%s: %s got %q, %v", path, user, body, h)
			}
		}
	}
	check("/vary")
	check("/language")
	check("/private/logo.png")
	check("/cookie")
	check("/authorized", "Authorization: Basic eDp5")
	// Two spellings of one path are two resources.
	for _, path := range []string{"/same", "/%73ame", "/./same", "//same", "/same?", "/SAME"} {
		if _, _, body := w.get("GET", path, "X-User: ann"); body != path+" for ann" {
			t.Errorf("%s: %q", path, body)
		}
	}
	// A GET with a body is neither answered from the cache nor kept.
	for i := range 2 {
		c := w.dial()
		c.Send("GET /body HTTP/1.1\r\nHost: cached.example\r\nContent-Length: 1\r\n\r\n" + strconv.Itoa(i))
		if got := c.Response("GET").Body; !strings.Contains(got, fmt.Sprintf("/body%d for", i)) {
			t.Errorf("body %d: %q", i, got)
		}
	}
	if _, _, body := w.get("GET", "/body", "X-User: ann"); body != "/body for ann" {
		t.Errorf("after it: %q", body)
	}
}

// TestCacheServesStale: when the origin is gone, and while it is asked.
func TestCacheServesStale(t *testing.T) {
	t.Parallel()
	var fail, asked atomic.Int64
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		switch {
		case fail.Load() == 1:
			rw.WriteHeader(503)
			return
		case fail.Load() == 2:
			c, _, _ := rw.(http.Hijacker).Hijack()
			c.Close()
			return
		}
		rw.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		rw.Header().Set("Date", time.Now().Add(-10*time.Second).UTC().Format(http.TimeFormat))
		fmt.Fprintf(rw, "answer %d", n)
	}), "")
	check := func(name, path string, status int, body, detail string) {
		t.Helper()
		s, h, b := w.get("GET", path)
		if s != status || b != body || !strings.HasSuffix(h.Get("Cache-Status"), detail) {
			t.Errorf("%s: %d %q, %q", name, s, b, h.Get("Cache-Status"))
		}
	}
	const sie = "/a?cc=max-age=20,stale-if-error=60"
	check("fills", sie, 200, "answer 1", "")
	if _, _, body := w.get("PURGE", sie, "Purge-Mode: soft"); body != "{\"purged\":1}\n" {
		t.Errorf("purge: %q", body)
	}
	fail.Store(1)
	check("503", sie, 200, "answer 1", "detail=stale-if-error")
	fail.Store(2)
	check("no answer", sie, 200, "answer 1", "detail=stale-if-error")
	fail.Store(0)
	const swr = "/b?cc=max-age=20,stale-while-revalidate=60"
	before := asked.Load()
	check("fills", swr, 200, fmt.Sprintf("answer %d", before+1), "")
	w.get("PURGE", swr, "Purge-Mode: soft")
	check("stale", swr, 200, fmt.Sprintf("answer %d", before+1), "detail=stale-while-revalidate")
	testkit.Eventually(t, "the background fetch has an answer", func() bool {
		_, h, body := w.get("GET", swr)
		return body == fmt.Sprintf("answer %d", before+2) && strings.HasPrefix(h.Get("Cache-Status"), "weir; hit")
	})
	equal(t, "asked", asked.Load(), before+2)
}

// TestCloseEndsFetches: what is fetched for the cache does not hold up the end of the server,
// whether clients wait for it or not and however slow the target is.
func TestCloseEndsFetches(t *testing.T) {
	t.Parallel()
	check := func(name, path string, before func(w *weir), asked int64, cause string) {
		t.Helper()
		var n atomic.Int64
		ended := make(chan struct{})
		origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=1000")
			if n.Add(1) < asked {
				rw.Header().Set("Age", "10")
				return
			}
			defer close(ended)
			if path == "/body" {
				rw.Header().Set("Content-Length", "1000000")
				rw.Write(make([]byte, 1000))
				rw.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})
		w := run(t, `
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
timeouts = {first_byte = "1h", idle = "1h"}
`, origin)
		before(w)
		testkit.Eventually(t, name+": the origin is asked", func() bool { return n.Load() == asked })
		closed := make(chan error)
		go func() { closed <- w.Close() }()
		if err := receive(t, closed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		receive(t, ended)
		if cause != "" {
			equal(t, name, w.logged(1)[0].String(), cause)
		}
	}
	for _, path := range []string{"/head", "/body"} {
		check("background "+path, path, func(w *weir) {
			w.get("GET", path)
			w.get("GET", path)
		}, 2, "")
	}
	check("stalled", "/body", func(w *weir) {
		c := w.dial()
		c.Send("GET /body HTTP/1.1\r\nHost: cached.example\r\n\r\n")
		equal(t, "status", c.Head("GET").Status(), 200)
	}, 1, "200 shutdown")
}

// TestCacheNoticesLostClients: where the target says nothing for a while, a
// client that goes away is noticed, and the fetch ends with the last of them.
func TestCacheNoticesLostClients(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	w := run(t, `
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
timeouts = {idle = "1h"}
`, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Content-Length", "2000000")
		rw.Write(make([]byte, 1000))
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	}))
	var clients []*testkit.Client
	for range 3 {
		c := w.dial()
		c.Send("GET /x HTTP/1.1\r\nHost: cached.example\r\n\r\n")
		equal(t, "status", c.Head("GET").Status(), 200)
		clients = append(clients, c)
	}
	clients[1].Reset()
	equal(t, "a follower", w.logged(1)[0].String(), "200 client_gone")
	select {
	case <-ended:
		t.Fatal("the fetch has ended, although others wait for it")
	default:
	}
	clients[0].Reset()
	clients[2].Reset()
	receive(t, ended)
	for _, e := range w.logged(3) {
		equal(t, "log", e.String(), "200 client_gone")
	}
	if m := w.metrics(); strings.Contains(m, `cause="stalled"`) || strings.Contains(m, `cause="truncated"`) {
		t.Error("the target is blamed")
	}
}
