package lb

import (
	"log/slog"
	"math/rand/v2"
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
	// NewAttachment makes what the owner of the upstream keeps with a target, its
	// figures for instance; nil means nothing. It gets the names of both. It is called
	// with a lock held and must not call back.
	NewAttachment func(upstream, target string) Attachment
	// Memory is what the process that this one replaces knew of the upstream; nil means
	// nothing. It counts without an older generation only, and belongs to the upstream.
	Memory *Memory
	// Log gets changes of state; nil means none.
	Log *slog.Logger
	// OnChange is called after a target's state changed, on the goroutine that
	// changed it, perhaps one of an exchange; nil means that changes are only
	// logged.
	OnChange func(u *Upstream, t *Target, from, to State, reason string)
	// OnJudged is called after each exchange that failed, and after the first since that
	// succeeded, on its goroutine, which it must not hold up; nil means not.
	OnJudged func(t *Target, failed bool)
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
	// open are the generations that are not closed yet, the newest last, found are
	// the endpoints that SetEndpoints was last given, and parted those of Part, which
	// count while there are older generations; mu guards all three.
	open   []*Upstream
	found  []Endpoint
	parted []Endpoint
	// emptyReason is why nothing is found; nil means that nothing is known.
	emptyReason atomic.Pointer[string]
	// remembered is what a process before this one knew of targets that are not there
	// yet, by URL; mu guards it.
	remembered map[string]TargetMemory
	// overrides are what operators have set for targets; mu guards them.
	overrides overrides

	watcher atomic.Pointer[Watcher]

	position  atomic.Uint64
	inFlight  atomic.Int64
	latency   atomic.Uint64 // of a float64, in nanoseconds: the average of all targets
	queue     queue
	breaker   breaker
	budget    budgetCounts
	quantiles quantiles
}

// NewUpstream builds an upstream with the static targets of cfg and those that
// SetEndpoints gave to older generations. What old (which may be nil, and stays
// usable) knows is adopted: a target of the same URL and the same settings of
// connections keeps its connections, counts and health, and the upstream its
// position, budget and breaker. cfg must not be changed afterwards. After an error
// nothing is held; else Close gives the targets back.
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
	if old != nil {
		u.core = old.core
	} else {
		u.core.recall(o.Memory, u.now())
	}
	u.retry.Budget.counts = &u.core.budget
	if err := u.open(); err != nil {
		return nil, err
	}
	return u, nil
}

// setDefaults replaces what is nil.
func (o *Options) setDefaults() {
	if o.NewTransport == nil {
		o.NewTransport = func(string, *config.Upstream) (Transport, error) { return nil, nil }
	}
	if o.NewAttachment == nil {
		o.NewAttachment = func(string, string) Attachment { return nil }
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

// KeepsConnections says whether an upstream of cfg that adopts u keeps the connections, counts and
// health of the targets that both have: the settings that make connections what they are must be
// the same.
func (u *Upstream) KeepsConnections(cfg *config.Upstream) bool {
	return u.settings == transportSettings(cfg)
}

// Name returns the upstream's name.
func (u *Upstream) Name() string { return u.name }

// Config returns the upstream's configuration, which must not be changed.
func (u *Upstream) Config() *config.Upstream { return u.cfg }

// Targets returns the current set: the static targets in the order of the
// configuration, then the others in the order of SetEndpoints. The slice must not be
// changed.
func (u *Upstream) Targets() []*Target {
	if s := u.set.Load(); s != nil {
		return s.targets
	}
	return nil
}

// InFlight returns the number of running exchanges, of all generations.
func (u *Upstream) InFlight() int { return int(u.core.inFlight.Load()) }
