package server

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"weir/config"
	"weir/internal/figures"
	"weir/internal/testkit"
)

// The history has a point for each interval in which there was an admin address, and rates of
// that time.
func TestHistory(t *testing.T) {
	t.Parallel()
	var h history
	at := time.Unix(1_700_000_000, 0)
	s := sample{at: at}
	var all figures.Figures
	for i := range historyPoints + 10 {
		s.at = at.Add(time.Duration(i) * historyInterval)
		s.totals.Requests[2] += 100
		s.totals.Requests[5] += 2
		s.totals.Requests[0] += 4 // clients that went away, and connections that were passed on
		all.Add(&figures.Sample{Duration: 7 * time.Millisecond, BytesOut: 4000, Failed: true})
		s.totals.All = all.Snapshot()
		s.totals.Cache.Outcomes = map[string]uint64{"hit": s.totals.Requests[2] / 2, "miss": s.totals.Requests[2] / 2}
		s.cpu += time.Second
		h.add(s)
	}
	got := h.since(time.Time{})
	if len(got.Time) != historyPoints || got.Time[historyPoints-1] != float64(s.at.Unix()) {
		t.Fatalf("%d points until %v", len(got.Time), got.Time[len(got.Time)-1])
	}
	last := fmt.Sprint(got.Requests[5], got.ServerErrors[5], got.BytesOut[5], got.CacheAsked[5], got.CacheHits[5], got.CPU[5])
	if want := "53 0.5 2000 50 25 0.5"; last != want {
		t.Errorf("requests, errors, bytes, asked, hits, processors: %s, want %s", last, want)
	}
	if p50, p99 := got.P50[5], got.P99[5]; p50 < 0.006 || p50 > 0.008 || p99 > 0.008 {
		t.Errorf("p50 %v, p99 %v: want some 7 ms", p50, p99)
	}
	if newer := h.since(s.at.Add(-2 * historyInterval)); len(newer.Time) != 2 {
		t.Errorf("%d points are newer than the last but two", len(newer.Time))
	}
	// Counters that were dropped with their route are no negative rates.
	s.at, s.totals.Requests = s.at.Add(historyInterval), [10]uint64{}
	h.add(s)
	if got := h.since(s.at.Add(-time.Second)); got.Requests[0] != 0 {
		t.Errorf("a rate of %v", got.Requests[0])
	}
}

// Without an admin address nothing is sampled.
func TestNoHistory(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("test.toml", []byte("[[listeners]]\naddress = \"127.0.0.1:0\"\n[[routes]]\nrespond = { status = 204 }\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now()
	s.remember(now)
	s.remember(now.Add(historyInterval))
	if points := s.history.since(time.Time{}).Time; len(points) != 0 {
		t.Errorf("%d points", len(points))
	}
}

// What routes have counted that a reload takes away stays in the totals, so that rates of the others go on.
func TestTotalsOfRoutesThatAreGone(t *testing.T) {
	t.Parallel()
	const start = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[access_log]\noutput = \"off\"\n[[routes]]\nname = \"stays\"\nrespond = { status = 204 }\n"
	parse := func(text string) *config.Config {
		cfg, err := config.Parse("test.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	s, err := New(parse(start + "[[routes]]\nname = \"goes\"\npath = \"/goes\"\nrespond = { status = 503 }\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, path := range []string{"/", "/goes", "/goes"} {
		r, err := http.Get("http://" + s.Addr("127.0.0.1:0").String() + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	counted := func() string {
		totals := s.metrics.Totals()
		return fmt.Sprint(totals.All.Count, totals.All.Errors, totals.Requests[2], totals.Requests[5])
	}
	becomes := func(what string, is func() bool) {
		t.Helper()
		testkit.Eventually(t, what, is)
	}
	becomes("all are counted", func() bool { return counted() == "3 2 1 2" })
	if err := s.Reload(parse(start)); err != nil {
		t.Fatal(err)
	}
	becomes("the route is gone", func() bool {
		var page bytes.Buffer
		s.WriteMetrics(&page)
		return !bytes.Contains(page.Bytes(), []byte("goes"))
	})
	if got := counted(); got != "3 2 1 2" {
		t.Errorf("%s are counted", got)
	}
}
