// Package health finds out which targets of an upstream work. Active probes ask
// each target from time to time. Passive observation uses the results of exchanges:
// failures in a row, success rates far below those of other targets, and failed
// connects. A target that cannot be connected to is dialled in the background, so
// that no exchange has to try it.
//
// It decides and tells package lb (SetUp, SetDown, Eject, SetReachable), which
// keeps the state and bounds how many targets may be out. It picks no targets and
// sees no requests. Package server starts a Monitor for each upstream of a
// generation and stops it with the generation.
package health

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"weir/config"
	"weir/lb"
)

// Options are what a Monitor needs besides the upstream. The zero Options are usable.
type Options struct {
	// Log gets failing probes at debug level; the upstream logs changes of state.
	// nil means no log.
	Log *slog.Logger
	// NewProbe makes the probes; nil means the probe that health.probe names.
	NewProbe func(u *lb.Upstream, t *lb.Target) (Probe, error)
}

// Monitor watches one upstream, in one generation, and owns all goroutines that do
// this. Make it with New, call Start once, and Stop at the end.
type Monitor struct {
	u   *lb.Upstream
	cfg *config.Health
	o   Options
	log *slog.Logger

	watcher *lb.Watcher
	ctx     context.Context
	cancel  context.CancelFunc
	// replaced has a token when the set of targets has changed.
	replaced chan struct{}
	// ready is closed when each target of Start has its first verdict.
	ready chan struct{}

	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
	probing map[lb.Identity]context.CancelFunc
	dialing map[lb.Identity]bool
	pending int // targets without a first verdict
}

// New returns a Monitor that does nothing yet. The error is a config.Problem.
func New(u *lb.Upstream, o Options) (*Monitor, error) {
	if problems := Check(u.Config()); len(problems) > 0 {
		return nil, problems[0]
	}
	m := &Monitor{
		u:        u,
		cfg:      &u.Config().Health,
		o:        o,
		log:      o.Log,
		replaced: make(chan struct{}, 1),
		ready:    make(chan struct{}),
		probing:  make(map[lb.Identity]context.CancelFunc),
		dialing:  make(map[lb.Identity]bool),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.watcher = &lb.Watcher{
		Failed:      m.failed,
		Unreachable: m.redial,
		Replaced: func() {
			select {
			case m.replaced <- struct{}{}:
			default: // look has not taken the last token yet
			}
		},
	}
	return m, nil
}

// Start begins to watch. It replaces the Monitor of an older generation, whose Stop
// may be called before or after.
func (m *Monitor) Start() {
	m.u.Watch(m.watcher)
	m.follow()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending == 0 {
		close(m.ready)
		m.pending = -1
	}
	if !m.stopped {
		m.running.Go(m.look)
	}
}

// Stop ends all watching and waits until all goroutines have ended.
func (m *Monitor) Stop() {
	m.u.Unwatch(m.watcher)
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.cancel()
	m.running.Wait()
}

// Wait blocks until each target has its first verdict, but no longer than
// health.wait. It returns immediately if nothing is probed.
func (m *Monitor) Wait(ctx context.Context) {
	if m.cfg.Wait == 0 || !m.active() {
		return
	}
	timer := time.NewTimer(m.cfg.Wait.D())
	defer timer.Stop()
	select {
	case <-m.ready:
	case <-timer.C:
	case <-ctx.Done():
	case <-m.ctx.Done():
	}
}

// look reacts to changes of the set, and judges success rates from time to time.
func (m *Monitor) look() {
	var tick <-chan time.Time
	if m.cfg.Passive.Outlier > 0 {
		ticker := time.NewTicker(m.cfg.Passive.Interval.D())
		defer ticker.Stop()
		tick = ticker.C
	}
	before := make(map[lb.Identity]counts)
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.replaced:
			m.follow()
		case <-tick:
			before = m.judgeRates(before)
		}
	}
}

// dialer is what probes need of a target's lb.Transport.
type dialer interface {
	// Host is what a Host field says that names the target itself.
	Host() string
	// Dial opens a connection for a probe, TLS included. protocols are offered by
	// ALPN.
	Dial(ctx context.Context, protocols ...string) (net.Conn, error)
	// Protocols are what exchanges speak to the target, by the names of ALPN.
	Protocols() []string
}

// sleep waits and returns true, or false if the Monitor stops first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jittered returns d changed by a random part of up to share of it, up or down.
func jittered(d time.Duration, share float64) time.Duration {
	return d + time.Duration(float64(d)*share*(2*rand.Float64()-1))
}
