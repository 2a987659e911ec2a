package bench_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
)

// allocations counts what one request allocates anywhere in this process.
func allocations(t *testing.T, sc scenario, sub subject) float64 {
	t.Helper()
	const n = 4000
	run := prepare(t, sc, sub)
	run(500) // beyond the warm-up: pools of every processor
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(n)
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n
}

// A small proxied GET and a fresh hit allocate nothing. Client and origin are
// in the same process and do not either; what is left is the fixed cost of a
// phase and a pool that the collector emptied meanwhile, spread over all requests.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, and makes pools forget")
	}
	weir := subjects()[0]
	checkOf := func(name string, sc scenario, sub subject) {
		t.Helper()
		sc.conns = 4
		if got := allocations(t, sc, sub); got > 0.05 {
			t.Errorf("%s: %.2f allocations per request, want none", name, got)
		}
	}
	check := func(name string, sc scenario) {
		t.Helper()
		checkOf(name, sc, weir)
	}
	check("small proxied GET", scenario{path: "/bytes/1024", body: 1024})
	check("browser's GET", scenario{path: "/page/10240", body: 10 << 10, browser: true})
	check("fresh hit", scenario{path: "/bytes/1024", body: 1024, cache: true})
	observed := func(tables string) subject {
		return subject{"observed", func(tb testing.TB, s setup) (string, func()) { return startObserved(tb, s, tables) }}
	}
	checkOf("small GET that the recorder does not sample", scenario{path: "/bytes/1024", body: 1024},
		observed("[access_log]\noutput = \"off\"\n[inspect]\nsample = 0.000001\n"))
	checkOf("small GET that no trace is kept of", scenario{path: "/bytes/1024", body: 1024},
		observed("[access_log]\noutput = \"off\"\n[tracing]\nenabled = true\nendpoint = \"none\"\nsample = 0.0\n"))
	checkOf("small GET that is logged", scenario{path: "/bytes/1024", body: 1024},
		observed(fmt.Sprintf("[access_log]\noutput = %q\n", filepath.Join(t.TempDir(), "log"))))
}
