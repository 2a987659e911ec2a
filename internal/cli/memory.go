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
// not collected yet takes memory in addition to the cache's size.
const (
	cachingGC   = 25       // of GOGC
	cachingRoom = 64 << 20 // bytes
	defaultGC   = 100
	mostGC      = 400 // where the heap is tiny
)

// memory sets the garbage collector by the configuration and by the memory of the
// machine. GOGC and GOMEMLIMIT in the environment override it.
type memory struct {
	caching atomic.Bool
	begin   sync.Once
	percent int // of GOGC; after begin, only the goroutine of finalizers uses it
}

// tune sets the collector by cfg and by the memory of the control group. The
// collector works harder as that memory runs out.
func (m *memory) tune(cfg *config.Config, log *slog.Logger) {
	caching := slices.ContainsFunc(cfg.Routes, func(r config.Route) bool { return r.Cache != nil && r.Cache.Enabled })
	if os.Getenv("GOGC") == "" {
		m.caching.Store(caching)
		if caching {
			m.begin.Do(func() { m.pace(nil) })
		}
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
	}
	if d := percent - m.percent; d*d*100 > percent*percent { // by more than a tenth
		m.percent = percent
		debug.SetGCPercent(percent)
	}
	runtime.SetFinalizer(&cycle{m}, m.pace)
}
