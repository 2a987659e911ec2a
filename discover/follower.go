package discover

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"weir/config"
	"weir/lb"
)

const (
	// settleEvery is how often the set of an upstream is replaced at most, and settleShare
	// the part of the time that this may take: the wait after a large set is longer.
	settleEvery = 200 * time.Millisecond
	settleShare = 20
)

// Options are what a Follower may be told. The zero Options are good.
type Options struct {
	// Log gets failures of sources and what is wrong with their endpoints; nil means
	// none.
	Log *slog.Logger
	// OnPanic is called, on the goroutine that panicked, when a source panics; nil means
	// that the panic is only logged. The source is run again like one that failed.
	OnPanic func(v any)
	// EmptyAfter returns how long a source must find nothing before that is believed; nil
	// means at once.
	EmptyAfter func() time.Duration
	// Memory keeps what the sources found over a restart; nil means not.
	Memory *Memory
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
	// departed are the endpoints of sources, and the targets of the configuration, that
	// sources replaced which have not all reported yet.
	departed []lb.Endpoint
	// given is what upstream was last given, and held are endpoints that were found and
	// not given, because they come and go, with the time when they will be.
	given  []lb.Endpoint
	held   map[string]time.Time
	damper damper
	// next is when the set may be replaced again.
	next  time.Time
	alarm alarm // calls fire
}

// source is a source that runs, or has ended with nil.
type source struct {
	Spec
	*runner
	cancel context.CancelFunc
	// answered is closed once the source has reported, failed or ended for the first time; answer
	// closes it.
	answered chan struct{}
	answer   func()

	// Follower.mu guards the rest.

	gone     bool // it is no more in the configuration
	reported bool
	restored bool // found is from before the start
	changed  bool // raw is not in found yet
	// raw is its last report, and good are the URLs of raw that can be used, as targets
	// have them.
	raw        []lb.Endpoint
	good       map[string]string
	rejected   int
	complaints *Complaints
	// found is what is used of it, and foundAt is when it last said so.
	found   []lb.Endpoint
	foundAt time.Time
	// emptySince is since when it finds nothing, which is not believed yet: a failure, or a report of which
	// nothing can be used, in between says nothing about it, and the time begins anew with the next report.
	emptySince time.Time
	anew       bool // the next report counts as a change, because that time began and a failure ended it
	// unusable says that the last report had endpoints, of which none can be used.
	unusable bool
}

// NewFollower returns a Follower without sources.
func NewFollower(o Options) *Follower {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.EmptyAfter == nil {
		o.EmptyAfter = func() time.Duration { return 0 }
	}
	f := &Follower{o: o}
	f.alarm.init(f.fire)
	return f
}

// Follow makes the sources be those of a new generation, u: those that run already go
// on, new ones begin, and those that are not among specs end. What these had found stays
// with the generations before u, and with u until all of its sources have reported; so do the
// targets of the configuration, if u has sources alone.
func (f *Follower) Follow(u *lb.Upstream, specs []Spec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	replaced := f.upstream
	f.upstream = u
	before := f.sources
	f.sources = nil
	started := false
	for _, spec := range specs {
		if i := slices.IndexFunc(before, func(s *source) bool { return s.ID == spec.ID }); i >= 0 {
			s := before[i]
			s.Weight, s.Priority, s.Drain = spec.Weight, spec.Priority, spec.Drain
			f.sources = append(f.sources, s)
			before = slices.Delete(slices.Clone(before), i, i+1)
			continue
		}
		f.sources = append(f.sources, f.start(spec))
		started = true
	}
	var parted []lb.Endpoint
	for _, s := range before {
		parted = append(parted, s.adjusted()...)
		s.end()
		f.o.Memory.drop(f.upstream.Name(), s.Name)
	}
	if len(parted) > 0 {
		u.Part(parted)
	}
	f.departed = append(f.departed, parted...)
	if started && replaced != nil && len(u.Config().Static()) == 0 {
		f.departed = append(f.departed, staticOf(replaced)...)
	}
	f.settle(time.Now())
}

// staticOf returns the targets of the configuration of u.
func staticOf(u *lb.Upstream) (list []lb.Endpoint) {
	for _, t := range u.Config().Static() {
		list = append(list, lb.EndpointOf(t))
	}
	return list
}

// start begins to run a source. mu must be held.
func (f *Follower) start(spec Spec) *source {
	if spec.Name == "" {
		spec.Name = spec.ID
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &source{Spec: spec, runner: newRunner(spec.Name, f.o.Log, f.o.OnPanic), cancel: cancel, complaints: NewComplaints(f.o.Log, spec.Name)}
	s.answered = make(chan struct{})
	s.answer = sync.OnceFunc(func() { close(s.answered) })
	if !s.Exact {
		s.found, s.foundAt = f.o.Memory.recall(f.upstream.Name(), spec.Name)
		s.restored = len(s.found) > 0
	}
	if endpoints, ok := s.known(); ok {
		s.reports(endpoints) // so that there is no time without
	}
	f.running.Go(func() {
		done := s.keep(ctx, func(ctx context.Context) error {
			defer s.answer()
			err := s.Source.Run(ctx, func(endpoints []lb.Endpoint) { f.report(s, endpoints) })
			f.failed(s, err)
			return err
		})
		if done {
			f.done(s)
		}
	})
	return s
}

// knower is a source that can say at any time what it would report.
type knower interface{ Known() []lb.Endpoint }

// known returns what s would report now, if it is a knower.
func (s *source) known() (endpoints []lb.Endpoint, ok bool) {
	source, ok := s.Source.(knower)
	if ok {
		endpoints = source.Known()
	}
	return endpoints, ok
}

// reports takes in what s finds now; settle uses it. Follower.mu must be held.
func (s *source) reports(endpoints []lb.Endpoint) {
	s.reported, s.restored, s.changed, s.anew = true, false, true, false
	s.raw = slices.Clone(endpoints)
}

// Look makes the source of this ID, if it is one that knows at any time what it finds, report that, and
// uses it at once.
func (f *Follower) Look(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sources {
		if s.ID != id {
			continue
		}
		if endpoints, ok := s.known(); ok {
			f.hear(s, endpoints)
			if s.changed && !s.gone { // it waits for the time of the next set
				f.settle(time.Now())
			}
		}
	}
}

// failed takes in how s failed; a nil err changes nothing.
func (f *Follower) failed(s *source, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || s.gone {
		return
	}
	f.upstream.SetEmptyReason(err.Error())
	if !s.emptySince.IsZero() {
		s.emptySince, s.anew = time.Time{}, true
	}
}

// adjusted returns what is used of s as the target of the configuration that names it wants it.
// Follower.mu must be held.
func (s *source) adjusted() []lb.Endpoint {
	list := make([]lb.Endpoint, len(s.found))
	sharers := 0
	for i, e := range s.found {
		list[i] = s.Spec.adjusted(e)
		if !list[i].Drain {
			sharers++
		}
	}
	if s.Shared {
		for i := range list {
			list[i].Sharers = max(sharers, 1)
		}
	}
	return list
}

// end ends s. Follower.mu must be held.
func (s *source) end() {
	s.gone = true
	s.cancel()
}

// Wait returns when each source has endpoints to use, has reported that there are none, or has failed; or when ctx
// ends. What was reported by then is in use.
func (f *Follower) Wait(ctx context.Context) {
	f.mu.Lock()
	sources := f.sources // replaced, never changed
	f.mu.Unlock()
	for _, s := range sources {
		f.mu.Lock()
		known := len(s.found) > 0
		f.mu.Unlock()
		if known {
			continue
		}
		select {
		case <-s.answered:
		case <-ctx.Done():
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stopped {
		f.settle(time.Now())
	}
}

// Cancel ends all sources, without waiting: what they report later changes nothing. The
// endpoints stay.
func (f *Follower) Cancel() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.alarm.stop()
	for _, s := range f.sources {
		s.end()
	}
}

// Stop is Cancel that waits until no source runs any more.
func (f *Follower) Stop() {
	f.Cancel()
	f.running.Wait()
}

// report takes in what s found.
func (f *Follower) report(s *source, endpoints []lb.Endpoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now, ok := s.known(); ok {
		endpoints = now // Look may have used a newer list than this report's
	}
	f.hear(s, endpoints)
}

// hear is report. mu must be held.
func (f *Follower) hear(s *source, endpoints []lb.Endpoint) {
	if s.gone {
		return
	}
	now := time.Now()
	defer s.answer()
	s.confirmed(now)
	f.upstream.SetEmptyReason("")
	if s.reported && !s.anew && slices.Equal(s.raw, endpoints) {
		if s.emptySince.IsZero() && !s.unusable {
			s.foundAt = now
		}
		return
	}
	s.reports(endpoints)
	if now.Before(f.next) {
		f.alarm.ringBy(f.next)
		return
	}
	f.settle(now)
}

// done takes in that s has reported all that it will.
func (f *Follower) done(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.gone {
		return
	}
	if !s.reported {
		s.reported, s.found = true, nil
	}
	f.settle(time.Now())
}

// fire settles at the time for which the alarm was set.
func (f *Follower) fire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alarm.rang()
	if !f.stopped {
		f.settle(time.Now())
	}
}

// take makes the last report of s what is used of it, and returns when it has to look
// again; zero for not at all. f.mu must be held.
func (f *Follower) take(s *source, now time.Time) (again time.Time) {
	if s.changed {
		s.changed = false
		good := f.clean(s)
		s.unusable = len(good) == 0 && s.rejected > 0
		switch {
		case s.unusable: // nonsense, and not that there is nothing
			s.emptySince = time.Time{}
			f.o.Log.Warn("nothing that a source finds can be used, what it found before stays", "source", s.Name, "upstream", f.upstream.Name(), "endpoints", s.rejected)
		case len(good) > 0 || len(s.found) == 0 || s.Exact:
			f.believe(s, good, now)
		case s.emptySince.IsZero():
			s.emptySince = now
			if wait := f.o.EmptyAfter(); wait > 0 {
				f.o.Log.Warn("a source finds nothing any more, what it found stays for a while", "source", s.Name, "upstream", f.upstream.Name(), "for", wait)
			}
		}
	}
	if s.emptySince.IsZero() {
		return again
	}
	if again = s.emptySince.Add(f.o.EmptyAfter()); now.Before(again) {
		return again
	}
	f.believe(s, nil, now)
	return time.Time{}
}

// believe makes found what is used of s. f.mu must be held.
func (f *Follower) believe(s *source, found []lb.Endpoint, now time.Time) {
	s.found, s.foundAt, s.emptySince = found, now, time.Time{}
	if !s.Exact {
		f.o.Memory.keep(f.upstream.Name(), s.Name, found, now)
	}
}

// clean returns those endpoints of the last report of s that are good, sorted, so that a
// source that reports them in another order changes nothing.
func (f *Follower) clean(s *source) []lb.Endpoint {
	good := make([]lb.Endpoint, 0, len(s.raw))
	known := s.good
	s.good = make(map[string]string, len(s.raw))
	var bad []error
	for _, e := range s.raw {
		origin, ok := known[e.URL]
		if !ok {
			t := config.Target{URL: e.URL}
			if found, want := t.URLProblem(); want != "" {
				bad = append(bad, fmt.Errorf("found %s: want %s", found, want))
				continue
			}
			origin = t.Origin()
		}
		s.good[e.URL] = origin
		e.URL = origin
		e.Weight = min(max(e.Weight, 1), config.MaxWeight)
		good = append(good, e)
	}
	s.complaints.Tell(bad)
	s.rejected = len(bad)
	slices.SortStableFunc(good, func(a, b lb.Endpoint) int { return cmp.Compare(a.URL, b.URL) })
	return slices.CompactFunc(good, func(a, b lb.Endpoint) bool { return a.URL == b.URL })
}

// settle gives the upstream what all sources have found, if that has changed. mu must be
// held.
func (f *Follower) settle(now time.Time) {
	for _, s := range f.sources {
		f.alarm.ringBy(f.take(s, now))
	}
	all := f.damp(f.combine(), now)
	for _, when := range f.held {
		f.alarm.ringBy(when)
	}
	if !slices.Equal(all, f.given) {
		if err := f.upstream.SetEndpoints(all); err != nil {
			f.o.Log.Error("cannot use the endpoints that were found, those before stay", "upstream", f.upstream.Name(), "error", err)
		} else {
			f.given = all
		}
	}
	end := time.Now()
	f.next = end.Add(max(settleEvery, settleShare*end.Sub(now)))
}

// combine returns what all sources have found. mu must be held.
func (f *Follower) combine() []lb.Endpoint {
	if !slices.ContainsFunc(f.sources, func(s *source) bool { return !s.reported }) {
		f.departed = nil
	}
	if len(f.sources) == 1 && len(f.departed) == 0 {
		return f.sources[0].adjusted() // most upstreams: a list without doubles
	}
	lists := make([][]lb.Endpoint, 0, len(f.sources)+1)
	for _, s := range f.sources {
		lists = append(lists, s.adjusted())
	}
	return lb.Distinct(append(lists, f.departed)...)
}

// damp leaves out endpoints that come and go, unless nothing would be left. mu must be
// held.
func (f *Follower) damp(all []lb.Endpoint, now time.Time) []lb.Endpoint {
	used := make(map[string]bool, len(f.given))
	for _, e := range f.given {
		used[e.URL] = e.Sharers == 0
	}
	f.damper.prune(now)
	before := f.held
	f.held = nil
	var admitted []lb.Endpoint
	usable := false // something that is not draining is admitted
	for _, e := range all {
		if _, known := used[e.URL]; !known && e.Sharers == 0 {
			if ok, when := f.damper.admits(e.URL, now); !ok {
				if f.held == nil {
					f.held = make(map[string]time.Time)
				}
				if _, known := before[e.URL]; !known {
					f.o.Log.Warn("an endpoint comes and goes, it is used once it has stayed", "upstream", f.upstream.Name(), "endpoint", e.URL, "at", when)
				}
				f.held[e.URL] = when
				delete(before, e.URL)
				continue
			}
		}
		delete(used, e.URL)
		delete(before, e.URL)
		admitted = append(admitted, e)
		usable = usable || !e.Drain
	}
	for url, damped := range used {
		if damped {
			f.damper.removed(url, now)
		}
	}
	for url := range before { // held back, and gone again
		f.damper.removed(url, now)
	}
	if !usable && len(f.held) > 0 && len(f.upstream.Config().Static()) == 0 {
		f.held = nil
		return all
	}
	return admitted
}
