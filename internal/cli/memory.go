package cli

import (
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"weir/config"
)

// While a route caches, the heap may grow by a quarter before it is collected,
// and by cachingRoom in any case. Most of a large heap then is bodies, which the
// collector does not scan, so collecting often costs little; and garbage that is
// not collected yet takes memory in addition to the cache's size. Without a cache it may grow by half: exchanges
// make hardly any garbage, and connections that wait are most of the heap.
const (
	cachingGC   = 25       // of GOGC
	cachingRoom = 64 << 20 // bytes
	defaultGC   = 50
	mostGC      = 400 // where the heap is tiny
)

// memory sets the garbage collector by the configuration and by the memory of the
// machine. GOGC and GOMEMLIMIT in the environment override it.
type memory struct {
	caching atomic.Bool
	begin   sync.Once
	percent int // of GOGC; after begin, only the goroutine of finalizers uses it
	burst   burst
}

// memoryLimit sets the soft limit of the collector to that of the control group, unless the
// environment does, and returns what is in force; math.MaxInt64 is no limit.
func memoryLimit(log *slog.Logger) int64 {
	limit, err := memlimit.Set()
	if err != nil {
		log.Warn("the memory limit of the control group is not known", "error", err)
		return math.MaxInt64
	}
	return limit
}

// caches says whether a route has a cache.
func caches(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.Routes, func(r config.Route) bool { return r.Cache != nil && r.Cache.Enabled })
}

// fit makes the default size of the cache fit the memory that there is: at most half of
// limit, because weir itself, connections and garbage need the rest. A size that
// the file has stays.
func fit(cfg *config.Config, limit int64) {
	half := config.Size(limit / 2)
	if half > 1<<20 {
		half = half >> 20 << 20 // whole MiB are easier to read
	}
	c := &cfg.Cache
	if cfg.Written(config.Key("cache", "size")) || c.Size <= half {
		return
	}
	c.Size = half
	if !cfg.Written(config.Key("cache", "max_object")) {
		c.MaxObject = min(c.MaxObject, half)
	}
}

// tune sets the collector by cfg, and says what the limit of memory means for it. The
// collector works harder as that memory runs out.
func (m *memory) tune(cfg *config.Config, limit int64, log *slog.Logger) {
	caching := caches(cfg)
	if os.Getenv("GOGC") == "" {
		m.caching.Store(caching)
		m.begin.Do(func() { m.pace(nil) })
	}
	switch {
	case limit == math.MaxInt64:
	case caching && int64(cfg.Cache.Size) > limit/4*3:
		log.Warn("the cache is too large for the memory that there is: before it is full, the kernel will kill weir, or collecting garbage will take much CPU time; "+
			"set cache.size to at most half of the limit",
			"cache_size", cfg.Cache.Size, "memory_limit", config.Size(limit))
	case caching:
		log.Info("memory is limited", "limit", config.Size(limit), "cache_size", cfg.Cache.Size)
	default:
		log.Info("memory is limited", "limit", config.Size(limit))
	}
}

// cycle is an object that nothing refers to, so its finalizer runs after the next
// collection.
type cycle struct{ of *memory }

// pace sets after each collection how much the heap may grow until the next.
func (m *memory) pace(*cycle) {
	percent := defaultGC
	if m.caching.Load() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		percent = int(min(cachingRoom*100/max(live[0].Value.Uint64(), 1), mostGC))
		percent = max(percent, cachingGC)
	} else {
		m.burst.collected() // not of a large heap, which takes long to collect
	}
	if d := percent - m.percent; d*d*100 > percent*percent { // by more than a tenth
		m.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(&cycle{m}, m.pace)
}
