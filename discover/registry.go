package discover

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"weir/config"
	"weir/lb"
)

// Registry knows the endpoints of services by name and version. Programs add them (Add),
// catalogs report them (Replace). Each service is an upstream of the server that has the
// registry. All methods may be called by many goroutines at once, and none waits. Make it with
// NewRegistry.
type Registry struct {
	o RegistryOptions

	mu       sync.Mutex
	settings config.Discovery
	services map[string]*service // by UpstreamName
	// watchers are told of changes of a service, which may be unknown, by its UpstreamName.
	watchers map[string][]chan struct{}
	// catalogs are those that run, by their names, and departed says that there may be
	// endpoints of some that settings has no more.
	catalogs map[string]*CatalogFollower
	departed bool
	// woken says that the change that runs gave endpoints to a service without any.
	woken bool
	// timer fires at due, if that is not zero.
	due   time.Time
	timer *time.Timer
}

// RegistryOptions are what a Registry may be told. The zero RegistryOptions are good.
type RegistryOptions struct {
	// OnService is called when a service has come or gone, or has endpoints again after it had none, by
	// its UpstreamName, on the goroutine that did it. Lookup tells what is the case now. OnService may
	// call the registry.
	OnService func(upstream string)
	// OnFailure is called by Failure with the service's UpstreamName and the URL of an endpoint.
	OnFailure func(upstream, url string)
	// OnChange is called with what Add, Delete and Remove have done, in that order. It must not wait, nor
	// call the registry.
	OnChange func(Change)
	// Memory keeps the registry over a restart; nil means not.
	Memory *Memory
}

// service is the endpoints of one name and version.
type service struct {
	name, version string
	records       map[recordKey]*record
	emptySince    time.Time // zero: it has endpoints
}

// recordKey is an endpoint and where it comes from: the name of a catalog, or "" for Add.
type recordKey struct{ url, origin string }

// record is a registered endpoint.
type record struct {
	lb.Endpoint
	ttl      time.Duration
	expires  time.Time // zero: never
	seen     time.Time
	failures int
	// missing is since when its catalog has no endpoint of the service, which is not
	// believed yet.
	missing time.Time
}

// Registered is an endpoint of a service.
type Registered struct {
	lb.Endpoint
	// Catalog is the name of the catalog that reports it; empty if Add did.
	Catalog string
	// TTL is how long it stays without being added again; 0 means for good.
	TTL time.Duration
	// Seen is when it was last added or reported.
	Seen time.Time
	// Failures are the failed attempts in a row.
	Failures int
	// Missing is since when its catalog has nothing of the service; zero if it has.
	Missing time.Time
}

// Service is a service with its endpoints, sorted by their URLs.
type Service struct {
	Name, Version string
	Endpoints     []Registered
}

// NewRegistry returns a registry with what o.Memory has kept. settings are as for Configure.
func NewRegistry(settings config.Discovery, o RegistryOptions) *Registry {
	if o.OnService == nil {
		o.OnService = func(string) {}
	}
	if o.OnFailure == nil {
		o.OnFailure = func(string, string) {}
	}
	if o.OnChange == nil {
		o.OnChange = func(Change) {}
	}
	r := &Registry{
		o: o, settings: settings, services: make(map[string]*service), watchers: make(map[string][]chan struct{}), catalogs: make(map[string]*CatalogFollower),
	}
	r.timer = time.AfterFunc(time.Hour, r.sweep)
	r.timer.Stop()
	r.restore(o.Memory.begin(r.saved))
	return r
}

// Configure changes the settings: empty_after, forget_after, remove_after, and catalogs. The
// endpoints of those that are gone are removed once all others have reported.
func (r *Registry) Configure(settings config.Discovery) {
	r.change(func() []string {
		r.settings = settings
		r.wakeBy(time.Now())
		r.departed = true
		return r.dropDeparted()
	})
}

// dropDeparted removes the endpoints of catalogs that settings has no more, if all that it has
// have reported, and returns the services that had some. mu must be held.
func (r *Registry) dropDeparted() (touched []string) {
	if !r.departed {
		return nil
	}
	wanted := make(map[string]bool, len(r.settings.Catalogs))
	for _, url := range r.settings.Catalogs {
		name := config.DisplayURL(url)
		if f := r.catalogs[name]; f == nil || !f.reported {
			return nil
		}
		wanted[name] = true
	}
	r.departed = false
	for key, s := range r.services {
		for k := range s.records {
			if k.origin != "" && !wanted[k.origin] {
				delete(s.records, k)
				touched = append(touched, key)
			}
		}
	}
	return touched
}

// Add registers an endpoint of a service for good, or changes it. version may be empty. The
// error says what is wrong with the name, the version or the endpoint.
func (r *Registry) Add(name, version string, e lb.Endpoint) error {
	return r.AddFor(name, version, e, 0)
}

// AddFor is Add for as long as ttl. To add the same endpoint again is its heartbeat.
func (r *Registry) AddFor(name, version string, e lb.Endpoint, ttl time.Duration) error {
	return r.add(name, version, e, ttl, true)
}

// add is AddFor. tell says whether OnChange is told.
func (r *Registry) add(name, version string, e lb.Endpoint, ttl time.Duration, tell bool) error {
	if err := CheckService(name, version); err != nil {
		return err
	}
	e, err := checked(e)
	if err != nil {
		return err
	}
	if ttl != 0 && ttl < sweepEvery {
		return fmt.Errorf("found a ttl of %s: want %s or more, or 0 for good", ttl, sweepEvery)
	}
	r.change(func() []string {
		differs := r.put(name, version, recordKey{e.URL, ""}, record{Endpoint: e, ttl: ttl}, time.Now())
		if tell {
			r.told(name, version, e, false, ttl)
		}
		if differs {
			return []string{UpstreamName(name, version)}
		}
		return nil
	})
	return nil
}

// checked returns an endpoint as targets have it.
func checked(e lb.Endpoint) (lb.Endpoint, error) {
	t := config.Target{URL: e.URL}
	if found, want := t.URLProblem(); want != "" {
		return e, fmt.Errorf("found endpoint %s: want %s", found, want)
	}
	if e.Weight < 0 || e.Weight > config.MaxWeight || e.Priority < 0 || e.Priority > maxPriority {
		return e, fmt.Errorf("found weight %d and priority %d: want 1 to %d, and 0 to %d", e.Weight, e.Priority, config.MaxWeight, maxPriority)
	}
	e.URL, e.Weight = t.Origin(), max(e.Weight, 1)
	return e, nil
}

// service returns the service of this name and version, which it makes known. mu must be held.
func (r *Registry) service(name, version string) *service {
	key := UpstreamName(name, version)
	s := r.services[key]
	if s == nil {
		s = &service{name: name, version: version, records: make(map[recordKey]*record)}
		r.services[key] = s
	}
	return s
}

// put sets a record and reports whether it differs from the one before. mu must be held.
func (r *Registry) put(name, version string, k recordKey, to record, now time.Time) (differs bool) {
	s := r.service(name, version)
	before := s.records[k]
	differs = before == nil || before.Endpoint != to.Endpoint || before.ttl != to.ttl
	if before != nil {
		to.failures = before.failures // a sign of life is no attempt that went well
	}
	to.seen = now
	if to.ttl > 0 {
		to.expires = now.Add(to.ttl)
		r.wakeBy(to.expires)
	}
	r.woken = r.woken || len(s.records) == 0
	s.records[k] = &to
	s.emptySince = time.Time{}
	return differs
}

// Delete removes an endpoint that Add registered, and reports whether it was there. The
// service stays known for forget_after.
func (r *Registry) Delete(name, version, url string) (found bool) {
	return r.delete(name, version, url, true)
}

// delete is Delete; tell says whether OnChange is told.
func (r *Registry) delete(name, version, url string, tell bool) (found bool) {
	key := UpstreamName(name, version)
	r.change(func() []string {
		s := r.services[key]
		k := recordKey{(&config.Target{URL: url}).Origin(), ""}
		if tell {
			r.told(name, version, lb.Endpoint{URL: k.url}, true, 0) // even if it is not here: the other process may have it
		}
		if s == nil || s.records[k] == nil {
			return nil
		}
		found = true
		delete(s.records, k)
		return []string{key}
	})
	return found
}

// Remove removes all endpoints of a service that Add registered, and the service too if none
// is left. It reports whether the service was there.
func (r *Registry) Remove(name, version string) (found bool) {
	return r.remove(name, version, true)
}

// remove is Remove; tell says whether OnChange is told.
func (r *Registry) remove(name, version string, tell bool) (found bool) {
	key := UpstreamName(name, version)
	r.change(func() []string {
		if tell {
			r.told(name, version, lb.Endpoint{}, false, 0)
		}
		s := r.services[key]
		if s == nil {
			return nil
		}
		found = true
		for k := range s.records {
			if k.origin == "" {
				delete(s.records, k)
			}
		}
		if len(s.records) == 0 {
			delete(r.services, key)
		}
		return []string{key}
	})
	return found
}

// Failure says that an attempt to use an endpoint failed. It counts for the health of the
// target, and for remove_after. It returns how many attempts have failed in a row, 0 if the endpoint
// is not there.
func (r *Registry) Failure(name, version, url string) int {
	url = (&config.Target{URL: url}).Origin()
	n := r.failed(UpstreamName(name, version), url)
	if n > 0 {
		r.o.OnFailure(UpstreamName(name, version), url)
	}
	return n
}

// failed counts a failure, and removes the endpoint after too many.
func (r *Registry) failed(key, url string) (n int) {
	r.change(func() []string {
		s := r.services[key]
		if s == nil {
			return nil
		}
		removed := false
		for k, rec := range s.records {
			if k.url != url {
				continue
			}
			rec.failures++
			n = max(n, rec.failures)
			if r.settings.RemoveAfter > 0 && rec.failures >= r.settings.RemoveAfter && k.origin == "" {
				delete(s.records, k)
				removed = true
			}
		}
		if removed {
			return []string{key}
		}
		return nil
	})
	return n
}

// Judged says how an attempt of the server went, for remove_after: upstream is the service's
// UpstreamName. Of successes only the first after a failure need be told.
func (r *Registry) Judged(upstream, url string, failed bool) {
	if failed {
		r.failed(upstream, url)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.services[upstream]; s != nil {
		for k, rec := range s.records {
			if k.url == url {
				rec.failures = 0
			}
		}
	}
}

// Lookup returns the endpoints of a service, sorted by URL, and whether it is known: a known
// service may have none.
func (r *Registry) Lookup(name, version string) (endpoints []lb.Endpoint, known bool) {
	endpoints, known = r.Upstream(UpstreamName(name, version))
	slices.SortFunc(endpoints, func(a, b lb.Endpoint) int { return cmp.Compare(a.URL, b.URL) })
	return endpoints, known
}

// Upstream is Lookup by UpstreamName, and without order.
func (r *Registry) Upstream(key string) (endpoints []lb.Endpoint, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.services[key]
	if s == nil {
		return nil, false
	}
	endpoints = make([]lb.Endpoint, 0, len(s.records))
	first := s.firsts()
	for k, rec := range s.records {
		if first == nil || first[k.url] == k.origin {
			endpoints = append(endpoints, rec.Endpoint)
		}
	}
	return endpoints, true
}

// firsts returns, by URL, which of several records counts: that of Add, or of the catalog whose
// name comes first; nil if all are of one origin. Registry.mu must be held.
func (s *service) firsts() map[string]string {
	origins := make(map[string]bool, 1)
	for k := range s.records {
		origins[k.origin] = true
	}
	if len(origins) < 2 {
		return nil
	}
	first := make(map[string]string, len(s.records))
	for k := range s.records {
		if origin, known := first[k.url]; !known || k.origin < origin {
			first[k.url] = k.origin
		}
	}
	return first
}

// Services returns all services, sorted by name and version.
func (r *Registry) Services() []Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Service, 0, len(r.services))
	for _, s := range r.services {
		list = append(list, s.export())
	}
	slices.SortFunc(list, func(a, b Service) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version)) })
	return list
}

// Service returns a service; one that is not known has no endpoints.
func (r *Registry) Service(name, version string) Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.services[UpstreamName(name, version)]; s != nil {
		return s.export()
	}
	return Service{Name: name, Version: version}
}

// Find returns an endpoint that Add registered, or that a catalog reports, and whether it is there.
func (r *Registry) Find(name, version, url string) (e Registered, found bool) {
	url = (&config.Target{URL: url}).Origin()
	for _, e := range r.Service(name, version).Endpoints {
		if e.URL == url {
			return e, true // that of Add comes first
		}
	}
	return e, false
}

// Size returns how many services and endpoints there are.
func (r *Registry) Size() (services, endpoints int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.services {
		endpoints += len(s.records)
	}
	return len(r.services), endpoints
}

// export returns a copy for others. Registry.mu must be held.
func (s *service) export() Service {
	out := Service{Name: s.name, Version: s.version, Endpoints: make([]Registered, 0, len(s.records))}
	for k, rec := range s.records {
		out.Endpoints = append(out.Endpoints, Registered{
			Endpoint: rec.Endpoint, Catalog: k.origin, TTL: rec.ttl, Seen: rec.seen, Failures: rec.failures, Missing: rec.missing,
		})
	}
	slices.SortFunc(out.Endpoints, func(a, b Registered) int {
		return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Catalog, b.Catalog))
	})
	return out
}

// change calls f with mu held, and then tells those who want to know of the services that f
// returns.
func (r *Registry) change(f func() (touched []string)) {
	r.mu.Lock()
	before := len(r.services)
	r.woken = false
	touched := f()
	now := time.Now()
	differ := r.woken || len(r.services) < before
	for _, key := range touched {
		if s := r.services[key]; s != nil && len(s.records) == 0 && s.emptySince.IsZero() {
			s.emptySince = now
			r.wakeBy(now.Add(r.settings.ForgetAfter.D()))
		}
		for _, ch := range r.watchers[key] {
			select {
			case ch <- struct{}{}:
			default: // it has not looked since the last change
			}
		}
	}
	r.mu.Unlock()
	if len(touched) > 0 {
		r.o.Memory.changed()
	}
	if differ {
		for _, key := range touched {
			r.o.OnService(key)
		}
	}
}

// Close ends the registry's timer.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer.Stop()
	r.due = time.Unix(0, 1) // nothing is earlier
}

// savedEntry is a record in the file of a Memory, or, without an endpoint, a service that has none.
type savedEntry struct {
	Name     string          `json:"name"`
	Version  string          `json:"version,omitempty"`
	Catalog  string          `json:"catalog,omitempty"`
	TTL      time.Duration   `json:"ttl,omitempty"`
	Endpoint json.RawMessage `json:"endpoint,omitempty"`
}

// saved returns all records and services without any for the file.
func (r *Registry) saved() []savedEntry {
	list := []savedEntry{}
	for _, s := range r.Services() {
		if len(s.Endpoints) == 0 {
			list = append(list, savedEntry{Name: s.Name, Version: s.Version})
		}
		for _, e := range s.Endpoints {
			list = append(list, savedEntry{s.Name, s.Version, e.Catalog, e.TTL, FormatEndpoint(e.Endpoint)})
		}
	}
	return list
}

// restore takes in what saved returned before a restart: a ttl, and forget_after of a service without
// endpoints, begin anew. What cannot be used is left out.
func (r *Registry) restore(list []savedEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, e := range list {
		if CheckService(e.Name, e.Version) != nil {
			continue
		}
		if len(e.Endpoint) == 0 {
			r.service(e.Name, e.Version).emptySince = now
			r.wakeBy(now.Add(r.settings.ForgetAfter.D()))
			continue
		}
		if endpoint, err := ParseEndpoint(e.Endpoint); err == nil && e.TTL >= 0 {
			r.put(e.Name, e.Version, recordKey{endpoint.URL, e.Catalog}, record{Endpoint: endpoint, ttl: e.TTL}, now)
		}
	}
}
