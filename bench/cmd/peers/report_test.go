package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	check := func(want float64, cpus ...float64) {
		t.Helper()
		var s []sample
		for _, c := range cpus {
			s = append(s, sample{CPU: c, Requests: 10, Failed: 1})
		}
		m := median(s)
		if m.CPU != want || m.Requests != int64(10*len(cpus)) || m.Failed != int64(len(cpus)) {
			t.Errorf("median of %v: %+v, want %g with all requests and failures added", cpus, m, want)
		}
	}
	check(0)
	check(5, 5)
	check(3, 1, 9, 3)
	check(2.5, 4, 1, 2, 3)
}

// measured makes a result of one scenario from CPU figures.
func measured(id string, cpus map[string]float64) *result {
	r := &result{Rows: []row{{ID: id, Title: "title of " + id}}}
	for _, name := range []string{"weir", "weir-observed", "base", "head", "nginx", "haproxy", "httputil", "floor"} {
		if v, ok := cpus[name]; ok {
			s := sample{CPU: v, P99: v, P50: v, IdleBytes: v * 1024, Requests: 100}
			r.Rows[0].Cells = append(r.Rows[0].Cells, cell{Peer: name, Rounds: []sample{s}, Median: s})
		}
	}
	return r
}

func TestTargets(t *testing.T) {
	check := func(r *result, what, against, state string, measured float64) {
		t.Helper()
		for _, v := range judge(r) {
			if v.What == what && strings.HasPrefix(v.Against, against) && (v.Scenario == r.Rows[0].ID || v.Scenario == "all") {
				got := v.Weir
				if v.Against != "" {
					got = v.Ratio
				}
				if v.State != state || math.Abs(got-measured) > 1e-9 {
					t.Errorf("%s against %s: %s at %g, want %s at %g", what, against, v.State, got, state, measured)
				}
				return
			}
		}
		t.Errorf("no target %q against %q", what, against)
	}
	const c = "CPU us per request"
	r := measured("pass-1k-c64", map[string]float64{"weir": 12, "haproxy": 12, "nginx": 8, "floor": 6})
	check(r, c, "haproxy", stateMet, 1)
	check(r, c, "nginx", stateMissed, 1.5)
	check(r, c, "httputil", stateUnknown, 0)
	// The floor is no peer: it is never the best one.
	check(r, c, best, stateAimMissed, 1.5)
	check(r, c, "floor", stateAimMissed, 2)
	check(r, "failed requests and measurements", "", stateMet, 0)
	// The best peer is the cheapest of the others, never weir itself.
	r = measured("pass-100k", map[string]float64{"weir": 9, "haproxy": 10, "nginx": 12})
	check(r, c, best, stateMet, 0.9)
	r = measured("observed", map[string]float64{"weir": 10, "weir-observed": 10.5})
	check(r, c+" with metrics and access log", "weir", stateAim, 1.05)
	r = measured("idle", map[string]float64{"weir": 7})
	check(r, "KiB per idle connection", "", stateAim, 7)
	// A single failed request is one too many.
	r.Rows[0].Cells[0].Median.Failed = 1
	check(r, "failed requests and measurements", "", stateMissed, 1)
	// So is a scenario that weir could not be measured at.
	r = measured("idle", map[string]float64{"weir": 7})
	r.Rows = append(r.Rows, row{ID: "hit-1k", Cells: []cell{{Peer: "weir", Error: "cannot start"}, {Peer: "nginx", Error: "cannot start"}}})
	check(r, "failed requests and measurements", "", stateMissed, 1)
	// The latency of each scenario with a fixed rate counts.
	r = measured("hit-10k", map[string]float64{"weir": 8, "haproxy": 10})
	check(r, "p99 us at the fixed rate", "haproxy", stateMet, 0.8)
}

func TestEveryTargetNamesAScenario(t *testing.T) {
	ids := map[string]bool{}
	for _, sc := range scenarios() {
		ids[sc.id] = true
	}
	for _, target := range targets() {
		if !ids[target.scenario] {
			t.Errorf("target for scenario %q, which does not exist", target.scenario)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := measured("pass-1k-c64", map[string]float64{"weir": 12, "nginx": 8})
	r.Machine.Caches = []processorCache{{1, "Data", 32 << 10, "0"}, {3, "Unified", 32 << 20, "0-1"}}
	r.Missing = map[string]string{"varnish": "apt-get install varnish"}
	r.Rows[0].Cells = append(r.Rows[0].Cells, cell{Peer: "caddy", Error: "cannot start"})
	r.Targets = judge(r)
	got := markdown(r)
	check := func(want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	check("| scenario | weir | nginx |")
	r.Rows = append(r.Rows, measured("observed", map[string]float64{"weir": 10, "weir-observed": 12.5}).Rows...)
	got = markdown(r)
	// Weir with other settings has a table of its own.
	check("| scenario | weir | nginx |")
	check("| scenario | weir | weir-observed |")
	check("| title of observed | 10.0 | 12.5 (0.80) |")
	// The ratio is weir's cost as a multiple of the peer's.
	check("| title of pass-1k-c64 | 12.0 | 8.0 (1.50) |")
	check("- varnish is missing: apt-get install varnish")
	check("- title of pass-1k-c64, caddy: cannot start")
	check("Caches of core 0: L1d 32 KiB, L3 32 MiB of cores 0-1.")
	check("| pass-1k-c64 | CPU us per request | 12 | nginx 8 | 1.5 | <= 1.1 |  | missed |")
	check("| pass-1k-c64 | CPU us per request | 12 | nginx 8 (the best) | 1.5 |  | <= 1 | aim missed |")
	check("| all | failed requests and measurements | 0 |  |  | 0 |  | met |")
	check("Not measured: ")
	check("pass-100k the best peer (CPU us per request)")
}

func TestRegressions(t *testing.T) {
	check := func(base, head float64, wantErrors int) {
		t.Helper()
		cpus := map[string]float64{}
		if base > 0 {
			cpus["base"] = base
		}
		if head > 0 {
			cpus["head"] = head
		}
		table, errs := regressions(measured("hit-1k", cpus), 1.10)
		if len(errs) != wantErrors {
			t.Errorf("%g to %g: %v, want %d errors; table:\n%s", base, head, errs, wantErrors, table)
		}
	}
	check(10, 10.9, 0)
	check(10, 11.1, 1)
	check(10, 5, 0)
	// Only new abilities leave nothing to compare; lost ones are a second error.
	check(0, 10, 1)
	check(10, 0, 2)
	check(0, 0, 1)
}

func TestPairedRatio(t *testing.T) {
	cells := func(base, head []float64) row {
		r := row{Cells: []cell{{Peer: "base"}, {Peer: "head"}}}
		for i := range base {
			r.Cells[0].Rounds = append(r.Cells[0].Rounds, sample{CPU: base[i]})
			r.Cells[1].Rounds = append(r.Cells[1].Rounds, sample{CPU: head[i]})
		}
		return r
	}
	// A machine that is twice as slow in one round slows both builds.
	if got := pairedRatio(cells([]float64{10, 20, 10}, []float64{11, 22, 11}), "base", "head"); math.Abs(got-1.1) > 1e-9 {
		t.Errorf("ratio %g, want 1.1", got)
	}
	// One odd round decides nothing.
	if got := pairedRatio(cells([]float64{10, 10, 10}, []float64{10, 30, 10}), "base", "head"); got != 1 {
		t.Errorf("ratio %g, want 1", got)
	}
}

// wellFormed parses s as XML and counts elements.
func wellFormed(t *testing.T, s string) map[string]int {
	t.Helper()
	count := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return count
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, s)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
}

func TestBarChart(t *testing.T) {
	r := measured("pass-1k-c64", map[string]float64{"weir": 12, "nginx": 8})
	r.Rows[0].Title = "less < more & \"more\""
	svg := barChart("CPU", bars(r, cpu))
	if n := wellFormed(t, svg)["rect"]; n != 3 {
		t.Errorf("%d rectangles, want the background and two bars", n)
	}
	if !strings.Contains(svg, colourWeir) || !strings.Contains(svg, ">12</text>") {
		t.Errorf("weir's bar or its figure is missing in:\n%s", svg)
	}
	if barChart("nothing", nil) != "" {
		t.Error("a chart was made of nothing")
	}
}

func TestLineChart(t *testing.T) {
	svg := lineChart("curves", []curve{{"routes", []point{{10, 5}, {1000, 5}, {100000, 6}}}, {"one", []point{{1, 1}}}})
	n := wellFormed(t, svg)
	if n["circle"] != 4 || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("%d points, want 4, all with numbers, in:\n%s", n["circle"], svg)
	}
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := measured("idle", map[string]float64{"weir": 7})
	if err := save(dir, "peers", r, "text\n", map[string]string{"cpu": "<svg/>", "none": ""}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if s, ok := back.at("idle", "weir"); !ok || s.IdleBytes != 7*1024 {
		t.Errorf("read back %+v, %v", s, ok)
	}
	text, err := os.ReadFile(filepath.Join(dir, "peers.md"))
	if err != nil || !strings.Contains(string(text), "![cpu](peers-cpu.svg)") {
		t.Errorf("%q, %v, want the chart in the text", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "peers-none.svg")); err == nil {
		t.Error("an empty chart was written")
	}
}

func TestChoose(t *testing.T) {
	check := func(list string, want int, wantErr string) {
		t.Helper()
		got, err := chooseScenarios(list)
		if wantErr == "" && (err != nil || len(got) != want) || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("%q: %d chosen, %v, want %d or error %q", list, len(got), err, want, wantErr)
		}
	}
	check("", len(scenarios()), "")
	check("idle, hit-1k", 2, "")
	check("hit-1", 0, "allowed are pass-1k-c64, ")
}

func TestUnknownRevision(t *testing.T) {
	check := func(rev string) {
		t.Helper()
		dir := t.TempDir()
		err := buildRevision(t.Context(), filepath.Join(dir, "tree"), rev, filepath.Join(dir, "weir"))
		if err == nil || !strings.Contains(err.Error(), "cannot find revision") {
			t.Errorf("%q: error %v, want that there is no such revision", rev, err)
		}
	}
	check("no-such-revision")
	check("--output=x")
	check("")
}

func TestCaches(t *testing.T) {
	dir := t.TempDir()
	write := func(index, file, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, index), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, index, file), []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("index0", "level", "1")
	write("index0", "type", "Data")
	write("index0", "size", "48K")
	write("index0", "shared_cpu_list", "0")
	write("index1", "level", "2") // and no size
	write("index2", "level", "3")
	write("index2", "type", "Unified")
	write("index2", "size", "32768K")
	write("index2", "shared_cpu_list", "0-3")
	got := caches(dir)
	if len(got) != 2 || got[0].String() != "L1d 48 KiB" || got[1].String() != "L3 32 MiB of cores 0-3" {
		t.Errorf("caches %v, want the first and the last", got)
	}
}

func TestMetric(t *testing.T) {
	const metrics = "# TYPE weir_cache_bytes gauge\nweir_cache_bytes_more 1\nweir_cache_bytes 2048\n"
	if got, err := metric([]byte(metrics), "weir_cache_bytes"); err != nil || got != 2048 {
		t.Errorf("%g, %v, want 2048", got, err)
	}
	if _, err := metric([]byte(metrics), "weir_cache"); err == nil {
		t.Error("a metric was found that is not there")
	}
}
