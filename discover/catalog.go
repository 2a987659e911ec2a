package discover

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/lb"
)

// Replace makes entries all that a catalog reports, and returns what is wrong with those that
// cannot be used. A service of which the catalog has nothing any more keeps its endpoints for
// empty_after, and one of which it has nothing that can be used keeps them for good.
func (r *Registry) Replace(catalog string, entries []Entry) (rejected []error) {
	return r.replace(catalog, entries, func() {})
}

// replace is Replace that calls done before the owner of the registry hears of services that have
// come, with mu held.
func (r *Registry) replace(catalog string, entries []Entry, done func()) (rejected []error) {
	now := time.Now()
	r.change(func() []string {
		there := make(map[string]map[string]bool, len(r.services)) // URLs by service
		unusable := make(map[string]bool)                          // services with rejected endpoints
		var touched []string
		for _, e := range entries {
			changed, err := r.putEntry(catalog, e, now, there, unusable)
			if err != nil {
				rejected = append(rejected, err)
			}
			if changed {
				touched = append(touched, UpstreamName(e.Name, e.Version))
			}
		}
		for key, s := range r.services {
			if len(there[key]) == 0 && unusable[key] {
				s.notMissing(catalog) // nonsense, and not that there is nothing
				continue
			}
			if r.dropMissing(s, catalog, there[key], now) {
				touched = append(touched, key)
			}
		}
		done()
		touched = append(touched, r.dropDeparted()...)
		slices.Sort(touched)
		return slices.Compact(touched)
	})
	return rejected
}

// putEntry takes one entry of a catalog, notes its URL in there and its service in unusable if it
// is rejected, and reports whether it changes the registry. The first entry of a URL counts.
// mu must be held.
func (r *Registry) putEntry(catalog string, e Entry, now time.Time, there map[string]map[string]bool, unusable map[string]bool) (changed bool, err error) {
	if err := CheckService(e.Name, e.Version); err != nil {
		return false, err
	}
	key := UpstreamName(e.Name, e.Version)
	if err = e.Wrong; err == nil {
		e.Endpoint, err = checked(e.Endpoint)
	}
	if err != nil {
		unusable[key] = true
		return false, err
	}
	if there[key][e.URL] {
		return false, nil
	}
	if there[key] == nil {
		there[key] = make(map[string]bool)
	}
	there[key][e.URL] = true
	return r.put(e.Name, e.Version, recordKey{e.URL, catalog}, record{Endpoint: e.Endpoint}, now), nil
}

// dropMissing removes the records of a catalog that are not there any more, if that is believed.
// mu must be held.
func (r *Registry) dropMissing(s *service, catalog string, there map[string]bool, now time.Time) (dropped bool) {
	wait := r.settings.EmptyAfter.D()
	for k, rec := range s.records {
		switch {
		case k.origin != catalog || there[k.url]:
		case len(there) > 0 || wait == 0:
			delete(s.records, k)
			dropped = true
		case rec.missing.IsZero():
			rec.missing = now
			r.alarm.ringBy(now.Add(wait))
		}
	}
	return dropped
}

// notMissing ends the time for which a catalog has had nothing of s: it begins anew with the next report. Registry.mu
// must be held.
func (s *service) notMissing(catalog string) {
	for k, rec := range s.records {
		if k.origin == catalog {
			rec.missing = time.Time{}
		}
	}
}

// catalogFailed says that a catalog has failed, which says nothing about services of which it had nothing before.
func (r *Registry) catalogFailed(catalog string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.services {
		s.notMissing(catalog)
	}
}

// sweepEvery is how long sweep waits at least before it looks again.
const sweepEvery = 100 * time.Millisecond

// sweep removes what has not been added again in time, what its catalog does not have any
// more, and services that have been empty for long.
func (r *Registry) sweep() {
	r.change(func() (touched []string) {
		r.alarm.rang()
		due := ends{now: time.Now()}
		for key, s := range r.services {
			dropped := r.dropExpired(s, &due)
			forget := len(s.records) == 0 && !s.emptySince.IsZero() && due.passed(s.emptySince.Add(r.settings.ForgetAfter.D()))
			if forget {
				delete(r.services, key)
			}
			if forget || dropped {
				touched = append(touched, key)
			}
		}
		if !due.next.IsZero() {
			if soonest := due.now.Add(sweepEvery); due.next.Before(soonest) {
				due.next = soonest
			}
			r.alarm.ringBy(due.next)
		}
		return touched
	})
}

// dropExpired removes the records of s whose time has passed. mu must be held.
func (r *Registry) dropExpired(s *service, due *ends) (dropped bool) {
	for k, rec := range s.records {
		if !rec.expires.IsZero() && due.passed(rec.expires) || !rec.missing.IsZero() && due.passed(rec.missing.Add(r.settings.EmptyAfter.D())) {
			delete(s.records, k)
			dropped = true
		}
	}
	return dropped
}

// ends are the times at which something ends, as a sweep at now sees them. next is the first of
// those that are still to come; zero if all have passed.
type ends struct{ now, next time.Time }

// passed says whether t has passed, and otherwise counts t as a time to come.
func (e *ends) passed(t time.Time) bool {
	if t.After(e.now) && (e.next.IsZero() || t.Before(e.next)) {
		e.next = t
	}
	return !t.After(e.now)
}

const (
	// watchPause is how long a watch waits after it has looked at a service that changes
	// often, and watchAgain how often it says that it still looks.
	watchPause = 100 * time.Millisecond
	watchAgain = 30 * time.Second
)

// Source returns a source of the endpoints of a service, whether or not it is known.
func (r *Registry) Source(name, version string) Source {
	return r.SourceOf(UpstreamName(name, version))
}

// SourceOf is Source by UpstreamName.
func (r *Registry) SourceOf(upstream string) Source { return registrySource{r, upstream} }

// Scheme returns the scheme of URLs such as "registry:shop/v1", which are sources of the
// endpoints of a service.
func (r *Registry) Scheme() Scheme {
	return Scheme{Name: "registry", Source: func(u *url.URL, _ SchemeOptions) (Source, error) {
		name, version, _ := strings.Cut(u.Opaque, "/")
		if u.Opaque == "" || u.RawQuery != "" || strings.HasSuffix(u.Opaque, "/") {
			return nil, fmt.Errorf("found %q: want \"registry:NAME/VERSION\" or \"registry:NAME\"", u.Redacted())
		}
		return r.Source(name, version), CheckService(name, version)
	}}
}

type registrySource struct {
	r   *Registry
	key string
}

// Known returns what the registry has now.
func (s registrySource) Known() []lb.Endpoint {
	list, _ := s.r.Upstream(s.key)
	return list
}

func (s registrySource) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	ch := make(chan struct{}, 1)
	s.r.mu.Lock()
	s.r.watchers[s.key] = append(s.r.watchers[s.key], ch)
	s.r.mu.Unlock()
	defer s.leave(ch)
	again := time.NewTicker(watchAgain)
	defer again.Stop()
	for {
		report(s.Known())
		select {
		case <-ch:
		case <-again.C:
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		report(s.Known())
		if err := Sleep(ctx, watchPause); err != nil {
			return err
		}
	}
}

func (s registrySource) leave(ch chan struct{}) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	left := slices.DeleteFunc(s.r.watchers[s.key], func(o chan struct{}) bool { return o == ch })
	if len(left) == 0 {
		delete(s.r.watchers, s.key)
	} else {
		s.r.watchers[s.key] = left
	}
}

// CatalogFollower runs a catalog for a registry.
type CatalogFollower struct {
	runner   *runner
	cancel   context.CancelFunc
	done     chan struct{}
	registry *Registry
	// answered is closed once the catalog has reported, failed or ended for the first time; answer
	// closes it. reported says that it has reported, or ended; Registry.mu guards it.
	answered chan struct{}
	answer   func()
	reported bool
	// rejected is how many entries of the last report cannot be used. Registry.mu guards it.
	rejected int
}

// FollowCatalog makes the registry have what c reports, until Stop. name has no secrets. o is as
// for a Follower; a catalog needs no Memory besides the registry's.
func (r *Registry) FollowCatalog(name string, c Catalog, o Options) *CatalogFollower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &CatalogFollower{
		runner: newRunner(name, o.Log, o.OnPanic), cancel: cancel, done: make(chan struct{}), registry: r, answered: make(chan struct{}),
	}
	f.answer = sync.OnceFunc(func() { close(f.answered) })
	r.mu.Lock()
	r.catalogs[name] = f
	r.mu.Unlock()
	complaints := NewComplaints(f.runner.log, name)
	go func() {
		defer close(f.done)
		ended := f.runner.keep(ctx, func(ctx context.Context) error {
			defer f.answer()
			err := c.Run(ctx, func(entries []Entry) {
				if ctx.Err() != nil {
					return
				}
				f.runner.confirmed(time.Now())
				rejected := r.replace(name, entries, f.hasReported)
				complaints.Tell(rejected)
				f.rejects(len(rejected))
			})
			if err != nil && ctx.Err() == nil {
				r.catalogFailed(name)
			}
			return err
		})
		if ended {
			r.change(func() []string {
				f.hasReported()
				return r.dropDeparted()
			})
		}
	}()
	return f
}

// hasReported notes that the catalog has reported. Registry.mu must be held.
func (f *CatalogFollower) hasReported() {
	f.reported = true
	f.answer()
}

// rejects notes how many entries of the last report cannot be used.
func (f *CatalogFollower) rejects(n int) {
	f.registry.mu.Lock()
	defer f.registry.mu.Unlock()
	f.rejected = n
}

// Wait returns when the registry has endpoints of the catalog, when the catalog has reported that there are
// none, or has failed; or when ctx ends.
func (f *CatalogFollower) Wait(ctx context.Context) {
	if f.Status().Endpoints > 0 {
		return
	}
	select {
	case <-f.answered:
	case <-ctx.Done():
	}
}

// Status returns how the catalog is.
func (f *CatalogFollower) Status() SourceStatus {
	status := f.runner.status()
	f.registry.mu.Lock()
	defer f.registry.mu.Unlock()
	status.Rejected = f.rejected
	for _, s := range f.registry.services {
		for k := range s.records {
			if k.origin == status.Name {
				status.Endpoints++
			}
		}
	}
	return status
}

// Stop ends the catalog and waits until it has. What it reported stays.
func (f *CatalogFollower) Stop() {
	f.cancel()
	<-f.done
	f.registry.mu.Lock()
	defer f.registry.mu.Unlock()
	if f.registry.catalogs[f.runner.name] == f {
		delete(f.registry.catalogs, f.runner.name)
	}
}
