package server_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	h2 "golang.org/x/net/http2"

	"weir/internal/testkit"
)

// endless is a body without an end, which counts what was taken of it.
type endless struct{ taken *atomic.Int64 }

func (e endless) Read(p []byte) (int, error) {
	e.taken.Add(int64(len(p)))
	return len(p), nil
}

// Requests whose bodies are not read do not keep others on the same connection waiting.
func TestH2StalledUploads(t *testing.T) {
	t.Parallel()
	const stalled, window = 90, 64 << 10
	w := queueing(t)
	cfg := w.secure.Clone()
	cfg.NextProtos = []string{"h2"}
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	var taken atomic.Int64
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	ask := func(ctx context.Context, path string, body io.Reader) (string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+w.addr.String()+path, body)
		testkit.Must(t, err)
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return answer.Proto + " " + answer.Status + " " + string(text), err
	}
	upload := func() {
		t.Helper()
		got, err := ask(t.Context(), "/", strings.NewReader(strings.Repeat("x", 2<<20)))
		testkit.Must(t, err)
		equal(t, "the answer", got, "HTTP/2.0 200 OK ok")
	}
	upload()
	for range stalled {
		others.Go(func() { ask(ctx, "/queued", endless{&taken}) })
	}
	testkit.Eventually(t, "the windows of all streams are used up", func() bool { return taken.Load() >= stalled*window })
	upload()
	cancel()
	others.Wait()
	upload()
}

// All connections together have no more beyond the window of each than is allowed.
func TestH2StalledTogether(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Head(); c.Rest() })
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
protocols = ["h2c"]
[[routes]]
upstream = "full"
[upstreams.full]
targets = [%q]
limits = { in_flight = 1, queue = 10000, queue_timeout = "1h" }
`, origin.URL)
	stall := func() *testkit.Frames {
		c := testkit.DialFrames(t, w.addr, nil)
		for i := range uint32(100) {
			c.Post(2*i+1, "/")
			for range 4 {
				c.Data(2*i+1, false, strings.Repeat("x", 16<<10))
			}
		}
		return c
	}
	var last *testkit.Frames
	for range 12 { // with 5.25 MiB each
		last = stall()
		last.Ping()
	}
	for range 2 {
		stall().Left(h2.ErrCodeFlowControl)
	}
	last.Close()
	series := "weir_listener_connections{listener=\"main\"} 11\n"
	testkit.Eventually(t, series, func() bool { return strings.Contains(w.metrics(), series) })
	stall().Ping()
}
