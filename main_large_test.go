package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/internal/testkit"
)

// same reads a body of pattern's and says how many bytes of it there were.
func same(t *testing.T, r io.Reader) (n int64) {
	t.Helper()
	buf := make([]byte, 256<<10)
	want := ramp(0, len(buf)+256)
	for {
		m, err := r.Read(buf)
		if !bytes.Equal(buf[:m], want[byte(n):][:m]) {
			t.Fatalf("one of the %d bytes from %d on is wrong", m, n)
		}
		n += int64(m)
		if err != nil {
			return n
		}
	}
}

// aligned is an endless body whose bytes do not depend on how it is read.
type aligned struct{ n int }

func (a *aligned) Read(p []byte) (int, error) {
	copy(p, ramp(a.n, len(p)))
	a.n += len(p)
	return len(p), nil
}

// ramp returns size bytes that count up from first, again and again. It copies,
// because the race detector looks at each byte that a loop writes.
func ramp(first, size int) []byte {
	b := make([]byte, 0, max(size, 256))
	for i := range 256 {
		b = append(b, byte(first+i))
	}
	for len(b) < size {
		b = append(b, b[:min(len(b), size-len(b))]...)
	}
	return b[:size]
}

// TestLargeObject stores a body that would not fit into memory and serves it to
// many at once, from the origin and from the disk, over kill -9. WEIR_SOAK_MIB
// is its size.
func TestLargeObject(t *testing.T) {
	testkit.Slow(t)
	size := int64(testkit.Soak(t, "WEIR_SOAK_MIB", 128)) << 20
	var asked atomic.Int64
	var hold atomic.Pointer[chan struct{}]
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "max-age=3600")
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		body := &aligned{}
		io.CopyN(w, body, size*3/4)
		if c := hold.Load(); c != nil {
			select {
			case <-*c:
			case <-r.Context().Done():
				return
			}
		}
		io.CopyN(w, body, size-size*3/4)
	}))
	defer origin.Close()
	folder := t.TempDir()
	path := file(t, fmt.Sprintf(`
[cache]
size = "16MiB"
max_object = "1MiB"
[cache.persist]
folder = %q
size = "%d"
max_object = "%d"
`, folder, 9*size, size)+strings.Replace(quiet(origin.URL, ""), `upstream = "origin"`, "upstream = \"origin\"\ncache = true", 1))

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var c *child
	get := func(path string) (*http.Response, error) {
		r, err := http.NewRequest("GET", c.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "large.test" // whatever port the child has this time
		return client.Do(r)
	}
	before := 0
	begin := func() {
		t.Helper()
		c = start(t, "run", "--config", path)
		before = c.status("VmHWM")
	}
	kill := func() {
		t.Helper()
		c.cmd.Process.Kill()
		c.cmd.Wait()
	}
	// all gets a path several times at once.
	all := func(what, path string, clients int, status string) {
		t.Helper()
		begun := time.Now()
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				r, err := get(path)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				if n := same(t, r.Body); n != size || status != "" && !strings.Contains(r.Header.Get("Cache-Status"), status) {
					t.Errorf("%s: %d bytes, %v", what, n, r.Header)
				}
			})
		}
		wg.Wait()
		peak := c.status("VmHWM")
		t.Logf("%s: %d MiB to %d clients in %v; peak RSS %d KiB, at the start %d KiB", what, size>>20, clients, time.Since(begun).Round(time.Millisecond), peak, before)
		if peak > before+48<<10 {
			t.Errorf("%s: peak RSS is %d KiB, at the start it was %d KiB", what, peak, before)
		}
	}
	stored := func(n int) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("%d bodies are stored", n), func() bool {
			whole, _ := filepath.Glob(filepath.Join(folder, "*.blob"))
			every, _ := filepath.Glob(filepath.Join(folder, "*.blob*"))
			return len(whole) == n && len(every) == n
		})
	}

	begin()
	for i, path := range []string{"/length", "/chunked"} {
		all("cold "+path, path, 8, "")
		stored(i + 1)
		all("from disk "+path, path, 8, "hit")
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("%d requests reached the origin", n)
	}
	kill()
	begin()
	// Until the disk is read requests go to the origin, which is not what is tested.
	for _, path := range []string{"/length", "/chunked"} {
		testkit.Eventually(t, "the disk is read", func() bool {
			r, err := get(path)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			return strings.Contains(r.Header.Get("Cache-Status"), "hit")
		})
	}
	asked.Store(0)
	all("after kill -9", "/length", 8, "")
	all("after kill -9", "/chunked", 8, "")
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests reached the origin", n)
	}

	// Killed in the middle of a fetch: nothing of it stays, and nothing else
	// is harmed.
	c1 := make(chan struct{})
	hold.Store(&c1)
	r, err := get("/length?other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r.Body, size/2); err != nil {
		t.Fatal(err)
	}
	kill()
	r.Body.Close()
	hold.Store(nil)
	if parts, _ := filepath.Glob(filepath.Join(folder, "*.part")); len(parts) != 1 {
		t.Errorf("unfinished files: %q", parts)
	}
	begin()
	stored(2)
	all("another fetch", "/length?other", 1, "fwd=uri-miss")
	stored(3)
	c.signal(syscall.SIGTERM)
	c.ends(0)
	var sum int64
	names, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	if sum < 3*size || sum > 3*size+size/100 {
		t.Errorf("%d bytes on disk for three bodies of %d", sum, size)
	}
}
