// Package proxy is the core: it takes an exchange from a front end through
// checks, routing, a target's answer and back, and settles it once. It knows
// neither listeners, admin pages nor logs; those are front ends and hooks.
// Package server builds a Proxy for each generation.
package proxy

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"weir/cache"
	"weir/config"
	"weir/internal/header"
	"weir/internal/match"
	"weir/internal/wire"
	"weir/lb"
)

// Proxy serves the exchanges of one generation. It is immutable.
type Proxy struct {
	table     *match.Table
	routes    []*Route
	upstreams map[string]*Upstream
	forwarder *header.Forwarder
	hooks     Hooks
	log       *slog.Logger
	metrics   *Metrics

	cache      *cache.Store
	fetches    *Fetches
	purgeFrom  []config.Prefix
	background func(func())
	closing    func() bool
}

// Parts are what a Proxy is made of.
type Parts struct {
	// Config is the generation's configuration, which was found to be valid.
	Config *config.Config
	// Upstreams are the balancers by name.
	Upstreams map[string]*lb.Upstream
	// Hooks are the embedder's and the server's own.
	Hooks Hooks
	// Log gets panics.
	Log *slog.Logger
	// Metrics are shared by all generations of a server.
	Metrics *Metrics
	// Cache keeps the responses of routes with a cache; it may be nil if there
	// is none.
	Cache *cache.Store
	// Fetches gets those for Cache; nil means that nobody ends them early.
	Fetches *Fetches
	// Background runs work that no client waits for, on a goroutine of its own,
	// and is waited for before the generation ends; nil means a bare goroutine.
	Background func(func())
	// Closing tells whether the server cuts all that still runs, clients
	// included, so that none of them went away by itself; nil means never.
	Closing func() bool
}

// New compiles a Proxy. Its errors hold config.Errors where a key is at fault.
func New(p Parts) (*Proxy, error) {
	forwarder, err := header.NewForwarder(p.Config.Forwarding)
	if err != nil {
		return nil, fmt.Errorf("forwarding: %w", err)
	}
	table, err := match.New(p.Config.Routes)
	if err != nil {
		return nil, err
	}
	proxy := &Proxy{
		table:     table,
		upstreams: make(map[string]*Upstream, len(p.Upstreams)),
		forwarder: forwarder,
		hooks:     p.Hooks,
		log:       p.Log,
		metrics:   p.Metrics,

		cache:      p.Cache,
		fetches:    cmp.Or(p.Fetches, new(Fetches)),
		purgeFrom:  p.Config.Cache.PurgeFrom,
		background: p.Background,
		closing:    p.Closing,
	}
	if proxy.background == nil {
		proxy.background = func(f func()) { go f() }
	}
	for name, set := range p.Upstreams {
		u := p.Config.Upstreams[name]
		proxy.upstreams[name] = &Upstream{
			Set:            set,
			name:           name,
			limits:         upstreamLimits(&u),
			write:          u.Timeouts.Write.D(),
			deadlineHeader: u.Timeouts.DeadlineHeader,
			hash:           set.HashSource(),
			queues:         u.Limits.Queue > 0,
			hedges:         u.Retry.Hedge > 0,
			pipelines:      u.Connections.Pipeline > 1,
			metrics:        p.Metrics.upstream(name),
		}
	}
	for i := range p.Config.Routes {
		r := &p.Config.Routes[i]
		route, err := newRoute(r, r.Label(i), r.Captures(), proxy.upstreams, p.Metrics)
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		if route.cache, err = newCachePolicy(r, p.Config.Forwarding); err != nil {
			return nil, fmt.Errorf("routes[%d].cache: %w", i, err)
		}
		if route.cache != nil && p.Cache == nil {
			return nil, fmt.Errorf("routes[%d].cache: there is no store", i)
		}
		if route.cache != nil {
			route.cacheStatus = r.Cache.Status
		}
		proxy.routes = append(proxy.routes, route)
	}
	return proxy, nil
}

// Serve takes one exchange through its life. The front end has filled the
// client's part of x; when Serve returns, everything was written or given up.
func (p *Proxy) Serve(x *Exchange) {
	x.proxy = p
	p.enter(x)
	defer p.recover(x)
	switch {
	case !p.begin(x):
	case !p.match(x):
	case !p.admit(x):
	case x.Head.Fields&wire.FieldUpgrade != 0 && p.upgrade(x):
	case x.Route.cache != nil:
		p.fromCache(x)
	default:
		p.forward(x)
	}
	p.settle(x)
}

// Refuse answers a request that the front end could not accept: status and
// cause say why. If status is 0 nothing is sent.
func (p *Proxy) Refuse(x *Exchange, status int, cause Cause, err error) {
	x.proxy = p
	p.enter(x)
	defer p.recover(x)
	x.Err = err
	x.Client = x.Remote.Addr()
	if status == 0 {
		x.Cause = cause
	} else {
		x.Front.CloseAfter()
		x.fail(status, cause)
	}
	p.settle(x)
}

// begin finds out who asks for what. It returns false if the exchange has
// ended.
func (p *Proxy) begin(x *Exchange) bool {
	// Copies, because rules change the request before it is logged.
	x.Target = append(x.Target[:0], x.Request.RequestURI()...)
	x.Host = append(x.Host[:0], x.Request.Host()...)
	target := x.Target
	x.Path, x.Query = target, nil
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i] // no part of a request (RFC 9110 section 4.2.5)
		x.Path = target
	}
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		x.Path, x.Query = target[:i], target[i+1:]
	}
	x.Client = p.forwarder.Client(&x.Request, x.Head.Fields, x.Peer)
	x.RequestID = p.forwarder.RequestID(x.RequestID[:0], &x.Request, x.Peer)
	path, refusal := match.Canonical(x.canonical[:0], x.Path)
	// A target that takes a fragment for a part of the path must not find other
	// segments in it than the ones that were matched.
	if fragment := x.Target[len(x.Path):]; len(fragment) > 0 && fragment[0] == '#' && bytes.ContainsAny(fragment, `/\%`) {
		refusal = match.Fragment
	}
	if refusal != match.Accepted && string(x.Path) != "*" {
		x.Front.CloseAfter()
		x.Err = fmt.Errorf("path %q: %s", x.Path, refusal)
		x.fail(400, CauseBadPath)
		return false
	}
	x.Canonical = path
	if len(path) > 0 && &path[0] != &x.Path[0] {
		x.canonical = path // keep the room
	}
	if p.hooks.OnRequest != nil {
		if p.hooks.OnRequest(x); x.answered {
			x.Cause = CauseHook
			x.send(x.scratch)
			return false
		}
	}
	return true
}

// match finds the route.
func (p *Proxy) match(x *Exchange) bool {
	i, _, ok := p.table.Match(&match.Request{
		Host:   x.Host,
		Path:   x.Canonical,
		Query:  x.Query,
		Method: x.Request.Method(),
		Header: &x.Request,
	}, &x.Captures)
	if !ok {
		x.fail(404, CauseNoRoute)
		return false
	}
	x.Route = p.routes[i]
	return true
}

// admit applies what the route says before any target is asked.
func (p *Proxy) admit(x *Exchange) bool {
	r := x.Route
	if r.maxBody > 0 && x.Head.Length > r.maxBody {
		x.Front.CloseAfter()
		x.fail(413, CauseBodyTooLarge)
		return false
	}
	switch {
	case r.redirect != nil:
		x.ownHead(r.redirect.Status)
		x.Response.SetBytesV("Location", match.Encode(r.redirect.To.Append(x.scratch[:0], x.lookup)))
		x.Cause = CauseRedirect
		x.send(nil)
		return false
	case r.respond != nil:
		x.ownHead(r.respond.Status)
		x.Response.SetContentType("text/plain; charset=utf-8")
		for k, v := range r.respond.Headers {
			x.Response.Set(k, v)
		}
		x.Cause = CauseFixed
		x.send([]byte(r.respond.Body))
		return false
	case r.upstream != nil:
		x.Upstream = r.upstream
		return true
	}
	x.scratch = r.upstreamName.Append(x.scratch[:0], x.lookup)
	if x.Upstream = p.upstreams[string(x.scratch)]; x.Upstream == nil {
		x.fail(404, CauseNoUpstream)
		return false
	}
	return true
}

// settle accounts for the exchange, once.
func (p *Proxy) settle(x *Exchange) {
	x.End = time.Now()
	x.BytesIn += x.Body.Seen()
	if (x.Cause == CauseClientGone || x.Cause == CauseTruncated) && p.closing != nil && p.closing() {
		x.Cause = CauseShutdown
	}
	p.metrics.settle(x)
	if p.hooks.OnDone != nil {
		p.hooks.OnDone(x)
	}
}

func (p *Proxy) enter(x *Exchange) { x.Listener.metrics.inFlight.Add(1) }

// recover ends an exchange that panicked: the client is told if that is still
// possible, and everybody else goes on.
func (p *Proxy) recover(x *Exchange) {
	x.Listener.metrics.inFlight.Add(-1)
	v := recover()
	if v == nil {
		return
	}
	p.metrics.Panicked(p.log, v)
	if settled := !x.End.IsZero(); settled {
		return // OnDone: the client has its answer
	}
	// What comes now may panic again, for the same reason; it must not end the
	// process, and none of it may keep the rest from being done.
	x.panicked = true
	p.attend(x.abandon)
	p.attend(func() {
		x.Err = fmt.Errorf("panic: %v", v)
		x.Front.CloseAfter()
		x.fail(500, CausePanic)
	})
	p.attend(func() { p.settle(x) })
}

// attend calls f, whose panic is counted and goes no further.
func (p *Proxy) attend(f func()) {
	defer func() {
		if v := recover(); v != nil {
			p.metrics.Panicked(p.log, v)
		}
	}()
	f()
}

func (x *Exchange) routeName() string {
	if x.Route == nil {
		return ""
	}
	return x.Route.Name
}

// variable looks up what templates may use.
func (x *Exchange) variable(name string) []byte {
	switch name {
	case header.ClientAddr:
		if !x.Client.IsValid() {
			return x.Peer.Text
		}
		return []byte(x.Client.String())
	case header.ClientPort:
		return x.Peer.Port
	case header.Host:
		return x.Host
	case header.Path:
		return x.Path
	case header.Query:
		return x.Query
	case header.Method:
		return x.Request.Method()
	case header.Scheme:
		return x.Peer.Scheme
	case header.RequestID:
		return x.RequestID
	case header.Route:
		return []byte(x.routeName())
	case header.Upstream:
		if x.Upstream != nil {
			return []byte(x.Upstream.name)
		}
		return nil
	case header.Target:
		if x.Chosen != nil {
			return []byte(x.Chosen.Name())
		}
		return nil
	}
	return x.Captures.Get(name)
}
