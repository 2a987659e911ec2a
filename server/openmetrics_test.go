package server_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// scrape asks the metrics page with this Accept.
func (w *weir) scrape(accept string) (kind, page string) {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+w.MetricsAddr().String()+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.Header.Get("Content-Type"), string(text)
}

// Scrapers that ask for OpenMetrics get it, with exemplars of traces that are kept.
func TestOpenMetrics(t *testing.T) {
	t.Parallel()
	w := run(t, `
[metrics]
address = "127.0.0.1:0"
[tracing]
enabled = true
endpoint = "none"
[[routes]]
name = "here"
respond = { status = 204 }
`)
	c := w.dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n")
	equal(t, "status", c.Response("GET").Status(), 204)
	exemplar := regexp.MustCompile(`(?m)^weir_request_duration_seconds_bucket\{route="here",le="[^"]+"\} 1 # \{trace_id="0af7651916cd43dd8448eb211c80319c"\} [0-9.]+ [0-9]+\.[0-9]{3}$`)
	var page string
	testkit.Eventually(t, "there is one exemplar", func() bool {
		_, page = w.scrape("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4")
		return len(exemplar.FindAllString(page, -1)) == 1
	})
	for _, want := range []string{"# TYPE weir_requests counter\n", "\nweir_requests_total{route=\"here\",status=\"204\"} 1\n", "# TYPE weir_request_duration_seconds histogram\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("found no %q", want)
		}
	}
	sample := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*",?)*\})? [-+.0-9eEInfNa]+( # \{.*\} [0-9.]+ [0-9.]+)?\n$`)
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "# ") && !sample.MatchString(line) {
			t.Errorf("found %q, which OpenMetrics does not have", line)
		}
	}
	if !strings.HasSuffix(page, "\n# EOF\n") || strings.Contains(page, "untyped") || strings.Contains(page, "_total counter") {
		t.Errorf("found %s", page)
	}
	for accept, want := range map[string]string{
		"application/openmetrics-text":     "application/openmetrics-text; version=1.0.0; charset=utf-8",
		"":                                 "text/plain; version=0.0.4; charset=utf-8",
		"*/*":                              "text/plain; version=0.0.4; charset=utf-8",
		"application/openmetrics-text;q=0": "text/plain; version=0.0.4; charset=utf-8",
		"text/plain;version=0.0.4, application/openmetrics-text;q=0.5": "text/plain; version=0.0.4; charset=utf-8",
	} {
		if kind, page := w.scrape(accept); kind != want || strings.Contains(page, "trace_id") != strings.HasPrefix(want, "application") {
			t.Errorf("Accept %q: found %s", accept, kind)
		}
	}
}

// Without series for each route their sum has exemplars, in each bucket the last one of all routes.
func TestExemplarsOfSums(t *testing.T) {
	t.Parallel()
	w := run(t, `
[metrics]
address = "127.0.0.1:0"
per_route = false
[tracing]
enabled = true
endpoint = "none"
[[routes]]
path = "/a"
respond = { status = 204 }
[[routes]]
path = "/b"
respond = { status = 204 }
`)
	c := w.dial()
	for _, path := range []string{"/a", "/b"} {
		equal(t, "status", c.Get(path).Status(), 204)
	}
	w.logged(2)
	_, page := w.scrape("application/openmetrics-text")
	if n := len(regexp.MustCompile(`(?m)^weir_request_duration_seconds_bucket\{le="[^"]+"\} [12] # \{trace_id="[0-9a-f]{32}"\} [0-9.]+ [0-9]+\.[0-9]{3}$`).FindAllString(page, -1)); n != 1 && n != 2 {
		t.Errorf("%d exemplars: %s", n, page)
	}
}

// server_timing tells clients how long the phases took.
func TestServerTiming(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nServer-Timing: db;dur=5\r\nContent-Length: 2\r\n\r\nok"))
	odd := testkit.Listen(t, func(c *testkit.Conn) { c.Request(); c.Send("nonsense\r\n\r\n") })
	w := run(t, `
[tracing]
enabled = true
endpoint = "none"
[[routes]]
path = "/odd"
server_timing = true
upstream = "odd"
[[routes]]
path = "/timed/"
server_timing = true
cache = true
upstream = "origin"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
[upstreams.odd]
targets = [%q]
`, origin.URL, odd.URL)
	c := w.dial()
	equal(t, "an error of weir's own", c.Get("/odd").Body, "502 Bad Gateway: bad_response\n")
	for _, want := range []string{
		`^db;dur=5, cache;desc="uri-miss", waiting;dur=[0-9.]+, connecting;dur=[0-9.]+, first_byte;dur=[0-9.]+, traceparent;desc="00-[0-9a-f]{32}-[0-9a-f]{16}-01", total;dur=[0-9.]+$`,
		`^db;dur=5, cache;desc="hit", traceparent;desc="00-[0-9a-f]{32}-[0-9a-f]{16}-01", total;dur=[0-9.]+$`,
	} {
		if got := c.Get("/timed/").Get("Server-Timing"); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("found %q: want %s", got, want)
		}
	}
	equal(t, "without", c.Get("/other").Get("Server-Timing"), "db;dur=5")
}
