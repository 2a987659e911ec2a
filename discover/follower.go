package discover

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/config"
	"weir/lb"
)

// Options are what a Follower may be told. The zero Options are good.
type Options struct {
	// Log gets failures of sources and what is wrong with their endpoints; nil means
	// none.
	Log *slog.Logger
	// OnPanic is called, on the goroutine that panicked, when a source panics; nil means
	// that the panic is only logged. The source is run again like one that failed.
	OnPanic func(v any)
}

// Follower runs the sources of one upstream. It owns the goroutines that do so. Make it
// with NewFollower and call Stop at the end.
type Follower struct {
	o       Options
	running sync.WaitGroup

	mu       sync.Mutex
	stopped  bool
	upstream *lb.Upstream // of the newest generation
	sources  []*source    // in the order of the configuration
	// departed are the endpoints of sources that others replaced which have not all
	// reported yet.
	departed []lb.Endpoint
	// given is what upstream was last given.
	given []lb.Endpoint
}

// source is a source that runs, or has ended with nil.
type source struct {
	Spec
	cancel context.CancelFunc

	// Follower.mu guards the rest.

	gone     bool // it is no more in the configuration
	reported bool
	found    []lb.Endpoint
}

// NewFollower returns a Follower without sources.
func NewFollower(o Options) *Follower {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnPanic == nil {
		o.OnPanic = func(any) {}
	}
	return &Follower{o: o}
}

// Follow makes the sources be those of a new generation, u: those that run already go
// on, new ones begin, and those that are not among specs end.
func (f *Follower) Follow(u *lb.Upstream, specs []Spec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	f.upstream = u
	before := f.sources
	f.sources = nil
	for _, spec := range specs {
		if i := slices.IndexFunc(before, func(s *source) bool { return s.ID == spec.ID }); i >= 0 {
			s := before[i]
			s.Weight, s.Priority, s.Drain = spec.Weight, spec.Priority, spec.Drain
			f.sources = append(f.sources, s)
			before = slices.Delete(slices.Clone(before), i, i+1)
			continue
		}
		if spec.Name == "" {
			spec.Name = spec.ID
		}
		ctx, cancel := context.WithCancel(context.Background())
		s := &source{Spec: spec, cancel: cancel}
		f.sources = append(f.sources, s)
		f.running.Go(func() { f.keepRunning(ctx, s) })
	}
	for _, s := range before {
		for _, e := range s.found {
			f.departed = append(f.departed, s.adjusted(e))
		}
		s.end()
	}
	f.give()
}

// end ends s. Follower.mu must be held.
func (s *source) end() {
	s.gone = true
	s.cancel()
}

// Stop ends all sources and waits until none of them runs any more. The endpoints stay.
func (f *Follower) Stop() {
	f.mu.Lock()
	f.stopped = true
	for _, s := range f.sources {
		s.end()
	}
	f.mu.Unlock()
	f.running.Wait()
}

const (
	// firstWait is the wait before a source that failed is run again; it doubles each
	// time, up to longestWait, until the source has reported.
	firstWait   = time.Second
	longestWait = time.Minute
)

// keepRunning runs s until it is done or ctx ends.
func (f *Follower) keepRunning(ctx context.Context, s *source) {
	wait := firstWait
	for {
		var reported atomic.Bool // a source may report on any goroutine
		err := f.run(ctx, s, func(endpoints []lb.Endpoint) {
			reported.Store(true)
			f.report(s, endpoints)
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			f.done(s)
			return
		}
		if reported.Load() {
			wait = firstWait
		}
		// Half of it by chance, so that many upstreams do not ask a registry that is
		// back all at once.
		pause := wait/2 + rand.N(wait/2)
		f.o.Log.Warn("a source of endpoints failed, what it found stays", "source", s.Name, "error", err, "again_in", pause)
		if !sleep(ctx, pause) {
			return
		}
		wait = min(2*wait, longestWait)
	}
}

// run runs s once. A panic is an error.
func (f *Follower) run(ctx context.Context, s *source, report func([]lb.Endpoint)) (err error) {
	defer func() {
		if v := recover(); v != nil {
			f.o.OnPanic(v)
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return s.Source.Run(ctx, report)
}

// sleep waits and returns true, or false if ctx ends first.
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

// report takes in what s found.
func (f *Follower) report(s *source, endpoints []lb.Endpoint) {
	found := f.clean(s, endpoints)
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.gone {
		return
	}
	s.reported, s.found = true, found
	f.give()
}

// done takes in that s has reported all that it will.
func (f *Follower) done(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.gone {
		return
	}
	s.reported = true
	f.give()
}

// clean returns those of the endpoints that are good, sorted, so that a source that
// reports them in another order changes nothing.
func (f *Follower) clean(s *source, endpoints []lb.Endpoint) []lb.Endpoint {
	var good []lb.Endpoint
	for _, e := range endpoints {
		t := config.Target{URL: e.URL}
		if found, want := t.URLProblem(); want != "" {
			f.o.Log.Warn("an endpoint cannot be used", "source", s.Name, "found", found, "want", want)
			continue
		}
		e.URL = t.Origin()
		e.Weight = min(max(e.Weight, 1), config.MaxWeight)
		good = append(good, e)
	}
	slices.SortStableFunc(good, func(a, b lb.Endpoint) int { return cmp.Compare(a.URL, b.URL) })
	return good
}

// give gives the upstream what all sources have found, if that has changed. mu must be
// held.
func (f *Follower) give() {
	if !slices.ContainsFunc(f.sources, func(s *source) bool { return !s.reported }) {
		f.departed = nil
	}
	var all []lb.Endpoint
	seen := make(map[string]bool)
	add := func(e lb.Endpoint) {
		if !seen[e.URL] {
			seen[e.URL] = true
			all = append(all, e)
		}
	}
	for _, s := range f.sources {
		for _, e := range s.found {
			add(s.adjusted(e))
		}
	}
	for _, e := range f.departed {
		add(e)
	}
	if slices.Equal(all, f.given) {
		return
	}
	if err := f.upstream.SetEndpoints(all); err != nil {
		f.o.Log.Error("cannot use the endpoints that were found, those before stay", "upstream", f.upstream.Name(), "error", err)
		return
	}
	f.given = all
}
