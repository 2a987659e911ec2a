package server

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"weir/config"
	"weir/internal/http2"
	"weir/internal/inspect"
	"weir/internal/objective"
	"weir/internal/observe"
	"weir/internal/statistics"
	"weir/proxy"
)

// generation is everything that was built from one configuration. It is
// replaced as a whole; what must survive, the next one has adopted.
type generation struct {
	config    *config.Config
	log       *slog.Logger
	proxy     *proxy.Proxy
	upstreams map[string]*upstream
	store     *store           // nil if no route has a cache
	observed  *observe.Plan    // nil if no route has metrics of its own
	recorded  *inspect.Plan    // nil if no exchange is recorded
	counted   *statistics.Plan // nil if there are no statistics
	aims      *objective.Plan  // nil if there are no objectives
	tracing   *collector       // nil if no spans are sent
	door      adminDoor

	// running counts the exchanges; once the generation is retired, the one
	// that makes it 0 closes empty.
	running atomic.Int64
	retired atomic.Bool
	once    sync.Once
	empty   chan struct{}
	closed  sync.Once
}

// enter returns the current generation with one more exchange.
func (s *Server) enter() *generation {
	for {
		g := s.current.Load()
		g.running.Add(1)
		// A reload may have come between the two lines; then the count came too
		// late to be waited for.
		if s.current.Load() == g {
			return g
		}
		g.leave()
	}
}

func (g *generation) leave() {
	if g.running.Add(-1) == 0 && g.retired.Load() {
		g.once.Do(func() { close(g.empty) })
	}
}

// drained is closed when no exchange runs on g any more. It is called once,
// after g was replaced.
func (g *generation) drained() <-chan struct{} {
	g.retired.Store(true)
	if g.running.Load() == 0 {
		g.once.Do(func() { close(g.empty) })
	}
	return g.empty
}

// watch starts to look after the targets.
func (g *generation) watch() {
	for _, u := range g.upstreams {
		u.watch()
	}
}

// close gives back what g holds. Calling it again does nothing.
func (g *generation) close() {
	g.closed.Do(func() {
		for _, u := range g.upstreams {
			u.close()
		}
		if g.store != nil {
			g.store.release(g.log)
		}
		g.tracing.release()
	})
}

// handler serves each exchange with the generation that is current when it
// begins.
type handler struct{ s *Server }

func (h handler) Serve(x *proxy.Exchange) {
	g := h.s.enter()
	defer g.leave()
	g.proxy.Serve(x)
}

// ServeNow implements http2.Handler.
func (h handler) ServeNow(x *proxy.Exchange) http2.Rest {
	g := h.s.enter()
	if g.proxy.ServeNow(x) {
		g.leave()
		return nil
	}
	return g
}

// ServeAhead implements http2.Rest.
func (g *generation) ServeAhead(x *proxy.Exchange, next proxy.Continuation) (sent bool) {
	return g.proxy.ServeAhead(x, next)
}

// ServeRest implements http2.Rest.
func (g *generation) ServeRest(x *proxy.Exchange) {
	defer g.leave()
	g.proxy.ServeRest(x)
}

func (h handler) Refuse(x *proxy.Exchange, status int, cause proxy.Cause, err error) {
	g := h.s.enter()
	defer g.leave()
	g.proxy.Refuse(x, status, cause, err)
}
