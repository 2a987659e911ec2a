package server

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"weir/admin"
	"weir/cache"
	"weir/config"
	"weir/lb"
)

// Drain begins or ends the draining of a target: it gets no new exchanges, and
// running ones finish. target is its URL, or its name in logs and metrics. It lasts
// over reloads, and for an hour while the target is neither configured nor discovered. A drain that
// the configuration asks for is not ended by it.
func (s *Server) Drain(upstream, target string, on bool) error {
	_, err := s.change(targetChange{Upstream: upstream, Target: target, Drain: &on})
	return err
}

// SetWeight changes the weight of a target to 1 to config.MaxWeight; 0 makes it that of the
// configuration or of discovery again. target is its URL, or its name in logs and
// metrics. Like a drain, the weight lasts over reloads.
func (s *Server) SetWeight(upstream, target string, weight int) error {
	_, err := s.change(targetChange{Upstream: upstream, Target: target, Weight: &weight})
	return err
}

// targetChange is what an operator wants of a target: that it drains or does not, or a weight.
type targetChange struct {
	Upstream string `json:"upstream"`
	Target   string `json:"target"`
	Drain    *bool  `json:"drain,omitempty"`
	Weight   *int   `json:"weight,omitempty"`
}

// change changes a target here and in the other process of an upgrade, and returns it.
func (s *Server) change(c targetChange) (*lb.Target, error) {
	s.mu.Lock()
	t, err := s.changeTarget(c)
	if err == nil {
		s.other.Tell(aboutTarget, c)
	}
	s.mu.Unlock()
	s.awaitOther()
	return t, err
}

// changeTarget changes a target of this process. s.mu is held.
func (s *Server) changeTarget(c targetChange) (*lb.Target, error) {
	u, t, err := s.find(c.Upstream, c.Target)
	if c.Weight == nil {
		if err != nil {
			return nil, fmt.Errorf("cannot drain: %w", err)
		}
		u.SetDrain(t, c.Drain != nil && *c.Drain)
		return t, nil
	}
	if err == nil && (*c.Weight < 0 || *c.Weight > config.MaxWeight) {
		err = fmt.Errorf("found %d: want 0 to %d", *c.Weight, config.MaxWeight)
	}
	if err == nil {
		err = u.SetWeight(t, *c.Weight)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot change a weight: %w", err)
	}
	_, t, err = s.find(c.Upstream, c.Target) // as it is now
	return t, err
}

// find returns an upstream and a target of it by their names. s.mu is held.
func (s *Server) find(upstream, target string) (*lb.Upstream, *lb.Target, error) {
	sets := s.sets()
	u := sets[upstream]
	if u == nil {
		return nil, nil, notThere("upstream", upstream, slices.Sorted(maps.Keys(sets)))
	}
	var names []string
	origin := (&config.Target{URL: target}).Origin()
	for _, t := range u.Targets() {
		if t.URL() == origin || t.Name() == target {
			return u, t, nil
		}
		names = append(names, t.Name())
	}
	return nil, nil, notThere("target", target, names)
}

// notThere says that a name is none of those that exist.
func notThere(what, found string, names []string) error {
	if meant := config.Nearest(found, names); meant != "" {
		return fmt.Errorf("found %s %q: there is %s; did you mean %q?", what, found, config.OneOf(names), meant)
	}
	return fmt.Errorf("found %s %q: there is %s", what, found, config.OneOf(names))
}

// Purge ends the entries of the cache that p names, here and with all who share a
// tier, as cache.Store.Purge does. It may block for some seconds. If no route has
// a cache, the error is admin.ErrNoCache.
func (s *Server) Purge(p cache.Purge) (cache.Purged, error) {
	g := s.enter() // so that a reload does not close the store meanwhile
	defer g.leave()
	if g.store == nil {
		return cache.Purged{}, admin.ErrNoCache
	}
	return g.store.Purge(p, time.Now().UnixNano()), nil
}

// operator is what the admin API may do with a server.
type operator struct{ s *Server }

func (o operator) Purge(p admin.Purge) (admin.Purged, error) {
	done, err := o.s.Purge(cache.Purge{All: p.All, URL: p.URL, Host: p.Host, Prefix: p.Prefix, Group: p.Group, Soft: p.Soft})
	return admin.Purged{Purged: done.Entries, Pending: done.Pending}, err
}

func (o operator) Drain(upstream, target string, on bool) (admin.Target, error) {
	t, err := o.s.change(targetChange{Upstream: upstream, Target: target, Drain: &on})
	if err != nil {
		return admin.Target{}, err
	}
	return describe(t), nil
}

func (o operator) SetWeight(upstream, target string, weight int) (admin.Target, error) {
	t, err := o.s.change(targetChange{Upstream: upstream, Target: target, Weight: &weight})
	if err != nil {
		return admin.Target{}, err
	}
	return describe(t), nil
}

func (o operator) Explain(q admin.Question) (any, error) {
	question := Question{Method: q.Method, URL: q.URL, Fields: q.Fields, Listener: q.Listener, Answer: q.Answer, ClientCert: q.ClientCert}
	if q.From != "" {
		var err error
		if question.From, err = netip.ParseAddr(q.From); err != nil {
			return nil, fmt.Errorf("from: found %q: want an IP address", q.From)
		}
	}
	return o.s.Explain(question)
}

func (o operator) Plan() (any, error) {
	if o.s.options.load == nil {
		return nil, errNoLoader
	}
	cfg, err := o.s.options.load()
	if err != nil {
		return nil, err
	}
	return o.s.Plan(cfg)
}

func (o operator) Inspector() admin.Inspector { return o.s.recorder }

func (o operator) Upstreams() []admin.Upstream {
	sets := o.s.sets()
	list := make([]admin.Upstream, 0, len(sets))
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		u := describeUpstream(sets[name])
		origins := o.s.origins(name)
		for _, t := range sets[name].Targets() {
			target := describe(t)
			if origin, found := origins[t.URL()]; found {
				target.Source, target.Seen, target.Kept = origin.Source, timeOrNil(origin.Seen), origin.Kept
			}
			u.Targets = append(u.Targets, target)
		}
		list = append(list, u)
	}
	return list
}

// describeUpstream says how an upstream is, without its targets.
func describeUpstream(set *lb.Upstream) admin.Upstream {
	u := admin.Upstream{
		Name: set.Name(), Targets: []admin.Target{}, Reason: set.EmptyReason(), Running: max(0, set.InFlight()), Queued: max(0, set.Queued()),
		Breaker: set.Breaker().String(), PanicMode: set.Panicking(),
	}
	if set.Breaker() != lb.BreakerClosed {
		u.BreakerReason = set.WhyOpen().Error()
	}
	used, allowed := set.Retry().Budget.Used(lb.Monotonic())
	u.Retries, u.AllowedRetries = int(max(0, used)), int(max(0, allowed))
	return u
}

func describe(t *lb.Target) admin.Target {
	good, bad, inARow := t.Counts()
	configured := t.ConfiguredWeight()
	weight, sharers := t.OwnWeight()
	if configured == weight {
		configured = 0
	}
	return admin.Target{
		Name: t.Name(), State: t.State().String(), Reason: t.Reason(), Weight: weight, Sharers: sharers, ConfiguredWeight: configured, Priority: t.Priority(),
		InFlight: t.InFlight(), Succeeded: good, Failed: bad, FailedInARow: inARow, Latency: t.Latency().Seconds(),
	}
}
