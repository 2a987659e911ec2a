package server

import (
	"errors"
	"reflect"

	"weir/config"
	"weir/internal/refs"
	"weir/internal/tracing"
	"weir/proxy"
)

// collector sends the spans of generations that share it as long as its settings stay the same. The last one
// closes it.
type collector struct {
	*tracing.Collector
	users refs.Count
}

// release lets go of c, which may be nil.
func (c *collector) release() {
	if c != nil && c.users.Release() {
		c.Close()
	}
}

// acquireCollector is the collector for cfg: that of old if its settings are the same, nil if no spans are sent.
func (s *Server) acquireCollector(cfg *config.Tracing, old *generation) (*collector, error) {
	if !cfg.Enabled || cfg.Endpoint == config.NoEndpoint {
		return nil, nil
	}
	if old != nil && old.tracing != nil && reflect.DeepEqual(cfg, old.tracing.Settings()) && old.tracing.users.Hold() {
		return old.tracing, nil
	}
	if s.options.exporter == nil {
		return nil, errors.New(`tracing.endpoint: this program sends no spans: want "none"`)
	}
	e, err := s.options.exporter(cfg)
	if err != nil {
		return nil, err
	}
	c := &collector{Collector: tracing.NewCollector(cfg, e, s.log, &s.spans)}
	c.users.Hold()
	return c, nil
}

// tracer makes the spans of g's exchanges; nil if tracing is off.
func (g *generation) tracer() proxy.Tracer {
	switch {
	case !g.config.Tracing.Enabled:
		return nil
	case g.tracing == nil:
		return tracing.NewPlan(g.config, nil)
	}
	return tracing.NewPlan(g.config, g.tracing.Collector)
}
