package main

import (
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/bench/load"
)

// TestMake runs the test as users do, only shorter.
func TestMake(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	c := exec.CommandContext(t.Context(), "make", "load-test", "DURATION=5s", "USERS=4", "RATE=200", "INSTANCES=2", "PAGES=10", "OUT="+out)
	c.Dir = "../../.."
	text, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	table := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		for _, title := range []string{"cache on", "cache off"} {
			if rest, ok := strings.CutPrefix(line, title+" "); ok {
				table[title] = strings.Fields(rest)
			}
		}
	}
	// Requests of the fixed rate, all of them answered; each page is fetched once, or each time.
	for title, atInstances := range map[string]int{"cache on": 10, "cache off": 1000} {
		row := table[title]
		if len(row) < 4 || row[0] != "1000" || row[2] != "100.00" {
			t.Errorf("%s: %q: want 1000 requests, all of which succeed\n%s", title, row, text)
			continue
		}
		if got, err := strconv.Atoi(row[len(row)-1]); err != nil || got < atInstances || title == "cache on" && got > 100 {
			t.Errorf("%s: %q: want %d requests at the instances", title, row, atInstances)
		}
	}
	svg, page := read(t, out, "load-test.svg"), read(t, out, "load-test.html")
	judge(t, svg)
	if !strings.Contains(page, svg) || !strings.Contains(page, "prefers-color-scheme") || !strings.Contains(page, "<td>cache off</td>") {
		t.Errorf("the page lacks the chart, the table, or colours for dark:\n%s", page)
	}
	if outside := regexp.MustCompile(`(src|href)=|url\(|@import`).FindString(page); outside != "" {
		t.Errorf("the page has %s: want nothing from outside", outside)
	}
}

func read(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// judge looks at a chart of two sides: it is XML, and all of each panel is there.
func judge(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, svg)
		}
	}
	for text, n := range map[string]int{
		">cache on<": 1, ">cache off<": 1, ">requests per second<": 2, ">success rate<": 2, ">latency, ms (logarithmic)<": 2, ">p50<": 2, ">p90<": 2, ">p99<": 2,
	} {
		if got := strings.Count(svg, text); got != n {
			t.Errorf("the chart has %q %d times, want %d", text, got, n)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("the chart has numbers that are none:\n%s", svg)
	}
}

// TestChart: intervals without an answer, failures, and nothing at all.
func TestChart(t *testing.T) {
	t.Parallel()
	for _, intervals := range [][]load.Interval{
		nil,
		{{Length: time.Second}},
		{{Length: time.Second, Failed: 3}, {Start: time.Second, Length: time.Second}, {Start: 2 * time.Second, Length: time.Second, Requests: 1, P50: 1, P90: 1, P99: time.Hour, Max: time.Hour}},
	} {
		result := load.Result{Intervals: intervals}
		judge(t, chart(&report{title: `<a> & "b"`, sides: []side{{title: "cache on", result: result}, {title: "cache off", result: result}}}))
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-users", "0"}, {"-duration", "0s"}, {"-rate", "-1"}, {"60s"}} {
		if err := run(append([]string{"-out", t.TempDir()}, args...), io.Discard); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
