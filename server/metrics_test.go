package server_test

import (
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// series returns the names of all of weir's series, with their labels.
func (w *weir) series() []string {
	var names []string
	for line := range strings.Lines(w.metrics()) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && strings.HasPrefix(line, "weir_") {
			names = append(names, line[:i])
		}
	}
	slices.Sort(names)
	return names
}

// Every metric in the source stands in docs/metrics.md, and the other way round.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `(weir_[a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = true
	}
	exported := make(map[string]bool)
	err = fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "bench/") {
			return err
		}
		source, err := os.ReadFile("../" + name)
		for _, m := range regexp.MustCompile("[\"`](weir_[a-z_]+)").FindAllStringSubmatch(string(source), -1) {
			exported[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "list of metrics", fmt.Sprint(slices.Sorted(maps.Keys(documented))), fmt.Sprint(slices.Sorted(maps.Keys(exported))))
}

// Each thing that is counted is counted where it belongs.
func TestMetrics(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	w := launch(t, toOrigin(origin.URL)+"[[routes]]\nname = \"dead\"\npath = \"/dead\"\nupstream = \"dead\"\n[upstreams.dead]\ntargets = [\""+refused(t)+"\"]\n[metrics]\naddress = \"127.0.0.1:0\"\n")
	c := w.dial()
	for range 2 {
		c.Send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 3\r\n\r\nabc")
		c.Response("POST")
	}
	c.Get("/dead")
	w.logged(3)
	check := func(series, want string) {
		t.Helper()
		equal(t, series, w.metric(series), want)
	}
	target := fmt.Sprintf("upstream=%q,target=%q", "origin", origin.URL)
	check(`weir_requests_total{route="all",status="200"}`, "2")
	check(`weir_causes_total{route="all",cause="ok"}`, "2")
	check(`weir_request_duration_seconds_count{route="all"}`, "2")
	check(`weir_request_duration_seconds_bucket{route="all",le="+Inf"}`, "2")
	check(`weir_request_body_bytes_total{route="all"}`, "6")
	check(`weir_response_body_bytes_total{route="all"}`, "10")
	check(`weir_listener_requests_total{listener="main"}`, "3")
	testkit.Eventually(t, "nothing runs", func() bool { return w.metric(`weir_listener_requests_in_flight{listener="main"}`) == "0" })
	check(`weir_listener_connections{listener="main"}`, "1")
	check(`weir_listener_connections_total{listener="main"}`, "1")
	check(`weir_upstream_attempts_total{`+target+`,cause="ok"}`, "2")
	check(`weir_upstream_first_byte_seconds_count{`+target+`}`, "2")
	check(`weir_upstream_connections{`+target+`,state="open"}`, "1")
	check(`weir_upstream_in_flight{`+target+`}`, "0")
	check(`weir_causes_total{route="dead",cause="connect_failed"}`, "1")
	if !strings.Contains(w.metrics(), `weir_upstream_attempts_total{upstream="dead",target="http://127.0.0.1:`) {
		t.Error("the failed attempt is not counted")
	}
	// The same over HTTP, with those of the process.
	r, err := http.Get("http://" + w.MetricsAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	equal(t, "type", r.Header.Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
	for _, want := range []string{"process_resident_memory_bytes", "go_goroutines", "process_open_fds"} {
		if !strings.Contains(w.metrics(), "\n"+want+" ") {
			t.Errorf("no %s", want)
		}
	}
	// No series is there twice, which Prometheus refuses.
	all := w.series()
	if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
		t.Errorf("%d series, %d different ones", len(all), len(unique))
	}
}

// Series of a target or an upstream that a reload removes disappear; those of
// what stays count on.
func TestRemovedTargetsLeaveNoSeries(t *testing.T) {
	t.Parallel()
	answer := testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	stays, goes, alone := testkit.Listen(t, answer), testkit.Listen(t, answer), testkit.Listen(t, answer)
	more := fmt.Sprintf("[[routes]]\npath = \"/other\"\nupstream = \"other\"\n[upstreams.other]\ntargets = [%q]\n", alone.URL)
	w := launch(t, toOrigin(stays.URL, goes.URL)+more)
	c := w.dial()
	for _, path := range []string{"/", "/", "/other"} {
		c.Get(path)
	}
	w.logged(3)
	for _, name := range []string{stays.URL, goes.URL, alone.URL, "other"} {
		if !strings.Contains(w.metrics(), name) {
			t.Errorf("no series of %s", name)
		}
	}
	if err := w.Reload(parse(t, plainListener+toOrigin(stays.URL))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{goes.URL, alone.URL, `upstream="other"`} {
		testkit.Eventually(t, "nothing speaks of "+name, func() bool { return !strings.Contains(w.metrics(), name) })
	}
	attempts := fmt.Sprintf("weir_upstream_attempts_total{upstream=%q,target=%q,cause=%q}", "origin", stays.URL, "ok")
	equal(t, attempts, w.metric(attempts), "1")
}

// Clients cannot make series.
func TestClientsMakeNoSeries(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	w := launch(t, "[[routes]]\nname = \"some\"\nhost = \"*.weir.test\"\npath = \"/{service}/\"\nupstream = \"{service}\"\n[upstreams.origin]\ntargets = [\""+origin.URL+"\"]\n")
	requests := func(i int) []string {
		return []string{
			fmt.Sprintf("GET /origin/%d HTTP/1.1\r\nHost: h%d.weir.test\r\n\r\n", i, i),
			fmt.Sprintf("M%d /origin/ HTTP/1.1\r\nHost: a.weir.test\r\nX-%d: %d\r\nX-Request-Id: %d\r\n\r\n", i, i, i, i),
			fmt.Sprintf("GET /other-%d/ HTTP/1.1\r\nHost: a.weir.test\r\n\r\n", i),
			fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: %d\r\n\r\n", i, i),
			fmt.Sprintf("GET /%d HTTP/1.%d\r\nHost: a\r\n\r\n", i, i+2),
			fmt.Sprintf("CONNECT a%d:80 HTTP/1.1\r\nHost: a%d:80\r\n\r\n", i, i),
			fmt.Sprintf("GET /%%2e%%2e/%d HTTP/1.1\r\nHost: a.weir.test\r\n\r\n", i),
			fmt.Sprintf("garbage %d\r\n\r\n", i),
		}
	}
	lines := 0
	send := func(i int) {
		for _, r := range requests(i) {
			c := w.dial()
			c.Send(r)
			c.Response("GET")
			c.Close()
			lines++
		}
		w.logged(lines)
	}
	send(0)
	before := w.series()
	for i := range 5 {
		send(i + 1)
	}
	equal(t, "series", strings.Join(w.series(), "\n"), strings.Join(before, "\n"))
}
