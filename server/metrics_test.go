package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

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
		if !bytes.Contains(source, []byte("weir_")) {
			return err
		}
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
		w.becomes(series, series, want)
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

// Every metric has its description and its kind, before all of its series.
func TestMetricsAreDescribed(t *testing.T) {
	t.Parallel()
	pair := testkit.NewAuthority(t).Issue("a.example")
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	w := launch(t, plainListener+fmt.Sprintf("[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.2:0\"\ncertificates = [{ cert = %q, key = %q }]\n", pair.Cert, pair.Key)+toOrigin(origin.URL))
	w.dial().Get("/")
	w.logged(1)
	described, name := map[string]bool{}, ""
	for line := range strings.Lines(w.metrics()) {
		line = strings.TrimSuffix(line, "\n")
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ = strings.Cut(help, " ")
			if described[name] || help == "" || strings.ContainsAny(help, "`[") || strings.HasPrefix(name, "weir_") && strings.HasPrefix(help, "of the ") {
				t.Errorf("description %q", line)
			}
			described[name] = true
			continue
		}
		if kind, ok := strings.CutPrefix(line, "# TYPE "+name+" "); ok {
			equal(t, name+" is a counter", kind == "counter", strings.HasSuffix(name, "_total"))
			equal(t, name+" is a histogram", kind == "histogram", slices.Contains([]string{
				"weir_request_duration_seconds", "weir_request_processing_seconds", "weir_response_processing_seconds", "weir_path_duration_seconds",
				"weir_upstream_first_byte_seconds",
			}, name))
			continue
		}
		if !strings.HasPrefix(line, name) {
			t.Errorf("%q stands with the series of %s", line, name)
		}
	}
	if !described["weir_requests_total"] || !described["weir_upstream_first_byte_seconds"] || !described["go_goroutines"] {
		t.Errorf("described are %v", described)
	}
	w.becomes("certificate", fmt.Sprintf("weir_certificate_expiry_timestamp_seconds{listener=%q,certificate=%q}", "tls", pair.Cert), fmt.Sprint(pair.Certificate.Leaf.NotAfter.Unix()))
	equal(t, "build", strings.Contains(w.metrics(), `weir_build_info{version="",goversion="go1`), true)
}

// Without series for each route and target there are their sums.
func TestFewSeries(t *testing.T) {
	t.Parallel()
	answer := testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	a, b := testkit.Listen(t, answer), testkit.Listen(t, answer)
	w := launch(t, toOrigin(a.URL, b.URL)+"[[routes]]\npath = \"/b\"\nupstream = \"origin\"\n[metrics]\naddress = \"127.0.0.1:0\"\nper_route = false\nper_target = false\n")
	c := w.dial()
	for _, path := range []string{"/", "/b", "/", "/b", "/b"} {
		c.Get(path)
	}
	w.logged(5)
	check := func(series, want string) {
		t.Helper()
		w.becomes(series, series, want)
	}
	check(`weir_requests_total{status="200"}`, "5")
	check(`weir_request_duration_seconds_bucket{le="+Inf"}`, "5")
	check(`weir_request_duration_seconds_count`, "5")
	check(`weir_response_body_bytes_total`, "10")
	check(`weir_upstream_attempts_total{upstream="origin",cause="ok"}`, "5")
	check(`weir_upstream_connections{upstream="origin",state="open"}`, "2")
	check(`weir_upstream_target_state{upstream="origin",state="healthy"}`, "2")
	if page := w.metrics(); strings.Contains(page, "route=") || strings.Contains(page, "target=") {
		t.Errorf("the labels are there:\n%s", page)
	}
	all := w.series()
	if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
		t.Errorf("%d series, %d different ones", len(all), len(unique))
	}

	// Compressed for those who take it.
	get := func(accept string) *http.Response {
		t.Helper()
		r, err := http.NewRequest("GET", "http://"+w.MetricsAddr().String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}
	for accept, coding := range map[string]string{"gzip": "gzip", "br, GZIP;q=0.5": "gzip", "identity": "", "gzip;q=0": "", "gzip; q=0.0": ""} {
		equal(t, accept, get(accept).Header.Get("Content-Encoding"), coding)
	}
	z, err := gzip.NewReader(get("gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || !strings.Contains(string(text), "# TYPE weir_requests_total counter") {
		t.Errorf("the compressed page is %q, %v", text, err)
	}
}

// A page whose name was made an address of this machine reads nothing.
func TestPagesCheckTheHost(t *testing.T) {
	t.Parallel()
	w := launch(t, "[[routes]]\nrespond = {}\n[metrics]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n")
	check := func(addr net.Addr, path, host string, status int) {
		t.Helper()
		c := testkit.Dial(t, addr)
		c.Send("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		equal(t, path+" for "+host, c.Response("GET").Status(), status)
	}
	for _, host := range []string{"localhost", "LOCALHOST:9110", "127.0.0.1:1", "[::1]:1", "[::1]", "a.localhost", "localhost.", ""} {
		check(w.AdminAddr(), "/upstreams", host, 200)
		check(w.MetricsAddr(), "/-/healthy", host, 200)
	}
	for _, host := range []string{"evil.example", "evil.example:9110", "localhost.evil.example", "127.0.0.1.evil.example"} {
		check(w.AdminAddr(), "/upstreams", host, 403)
		check(w.AdminAddr(), "/debug/pprof/", host, 403)
		check(w.MetricsAddr(), "/metrics", host, 403)
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
	w.becomes(attempts, attempts, "1")
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

// Whatever names are, the page is in the text format: readers take no other escapes in the values of labels than
// those of the backslash, the quote and the end of a line.
func TestNamesAreEscaped(t *testing.T) {
	t.Parallel()
	const name = `n\"\\\t\u0001\u200b\u2028é\n`
	w := launch(t, strings.NewReplacer("NAME", name, "UP", `n\"\\\u200b\u2028é`, "TARGET", testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).URL).Replace(`
[[listeners]]
name = "NAME"
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
[[objectives]]
name = "NAME"
percent = 99.0
[[routes]]
name = "NAME"
path = "/{any}"
upstream = "UP"
cache = true
[[routes.metrics]]
name = "agents_total"
labels = { agent = "query:agent" }
[upstreams."UP"]
targets = ["TARGET"]
`))
	c := testkit.Dial(t, w.Addr("n\"\\\t\u0001\u200b\u2028é\n"))
	c.Send("GET /a?agent=%22%5c%09%01%e2%80%8b%ff%0a HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	equal(t, "status", c.Response("GET").Status(), 200)
	w.becomes("the exchange", `weir_objective_requests_total{objective="n\"\\`+"\t\u0001\u200b\u2028é"+`\n"}`, "1")
	for _, accept := range []string{"text/plain", "application/openmetrics-text"} {
		r, err := http.NewRequest("GET", "http://"+w.MetricsAddr().String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(page) || !bytes.Contains(page, []byte("agents_total{route=")) {
			t.Errorf("%s: the page is no UTF-8, or lacks series", accept)
		}
		line := regexp.MustCompile(`^([a-z_]+)({([a-zA-Z_]+="([^"\\]|\\[\\"n])*",?)*})? [0-9eE.+-]+( # .*)?\n$`)
		for text := range strings.Lines(string(page)) {
			if !strings.HasPrefix(text, "#") && !line.MatchString(text) {
				t.Errorf("%s: %q", accept, text)
			}
		}
	}
}

// A request that is sent again because its connection ended is one attempt, and counted, so that the figures say
// how many requests the target got.
func TestResendsAreCounted(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		c.Request()
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if c.Index == 0 {
			c.Request() // and no answer
		}
	})
	w := launch(t, toOrigin(origin.URL))
	c := w.dial()
	for range 2 {
		equal(t, "status", c.Get("/").Status(), 200)
	}
	w.logged(2)
	target := fmt.Sprintf("{upstream=%q,target=%q", "origin", origin.URL)
	w.becomes("attempts", "weir_upstream_attempts_total"+target+`,cause="ok"}`, "2")
	w.becomes("resends", "weir_upstream_resends_total"+target+"}", "1")
	equal(t, "requests", origin.Requests(), 3)
}
