package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
	"weir/server"
)

// busyGeneration is a configuration with something of everything that a generation makes. Those
// of even and odd numbers differ in their targets and routes.
func busyGeneration(url string, n int) string {
	var b strings.Builder
	b.WriteString(plainListener + "[metrics]\naddress = \"127.0.0.1:0\"\n")
	for i := range 20 {
		fmt.Fprintf(&b, "[[routes]]\nname = \"r%[1]d\"\npath = \"/%[1]d\"\nupstream = \"u%[2]d\"\ncache = true\nrequest_headers.set.X-Generation = \"%[3]d\"\n",
			i, i%5, n)
	}
	fmt.Fprintf(&b, "[[routes]]\nname = \"only%d\"\npath = \"/only\"\nupstream = \"u0\"\ncache = true\n", n%2)
	for i := range 5 {
		fmt.Fprintf(&b, "[upstreams.u%d]\ntargets = [%q, \"http://127.0.0.%d:1\"]\nconnections.idle = \"20ms\"\n%s\n",
			i, url, 1+n%2, []string{"retry.hedge = 0.9", "connections.pipeline = 4", "limits = { in_flight = 9, queue = 5 }", "sticky = {}", "balance = \"ewma\""}[i])
	}
	return b.String()
}

// Reloads leave nothing behind: neither memory nor goroutines, descriptors or series. WEIR_SOAK_GROWTH
// is their number.
func TestReloadsLeaveNothing(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // keeps nothing
		w.Header().Set("Cache-Control", "no-store")
	}))
	defer origin.Close()
	w := launch(t, busyGeneration(origin.URL, 0), server.WithAccessLogWriter(io.Discard))
	reload := func(times int) {
		for n := range times {
			if err := w.Reload(parse(t, busyGeneration(origin.URL, n+1))); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				w.get("GET", fmt.Sprintf("/%d", i))
			}
			w.get("GET", "/only")
		}
	}
	type size struct{ heap, goroutines, descriptors, series int }
	measure := func() size {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		goroutines, descriptors := resources(t)
		return size{int(m.HeapAlloc), goroutines, descriptors, strings.Count(w.metrics(), "\n")}
	}
	reload(20)
	before := measure()
	n := testkit.Soak(t, "WEIR_SOAK_GROWTH", testkit.Rounds(25, 60))
	reload(n)
	// What a few generations that have just ended hold is no growth, nor are new buckets of histograms.
	var now size
	grown := func() bool {
		now = measure()
		return now.heap > before.heap+2<<20 || now.goroutines > before.goroutines+50 || now.descriptors > before.descriptors+50 ||
			now.series > before.series+50
	}
	for end := time.Now().Add(testkit.Limit); grown() && time.Now().Before(end); {
		<-after(50)
	}
	if grown() {
		t.Errorf("before: %+v, after %d reloads: %+v", before, n, now)
	}
}
