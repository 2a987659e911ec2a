package server

import (
	"errors"
	"reflect"

	"weir/config"
	"weir/discover"
	"weir/lb"
	"weir/proxy"
)

// Registry returns the registry of services: what is added to it can be reached by routes
// whose upstream is a template, such as "{service}/{version}", from the time on when Add has
// returned. It lasts as long as the server, over reloads.
func (s *Server) Registry() *discover.Registry { return s.registry }

// openRegistry makes the registry, with what it had before the start.
func (s *Server) openRegistry(cfg *config.Discovery) {
	memory, err := discover.OpenMemory(cfg.Persist, s.log)
	if err != nil {
		s.log.Error("targets that were found before the start are lost", "error", err)
	}
	if before := s.recalled.Discovery; len(before) > 0 {
		if err := memory.Load(before); err != nil {
			s.log.Error("targets that the process before this one found are lost", "error", err)
		}
	}
	s.memory = memory
	s.registry = discover.NewRegistry(*cfg, discover.RegistryOptions{
		OnService: func(name string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.syncService(name)
			for _, f := range s.followers {
				f.Look(registryURL(name))
			}
			if u := s.added[name]; u != nil && u.follower != nil {
				u.follower.Look(registryURL(name))
			}
		},
		OnFailure: s.blame,
		OnChange:  func(c discover.Change) { s.other.Tell(aboutRegistry, c) },
		Memory:    memory,
	})
}

// closeRegistry ends the catalogs, and keeps what is known. s.mu is not held.
func (s *Server) closeRegistry() error {
	for _, c := range s.catalogs {
		c.Stop()
	}
	s.registry.Close()
	return s.memory.Close()
}

// syncServices makes all services be as the configuration in force wants them. s.mu is
// held.
func (s *Server) syncServices() {
	cfg := &s.current.Load().config.Discovery
	s.memory.Move(cfg.Persist)
	upstreams := s.current.Load().upstreams
	s.memory.Retain(func(name string) bool { return upstreams[name] != nil })
	s.syncKnown()
	// On another goroutine, because a registry whose services go calls the server.
	s.background.Go(func() { s.registry.Configure(s.current.Load().config.Discovery) })
}

// syncKnown is syncService for all services that the registry knows. s.mu is held.
func (s *Server) syncKnown() {
	for _, service := range s.registry.Services() {
		s.syncService(discover.UpstreamName(service.Name, service.Version))
	}
}

// syncService makes the upstream of a service be there if the registry knows the service, and
// be gone if not. s.mu is held.
func (s *Server) syncService(name string) {
	_, known := s.registry.Upstream(name)
	g := s.current.Load()
	if s.state.Load() == stateClosed || g == nil {
		return
	}
	if !known {
		s.removeLocked(name)
		return
	}
	cfg := serviceSettings(g.config)
	before := s.added[name]
	if before != nil && reflect.DeepEqual(before.Config(), cfg) {
		return
	}
	u, err := s.newUpstream(name, cfg, before)
	if err != nil {
		s.log.Error("a service cannot be reached", "service", name, "error", err)
		return
	}
	u.sources = []discover.Spec{{ID: registryURL(name), Source: s.registry.SourceOf(name), Exact: true}}
	if before != nil {
		u.follower = before.follower
	} else {
		u.follower = discover.NewFollower(discover.Options{Log: s.log, OnPanic: s.panicked})
	}
	s.addLocked(u)
}

// registryURL returns the URL of the source of a service's endpoints.
func registryURL(service string) string { return "registry:" + service }

// serviceSettings returns the settings of the upstreams of services.
func serviceSettings(cfg *config.Config) *config.Upstream {
	settings := config.DefaultUpstream()
	if name := cfg.Discovery.Upstream; name != "" {
		settings = cfg.Upstreams[name]
		settings.Targets = nil
	}
	return &settings
}

// addLocked puts u into the table of upstreams, in place of the one of its name, and starts to
// look after it if the server has started. s.mu is held.
func (s *Server) addLocked(u *upstream) {
	if s.state.Load() != stateNew {
		s.watchAdded(u)
	}
	s.added[u.Name()] = u
	s.table.Set(proxy.NewUpstream(u.Upstream, s.metrics, func() { s.background.Go(func() { s.forget(u) }) }))
}

// watchAdded starts to look after an upstream that was added.
func (s *Server) watchAdded(u *upstream) {
	if u.follower != nil {
		u.follower.Follow(u.Upstream, u.sources)
	}
	u.watch()
}

// blame counts a failure that was reported to the registry for the health of the target.
func (s *Server) blame(name, url string) {
	u := s.table.All()[name]
	if u == nil {
		return
	}
	for _, t := range u.Set.Targets() {
		if t.URL() == url {
			u.Set.Blame(t, errReported)
			return
		}
	}
}

var errReported = errors.New("a failure was reported to the registry")

// followCatalogs makes the catalogs be those of the configuration. s.mu is held.
func (s *Server) followCatalogs(cfg *config.Config) {
	wanted := make(map[string]bool)
	for _, url := range cfg.Discovery.Catalogs {
		wanted[url] = true
		if s.catalogs[url] != nil {
			continue
		}
		catalog, err := s.options.schemes.Catalog(url, discover.SchemeOptions{Log: s.log})
		name := config.DisplayURL(url)
		if err != nil { // checked before, so this does not happen
			s.log.Error("a catalog cannot be opened", "catalog", name, "error", err)
			continue
		}
		s.catalogs[url] = s.registry.FollowCatalog(name, catalog, discover.Options{Log: s.log, OnPanic: s.panicked})
	}
	for url, c := range s.catalogs {
		if !wanted[url] {
			delete(s.catalogs, url)
			s.background.Go(c.Stop)
		}
	}
}

func (s *Server) panicked(v any) { s.metrics.Panicked(s.log, v) }

// judge returns what tells the registry how the attempts of a service go; nil if it need not
// know.
func (s *Server) judge(name string, cfg *config.Upstream) func(t *lb.Target, failed bool) {
	if len(cfg.Targets) > 0 {
		return nil // of the configuration
	}
	return func(t *lb.Target, failed bool) { s.registry.Judged(name, t.URL(), failed) }
}
