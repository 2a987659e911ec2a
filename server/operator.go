package server

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"weir/admin"
	"weir/cache"
	"weir/config"
	"weir/lb"
)

// Drain begins or ends the draining of a target: it gets no new exchanges, and
// running ones finish. target is its URL, or its name in logs and metrics. It lasts
// over reloads, as long as the target is configured or discovered. A drain that
// the configuration asks for is not ended by it.
func (s *Server) Drain(upstream, target string, on bool) error {
	_, err := s.drain(upstream, target, on)
	return err
}

func (s *Server) drain(upstream, target string, on bool) (*lb.Target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sets := s.sets()
	u := sets[upstream]
	if u == nil {
		return nil, fmt.Errorf("cannot drain in upstream %q: there is %s", upstream,
			config.OneOf(slices.Sorted(maps.Keys(sets))))
	}
	var names []string
	for _, t := range u.Targets() {
		if t.URL() == target || t.Name() == target {
			u.SetDrain(t, on)
			return t, nil
		}
		names = append(names, t.Name())
	}
	return nil, fmt.Errorf("cannot drain target %q of upstream %q: there is %s", target, upstream, config.OneOf(names))
}

// Purge ends the entries of the cache that p names and reports how many there
// were in this process's memory. Those who share a tier follow. If no route has
// a cache, the error is admin.ErrNoCache.
func (s *Server) Purge(p cache.Purge) (int, error) {
	g := s.enter() // so that a reload does not close the store meanwhile
	defer g.leave()
	if g.store == nil {
		return 0, admin.ErrNoCache
	}
	return g.store.Purge(p, time.Now().UnixNano()), nil
}

// operator is what the admin API may do with a server.
type operator struct{ s *Server }

func (o operator) Purge(p admin.Purge) (int, error) {
	n, err := o.s.Purge(cache.Purge{All: p.All, URL: p.URL, Host: p.Host, Prefix: p.Prefix, Group: p.Group, Soft: p.Soft})
	if err == nil {
		what, name := p.Named()
		o.s.log.Info("purged", "by", what, "name", name, "soft", p.Soft, "entries", n)
	}
	return n, err
}

func (o operator) Drain(upstream, target string, on bool) (admin.Target, error) {
	t, err := o.s.drain(upstream, target, on)
	if err != nil {
		return admin.Target{}, err
	}
	return describe(t), nil
}

func (o operator) Upstreams() []admin.Upstream {
	sets := o.s.sets()
	list := make([]admin.Upstream, 0, len(sets))
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		u := admin.Upstream{Name: name, Targets: []admin.Target{}}
		for _, t := range sets[name].Targets() {
			u.Targets = append(u.Targets, describe(t))
		}
		list = append(list, u)
	}
	return list
}

func describe(t *lb.Target) admin.Target {
	good, bad, inARow := t.Counts()
	return admin.Target{
		Name: t.Name(), State: t.State().String(), Reason: t.Reason(), Weight: t.Weight(), Priority: t.Priority(),
		InFlight: t.InFlight(), Succeeded: good, Failed: bad, FailedInARow: inARow, Latency: t.Latency().Seconds(),
	}
}
