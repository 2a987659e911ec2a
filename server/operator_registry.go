package server

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/admin"
	"weir/discover"
	"weir/lb"
)

// Services returns what the registry has.
func (o operator) Services() []admin.Service {
	list := []admin.Service{}
	for _, service := range o.s.registry.Services() {
		out := admin.Service{Name: service.Name, Version: service.Version, Endpoints: []admin.Endpoint{}}
		for _, e := range service.Endpoints {
			out.Endpoints = append(out.Endpoints, endpointOf(&e))
		}
		list = append(list, out)
	}
	return list
}

func endpointOf(e *discover.Registered) admin.Endpoint {
	return admin.Endpoint{
		URL: e.URL, Weight: e.Weight, Priority: e.Priority, Drain: e.Drain, Catalog: e.Catalog, TTL: e.TTL.Seconds(), Seen: e.Seen,
		Failures: e.Failures, Missing: timeOrNil(e.Missing),
	}
}

// timeOrNil returns nil for no time.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (o operator) Register(name, version, url string, r admin.Registration) (admin.Endpoint, error) {
	e := lb.Endpoint{URL: url, Weight: r.Weight, Priority: r.Priority, Drain: r.Drain}
	if err := o.s.registry.AddFor(name, version, e, r.TTL); err != nil {
		return admin.Endpoint{}, err
	}
	return o.registered(name, version, url)
}

func (o operator) Deregister(name, version, url string) error {
	if !o.s.registry.Delete(name, version, url) {
		return admin.ErrNotRegistered
	}
	return o.keep()
}

func (o operator) RemoveService(name, version string) error {
	if !o.s.registry.Remove(name, version) {
		return admin.ErrNotRegistered
	}
	return o.keep()
}

func (o operator) ReportFailure(name, version, url string) (admin.Endpoint, error) {
	if o.s.registry.Failure(name, version, url) == 0 {
		return admin.Endpoint{}, admin.ErrNotRegistered
	}
	return o.registered(name, version, url)
}

// registered returns an endpoint that was just changed, once the change is kept. One that is gone
// again is empty.
func (o operator) registered(name, version, url string) (admin.Endpoint, error) {
	e, ok := o.s.registry.Find(name, version, url)
	if !ok {
		return admin.Endpoint{URL: url}, o.keep()
	}
	return endpointOf(&e), o.keep()
}

// keep writes a change of the registry to its file, if it has one, and waits until the other process of an
// upgrade has the change too.
func (o operator) keep() error {
	o.s.awaitOther()
	if err := o.s.memory.Sync(); err != nil {
		return fmt.Errorf("%w: %w", admin.ErrNotKept, err)
	}
	return nil
}

// Sources returns how the sources are: the catalogs, and those of each upstream.
func (o operator) Sources() []admin.Source {
	list := []admin.Source{}
	for _, source := range o.s.sourceStatus() {
		out := admin.Source{
			Upstream: source.upstream, Name: source.Name, Seen: timeOrNil(source.Seen), Failing: source.Failing, FailingSince: timeOrNil(source.FailingSince),
			Failures: source.Failures, Endpoints: source.Endpoints, Rejected: source.Rejected, EmptySince: timeOrNil(source.EmptySince), Restored: source.Restored,
			Held: source.held,
		}
		if out.Seen != nil {
			out.Age = time.Since(source.Seen).Seconds()
		}
		list = append(list, out)
	}
	return list
}

// sourceStatus is how a source is, and whose it is.
type sourceStatus struct {
	discover.SourceStatus
	upstream string // empty: a catalog
	held     map[string]time.Time
}

// sourceStatus returns how the catalogs and the sources of the configuration are. Those of services
// are the registry's own.
func (s *Server) sourceStatus() (list []sourceStatus) {
	s.mu.Lock()
	followers, catalogs := maps.Clone(s.followers), maps.Clone(s.catalogs)
	s.mu.Unlock()
	for _, c := range catalogs {
		list = append(list, sourceStatus{SourceStatus: c.Status()})
	}
	for upstream, f := range followers {
		held := f.Held()
		for _, status := range f.Status() {
			list = append(list, sourceStatus{status, upstream, held})
		}
	}
	slices.SortStableFunc(list, func(a, b sourceStatus) int {
		return cmp.Or(cmp.Compare(a.upstream, b.upstream), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// origins returns where the targets of an upstream come from, by URL.
func (s *Server) origins(upstream string) map[string]discover.EndpointStatus {
	s.mu.Lock()
	f, added := s.followers[upstream], s.added[upstream]
	if s.current.Load().upstreams[upstream] != nil {
		added = nil // it comes first
	}
	s.mu.Unlock()
	if added == nil || added.follower == nil {
		if f == nil {
			return nil
		}
		return f.Endpoints()
	}
	origins := make(map[string]discover.EndpointStatus)
	name, version, _ := strings.Cut(upstream, "/")
	for _, e := range s.registry.Service(name, version).Endpoints {
		if _, known := origins[e.URL]; known {
			continue // the first one counts
		}
		status := discover.EndpointStatus{Source: cmp.Or(e.Catalog, "registry"), Seen: e.Seen}
		if !e.Missing.IsZero() {
			status.Kept = "the catalog has nothing of the service"
		}
		origins[e.URL] = status
	}
	return origins
}

// writeSources writes the metrics of sources.
func (s *Server) writeSources(w io.Writer) {
	for _, source := range s.sourceStatus() {
		labels := fmt.Sprintf("{upstream=%q,source=%q}", source.upstream, source.Name)
		up := uint64(1)
		if source.Failing != "" || source.Seen.IsZero() {
			up = 0
		}
		metrics.WriteGaugeUint64(w, "weir_discovery_up"+labels, up)
		age := time.Since(source.Seen)
		if source.Seen.IsZero() {
			age = time.Since(s.started)
		}
		metrics.WriteGaugeFloat64(w, "weir_discovery_age_seconds"+labels, age.Seconds())
		metrics.WriteCounterUint64(w, "weir_discovery_failures_total"+labels, source.Failures)
		metrics.WriteGaugeUint64(w, "weir_discovery_endpoints"+labels, uint64(source.Endpoints))
		metrics.WriteGaugeUint64(w, "weir_discovery_rejected_endpoints"+labels, uint64(source.Rejected))
	}
	services, endpoints := s.registry.Size()
	metrics.WriteGaugeUint64(w, "weir_registry_services", uint64(services))
	metrics.WriteGaugeUint64(w, "weir_registry_endpoints", uint64(endpoints))
}
