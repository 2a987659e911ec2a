package server

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"weir/config"
	"weir/discover"
)

// sources opens the sources among the targets of an upstream.
func (s *Server) sources(cfg *config.Upstream) (specs []discover.Spec, err error) {
	for i := range cfg.Targets {
		t := &cfg.Targets[i]
		if t.IsName() {
			spec, err := s.name(t, cfg.Connections.Resolve.D())
			if err != nil {
				return nil, err
			}
			specs = append(specs, spec)
		}
		if !t.IsSource() {
			continue
		}
		var rejected atomic.Int64
		source, err := s.schemes().Source(t.URL, discover.SchemeOptions{Log: s.log, Rejected: func(n int) { rejected.Store(int64(n)) }})
		if err != nil {
			return nil, err
		}
		specs = append(specs, discover.Spec{
			ID: t.URL, Name: config.DisplayURL(t.URL), Source: source, Exact: strings.HasPrefix(t.URL, "registry:"),
			Weight: t.Weight, Priority: t.Priority, Drain: t.Drain, Rejected: func() int { return int(rejected.Load()) },
		})
	}
	return specs, nil
}

// name returns the source of the addresses of a target's host name.
func (s *Server) name(t *config.Target, untimed time.Duration) (discover.Spec, error) {
	url := t.Origin()
	source, err := discover.NewName(url, discover.NewLookup(s.options.resolver), untimed)
	return discover.Spec{
		ID: fmt.Sprint(url, " ", untimed), Name: url, Source: source, Shared: true, Weight: t.Weight, Priority: t.Priority, Drain: t.Drain,
	}, err
}

// lookup returns what finds the addresses of a host name that is one target; nil for the system's way.
func (s *Server) lookup() func(ctx context.Context, host string) ([]netip.Addr, error) {
	if s.options.resolver == nil {
		return nil
	}
	look := discover.NewLookup(s.options.resolver)
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		found, err := look(ctx, host)
		return found.List, err
	}
}

// awaitLimit bounds how long a start, and a reload, wait for what new sources find, and a start for catalogs.
const awaitLimit = 2 * time.Second

// awaitSources waits until each source of g has reported or failed, so that requests find targets. s.mu is
// held.
func (s *Server) awaitSources(g *generation) {
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	for name := range g.upstreams {
		if f := s.followers[name]; f != nil {
			f.Wait(ctx)
		}
	}
}

// awaitCatalogs waits until each catalog has reported or failed, and makes the upstreams of the services
// that they found. s.mu is held.
func (s *Server) awaitCatalogs() {
	if len(s.catalogs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), awaitLimit)
	defer cancel()
	for _, c := range s.catalogs {
		c.Wait(ctx)
	}
	s.syncKnown() // who reported waits to say so until s.mu is free
}

// schemes returns those of the program, and that of the registry.
func (s *Server) schemes() discover.Schemes {
	return append(slices.Clip(s.options.schemes), s.registry.Scheme())
}

// CheckSources returns a check of the URLs of sources, for programs that have these schemes.
// It is for config.Load, beside CheckParts, and connects to nothing.
func CheckSources(schemes ...discover.Scheme) func(*config.Config) config.Errors {
	return func(cfg *config.Config) config.Errors { return checkSources(cfg, schemes) }
}

func checkSources(cfg *config.Config, schemes discover.Schemes) (problems config.Errors) {
	schemes = append(slices.Clip(schemes), new(discover.Registry).Scheme())
	add := func(err error, key ...any) {
		if err != nil {
			problems = append(problems, config.Problem{Key: config.Key(key...), Message: err.Error()})
		}
	}
	for name := range cfg.Upstreams {
		for i, t := range cfg.Upstreams[name].Targets {
			if t.IsSource() {
				_, err := schemes.Source(t.URL, discover.SchemeOptions{})
				add(err, "upstreams", name, "targets", i, "url")
			}
		}
	}
	for i, text := range cfg.Discovery.Catalogs {
		_, err := schemes.Catalog(text, discover.SchemeOptions{})
		add(err, "discovery", "catalogs", i)
	}
	return cfg.Locate(problems)
}
