package cli

import (
	"bytes"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/testkit"
)

func TestTuneMemory(t *testing.T) {
	gc, limit := debug.SetGCPercent(defaultGC), debug.SetMemoryLimit(-1)
	defer debug.SetGCPercent(gc)
	defer debug.SetMemoryLimit(limit)
	const text = `
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "demo"
[upstreams.demo]
targets = ["demo:one"]
[cache]
size = "256MiB"
`
	cfg, err := config.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	percent := func() int {
		p := debug.SetGCPercent(defaultGC)
		debug.SetGCPercent(p)
		return p
	}
	var m memory
	check := func(caching bool, memory int64, logged string) {
		t.Helper()
		cfg.Routes[0].Cache = nil
		if caching {
			cfg.Routes[0].Cache = &config.RouteCache{Enabled: true}
		}
		debug.SetMemoryLimit(memory)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		m.tune(cfg, memoryLimit(logger), logger)
		if got := log.String(); !strings.Contains(got, logged) {
			t.Errorf("no %q in the log: %s", logged, got)
		}
		if got := debug.SetMemoryLimit(-1); got != memory {
			t.Errorf("the memory limit is %d, want %d", got, memory)
		}
	}
	becomes := func(what string, ok func(percent int) bool) {
		t.Helper()
		testkit.Eventually(t, what, func() bool {
			runtime.GC()
			return ok(percent())
		})
	}
	// With a limit in the environment that of the control group does not count.
	t.Setenv("GOMEMLIMIT", "1")
	check(false, 1<<30, "memory is limited\" limit=1GiB")
	if got := percent(); got != defaultGC {
		t.Errorf("GOGC is %d without a cache", got)
	}
	check(true, 1<<30, "memory is limited")
	becomes("GOGC of a small heap", func(p int) bool { return p == mostGC })
	ballast := make([]byte, 512<<20) // never touched
	becomes("GOGC of a large heap", func(p int) bool { return p == cachingGC })
	runtime.KeepAlive(ballast)
	check(true, 300<<20, "cache_size=256MiB memory_limit=300MiB")
	check(false, 300<<20, "memory is limited")
	becomes("GOGC when nothing is cached any more", func(p int) bool { return p == defaultGC })

	t.Setenv("GOGC", "60")
	check(true, 1<<30, "memory is limited")
	runtime.GC()
	runtime.GC()
	if m.caching.Load() {
		t.Error("the environment's GOGC was not left alone")
	}
}

// The default size of the cache fits the memory that there is; one that was written stays.
func TestFitMemory(t *testing.T) {
	check := func(text string, limit int64, size, object config.Size) {
		t.Helper()
		cfg, err := config.Parse("test", []byte(text+"\n[[listeners]]\naddress = ':80'\n[[routes]]\nrespond = {}\n"))
		if err != nil {
			t.Fatal(err)
		}
		fit(cfg, limit)
		if cfg.Cache.Size != size || cfg.Cache.MaxObject != object {
			t.Errorf("%q, %d: size %s, max_object %s, want %s and %s", text, limit, cfg.Cache.Size, cfg.Cache.MaxObject, size, object)
		}
	}
	check("", math.MaxInt64, 256<<20, 8<<20)
	check("", 1<<30, 256<<20, 8<<20)
	check("", 256<<20, 128<<20, 8<<20)
	check("", 57<<20+1, 28<<20, 8<<20)
	check("", 10<<20, 5<<20, 5<<20)
	check("[cache]\npolicy = 'lru'", 128<<20, 64<<20, 8<<20)
	check("[cache]\nsize = '256MiB'", 64<<20, 256<<20, 8<<20)
	check("cache.size = '100MiB'", 64<<20, 100<<20, 8<<20)
	check("cache = { max_object = '6MiB' }", 10<<20, 5<<20, 6<<20) // which the start then refuses
}
