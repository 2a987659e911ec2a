package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"slices"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"weir/config"
)

// cachingGC is the collector's GOGC while a route caches. Most of the heap then
// is bodies, in which the collector has nothing to look at, so collecting often
// costs little; and what it has not collected yet comes on top of the cache's
// size.
const cachingGC = 25

// tuneMemory makes the garbage collector fit cfg and the machine: it works harder
// when the memory of the control group runs out. GOGC and GOMEMLIMIT in the
// environment have the last word.
func tuneMemory(cfg *config.Config, log *slog.Logger) {
	caching := slices.ContainsFunc(cfg.Routes, func(r config.Route) bool { return r.Cache != nil && r.Cache.Enabled })
	if os.Getenv("GOGC") == "" {
		percent := 100
		if caching {
			percent = cachingGC
		}
		debug.SetGCPercent(percent)
	}
	limit, err := memlimit.Set()
	switch {
	case err != nil:
		log.Warn("the memory limit of the control group is not known", "error", err)
	case limit == math.MaxInt64:
	case caching && int64(cfg.Cache.Size) > limit/4*3:
		log.Warn("the cache may take more than three quarters of the memory that there is: much CPU time may go into collecting garbage",
			"cache_size", cfg.Cache.Size, "memory_limit", config.Size(limit))
	default:
		log.Info("memory is limited", "limit", config.Size(limit))
	}
}
