// Package lb chooses targets. An Upstream is a named set of targets with one
// balancing algorithm: Acquire picks a usable target for an attempt and counts
// it, Release gives it back and says how it went. The package also holds what
// is decided from these outcomes: the retry budget, the hedge delay, in-flight
// limits and the circuit breaker.
//
// It chooses and does nothing else: a target's connections are a Transport that
// the caller makes. It neither probes nor discovers: packages health and discover push into it
// with SetUp, SetDown, Eject, SetReachable and SetEndpoints. Package proxy
// calls Acquire and Release.
//
// A pick takes no lock and allocates nothing: the set of targets is an
// immutable snapshot that one pointer leads to, and what changes about a target is
// atomic. What changes rarely (the set, health) is changed with a lock held.
package lb

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"weir/config"
)

// Options are what an Upstream needs besides its configuration.
type Options struct {
	// NewTransport makes the connections to a target; nil means that targets
	// have none, for callers that only choose.
	NewTransport func(url string, cfg *config.Upstream) (Transport, error)
	// Now is the clock; nil means Monotonic. It must never return 0.
	Now func() int64
	// Rand is the source of chance, for many goroutines at once; nil means math/rand/v2's.
	Rand func() uint64
	// Algorithms are the balancing algorithms that the configuration may name; of
	// several with one name the last wins. Package lb/balance has weir's own.
	Algorithms []Algorithm
	// Log gets changes of state; nil means none.
	Log *slog.Logger
	// OnChange is called after a target's state changed, on the goroutine that
	// changed it, perhaps one of an exchange; nil means that changes are only
	// logged.
	OnChange func(u *Upstream, t *Target, from, to State, reason string)
}

// Transport is the connections to one target. Package lb only ends them; the
// maker of the Transport knows what else it can do.
type Transport interface {
	// Retire is called once no upstream and no exchange has the target any more.
	Retire()
}

// Endpoint is an address as a source reports it.
type Endpoint struct {
	// URL is as in the configuration.
	URL string
	// Weight is the share relative to the others; below 1 counts as 1.
	Weight int
	// Priority is the group; 0 is used first.
	Priority int
	// Drain lets running exchanges finish and sends no new ones.
	Drain bool
}

// Upstream is a named set of targets with one balancing algorithm, in one
// generation. All methods may be called by many goroutines at once.
type Upstream struct {
	name string
	cfg  *config.Upstream
	o    Options
	terms
	sticky    *StickyCookie
	slowStart int64
	// settings is what makes connections different from those of other generations.
	settings string
	// ceiling bounds the running exchanges of each target, 0 for no bound; if
	// adaptive, the bound moves below it.
	ceiling int64
	now     func() int64

	set atomic.Pointer[snapshot]
	// mask is what blocks a target now: less in panic mode.
	mask atomic.Uint32
	// wake is when settle has something to do: an ejection ends, say.
	wake atomic.Int64

	core *core
}

// core is the part of an upstream that its generations share.
type core struct {
	// mu guards changes of the state of targets, and of sets.
	mu sync.Mutex
	// open are the generations that are not closed yet; mu guards it.
	open []*Upstream

	watcher atomic.Pointer[Watcher]

	position  atomic.Uint64
	inFlight  atomic.Int64
	latency   atomic.Uint64 // of a float64, in nanoseconds: the average of all targets
	queue     queue
	breaker   breaker
	budget    budgetCounts
	quantiles quantiles
}

// snapshot is a set of targets. It is never changed.
type snapshot struct {
	targets []*Target
	groups  []group // by priority
	cookies map[string]*Target
}

// group is the targets of one priority.
type group struct {
	targets []*Target
	picker  Picker
}

// NewUpstream builds an upstream with the static targets of cfg. What old
// (which may be nil, and stays usable) knows is adopted: a target of the same
// URL and the same settings of connections keeps its connections, counts and
// health, and the upstream its position, budget and breaker. cfg must not be
// changed afterwards. After an error nothing is held; else Close gives the
// targets back.
func NewUpstream(name string, cfg *config.Upstream, o Options, old *Upstream) (*Upstream, error) {
	terms, problems := readTerms(cfg, o.Algorithms)
	if len(problems) > 0 {
		return nil, config.Errors(problems)
	}
	o.setDefaults()
	u := &Upstream{
		name:      name,
		cfg:       cfg,
		o:         o,
		terms:     terms,
		sticky:    newStickyCookie(&cfg.Sticky),
		slowStart: int64(cfg.SlowStart),
		settings:  transportSettings(cfg),
		ceiling:   int64(cfg.Limits.TargetInFlight),
		now:       o.Now,
		core:      &core{},
	}
	if u.adaptive && u.ceiling == 0 {
		u.ceiling = adaptiveCeiling
	}
	u.mask.Store(blocking)
	var known []*Target
	if old != nil {
		u.core = old.core
		known = old.Targets()
	}
	u.retry.Budget.counts = &u.core.budget
	endpoints := make([]Endpoint, 0, len(cfg.Targets))
	for _, t := range cfg.Targets {
		endpoints = append(endpoints, Endpoint{URL: t.Origin(), Weight: t.Weight, Priority: t.Priority, Drain: t.Drain})
	}
	if err := u.setEndpoints(endpoints, known); err != nil {
		return nil, err
	}
	u.core.mu.Lock()
	u.core.open = append(u.core.open, u)
	u.core.mu.Unlock()
	return u, nil
}

// setDefaults replaces what is nil.
func (o *Options) setDefaults() {
	if o.NewTransport == nil {
		o.NewTransport = func(string, *config.Upstream) (Transport, error) { return nil, nil }
	}
	if o.Now == nil {
		o.Now = Monotonic
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Name returns the upstream's name.
func (u *Upstream) Name() string { return u.name }

// Config returns the upstream's configuration, which must not be changed.
func (u *Upstream) Config() *config.Upstream { return u.cfg }

// Targets returns the current set in the order of the configuration. The slice
// must not be changed.
func (u *Upstream) Targets() []*Target {
	if s := u.set.Load(); s != nil {
		return s.targets
	}
	return nil
}

// InFlight returns the number of running exchanges, of all generations.
func (u *Upstream) InFlight() int { return int(u.core.inFlight.Load()) }

// SetEndpoints replaces the set of targets at once. Targets that stay keep
// connections, counts and health; those that are gone get no new exchanges and
// close their connections when the running ones have ended. An error changes
// nothing.
func (u *Upstream) SetEndpoints(endpoints []Endpoint) error {
	if err := u.setEndpoints(endpoints, u.Targets()); err != nil {
		return err
	}
	if w := u.core.watcher.Load(); w != nil && w.Replaced != nil {
		w.Replaced()
	}
	return nil
}

func (u *Upstream) setEndpoints(endpoints []Endpoint, known []*Target) error {
	u.core.mu.Lock()
	s, err := u.newSnapshot(endpoints, known)
	if err != nil {
		u.core.mu.Unlock()
		return err
	}
	old := u.set.Swap(s)
	if old != nil {
		for _, t := range old.targets {
			t.live.release()
		}
	}
	changes := u.settleLocked(u.now())
	u.core.mu.Unlock()
	u.tell(changes)
	return nil
}

// Close gives the targets back. Exchanges that run on them go on; connections
// are closed once no generation and no exchange has the target.
func (u *Upstream) Close() {
	u.core.mu.Lock()
	defer u.core.mu.Unlock()
	u.core.open = slices.DeleteFunc(u.core.open, func(o *Upstream) bool { return o == u })
	if s := u.set.Swap(&snapshot{}); s != nil {
		for _, t := range s.targets {
			t.live.release()
		}
	}
}

// newSnapshot makes a set of targets and holds each of them, or returns an
// error and holds none.
func (u *Upstream) newSnapshot(endpoints []Endpoint, known []*Target) (_ *snapshot, err error) {
	byIdentity := make(map[string]*live, len(known))
	for _, t := range known {
		byIdentity[t.live.identity] = t.live
	}
	s := &snapshot{cookies: make(map[string]*Target)}
	defer func() {
		if err != nil {
			for _, t := range s.targets {
				t.live.release()
			}
		}
	}()
	seen := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		if seen[e.URL] {
			return nil, fmt.Errorf("cannot add target %q: it is there twice", e.URL)
		}
		seen[e.URL] = true
		identity := e.URL + "\n" + u.settings
		l := byIdentity[identity]
		if l == nil || !l.hold() {
			transport, err := u.o.NewTransport(e.URL, u.cfg)
			if err != nil {
				return nil, fmt.Errorf("cannot add target %q: %w", e.URL, err)
			}
			l = &live{identity: identity, transport: transport}
			l.refs.Store(1)
			if len(known) > 0 {
				u.warm(l, u.now())
			}
		}
		s.add(e, l, u)
	}
	return s, u.group(s)
}

// add appends the target of e.
func (s *snapshot) add(e Endpoint, l *live, u *Upstream) {
	t := &Target{
		name:     displayName(e.URL),
		url:      e.URL,
		weight:   max(1, e.Weight),
		priority: e.Priority,
		drained:  e.Drain,
		live:     l,
	}
	if u.sticky != nil {
		t.cookie = cookieValue(&u.cfg.Sticky, u.name, e.URL)
		s.cookies[t.cookie] = t
	}
	twin := *t
	twin.trial = true
	t.twin = &twin
	s.targets = append(s.targets, t)
}

// group sorts the targets of s by priority and makes the pickers.
func (u *Upstream) group(s *snapshot) error {
	const priorities = 16
	for priority := range priorities {
		var members []*Target
		for _, t := range s.targets {
			if min(max(t.priority, 0), priorities-1) == priority {
				members = append(members, t)
			}
		}
		if len(members) == 0 {
			continue
		}
		picker, err := u.algorithm.New(Input{
			Targets:  members,
			Config:   u.cfg,
			Options:  u.options,
			Position: &u.core.position,
			Rand:     u.o.Rand,
			Running:  u.core.inFlight.Load,
		})
		if err != nil {
			return fmt.Errorf("cannot balance by %q: %w", u.cfg.Balance, err)
		}
		s.groups = append(s.groups, group{targets: members, picker: picker})
	}
	return nil
}

// transportSettings returns what of cfg makes connections different: of
// certificates also what the files hold, because renewed ones keep their names.
func transportSettings(cfg *config.Upstream) string {
	s := fmt.Appendf(nil, "%v\n%v\n%+v\n%+v", cfg.Timeouts.Connect, cfg.Timeouts.TLS, cfg.Connections, cfg.TLS)
	for _, file := range []string{cfg.TLS.CA, cfg.TLS.Cert, cfg.TLS.Key} {
		if file == "" {
			continue
		}
		// One that cannot be read differs from one that could: making the new
		// connections then says what is wrong.
		pem, err := os.ReadFile(file)
		s = fmt.Appendf(s, "\n%x %v", sha256.Sum256(pem), err)
	}
	return string(s)
}

// displayName returns raw without user information and query.
func displayName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil && u.RawQuery == "" {
		return raw
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

// hold counts one more that has l. It returns false if l is closed already.
func (l *live) hold() bool {
	for {
		n := l.refs.Load()
		if n == 0 {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release counts one less that has l, and retires its connections after the last.
func (l *live) release() {
	if l.refs.Add(-1) == 0 && l.transport != nil {
		l.transport.Retire()
	}
}
