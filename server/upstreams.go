package server

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"time"

	"weir/config"
	"weir/discover"
	"weir/health"
	"weir/lb"
)

// upstream is the targets of one upstream and what looks after them: one of a
// generation, or one that was added at run time.
type upstream struct {
	*lb.Upstream
	monitor *health.Monitor
	// sources find targets besides those of the configuration.
	sources []discover.Spec
	// follower runs sources; nil for an upstream of the configuration, whose follower
	// outlives its generation.
	follower *discover.Follower
}

// newUpstream makes an upstream that adopts what before knows, which may be nil.
func (s *Server) newUpstream(name string, cfg *config.Upstream, before *upstream) (*upstream, error) {
	var old *lb.Upstream
	if before != nil {
		old = before.Upstream
	}
	var recalled *lb.Memory
	if m, ok := s.recalled.Upstreams[name]; ok {
		recalled = &m
	}
	set, err := lb.NewUpstream(name, cfg, lb.Options{
		NewTransport:  s.newTransport,
		NewAttachment: s.metrics.NewTarget,
		Algorithms:    s.options.balancing(),
		Memory:        recalled,
		Log:           s.log,
		OnJudged:      s.judge(name, cfg),
	}, old)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: %w", name, err)
	}
	m, err := health.New(set, health.Options{Log: s.log})
	if err != nil {
		set.Close()
		return nil, fmt.Errorf("upstream %q: %w", name, err)
	}
	return &upstream{Upstream: set, monitor: m}, nil
}

// watch starts to look after the targets.
func (u *upstream) watch() { u.monitor.Start() }

// wait blocks until the targets have their first verdicts, no longer than health.wait.
func (u *upstream) wait() { u.monitor.Wait(context.Background()) }

// close gives back the targets.
func (u *upstream) close() {
	u.monitor.Stop()
	u.Close()
}

// follow makes the sources of all upstreams be those of g: what runs already and is in
// g goes on. s.mu is held.
func (s *Server) follow(g *generation) {
	for name, u := range g.upstreams {
		f := s.followers[name]
		if f == nil && len(u.sources) == 0 {
			continue
		}
		if f == nil {
			f = discover.NewFollower(discover.Options{
				Log: s.log, OnPanic: s.panicked, Memory: s.memory,
				EmptyAfter: func() time.Duration { return s.current.Load().config.Discovery.EmptyAfter.D() },
			})
			s.followers[name] = f
			if before := s.current.Load().upstreams[name]; before != nil && before != u {
				f.Follow(before.Upstream, nil) // its targets stay until the sources have reported
			}
		}
		f.Follow(u.Upstream, u.sources)
	}
	for name, f := range s.followers {
		if g.upstreams[name] == nil {
			delete(s.followers, name)
			f.Cancel()
			s.background.Go(f.Stop)
		}
	}
}

// setUpstream adds an upstream at run time, or replaces the one that was added with
// this name. Routes whose template becomes its name find it, unless the configuration has
// an upstream of that name. The added upstream lasts over reloads. Targets that stay keep what is known of them.
// cfg must be valid and must not be changed afterwards; endpoints are its targets
// besides those of cfg. After an error nothing has changed.
func (s *Server) setUpstream(name string, cfg *config.Upstream, endpoints []lb.Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() == stateClosed {
		return http.ErrServerClosed
	}
	before := s.added[name]
	if before != nil && reflect.DeepEqual(before.Config(), cfg) {
		return before.SetEndpoints(endpoints)
	}
	u, err := s.newUpstream(name, cfg, before)
	if err != nil {
		return err
	}
	if err := u.SetEndpoints(endpoints); err != nil {
		u.close()
		return fmt.Errorf("upstream %q: %w", name, err)
	}
	s.addLocked(u)
	return nil
}

// removeUpstream takes away an upstream that setUpstream added, and reports whether
// there was one. Exchanges that run on it end normally.
func (s *Server) removeUpstream(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeLocked(name)
}

// removeLocked is removeUpstream with s.mu held.
func (s *Server) removeLocked(name string) bool {
	if u := s.added[name]; u != nil && u.follower != nil {
		s.background.Go(u.follower.Stop)
	}
	delete(s.added, name)
	return s.table.Remove(name)
}

// forget ends an added upstream that no exchange has any more.
func (s *Server) forget(u *upstream) {
	u.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retain()
}

// sets returns all upstreams that exchanges may go to now.
func (s *Server) sets() map[string]*lb.Upstream {
	all := make(map[string]*lb.Upstream)
	for name, u := range s.table.All() {
		all[name] = u.Set
	}
	for name, u := range s.current.Load().upstreams {
		all[name] = u.Upstream
	}
	return all
}

// closeUpstreams takes away all upstreams that were added, and ends all sources. s.mu is
// held.
func (s *Server) closeUpstreams() {
	for _, f := range s.followers {
		s.background.Go(f.Stop)
	}
	for name := range maps.Clone(s.added) {
		s.removeLocked(name)
	}
}
