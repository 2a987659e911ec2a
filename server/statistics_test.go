package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"weir/admin"
	"weir/config"
	"weir/internal/testkit"
)

// byTarget answers with the status that the query of a request asks for, and "ok".
func byTarget(c *testkit.Conn) {
	for {
		m := c.Request()
		status := "200 OK"
		if _, asked, ok := strings.Cut(m.Target(), "?status="); ok {
			status = asked + " Asked"
		}
		c.Send("HTTP/1.1 " + status + "\r\nContent-Length: 2\r\n\r\nok")
	}
}

const counted = `
[metrics]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[[routes]]
name = "api"
path = ["/api/", "/{tenant}/files/"]
upstream = "o"
[[routes]]
name = "whole"
path = "/users/{name}"
upstream = "o"
[[routes]]
name = "rest"
upstream = "o"
[upstreams.o]
targets = [%q]
`

// TestStatistics: what was asked for by route and path template, on all ways to see it.
func TestStatistics(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, byTarget)
	w := run(t, counted, origin.URL)
	c := w.dial()
	asked := 0
	get := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			c.Get(path)
			asked++
		}
	}
	get("/api/orders/1", "/api/orders/2", "/api/orders/3?status=500", "/api/orders/4?status=404", "/api/health", "/api/", "/api/no/such?status=404")
	get("/t1/files/a/17.png", "/t2/files/a/18.png", "/users/alice", "/users/bob", "/", "/x/y")
	w.logged(asked)

	var client admin.Client
	if err := client.Address.UnmarshalText([]byte(w.AdminAddr().String())); err != nil {
		t.Fatal(err)
	}
	s, err := client.Statistics(context.Background(), admin.StatisticsQuery{By: "count"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range s.Routes {
		got = append(got, fmt.Sprintf("%s %d %d", r.Route, r.Count, r.Errors))
		for _, p := range r.Paths {
			got = append(got, fmt.Sprintf("  %s %d %d %d", p.Path, p.Count, p.Errors, p.BytesOut))
			if p.Mean <= 0 || p.P50 <= 0 || p.P99 < p.P50 || p.Max < p.Mean || p.Late.Count != p.Count {
				t.Errorf("%s: %+v", p.Path, p)
			}
			if ph := p.Phases; ph.FirstByte <= 0 || ph.Waiting <= 0 || ph.Waiting+ph.Connecting+ph.FirstByte+ph.Body-p.Mean > 1e-9 {
				t.Errorf("%s: mean %g, phases %+v", p.Path, p.Mean, ph)
			}
		}
	}
	want := []string{
		" 0 0",
		"api 9 1", "  /api/orders/{id} 4 1 8", "  /{tenant}/files/a/{id}.png 2 0 4", "  /api/ 1 0 2", "  /api/health 1 0 2", "  other 1 0 2",
		"whole 2 0", "  /users/{name} 2 0 4",
		"rest 2 0", "  / 1 0 2", "  /x/y 1 0 2",
	}
	equal(t, "statistics", strings.Join(got, "\n"), strings.Join(want, "\n"))
	api := s.Routes[1]
	equal(t, "the slowest of a route", len(api.Slowest), 8) // three of four for one template
	for i, x := range api.Slowest {
		if x.Duration <= 0 || i > 0 && x.Duration > api.Slowest[i-1].Duration || x.Target != origin.URL || x.RequestID == "" || strings.Contains(x.Requested, "?") {
			t.Errorf("slow exchange %d: %+v", i, x)
		}
	}

	equal(t, "of a path", w.metric(`weir_path_requests_total{route="api",path="/api/orders/{id}"}`), "4")
	equal(t, "errors", w.metric(`weir_path_errors_total{route="api",path="/api/orders/{id}"}`), "1")
	equal(t, "bytes", w.metric(`weir_path_response_body_bytes_total{route="whole",path="/users/{name}"}`), "4")
	equal(t, "durations", w.metric(`weir_path_duration_seconds_count{route="api",path="/api/orders/{id}"}`), "4")
	equal(t, "errors of a route", w.metric(`weir_request_errors_total{route="api"}`), "1")
	equal(t, "request processing", w.metric(`weir_request_processing_seconds_count{route="api"}`), "9")
	equal(t, "response processing", w.metric(`weir_response_processing_seconds_count{route="api"}`), "9")

	one := "whole"
	if s, err := w.Statistics(&one); err != nil || len(s.Routes) != 1 || s.Routes[0].Count != 2 {
		t.Errorf("of one route: %+v, %v", s, err)
	}
	none := "wohle"
	if _, err := w.Statistics(&none); err == nil || !strings.Contains(err.Error(), `found route "wohle": there is one of "api", "whole", "rest"; did you mean "whole"?`) {
		t.Errorf("of no route: %v", err)
	}
}

// TestStatisticsOverReloads: counting goes on as long as a route's paths stay, and stops when it is switched off.
func TestStatisticsOverReloads(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, byTarget)
	w := run(t, counted, origin.URL)
	load := func(text string) {
		t.Helper()
		cfg, err := config.Parse("test.toml", []byte(plainListener+text))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	count := func(series string) string { return w.metric("weir_path_requests_total{" + series + "}") }
	get := func(path string) {
		t.Helper()
		n := w.log.len()
		w.dial().Get(path)
		w.logged(n + 1)
	}
	text := fmt.Sprintf(counted, origin.URL)
	get("/api/a")
	get("/users/x")
	load(text)
	get("/api/a")
	get("/users/x")
	equal(t, "learned", count(`route="api",path="/api/a"`), "2")
	equal(t, "whole", count(`route="whole",path="/users/{name}"`), "2")
	load(strings.Replace(text, `"/api/", `, "", 1))
	equal(t, "other paths", count(`route="api",path="/api/a"`), "")
	equal(t, "the same path", count(`route="whole",path="/users/{name}"`), "2")
	load(text + "[statistics]\nenabled = false\n")
	get("/users/x")
	if page := w.metrics(); strings.Contains(page, "weir_path_") {
		t.Error("switched off, but there are series of paths")
	}
	equal(t, "of routes", w.metric(`weir_request_duration_seconds_count{route="whole"}`), "3")
	s, err := w.Statistics(nil)
	if err != nil || len(s.Routes) != 4 || len(s.Routes[2].Paths) != 0 || s.Routes[2].Count != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	load(strings.Replace(text, "[metrics]\n", "[metrics]\nper_path = false\nhistograms = \"victoriametrics\"\n", 1))
	get("/users/x")
	page := w.metrics()
	if strings.Contains(page, "weir_path_") || strings.Contains(page, `weir_request_duration_seconds_bucket{route="whole",le=`) || !strings.Contains(page, `weir_request_duration_seconds_bucket{route="whole",vmrange="`) {
		t.Error("per_path = false and histograms of VictoriaMetrics: not so")
	}
}

// TestStatisticsAreBounded: whatever clients ask for, series stay within their bounds.
func TestStatisticsAreBounded(t *testing.T) {
	t.Parallel()
	w := run(t, "[statistics]\npaths = 100\nmax_paths = 150\n[access_log]\noutput = \"off\"\n[metrics]\naddress = \"127.0.0.1:0\"\n"+
		"[[routes]]\nname = \"a\"\nhost = \"*.weir.test\"\nrespond = {}\n"+bodyLabels+"[[routes]]\nname = \"b\"\nrespond = {}\n")
	const batch, batches = 100, 100
	c := w.dial()
	send := func(from int) {
		t.Helper()
		var requests strings.Builder
		for i := from; i < from+batch; i++ {
			name := strings.Map(func(r rune) rune { return r - '0' + 'g' }, fmt.Sprint(i))
			path := []string{"/" + name, "/x/" + name + "/y", "/" + name + "/" + name, fmt.Sprint("/", i)}[i%4]
			fmt.Fprintf(&requests, "M%s %s HTTP/1.1\r\nHost: %s.weir.test\r\nX-Label: %s\r\n\r\n", name, path, name, name)
		}
		c.Send(requests.String())
		for range batch {
			if got := c.Response("GET").Status(); got != 200 {
				t.Fatalf("status %d", got)
			}
		}
	}
	for i := range batches {
		send(i * batch)
	}
	total := func(s *admin.Statistics) (n uint64) {
		for _, p := range s.Routes[1].Paths {
			n += p.Count
		}
		return n
	}
	var s admin.Statistics
	testkit.Eventually(t, "all are counted", func() bool {
		var err error
		if s, err = w.Statistics(nil); err != nil {
			t.Fatal(err)
		}
		return total(&s) == batch*batches
	})
	if n := len(s.Routes[1].Paths); n > 101 {
		t.Errorf("%d paths, want 101 at most", n)
	}
	paths, labels := 0, 0
	for line := range strings.Lines(w.metrics()) {
		switch {
		case strings.HasPrefix(line, "weir_path_requests_total"):
			paths++
		case strings.HasPrefix(line, "seen_total"):
			labels++
		}
	}
	if paths > 101 || labels > 51 {
		t.Errorf("series of %d paths and of %d values of a label", paths, labels)
	}
}

// bodyLabels is a metric with a label that clients choose.
const bodyLabels = "[[routes.metrics]]\nname = \"seen_total\"\nfrom = \"request\"\nlabels = { who = \"header:X-Label\" }\n"

// TestObjectives: exchanges count against objectives, and reloads change them.
func TestObjectives(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, byTarget)
	text := fmt.Sprintf(counted, origin.URL)
	aims := "[[objectives]]\nname = \"works\"\npercent = 75\n[[objectives]]\nname = \"whole\"\nroutes = \"whole\"\npercent = 99\nbelow = \"1h\"\n"
	w := run(t, "%s", text+aims)
	c := w.dial()
	for _, path := range []string{"/api/a", "/api/a?status=500", "/users/a", "/x?status=404"} {
		c.Get(path)
	}
	w.logged(4)
	equal(t, "all", w.metric(`weir_objective_requests_total{objective="works"}`), "4")
	equal(t, "errors", w.metric(`weir_objective_bad_total{objective="works",reason="error"}`), "1")
	equal(t, "slow", w.metric(`weir_objective_bad_total{objective="works",reason="slow"}`), "0")
	equal(t, "burn rate", w.metric(`weir_objective_burn_rate{objective="works",window="1h"}`), "1")
	equal(t, "of one route", w.metric(`weir_objective_requests_total{objective="whole"}`), "1")
	s, err := w.Statistics(nil)
	if err != nil || len(s.Objectives) != 2 || s.Objectives[0].Failed != 1 || s.Objectives[0].Good != 3 || s.Objectives[0].Burn[5] != (admin.Burn{Window: "3d", Rate: 1}) {
		t.Errorf("%+v, %v", s.Objectives, err)
	}
	cfg, err := config.Parse("test.toml", []byte(plainListener+text))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if page := w.metrics(); strings.Contains(page, "weir_objective_") {
		t.Error("without objectives there are series of them")
	}
}
