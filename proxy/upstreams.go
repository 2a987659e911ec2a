package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/head"
	"weir/internal/refs"
	"weir/lb"
)

// Upstream is a named set of targets as routes use it.
type Upstream struct {
	// Set balances.
	Set *lb.Upstream

	name           string
	limits         limits
	write          time.Duration
	deadlineHeader head.Name // zero: none
	hash           lb.HashSource
	hashHeader     head.Name
	queues         bool // an exchange may have to wait for a target
	hedges         bool // a second attempt may start while the first runs
	pipelines      bool // exchanges may share connections
	retries        *retryMetrics

	// holders are the table and the exchanges that have an upstream of Upstreams; idle is
	// called after the last. Those of a generation have no idle: the generation waits
	// for its exchanges.
	holders refs.Count
	idle    func()

	// background counts the exchanges without a client that run, and maxBackground
	// bounds them; 0 means no bound.
	background    atomic.Int64
	maxBackground int64
}

// beginBackground says whether one more exchange without a client may run; if so,
// endBackground must follow.
func (u *Upstream) beginBackground() bool {
	if n := u.background.Add(1); u.maxBackground > 0 && n > u.maxBackground {
		u.endBackground()
		return false
	}
	return true
}

func (u *Upstream) endBackground() { u.background.Add(-1) }

// NewUpstream returns the upstream of set for Upstreams.Set. idle is called once, when
// the table and all exchanges have let go of it; on the goroutine of the last of them,
// which it must not hold up.
func NewUpstream(set *lb.Upstream, m *Metrics, idle func()) *Upstream {
	u := newUpstream(set, m)
	u.idle = idle
	return u
}

func newUpstream(set *lb.Upstream, m *Metrics) *Upstream {
	cfg := set.Config()
	return &Upstream{
		Set:            set,
		name:           set.Name(),
		limits:         upstreamLimits(cfg),
		write:          cfg.Timeouts.Write.D(),
		deadlineHeader: nameOf(cfg.Timeouts.DeadlineHeader),
		hash:           set.HashSource(),
		hashHeader:     nameOf(set.HashSource().Name),
		queues:         cfg.Limits.Queue > 0,
		hedges:         cfg.Retry.Hedge > 0,
		pipelines:      cfg.Connections.Pipeline > 1,
		maxBackground:  int64(cfg.Limits.Background),
		retries:        m.upstream(set.Name()),
	}
}

// release lets go of u.
func (u *Upstream) release() {
	if u.idle != nil && u.holders.Release() {
		u.idle()
	}
}

// Upstreams is a table of upstreams that come and go while requests run. Routes whose
// template names an upstream find them there, besides those of the configuration. All
// generations of a server share it. The zero Upstreams is empty. All methods may be
// called by many goroutines at once.
type Upstreams struct {
	mu    sync.Mutex // held while the table is replaced
	table atomic.Pointer[map[string]*Upstream]
}

// Get returns the upstream of that name, or nil. It takes no lock and allocates nothing.
// The exchange that gets the upstream has it until the exchange is settled.
func (t *Upstreams) Get(name []byte) *Upstream {
	for {
		u := t.All()[string(name)]
		// 1. Get finds u. 2. Set or Remove takes u away, and its last exchange ends.
		// 3. u is closed, and no longer in the table: another look.
		if u == nil || u.holders.Hold() {
			return u
		}
	}
}

// All returns the table, which must not be changed.
func (t *Upstreams) All() map[string]*Upstream {
	if table := t.table.Load(); table != nil {
		return *table
	}
	return nil
}

// Set adds u, in place of one of the same name. Exchanges that run go on with the one
// that they have.
func (t *Upstreams) Set(u *Upstream) {
	u.holders.Hold()
	t.replace(u.name, u)
}

// Remove takes away the upstream of that name and reports whether there was one.
// Exchanges that have it go on, retries included.
func (t *Upstreams) Remove(name string) bool { return t.replace(name, nil) }

// replace puts u, or nothing if it is nil, in place of the upstream of that name, and
// reports whether there was one.
func (t *Upstreams) replace(name string, u *Upstream) bool {
	t.mu.Lock()
	table := maps.Clone(t.All())
	if table == nil {
		table = make(map[string]*Upstream)
	}
	old := table[name]
	delete(table, name)
	if u != nil {
		table[name] = u
	}
	t.table.Store(&table)
	t.mu.Unlock()
	if old != nil {
		old.release()
	}
	return old != nil
}
