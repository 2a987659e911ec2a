package server_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestStatusRandom: whatever answers, and by whatever front end, the log has the status and the bytes that the
// client got.
func TestStatusRandom(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"empty": 0, "small": 100, "large": 300_000} {
		if err := os.WriteFile(filepath.Join(folder, "files", name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		size := map[string]int{"empty": 0, "small": 100, "large": 300_000}[filepath.Base(r.URL.Path)]
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("ETag", `"a"`)
		rw.Header().Set("Content-Type", "text/plain")
		switch {
		case r.Header.Get("If-None-Match") != "":
			rw.WriteHeader(304)
			return
		case strings.Contains(r.URL.RawQuery, "interim"):
			rw.WriteHeader(103)
		}
		if !strings.Contains(r.URL.RawQuery, "chunked") {
			rw.Header().Set("Content-Length", fmt.Sprint(size))
		} else if f, ok := rw.(http.Flusher); ok {
			f.Flush()
		}
		rw.Write(make([]byte, size))
	})
	w := overTLS(t, "", `
[[routes]]
path = "/files/"
files = { root = %q }
[[routes]]
path = "/fixed/"
respond = { status = 404, body = "no" }
[[routes]]
path = "/bare/"
respond = { status = 204 }
[[routes]]
path = "/cached/"
upstream = "o"
cache = true
compress = true
[[routes]]
path = "/web/"
upstream = "o"
grpc_web = true
[[routes]]
path = "/denied/"
upstream = "o"
deny = ["0.0.0.0/0", "::/0"]
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
`, folder, origin)
	type answer struct {
		status int
		bytes  int64
	}
	var mu sync.Mutex
	got := map[string]answer{}
	var clients sync.WaitGroup
	for i, base := range []string{"https://" + w.addr.String(), "https://" + w.addr.String(), "http://" + w.Addr("plain").String(), "http://" + w.Addr("plain").String()} {
		var p http.Protocols
		p.SetHTTP1(i%2 == 0)
		p.SetHTTP2(i == 1)
		p.SetUnencryptedHTTP2(i == 3)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), Protocols: &p, DisableCompression: true}}
		for k := range 2 {
			clients.Go(func() {
				defer client.CloseIdleConnections()
				r := rand.New(rand.NewPCG(uint64(i), uint64(k)))
				one := func(list ...string) string { return list[r.IntN(len(list))] }
				for n := range 60 {
					target := one("/files/", "/fixed/", "/bare/", "/cached/", "/web/", "/denied/", "/", "/.%00/") + one("empty", "small", "large", "none") +
						fmt.Sprintf("?%s&%s&%d.%d.%d", one("", "chunked"), one("", "interim"), i, k, n)
					if r.IntN(2) == 0 {
						target = target[:strings.IndexByte(target, '?')] + fmt.Sprintf("?%d.%d.%d", i, k, n)
					}
					req, err := http.NewRequest(one("GET", "GET", "HEAD", "POST"), base+target, nil)
					if err != nil {
						continue
					}
					if r.IntN(4) == 0 {
						req.Header.Set("If-None-Match", `"a"`)
					}
					if r.IntN(4) == 0 {
						req.Header.Set("Range", "bytes=0-9")
					}
					if r.IntN(3) == 0 {
						req.Header.Set("Accept-Encoding", "gzip")
					}
					if r.IntN(5) == 0 {
						req.Header.Set("Content-Type", one("application/grpc-web", "application/grpc-web-text", "application/grpc"))
					}
					resp, err := client.Do(req)
					if err != nil {
						t.Errorf("%s: %v", target, err)
						continue
					}
					size, err := io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err != nil {
						t.Errorf("%s: %v", target, err)
					}
					mu.Lock()
					got[req.URL.RequestURI()] = answer{resp.StatusCode, size}
					mu.Unlock()
				}
			})
		}
	}
	clients.Wait()
	statuses := map[int]int{}
	for _, e := range w.logged(len(got)) {
		a, ok := got[e.Target]
		if want := (answer{e.Status, e.BytesOut}); !ok || a != want {
			t.Errorf("%s %s: the client got %v, the log has %v %s", e.Method, e.Target, a, want, e.Cause)
		}
		statuses[a.status]++
	}
	for _, status := range []int{200, 204, 206, 304, 400, 403, 404} {
		if statuses[status] == 0 {
			t.Errorf("no client got %d", status)
		}
	}
}
