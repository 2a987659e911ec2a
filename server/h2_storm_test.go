package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"weir/internal/testkit"
)

// Whatever clients take back, and whenever, the exchanges beside on the same connection are whole, in both
// directions and towards targets of either protocol.
func TestH2Storm(t *testing.T) {
	t.Parallel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		n, _ := strconv.ParseInt(r.Header.Get("X-Break"), 10, 64)
		w.Header().Set("Trailer", "X-End")
		if n > 0 {
			io.CopyN(w, r.Body, n)
			panic(http.ErrAbortHandler)
		}
		if got, err := io.Copy(w, r.Body); err == nil {
			w.Header().Set("X-End", fmt.Sprint(got))
		}
	})
	origin := strings.TrimPrefix(framedOrigin(t, nil, echo), "h2c://")
	w := overTLS(t, "", `
[[routes]]
path = "/h2/"
upstream = "framed"
[[routes]]
upstream = "plain"
[upstreams.framed]
targets = ["h2c://%[1]s"]
timeouts.connect = "1m"
health.passive.failures = 0
[upstreams.plain]
targets = ["http://%[1]s"]
timeouts.connect = "1m"
health.passive.failures = 0
[upstreams.plain.connections]
protocol = "h1"
`, origin)
	rounds := testkit.Rounds(8, 100)
	var whole, broken, taken atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.secure.Clone(), ForceAttemptHTTP2: true}}
		t.Cleanup(client.CloseIdleConnections)
		for k := range 12 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(k), 1))
				for i := range rounds {
					body := bytes.Repeat([]byte{byte('a' + k), byte('0' + i%10), byte(i)}, random.IntN(60_000))
					prefix := [...]string{"/", "/h2/"}[random.IntN(2)]
					what := fmt.Sprintf("%d bytes to %s", len(body), prefix)
					ctx, cancel := context.WithCancel(context.Background())
					read := io.Reader(bytes.NewReader(body))
					after := int64(-1)
					breaks := random.IntN(8) == 0 && len(body) > 1000
					if random.IntN(4) == 0 {
						after = random.Int64N(int64(len(body)) + 1)
						read = io.MultiReader(io.LimitReader(read, after), cancels{cancel})
					}
					r, err := http.NewRequestWithContext(ctx, "POST", "https://"+w.addr.String()+prefix, read)
					if err != nil {
						cancel()
						t.Error(err)
						return
					}
					if after < 0 && random.IntN(2) == 0 {
						r.ContentLength = int64(len(body))
					}
					if breaks {
						r.Header.Set("X-Break", fmt.Sprint(1+random.IntN(len(body)-1)))
					}
					response, err := client.Do(r)
					var got []byte
					if err == nil {
						got, err = io.ReadAll(response.Body)
						response.Body.Close()
					}
					switch {
					case after >= 0:
						taken.Add(1)
						if err == nil && len(got) == len(body) && len(body) > int(after) {
							t.Errorf("%s: an answer to a request that was taken back is whole", what)
						}
					case breaks:
						broken.Add(1)
						if err == nil && response.StatusCode == 200 {
							t.Errorf("%s: an answer that broke off looks whole, with %d bytes", what, len(got))
						}
					case err != nil:
						t.Errorf("%s: %v", what, err)
					case response.StatusCode != 200 || !bytes.Equal(got, body):
						t.Errorf("%s: answered with %s and %d bytes", what, response.Status, len(got))
					case response.Trailer.Get("X-End") != fmt.Sprint(len(body)):
						t.Errorf("%s: the trailer section is %v", what, response.Trailer)
					default:
						whole.Add(1)
					}
					cancel()
				}
			})
		}
	}
	wg.Wait()
	if whole.Load() == 0 || broken.Load() == 0 || taken.Load() == 0 {
		t.Errorf("%d exchanges were whole, %d broke off, %d were taken back", whole.Load(), broken.Load(), taken.Load())
	}
}

// cancels is the end of a body, where the client takes the request back.
type cancels struct{ cancel func() }

func (c cancels) Read([]byte) (int, error) {
	c.cancel()
	return 0, context.Canceled
}
