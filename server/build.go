package server

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"weir/config"
	"weir/internal/accesslog"
	"weir/internal/listener"
	"weir/internal/sock"
	"weir/internal/transport"
	"weir/lb"
	"weir/proxy"
)

// build makes the next generation. What old (which may be nil) has in common
// with it is adopted.
func (s *Server) build(cfg *config.Config, old *generation) (_ *generation, err error) {
	g := &generation{
		config:    cfg,
		log:       s.log,
		upstreams: make(map[string]*upstream, len(cfg.Upstreams)),
		empty:     make(chan struct{}),
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	sets := make(map[string]*lb.Upstream, len(cfg.Upstreams))
	for name := range cfg.Upstreams {
		settings := cfg.Upstreams[name]
		var before *upstream
		if old != nil {
			before = old.upstreams[name]
		}
		u, err := s.newUpstream(name, &settings, before)
		if err != nil {
			return nil, err
		}
		g.upstreams[name], sets[name] = u, u.Upstream
		if u.sources, err = s.sources(&settings); err != nil {
			return nil, fmt.Errorf("upstream %q: %w", name, err)
		}
	}
	if g.store, err = s.acquireStore(cfg, old); err != nil {
		return nil, err
	}
	if g.door, err = newAdminDoor(&cfg.Admin); err != nil {
		return nil, err
	}
	if g.tracing, err = s.acquireCollector(&cfg.Tracing, old); err != nil {
		return nil, err
	}
	g.observed, g.recorded = s.observed.Plan(cfg), s.recorder.Plan(cfg)
	g.counted, g.aims = s.statistics.Plan(cfg), s.objectives.Plan(cfg)
	hooks := append([]proxy.Hooks{{OnDone: s.record}, g.observed.Hooks(), g.counted.Hooks(), g.aims.Hooks()}, s.options.hooks...)
	g.proxy, err = proxy.New(proxy.Parts{
		Config:    cfg,
		Upstreams: sets,
		Added:     &s.table,

		NameUpstream: s.options.nameUpstream(),
		Hooks:        append(hooks, g.recorded.Hooks()),
		Log:          s.log,
		Metrics:      s.metrics,
		Verifier:     s.verifier,
		Tracer:       g.tracer(),
		Cache:        g.store.near(),
		Fetches:      &s.fetches,
		Challenge:    s.answerChallenge(cfg),
		Closing:      func() bool { return s.state.Load() == stateClosed },
		Background: func(f func()) {
			g.running.Add(1)
			go func() {
				defer g.leave()
				f()
			}()
		},
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// newTransport makes the connections to a target.
func (s *Server) newTransport(url string, cfg *config.Upstream) (lb.Transport, error) {
	return transport.New(url, cfg, transport.Options{
		DialLocal: s.local.dial,
		Lookup:    s.lookup(),
		OnPanic:   func(v any) { s.metrics.Panicked(s.log, v) },
		SlowTurn:  s.options.slowTurn,
		Reclaim:   s.reclaim,
		OnFiles: func(target string, err error) {
			if err != nil {
				s.log.Error("cannot use the changed files of a target's TLS, the old ones stay", "target", target, "error", err)
				return
			}
			s.log.Info("the files of a target's TLS were read again", "target", target)
		},
	})
}

// open opens the listeners of cfg; on an error none stays open.
func (s *Server) open(cfg *config.Config) ([]*running, error) {
	var opened []*running
	for i := range cfg.Listeners {
		r, err := s.openListener(&cfg.Listeners[i])
		if err != nil {
			closeAll(opened)
			return nil, err
		}
		opened = append(opened, r)
	}
	return opened, nil
}

func (s *Server) openListener(cfg *config.Listener) (*running, error) {
	o := s.listenerOptions(nil)
	o.Tickets = s.tickets[cfg.Address]
	l, err := listener.Open(cfg, o)
	if err != nil {
		return nil, err
	}
	if s.shared {
		l.SetShared(true)
	}
	r := &running{Listener: l}
	r.core.Store(s.metrics.NewListener(l.Config()))
	return r, nil
}

func (s *Server) listenerOptions(socket net.Listener) listener.Options {
	return listener.Options{
		Inherited: s.sockets,
		Socket:    socket,
		Room:      s.descriptors.room,
		Issuer:    s.listenerIssuer(),
		UnderTLS: func(c net.Conn) net.Conn {
			if stream := sock.NewStream(c); stream != nil {
				return &sock.PacedStream{Stream: stream}
			}
			return c
		},
		OnVisit: func(c *listener.Conn) { s.alive.Serve(c, func() *proxy.Listener { return nil }) },
		OnRefuse: func(reason listener.Reason, err error, client netip.AddrPort) {
			s.log.Debug("connection refused", "reason", string(reason), "client", client.String(), "error", err)
		},
		OnAcceptError: func(err error, wait time.Duration) {
			s.log.Warn("cannot accept a client", "error", err, "again_in", wait)
			if sock.NoDescriptors(err) {
				s.reclaim()
			}
		},
		OnCertificates: func(err error) {
			if err != nil {
				s.log.Error("cannot use changed certificates, the old ones stay", "error", err)
				return
			}
			s.log.Info("certificates were read again")
		},
		OnStaple:  s.logStaple,
		OnRevoked: s.replaceRevoked,
		OnFiles: func(what string, err error) {
			if err != nil {
				s.log.Error("cannot use changed "+what+", the old ones stay", "error", err)
				return
			}
			s.log.Info(what + " were read again")
			s.front.Leave() // clients that are not vouched for any more
			s.frames.Leave()
		},
	}
}

func closeAll(list []*running) {
	for _, r := range list {
		r.Close()
	}
}

// moveListeners opens what is new in cfg and updates what stays. On an error
// everything is as before. Else commit, which cannot fail, serves what is new and
// closes what is gone; it comes after the swap, so that a new listener serves
// no client by the old generation. drop, which comes last, lets go of certificates.
// s.mu is held throughout.
func (s *Server) moveListeners(cfg, old *config.Config) (commit, drop func(), err error) {
	if s.state.Load() == stateNew {
		return func() {}, func() {}, nil
	}
	if drop, err = s.useIssuer(cfg); err != nil {
		return nil, nil, err
	}
	type change struct {
		r      *running
		before *config.Listener
	}
	var opened []*running
	var updated []change
	undo := func() {
		closeAll(opened)
		s.restoreIssuer(old)
		for _, c := range updated {
			if err := c.r.Update(c.before); err != nil {
				s.log.Error("cannot restore a listener's settings", "listener", c.r.Name(), "error", err)
			}
		}
	}
	kept := make(map[config.Address]bool)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		kept[l.Address] = true
		r := s.listeners[l.Address]
		if r == nil {
			r, err := s.openListener(l)
			if err != nil {
				undo()
				return nil, nil, err
			}
			opened = append(opened, r)
			continue
		}
		before := r.Config()
		if err := r.Update(l); err != nil {
			undo()
			return nil, nil, err
		}
		updated = append(updated, change{r, before})
	}
	return func() {
		for _, c := range updated {
			c.r.core.Store(s.metrics.NewListener(c.r.Config()))
		}
		for _, r := range opened {
			s.serve(r)
			s.log.Info("listener opened", "listener", r.Name(), "address", r.Addrs()[0].String())
		}
		s.leave(kept)
	}, drop, nil
}

// leave closes the listeners that are not kept. Their running exchanges end by
// themselves. s.mu is held.
func (s *Server) leave(kept map[config.Address]bool) {
	for address, r := range s.listeners {
		if kept[address] || r.foreign {
			continue
		}
		s.dismiss(address, r)
		s.log.Info("listener closed, its connections may end", "listener", r.Name(), "connections", r.Stats().Open)
	}
	s.front.Leave()
	s.frames.Leave()
}

// dismiss closes a listener. Its connections stay. s.mu is held.
func (s *Server) dismiss(key config.Address, r *running) {
	delete(s.listeners, key)
	if err := r.Close(); err != nil {
		s.log.Warn("cannot close a listener cleanly", "listener", r.Name(), "error", err)
	}
	s.leaving = append(s.leaving, r)
}

func (s *Server) openAccessLog(cfg config.AccessLog) (*accesslog.Logger, error) {
	o := accesslog.Options{OnError: func(err error) { s.log.Error("cannot write the access log", "error", err) }}
	if cfg.Output == "stdout" {
		o.Writer = s.options.accessLog
	}
	return accesslog.New(cfg, o)
}

// record writes the line of an exchange that has ended.
func (s *Server) record(x *proxy.Exchange) {
	if log := s.accessLog.Load(); log != nil {
		log.LogExchange(x)
	}
}
