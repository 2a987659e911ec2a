package server_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
)

// Requests make no series, however different their paths, hosts, methods, queries, agents, traces, and labels from
// their bodies are: only so many path templates and label values are learned. WEIR_SERIES is how many requests
// are sent.
func TestRequestsMakeNoSeries(t *testing.T) {
	t.Parallel()
	requests := testkit.Soak(t, "WEIR_SERIES", 4000)
	const clients = 4
	w := run(t, `
[access_log]
output = "off"
[statistics]
paths = 50
max_paths = 80
[tracing]
enabled = true
endpoint = "none"
[[routes]]
name = "app"
path = "/app/"
upstream = "app"
[[routes.metrics]]
name = "users_total"
from = "request"
labels = { user = "json:user" }
[[routes]]
name = "rest"
respond = { status = 204 }
[upstreams.app]
targets = [%q]
`, testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")).URL)
	lines := func() int {
		var page bytes.Buffer
		w.WriteMetrics(&page)
		return strings.Count(page.String(), "\nweir_") + strings.Count(page.String(), "\nusers_total")
	}
	send := func(c *testkit.Client, n int) {
		body := fmt.Sprintf(`{"user": "u%d"}`, n)
		c.Send(fmt.Sprintf("POST /app/p%d/x%dx?q=%d HTTP/1.1\r\nHost: h%d.test\r\nUser-Agent: a%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, n, n, n, n, len(body), body))
		c.Response("POST")
		c.Send(fmt.Sprintf("M%d /o%d/p%d HTTP/1.1\r\nHost: h%d.test\r\n\r\n", n, n, n, n))
		c.Response("GET")
	}
	half := func(from int) {
		var running sync.WaitGroup
		for k := range clients {
			c := w.dial()
			running.Go(func() {
				for n := from + k; n < from+requests/4; n += clients {
					send(c, n)
				}
			})
		}
		running.Wait()
	}
	half(0)
	before := lines()
	half(requests / 4)
	if after := lines(); after > before+40 || after > 3000 {
		t.Errorf("%d series became %d by %d other requests", before, after, requests/2)
	}
}
