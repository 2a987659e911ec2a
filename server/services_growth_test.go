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
	"weir/lb"
	"weir/server"
)

// Services that come and go leave nothing behind: neither memory nor goroutines, descriptors or
// series. WEIR_SERVICE_SECONDS says for how long 1,000 of them do.
func TestServicesLeaveNothing(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }))
	defer origin.Close()
	text := strings.Replace(byVersion, "targets = []", "targets = []\nconnections.idle = \"20ms\"", 1)
	w := launch(t, text+"forget_after = \"1h\"\n", server.WithAccessLogWriter(io.Discard))
	r := w.Registry()
	round := func(services int) {
		for i := range services {
			name, version := fmt.Sprint("service", i%50), fmt.Sprint("v", i/50)
			if err := r.AddFor(name, version, lb.Endpoint{URL: origin.URL, Weight: 1 + i%3}, time.Hour); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				if status, _, body := w.get("GET", "/"+name+"/"+version+"/a"); status != 200 || body != "/a" {
					t.Errorf("%s %s: %d %s", name, version, status, body)
				}
			}
		}
		for _, service := range r.Services() {
			if !r.Remove(service.Name, service.Version) {
				t.Errorf("%s %s is not there", service.Name, service.Version)
			}
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
	services, seconds := 100, testkit.Soak(t, "WEIR_SERVICE_SECONDS", 0)
	if seconds > 0 {
		services = 1000
	}
	round(services)
	before := measure()
	rounds := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); rounds < 5 || time.Now().Before(end); rounds++ {
		round(services)
	}
	var now size
	grown := func() bool {
		now = measure()
		return now.heap > before.heap+2<<20 || now.goroutines > before.goroutines+20 || now.descriptors > before.descriptors+20 || now.series > before.series+50
	}
	for end := time.Now().Add(testkit.Limit); grown() && time.Now().Before(end); {
		<-after(50)
	}
	t.Logf("before: %+v, after %d times %d services: %+v", before, rounds, services, now)
	if grown() {
		t.Errorf("before: %+v, after %d times %d services: %+v", before, rounds, services, now)
	}
}
