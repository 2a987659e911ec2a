// Package server assembles weir and gives it a life: it builds a generation
// from a configuration, opens listeners, swaps generations on reload, and stops
// without losing an exchange. Programs embed weir through this package; main is
// one of them.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/cache"
	"weir/config"
	"weir/discover"
	"weir/internal/access"
	"weir/internal/accesslog"
	"weir/internal/http1"
	"weir/internal/http2"
	"weir/internal/inspect"
	"weir/internal/listener"
	"weir/internal/mount"
	"weir/internal/objective"
	"weir/internal/observe"
	"weir/internal/secure"
	"weir/internal/statistics"
	"weir/internal/tracing"
	"weir/proxy"
)

// lookInterval is how often the clients of long exchanges are looked at.
const lookInterval = 500 * time.Millisecond

// Server is a running weir. All methods may be called from any goroutine.
type Server struct {
	options options
	log     *slog.Logger
	set     *metrics.Set
	metrics *proxy.Metrics
	front   http1.Front
	alive   http1.Front // answers Alive
	frames  http2.Front
	local   *local
	sockets *listener.Inherited
	// recalled is what the process before this one knew; New empties it.
	recalled memory
	// tickets are the keys of session tickets that it had, for Start.
	tickets map[config.Address][]secure.TicketKey

	descriptors descriptors
	verifier    *access.Verifier

	current   atomic.Pointer[generation]
	accessLog atomic.Pointer[accesslog.Logger]
	started   time.Time
	reloads   reloadMetrics
	history   history
	// table has the upstreams that were added at run time, for routes.
	table proxy.Upstreams

	// starting makes Start and Reload take turns, also while Start calls Predecessor.Join. It is locked before mu.
	starting sync.Mutex
	// opened says that Start has succeeded. starting guards it.
	opened bool
	// mu makes Start, Serve, Reload, Shutdown and Close take turns.
	mu sync.Mutex
	// listeners are those of the configuration by their addresses, and foreign ones, of which there were so many, by
	// names that are no addresses.
	listeners   map[config.Address]*running
	foreign     int
	metricsPage page
	adminPage   page
	// leaving are listeners that a reload removed, with connections perhaps.
	leaving []*running
	// registry has the services, memory keeps it, and catalogs fill it, by their URLs.
	registry *discover.Registry
	memory   *discover.Memory
	catalogs map[string]*discover.CatalogFollower
	// shared says that another process has the sockets, too; join, nil after its one call, is Predecessor.Join.
	shared bool
	join   func(*Server)
	// other leads to what Connect got last.
	other cache.Link
	// handedOver says that another process gets the clients that come.
	handedOver bool
	// added are the upstreams in table, by name.
	added map[string]*upstream
	// followers run the sources of upstreams of the configuration, by name; there is none
	// for an upstream that never had sources.
	followers map[string]*discover.Follower
	// retiring are old generations whose exchanges have not all ended.
	retiring []*generation
	state    atomic.Int32
	// stopping is when the first Shutdown began.
	stopping time.Time
	done     chan struct{}
	stopLook chan struct{}
	lookDone chan struct{} // nil before the start
	// background are what Close waits for, and leavingPages the pages that HandOver left.
	background   sync.WaitGroup
	leavingPages sync.WaitGroup
	fetches      proxy.Fetches
	// observed are the metrics that routes take from what passes.
	observed observe.Registry
	recorder *inspect.Recorder
	// statistics are the figures of paths.
	statistics statistics.Registry
	// pageSize is how many bytes the next metrics page will have, about.
	pageSize   atomic.Int64
	objectives objective.Registry
	// spans are counts of those of traces.
	spans tracing.Counts
}

// The states of a server.
const (
	stateNew int32 = iota
	stateServing
	stateDraining
	stateClosed
)

// running is an open listener and what the core knows of it.
type running struct {
	*listener.Listener
	core atomic.Pointer[proxy.Listener]
	// foreign is one that an embedder passed to Serve: reloads leave it alone.
	foreign bool
}

// New builds a server from cfg, which must not be changed afterwards. Nothing is
// opened but the access log, which Close gives back, also if the server was never started. The error names every problem of cfg
// at once.
func New(cfg *config.Config, opts ...Option) (_ *Server, err error) {
	s := &Server{
		set:       metrics.NewSet(),
		listeners: make(map[config.Address]*running),
		added:     make(map[string]*upstream),
		followers: make(map[string]*discover.Follower),
		catalogs:  make(map[string]*discover.CatalogFollower),
		done:      make(chan struct{}),
		stopLook:  make(chan struct{}),
		started:   time.Now(),
		recorder:  inspect.NewRecorder(),
	}
	for _, o := range opts {
		o(&s.options)
	}
	if s.log = s.options.log; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := check(cfg, &s.options); err != nil {
		return nil, err
	}
	if s.options.systemd {
		in, err := listener.Inherit(os.Getpid(), os.Getenv)
		if err != nil {
			return nil, err
		}
		s.sockets = in
	}
	if err := s.adopt(s.options.predecessor); err != nil {
		return nil, err
	}
	s.openRegistry(&cfg.Discovery)
	s.metrics = proxy.NewMetrics(s.set)
	s.local = newLocal(cfg, s.options.handlers, mount.Options{
		OnPanic: func(v any) { s.metrics.Panicked(s.log, v) },
		Log:     s.log,
	})
	defer func() {
		if err != nil {
			s.local.close()
			s.registry.Close()
		}
	}()
	s.reloads.init(s.set)
	s.initDescriptors()
	s.verifier = access.NewVerifier()
	s.initPages()
	s.front.Handler = handler{s}
	s.front.OnPanic = func(v any) { s.metrics.Panicked(s.log, v) }
	s.front.OnPreface = s.frames.Serve
	s.alive.Handler = aliveHandler{s}
	s.alive.OnPanic = s.front.OnPanic
	s.frames.Handler = handler{s}
	s.frames.OnPanic = s.front.OnPanic
	s.front.CancelOnHalfClose = func() bool { return s.current.Load().config.Forwarding.CancelOnHalfClose }
	logger, err := s.openAccessLog(cfg.AccessLog)
	if err != nil {
		return nil, err
	}
	g, err := s.build(cfg, nil)
	if err != nil {
		logger.Close()
		return nil, err
	}
	s.accessLog.Store(logger)
	s.current.Store(g)
	s.mu.Lock()
	s.syncServices()
	s.tickets = s.recalled.Tickets
	s.recalled = memory{}
	s.mu.Unlock()
	s.show(g)
	s.set.RegisterMetricsWriter(s.writeMetrics)
	return s, nil
}

// Start opens the configured listeners and the operators' pages and serves in the
// background. On an error no address stays open, and Start may be called again; once it has returned nil, another
// call is an error. After Shutdown or Close it returns http.ErrServerClosed.
func (s *Server) Start() error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if err := s.meet(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	if s.opened {
		return errStarted
	}
	g := s.current.Load()
	drop, err := s.useIssuer(g.config)
	if err != nil {
		return err
	}
	drop()
	opened, err := s.open(g.config)
	if err != nil {
		return err
	}
	pages, err := s.openPages(g.config)
	if err != nil {
		closeAll(opened)
		return err
	}
	s.movePages(pages)
	s.awaitTargets()
	for _, r := range opened {
		s.serve(r)
	}
	s.tickets = nil
	s.sockets.Drop()
	s.opened = true
	return nil
}

var errStarted = errors.New("cannot start the server: it was started before")

// meet makes a server that replaces another process's know what that one knows and what there is to find,
// while the other one still serves everybody.
func (s *Server) meet() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.shared {
		return nil
	}
	if err := s.begin(); err != nil {
		return err
	}
	s.awaitTargets()
	if join := s.join; join != nil {
		s.join = nil
		s.mu.Unlock() // what is learned may need it
		join(s)
		s.mu.Lock()
	}
	return nil
}

// awaitTargets waits until all that is to find targets has reported or failed, and health checks have said
// what they think of those. s.mu is held.
func (s *Server) awaitTargets() {
	g := s.current.Load()
	s.awaitSources(g)
	s.awaitCatalogs()
	for _, u := range g.upstreams {
		u.wait()
	}
}

// begin makes the server serve, if it may.
func (s *Server) begin() error {
	switch s.state.Load() {
	case stateDraining, stateClosed:
		return http.ErrServerClosed
	case stateNew:
		s.state.Store(stateServing)
		s.lookDone = make(chan struct{})
		s.background.Go(s.look)
		s.announceDescriptors()
		s.current.Load().watch()
		for _, u := range s.added {
			s.watchAdded(u)
		}
		s.follow(s.current.Load())
		s.followCatalogs(s.current.Load().config)
	}
	return nil
}

// look makes the front end look at the clients of long exchanges.
func (s *Server) look() {
	defer close(s.lookDone)
	t := time.NewTicker(lookInterval)
	defer t.Stop()
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	points := time.NewTicker(historyInterval)
	defer points.Stop()
	for {
		select {
		case now := <-daily.C:
			s.warnOfExpiry(now)
			s.warnOfRevocation(now)
		case now := <-points.C:
			s.remember(now)
		case now := <-t.C:
			s.front.Look(now)
			s.frames.Look(now)
			s.statistics.Mark(now, s.metrics.Figures)
			s.objectives.Look(now)
		case <-s.stopLook:
			return
		}
	}
}

// Serve serves the clients of ln, besides any configured listeners, with the
// default limits and time-outs of a listener, until the server is closed or ln
// fails. It closes ln in any case, and returns http.ErrServerClosed after Shutdown or Close, or why ln failed; exchanges that run
// then go on. An error of ln whose method Temporary returns true is no failure, as for net/http.
//
// ln may be any listener, also several of one address. The fastest are *net.TCPListener and *net.UnixListener. On one of crypto/tls weir
// knows that clients have TLS, and their certificates if the tls.Config verified them; "h2" must not be among its NextProtos, because
// clients that chose it would be refused: HTTP/2 is for listeners of the configuration. In the configuration, logs and metrics ln has
// the name ln.Addr().String().
func (s *Server) Serve(ln net.Listener) error {
	cfg := config.DefaultListener()
	cfg.Address = config.Address(ln.Addr().String())
	l, err := listener.Open(&cfg, s.listenerOptions(ln))
	if err != nil {
		ln.Close()
		return err
	}
	r := &running{Listener: l, foreign: true}
	r.core.Store(s.metrics.NewListener(l.Config()))
	s.mu.Lock()
	if err := s.begin(); err != nil {
		s.mu.Unlock()
		if closing := l.Close(); closing != nil {
			s.log.Warn("cannot close a listener cleanly", "listener", r.Name(), "error", closing)
		}
		return err
	}
	// Several listeners of a program may have one address, and one that is configured may come to have it.
	s.foreign++
	key := config.Address(fmt.Sprintf("foreign %d", s.foreign))
	s.listeners[key] = r
	s.awaitSources(s.current.Load())
	s.awaitCatalogs()
	s.mu.Unlock()
	if err := s.accept(r); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dismiss(key, r)
		s.front.Leave()
		s.frames.Leave()
		return err
	}
	return http.ErrServerClosed
}

// serve accepts r's clients in the background. s.mu is held.
func (s *Server) serve(r *running) {
	s.listeners[r.Address()] = r
	s.background.Go(func() {
		if err := s.accept(r); err != nil {
			s.log.Error("a listener has failed", "listener", r.Name(), "error", err)
		}
	})
}

// accept accepts r's clients until it is closed, or fails.
func (s *Server) accept(r *running) error {
	return r.Serve(func(c *listener.Conn) { s.speak(c, r.core.Load) })
}

// speak serves a connection by the front end of its protocol.
func (s *Server) speak(c *listener.Conn, l func() *proxy.Listener) {
	switch cfg := c.Config(); {
	case c.Passed() != nil:
		s.pass(c, l())
	case c.TLS() != nil && c.TLS().NegotiatedProtocol == "h2":
		s.frames.Serve(c, l, nil)
	case c.TLS() != nil && c.TLS().NegotiatedProtocol == listener.ProtocolChallenge:
		c.Close() // the CA has seen the certificate
	case cfg.Speaks(config.ProtocolH1):
		s.front.Serve(c, l)
	case c.TLS() == nil && cfg.Speaks(config.ProtocolH2C):
		s.frames.Serve(c, l, nil)
	default:
		c.Close() // TLS without a choice of protocol, where HTTP/1.1 is off
	}
}

// Addr returns where the listener of this name listens, or nil if there is none; after Shutdown or Close, where it did.
// The name is that of the configuration, or the address if it has none.
func (s *Server) Addr(name string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.listeners {
		if r.Name() == name {
			if addrs := r.Addrs(); len(addrs) > 0 {
				return addrs[0]
			}
		}
	}
	return nil
}

// Reload puts cfg into force: exchanges that run go on with the old configuration,
// new exchanges get the new one, and listeners whose address stays keep their socket and
// connections. After an error nothing has changed.
func (s *Server) Reload(cfg *config.Config) error {
	err := s.reload(cfg)
	s.reloads.count(err)
	return err
}

func (s *Server) reload(cfg *config.Config) error {
	if err := check(cfg, &s.options); err != nil {
		return err
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() >= stateDraining {
		return http.ErrServerClosed
	}
	old := s.current.Load()
	logger, newLog := s.accessLog.Load(), !reflect.DeepEqual(cfg.AccessLog, old.config.AccessLog)
	if newLog {
		var err error
		if logger, err = s.openAccessLog(cfg.AccessLog); err != nil {
			return err
		}
	}
	undoLog := func() {
		if newLog {
			logger.Close()
		}
	}
	serving := s.state.Load() == stateServing
	var pages pageMoves
	if serving {
		var err error
		if pages, err = s.openPages(cfg); err != nil {
			undoLog()
			return err
		}
	}
	next, err := s.build(cfg, old)
	var commit, drop func()
	if err == nil {
		if commit, drop, err = s.moveListeners(cfg, old.config); err != nil {
			next.close()
		}
	}
	if err != nil {
		undoLog()
		pages.close()
		s.retain() // what was counted for next only
		return err
	}
	// Nothing below can fail.
	if serving {
		next.watch()
		s.follow(next)
		s.awaitSources(next)
	}
	// The log comes before the generation: an exchange of next that still found the
	// old log would lose its line, because only old's exchanges keep that log open.
	var oldLog *accesslog.Logger
	if newLog {
		oldLog = s.accessLog.Swap(logger)
	}
	s.current.Store(next)
	s.syncServices()
	if serving {
		s.followCatalogs(cfg)
	}
	s.show(next)
	commit()
	drop()
	s.front.Leave()
	s.frames.Leave()
	s.movePages(pages)
	s.retiring = append(s.retiring, old)
	s.background.Go(func() { s.retire(old, oldLog, cfg.Lifecycle.Drain.D()) })
	return nil
}

// show makes what is kept over generations be that of g, the current one: metrics of routes, records, statistics and
// objectives.
func (s *Server) show(g *generation) {
	s.observed.Show(g.observed)
	s.recorder.Use(g.recorded)
	s.statistics.Show(g.config, g.counted)
	s.objectives.Show(g.aims)
}

// retire ends an old generation when its exchanges have ended, and then the
// access log that it may have had. Exchanges that take longer than limit keep
// their upstreams' connections, but nothing else of it.
func (s *Server) retire(old *generation, log *accesslog.Logger, limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-old.drained():
	case <-t.C:
	case <-s.stopLook:
	}
	old.close()
	log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retiring = slices.DeleteFunc(s.retiring, func(g *generation) bool { return g == old })
	s.retain()
}

// retain drops the metrics of what is in no generation any more. s.mu is held.
func (s *Server) retain() {
	proxies := []*proxy.Proxy{s.current.Load().proxy}
	for _, g := range s.retiring {
		proxies = append(proxies, g.proxy)
	}
	var cores []*proxy.Listener
	for _, r := range s.running() {
		cores = append(cores, r.core.Load())
	}
	s.metrics.Retain(proxies, cores)
}

// Reopen opens the file of the access log again, after it was moved away.
func (s *Server) Reopen() {
	if err := s.accessLog.Load().Reopen(); err != nil {
		s.log.Error("cannot open the access log again", "error", err)
	}
}

// Shutdown makes the server not ready and, after lifecycle.delay, stops accepting, lets
// running exchanges end and ends every other connection. It returns nil when all have
// ended, or ctx's error when ctx ends first. Close then cuts what is left, and ends what runs
// besides exchanges. Calling Shutdown again only waits.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.state.Load() < stateDraining {
		s.state.Store(stateDraining)
		s.stopping = time.Now()
	}
	left := s.current.Load().config.Lifecycle.Delay.D() - time.Since(s.stopping)
	handedOver, all := s.handedOver, s.running()
	s.mu.Unlock()
	if handedOver {
		if s.part(ctx, all) == nil {
			return nil
		}
	} else if err := s.delay(ctx, left); err != nil {
		return err
	}
	s.mu.Lock()
	list := s.running()
	for _, r := range list {
		if err := r.Close(); err != nil {
			s.log.Warn("cannot close a listener cleanly", "listener", r.Name(), "error", err)
		}
	}
	s.mu.Unlock()
	s.drainClients()
	return waitAll(ctx, list)
}

// delay waits for d, or until ctx ends or the server is closed.
func (s *Server) delay(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.stopLook: // Close ends what is left
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// drainClients makes all connections end after what runs on them.
func (s *Server) drainClients() {
	s.front.Drain()
	s.frames.Drain()
}

// running returns the listeners, those that a reload removed included. s.mu is
// held.
func (s *Server) running() []*running {
	s.leaving = slices.DeleteFunc(s.leaving, func(r *running) bool { return r.Stats().Open == 0 })
	list := slices.Clone(s.leaving)
	for _, r := range s.listeners {
		list = append(list, r)
	}
	return list
}

// Close stops at once: running exchanges are cut. It returns when everything
// has ended, but for one goroutine of fasthttp for each target that had connections: it sleeps for connections.idle at
// most and holds nothing. Calling Close again does nothing but wait. Handlers and hooks must not wait for Close, which waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.state.Load() == stateClosed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.state.Store(stateClosed)
	list, looked := s.running(), s.lookDone
	s.mu.Unlock()

	var errs []error
	s.drainClients()
	for _, r := range list {
		errs = append(errs, r.Close())
		r.Abort()
	}
	// Exchanges that wait for a target see that their client is gone when they
	// are looked at.
	close(s.stopLook)
	if looked != nil {
		<-looked
	}
	for len(list) > 0 {
		s.front.Look(time.Now().Add(time.Hour)) // other front ends are told when a client goes away
		s.fetches.Cut()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		list = slices.DeleteFunc(list, func(r *running) bool { return r.Wait(ctx) == nil })
		cancel()
	}
	s.mu.Lock()
	errs = append(errs, s.closePages())
	s.closeUpstreams()
	s.mu.Unlock()
	errs = append(errs, s.closeRegistry())
	s.closeIssuer()
	for s.fetches.Cut() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	s.background.Wait()
	s.current.Load().close()
	errs = append(errs, s.accessLog.Load().Close())
	s.local.close()
	close(s.done)
	return errors.Join(errs...)
}

// Done is closed when the server has stopped.
func (s *Server) Done() <-chan struct{} { return s.done }
