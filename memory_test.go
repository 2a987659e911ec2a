package main

import (
	"bytes"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"

	"weir/config"
)

func TestTuneMemory(t *testing.T) {
	gc, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
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
	check := func(caching bool, memory int64, percent int, logged string) {
		t.Helper()
		cfg.Routes[0].Cache = nil
		if caching {
			cfg.Routes[0].Cache = &config.RouteCache{Enabled: true}
		}
		debug.SetMemoryLimit(memory)
		var log bytes.Buffer
		tuneMemory(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if got := debug.SetGCPercent(77); got != percent {
			t.Errorf("caching %t: GOGC is %d, want %d", caching, got, percent)
		}
		if got := log.String(); !strings.Contains(got, logged) {
			t.Errorf("no %q in the log: %s", logged, got)
		}
		if got := debug.SetMemoryLimit(-1); got != memory {
			t.Errorf("the memory limit is %d, want %d", got, memory)
		}
	}
	// With a limit in the environment that of the control group does not count.
	t.Setenv("GOMEMLIMIT", "1")
	check(false, 1<<30, 100, "memory is limited\" limit=1GiB")
	check(true, 1<<30, cachingGC, "memory is limited")
	check(true, 300<<20, cachingGC, "cache_size=256MiB memory_limit=300MiB")
	check(false, 300<<20, 100, "memory is limited")
	t.Setenv("GOGC", "60")
	check(true, 1<<30, 77, "memory is limited")
}
