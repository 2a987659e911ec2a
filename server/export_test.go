package server

import (
	"time"

	"weir/admin"
	"weir/config"
	"weir/lb"
)

// WithSlowTurn sets how long an exchange at the head of a shared connection may
// wait before no other joins it, so that tests do not depend on how fast the
// machine is.
func WithSlowTurn(d time.Duration) Option { return func(o *options) { o.slowTurn = d } }

// SetUpstream is setUpstream, which no configuration leads to yet.
func (s *Server) SetUpstream(name string, cfg *config.Upstream, endpoints []lb.Endpoint) error {
	return s.setUpstream(name, cfg, endpoints)
}

// RemoveUpstream is removeUpstream.
func (s *Server) RemoveUpstream(name string) bool { return s.removeUpstream(name) }

// Upstreams is what the admin API has of upstreams.
func (s *Server) Upstreams() []admin.Upstream { return operator{s}.Upstreams() }
