package server_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
)

// TestSharedBuffers: connections take turns with the buffers that requests are
// read into. However the bytes of requests arrive, every client gets the answers
// to its own.
func TestSharedBuffers(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("body of %s: %v", r.URL.Path, err)
		}
		fmt.Fprintf(rw, "%s %d %s", r.URL.Path, len(r.Header.Get("X-Long")), body)
	}))
	defer origin.Close()
	w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
`, origin.URL)
	var clients sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 0))
			c := testkit.Dial(t, w.addr)
			for j := 0; j < testkit.Rounds(25, 60) && !t.Failed(); {
				// A batch of requests, some with a head larger than the usual buffer, in
				// pieces that end anywhere.
				var out strings.Builder
				var want []string
				for range 1 + random.IntN(3) {
					long := strings.Repeat("x", random.IntN(2)*random.IntN(9000))
					body := strings.Repeat(fmt.Sprint(i), random.IntN(2)*random.IntN(5000))
					fmt.Fprintf(&out, "POST /%d/%d HTTP/1.1\r\nHost: weir.test\r\nX-Long: %s\r\nContent-Length: %d\r\n\r\n%s", i, j, long, len(body), body)
					want = append(want, fmt.Sprintf("/%d/%d %d %s", i, j, len(long), body))
					j++
				}
				for rest := out.String(); rest != ""; {
					n := min(len(rest), 1+random.IntN(6000))
					c.Send(rest[:n])
					rest = rest[n:]
				}
				for _, body := range want {
					m := c.Response("POST")
					if m.Body != body {
						t.Errorf("client %d got %+v, want the body %.100q", i, m, body)
						return
					}
				}
			}
		})
	}
	clients.Wait()
}
