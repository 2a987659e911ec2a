package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
)

// contents is an origin of bodies that are large, but not too large for memory:
// "/SEED/SIZE".
func contents(rw http.ResponseWriter, r *http.Request) {
	var seed uint64
	var size int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/%d", &seed, &size); err != nil {
		rw.WriteHeader(400)
		return
	}
	rw.Header().Set("Cache-Control", "max-age=600")
	rw.Header().Set("Content-Length", strconv.Itoa(size))
	rw.Write(large(seed, size))
}

// copied is what the store says that copies of bodies take.
func (w *weir) copied() int {
	w.t.Helper()
	n, err := strconv.Atoi(w.metric("weir_cache_copied_bytes"))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestCopiedBodies: bodies that are asked for often are sent from a file, and
// are the same bytes for all kinds of requests and clients.
func TestCopiedBodies(t *testing.T) {
	t.Parallel()
	const size = 1<<20 + 12345
	w := cached(t, cachedOrigin(t, contents), "")
	want := string(large(7, size))
	path := fmt.Sprintf("/7/%d", size)
	check := func(status, first, last int, fields ...string) {
		t.Helper()
		got, h, body := w.get("GET", path, fields...)
		if got != status || body != want[first:last+1] {
			t.Fatalf("status %d with %d bytes, want %d and bytes %d to %d; %v", got, len(body), status, first, last, h)
		}
	}
	for range 7 {
		check(200, 0, size-1)
	}
	if n := w.copied(); n != 0 {
		t.Fatalf("%d bytes are copied after six hits", n)
	}
	for range 10 {
		check(200, 0, size-1)
	}
	if n := w.copied(); n < size || n > size+4096 {
		t.Fatalf("%d bytes are copied, want %d rounded up to pages", n, size)
	}
	check(206, 0, 99999, "Range: bytes=0-99999")
	check(206, 100001, 200000, "Range: bytes=100001-200000")
	check(206, size-70000, size-1, "Range: bytes=-70000")
	check(206, size-3, size-1, "Range: bytes=-3")
	if _, _, body := w.get("GET", path, "Range: bytes=5-70000,80000-200000"); !strings.Contains(body, want[5:70001]) || !strings.Contains(body, want[80000:200001]) {
		t.Error("a multipart answer has other bytes")
	}
	if status, h, body := w.get("HEAD", path); status != 200 || h.Get("Content-Length") != strconv.Itoa(size) || body != "" {
		t.Errorf("HEAD: %d, %v, %d bytes", status, h, len(body))
	}
	// A client that takes its time gets all of it, and so does one of HTTP/1.0.
	c := testkit.Dial(t, w.addr)
	c.Send("GET " + path + " HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	if m := c.Head("GET"); m.Status() != 200 {
		t.Fatalf("%+v", m)
	}
	var slow strings.Builder
	for slow.Len() < size {
		slow.WriteString(c.Take(min(10007, size-slow.Len())))
	}
	if slow.String() != want {
		t.Error("a slow client got other bytes")
	}
	c = testkit.Dial(t, w.addr)
	c.Send("GET " + path + " HTTP/1.0\r\nHost: cached.example\r\n\r\n")
	if rest, _ := c.Rest(); !strings.HasSuffix(rest, "\r\n\r\n"+want) {
		t.Error("a client of HTTP/1.0 got other bytes")
	}
}

// TestCopiedBodiesWithTLS: under TLS there is no such way, and no copy is made.
func TestCopiedBodiesWithTLS(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("cached.example")
	w := run(t, `
[[listeners.certificates]]
cert = %q
key = %q
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
`, pair.Cert, pair.Key, cachedOrigin(t, contents))
	want := string(large(8, 300000))
	client := testkit.DialTLS(t, w.addr, &tls.Config{RootCAs: authority.Pool, ServerName: "cached.example"})
	for range 20 {
		client.Send("GET /8/300000 HTTP/1.1\r\nHost: cached.example\r\n\r\n")
		if m := client.Response("GET"); m.Status() != 200 || m.Body != want {
			t.Fatalf("status %d, %d bytes", m.Status(), len(m.Body))
		}
	}
	if n := w.copied(); n != 0 {
		t.Errorf("%d bytes are copied", n)
	}
}

// TestCopyIsGone: what is on its way to a client stays as it was, although the
// entry was purged and its place in the file has another body meanwhile.
func TestCopyIsGone(t *testing.T) {
	t.Parallel()
	const size = 256 << 10
	w := cached(t, cachedOrigin(t, contents), "")
	hit := func(seed int) {
		t.Helper()
		for range 12 {
			if status, _, body := w.get("GET", fmt.Sprintf("/%d/%d", seed, size)); status != 200 || body != string(large(uint64(seed), size)) {
				t.Fatalf("status %d, %d bytes", status, len(body))
			}
		}
	}
	hit(1)
	var waiting []net.Conn
	for range 8 {
		nc, err := net.Dial("tcp", w.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "GET /1/%d HTTP/1.1\r\nHost: cached.example\r\nConnection: close\r\n\r\n", size)
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, nc) // the rest lies in the sockets, or waits for room there
	}
	if status, _, body := w.get("PURGE", fmt.Sprintf("/1/%d", size)); status != 200 {
		t.Fatalf("PURGE: %d %s", status, body)
	}
	for seed := 2; seed < 6; seed++ {
		runtime.GC()
		hit(seed)
	}
	for _, nc := range waiting {
		got, err := io.ReadAll(nc)
		if err != nil || !bytes.HasSuffix(got, append([]byte("\r\n\r\n"), large(1, size)...)) {
			t.Fatalf("%d bytes, %v, which are not those of the body that was asked for", len(got), err)
		}
	}
}

// TestCopiesUnderChange: many bodies with many clients while they are purged and
// more is asked for than copies have room for.
func TestCopiesUnderChange(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	w := run(t, `
[cache]
size = "8MiB"
max_object = "1MiB"
purge_from = ["127.0.0.1"]
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
`, cachedOrigin(t, contents))
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for round := range 150 {
				seed := (i*round + round/3) % 12
				path := fmt.Sprintf("/%d/%d", seed, 70000+seed*17000)
				if round%40 == 39 {
					w.get("PURGE", path)
					runtime.GC()
					continue
				}
				status, _, body := w.get("GET", path)
				if status != 200 || body != string(large(uint64(seed), 70000+seed*17000)) {
					t.Errorf("%s: status %d, %d bytes, which are not those of the origin", path, status, len(body))
					return
				}
			}
		})
	}
	clients.Wait()
	if n := w.copied(); n > 1<<20 {
		t.Errorf("%d bytes are copied, of a tier of 8 MiB", n)
	}
}

// TestCopiedBodyToSlowClient: a client that takes longer than grace for a body
// gets all of it, if it takes enough in each. Once it takes nothing it is let go.
func TestCopiedBodyToSlowClient(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	const size = 16 << 20 // much more than the sockets hold
	w := run(t, `
[cache]
size = "512MiB"
max_object = "16MiB"
[[listeners]]
name = "main"
address = "127.0.0.1:0"
timeouts = {grace = "3s", min_rate = "10KB"}
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
`, cachedOrigin(t, contents))
	want := string(large(9, size))
	path := fmt.Sprintf("/9/%d", size)
	for range 10 {
		if status, _, body := w.get("GET", path); status != 200 || body != want {
			t.Fatalf("status %d, %d bytes", status, len(body))
		}
	}
	if n := w.copied(); n != size {
		t.Fatalf("%d bytes are copied, want %d", n, size)
	}
	w.logged(10)
	c := testkit.Dial(t, w.addr)
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	c.Send("GET " + path + " HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	equal(t, "status", c.Head("GET").Status(), 200)
	got := make([]byte, size)
	for n := 0; n < size; n += 128 << 10 {
		if _, err := io.ReadFull(c.Reader, got[n:n+128<<10]); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		receive(t, after(30)) // this is how slow it is
	}
	if string(got) != want {
		t.Error("a slow client got other bytes")
	}
	w.logged(11)
	c.Send("GET " + path + " HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	equal(t, "the log's line", w.logged(12)[11].String(), "200 client_slow")
}
