package bench_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/server"
)

// BenchmarkObserved compares weir without access log, statistics, objectives and metrics page with weir that has all of
// them, the page being read every second. What weir itself takes is the difference to direct.
func BenchmarkObserved(b *testing.B) {
	off := func(tb testing.TB, s setup) (string, func()) {
		return startObserved(tb, s, "[statistics]\nenabled = false\n[access_log]\noutput = \"off\"\n")
	}
	on := func(tb testing.TB, s setup) (string, func()) {
		return startObserved(tb, s, fmt.Sprintf("[metrics]\naddress = \"127.0.0.1:0\"\n[access_log]\noutput = %q\n"+
			"[[objectives]]\nname = \"fast\"\npercent = 99.9\nbelow = \"300ms\"\n", filepath.Join(tb.TempDir(), "access.log")))
	}
	for _, sub := range []subject{{"off", off}, {"on", on}, {"direct", nil}} {
		b.Run("proxy="+sub.name, func(b *testing.B) {
			measureOne(b, scenario{path: "/bytes/1024", body: 1024, conns: 64}, sub)
		})
	}
}

// BenchmarkInspected compares weir without the recorder with weir that records 1 % of the exchanges.
func BenchmarkInspected(b *testing.B) {
	compare(b, scenario{path: "/bytes/1024", body: 1024, conns: 64}, map[string]string{"off": "", "on": "[inspect]\nsample = 0.01\n"})
}

// BenchmarkBodyMetrics compares weir without and with metrics that are taken from JSON answers of 1 KiB: a counter by class, and a
// histogram of scores.
func BenchmarkBodyMetrics(b *testing.B) {
	compare(b, scenario{path: "/json/1024", body: 1024, conns: 64}, map[string]string{"off": "", "on": "[[routes]]\npath = \"/json/\"\nupstream = \"origin\"\n" +
		"[[routes.metrics]]\nname = \"predictions_total\"\neach = \"predictions\"\nlabels = { class = \"json:class\" }\n" +
		"[[routes.metrics]]\nname = \"score\"\ntype = \"histogram\"\nvalue = \"json:predictions.#.score\"\nbuckets = [0.5, 0.9, 1]\n"})
}

// BenchmarkTraced compares weir without tracing with weir that takes part in traces, of which it keeps none, 1 % and all; no
// collector takes them.
func BenchmarkTraced(b *testing.B) {
	const on = "[tracing]\nenabled = true\nendpoint = \"none\"\nsample = "
	compare(b, scenario{path: "/bytes/1024", body: 1024, conns: 64}, map[string]string{"off": "", "0": on + "0.0\n", "0.01": on + "0.01\n", "1": on + "1.0\n"})
}

// compare measures weir with each of several further tables, and without weir.
func compare(b *testing.B, s scenario, tables map[string]string) {
	list := []subject{{"direct", nil}}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		list = append(list, subject{name, func(tb testing.TB, s setup) (string, func()) {
			return startObserved(tb, s, "[access_log]\noutput = \"off\"\n"+tables[name])
		}})
	}
	for _, sub := range list {
		b.Run("proxy="+sub.name, func(b *testing.B) { measureOne(b, s, sub) })
	}
}

// startObserved embeds weir with more tables, and reads its metrics page if there is one.
func startObserved(tb testing.TB, s setup, more string) (address string, stop func()) {
	srv := embed(tb, fmt.Sprintf("[[listeners]]\nname = \"bench\"\naddress = \"127.0.0.1:0\"\n[[routes]]\nupstream = \"origin\"\n"+
		"[upstreams.origin]\ntargets = [\"http://%s\"]\n%s", s.origin, more))
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for srv.MetricsAddr() != nil {
			select {
			case <-done:
				return
			case <-time.After(time.Second):
				scrape(tb, srv)
			}
		}
	}()
	return srv.Addr("bench").String(), func() {
		close(done)
		<-over
		if err := srv.Close(); err != nil {
			tb.Error(err)
		}
	}
}

func embed(tb testing.TB, text string) *server.Server {
	cfg, err := config.Parse("bench.toml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	srv, err := server.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		tb.Fatal(err)
	}
	return srv
}

// scrape reads the metrics page, as Prometheus does, and returns its bytes as they come and its lines.
func scrape(tb testing.TB, srv *server.Server) (size, lines int) {
	response, err := http.Get("http://" + srv.MetricsAddr().String() + "/metrics")
	if err != nil {
		tb.Error(err)
		return 0, 0
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Error(err)
	}
	return len(page), bytes.Count(page, []byte("\n"))
}

// BenchmarkScrape reads the metrics page of a weir with 1,000 routes and 10,000 targets, all of which were used.
func BenchmarkScrape(b *testing.B) {
	srv := embed(b, manyTargets(b))
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Addr("bench").String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for i := range 10_000 {
		fmt.Fprintf(c, "GET /r%d/item/%d HTTP/1.1\r\nHost: weir.test\r\n\r\n", i%1000, i)
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		if response.StatusCode != 200 {
			b.Fatalf("request %d: %s", i, response.Status)
		}
	}
	var size, lines int
	b.ResetTimer()
	before := cpuTime(b)
	for range b.N {
		size, lines = scrape(b, srv)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(size)/1e6, "MB")
	b.ReportMetric(float64(lines), "lines")
}

// manyTargets is a configuration of 100 upstreams with 100 targets each, names of one socket, and 1,000 routes.
func manyTargets(b *testing.B) string {
	dir, err := os.MkdirTemp("", "weir")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		b.Fatal(err)
	}
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })}
	go origin.Serve(ln)
	b.Cleanup(func() { origin.Close() })
	var text strings.Builder
	text.WriteString("[[listeners]]\nname = \"bench\"\naddress = \"127.0.0.1:0\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[access_log]\noutput = \"off\"\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "[[routes]]\npath = \"/r%d/\"\nupstream = \"u%d\"\n", i, i%100)
	}
	for u := range 100 {
		fmt.Fprintf(&text, "[upstreams.u%d]\ntargets = [\n", u)
		for i := range 100 {
			name := filepath.Join(dir, fmt.Sprintf("%d-%d", u, i))
			if err := os.Symlink("s", name); err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(&text, "\"unix:%s\",\n", name)
		}
		text.WriteString("]\n")
	}
	return text.String()
}
