// Package proxy is the core: it takes an exchange from a front end through
// checks, routing, a target's answer and back, and settles it once. It knows
// neither listeners, admin pages nor logs; those are front ends and hooks.
// Package server builds a Proxy for each generation.
//
// Serve in this file is the page to read first.
package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"weir/cache"
	"weir/config"
	"weir/internal/access"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/match"
	"weir/lb"
)

// Proxy serves the exchanges of one generation. It is immutable.
type Proxy struct {
	table     *match.Table
	routes    []*Route
	upstreams map[string]*Upstream
	added     *Upstreams
	// names is Parts.NameUpstream.
	names     func(x *Exchange, dst []byte) (name []byte, ok bool)
	forwarder *forward.Forwarder
	// tellsStatus says that errors of weir's own have Proxy-Status.
	tellsStatus bool
	dates       forward.Dates
	hooks       hookLists
	log         *slog.Logger
	metrics     *Metrics
	tracer      Tracer // nil: no traces
	verifier    *access.Verifier
	// errorPages are for exchanges without a route.
	errorPages *errorPages

	cache      *cache.Store
	fetches    *Fetches
	purgeFrom  []config.Prefix
	background func(func())
	closing    func() bool
	challenge  func(host, path string) (answer string, ok bool)
}

// Parts are what a Proxy is made of.
type Parts struct {
	// Config is the generation's configuration, which was found to be valid.
	Config *config.Config
	// Upstreams are the balancers by name. Metrics.NewTarget made the attachments of their
	// targets.
	Upstreams map[string]*lb.Upstream
	// Added are upstreams that come and go, for the templates of routes; nil means
	// none. One of Upstreams comes before one of the same name here.
	Added *Upstreams
	// NameUpstream appends the name of the upstream to dst for routes whose upstream is a
	// template, and reports whether it could: if not, the template says the name. nil means that
	// templates always do.
	NameUpstream func(x *Exchange, dst []byte) (name []byte, ok bool)
	// Hooks are the embedder's and the server's own, in the order of their calls.
	Hooks []Hooks
	// Log gets panics.
	Log *slog.Logger
	// Metrics are shared by all generations of a server.
	Metrics *Metrics
	// Tracer makes spans of exchanges; nil makes none.
	Tracer Tracer
	// Verifier verifies the passwords of clients; it should be shared by all generations. It may
	// be nil if no route asks for any.
	Verifier *access.Verifier
	// Cache keeps the responses of routes with a cache; it may be nil if no route has
	// one.
	Cache *cache.Store
	// Fetches gets those for Cache; nil means that nothing ends them early.
	Fetches *Fetches
	// Background runs work that no client waits for, on a goroutine of its own,
	// and is waited for before the generation ends; nil means a bare goroutine.
	Background func(func())
	// Challenge answers the requests of a CA for paths below "/.well-known/acme-challenge/"; ok is false
	// for those that are to go on to the routes. nil means that no CA asks.
	Challenge func(host, path string) (answer string, ok bool)
	// Closing tells whether the server cuts all that still runs, clients
	// included, so that none of them went away by itself; nil means never.
	Closing func() bool
}

// New compiles a Proxy. Its errors hold config.Errors where a key is at fault.
func New(p Parts) (*Proxy, error) {
	forwarder, err := forward.NewForwarder(p.Config.Forwarding)
	if err != nil {
		return nil, fmt.Errorf("forwarding: %w", err)
	}
	table, err := match.New(p.Config.Routes)
	if err != nil {
		return nil, err
	}
	proxy := &Proxy{
		table:       table,
		upstreams:   make(map[string]*Upstream, len(p.Upstreams)),
		added:       cmp.Or(p.Added, new(Upstreams)),
		names:       p.NameUpstream,
		forwarder:   forwarder,
		tellsStatus: p.Config.Forwarding.ProxyStatus,
		hooks:       newHookLists(p.Hooks),
		log:         p.Log,
		metrics:     p.Metrics,
		tracer:      p.Tracer,
		verifier:    p.Verifier,

		cache:      p.Cache,
		fetches:    cmp.Or(p.Fetches, new(Fetches)),
		purgeFrom:  p.Config.Cache.PurgeFrom,
		background: p.Background,
		closing:    p.Closing,
		challenge:  p.Challenge,
	}
	if proxy.background == nil {
		proxy.background = func(f func()) { go f() }
	}
	if proxy.errorPages, err = newErrorPages(&p.Config.ErrorPages, nil); err != nil {
		return nil, err
	}
	for name, set := range p.Upstreams {
		proxy.upstreams[name] = newUpstream(set, p.Metrics)
	}
	claims := forward.Claims(p.Config.Routes)
	for i := range p.Config.Routes {
		changed := p.Config.Routes[i]
		changed.RequestHeaders = forward.WithoutClaims(changed.RequestHeaders, claims)
		r := &changed
		route, err := newRoute(r, i, r.Captures(), proxy.upstreams, p.Config.Forwarding, p.Config.Compress, p.Metrics)
		if err != nil {
			return nil, fmt.Errorf("routes[%d]: %w", i, err)
		}
		if route.errorPages = proxy.errorPages; r.ErrorPages != nil {
			if route.errorPages, err = newErrorPages(r.ErrorPages, proxy.errorPages); err != nil {
				return nil, fmt.Errorf("routes[%d]: %w", i, err)
			}
		}
		if route.cache != nil && p.Cache == nil {
			return nil, fmt.Errorf("routes[%d].cache: there is no store", i)
		}
		proxy.routes = append(proxy.routes, route)
	}
	return proxy, nil
}

// Serve takes one exchange through its life. The front end has filled the
// client's part of x; when Serve returns, everything was written or given up.
//
// It is ServeNow and then, if that has not ended the exchange, ServeRest, for front ends
// whose reader may wait.
func (p *Proxy) Serve(x *Exchange) {
	if !p.ServeNow(x) {
		p.ServeRest(x)
	}
}

// ServeNow takes x as far as that needs no waiting: checks, routing, limits, refusals,
// redirects, fixed responses, and what the cache has in memory. It reports whether x has
// ended; else ServeRest must follow, on any goroutine. It may be called where requests are
// read.
func (p *Proxy) ServeNow(x *Exchange) (done bool) {
	x.proxy = p
	x.Client.Listener.metrics.inFlight.Add(1)
	defer p.recover(x, &done)
	x.moments.read = x.since()
	if x.begin() == ended || x.match() == ended || x.takeSteps() == ended {
		x.settle()
		return true
	}
	x.mayWait = true
	return false
}

// ServeRest takes x to its end.
func (p *Proxy) ServeRest(x *Exchange) {
	var done bool
	defer p.recover(x, &done)
	switch {
	case x.panicked != nil:
		x.endPanicked(x.panicked)
		return
	case x.attempt == nil && x.Client.Cancel.Canceled(): // before anything was done for the client
		x.clientFailed(errClientGone)
	case x.takeSteps() == goOn:
		panic("BUG: no step of the route has ended the exchange")
	}
	x.settle()
}

// Refuse answers a request that the front end could not accept: status and
// cause say why. If status is 0 nothing is sent.
func (p *Proxy) Refuse(x *Exchange, status int, cause Cause, err error) {
	var done bool
	x.proxy = p
	x.Client.Listener.metrics.inFlight.Add(1)
	defer p.recover(x, &done)
	x.Result.Err = err
	x.ClientAddr, x.Scheme = x.Client.Remote.Addr(), x.Client.Peer.Scheme
	if p.tracer != nil {
		p.tracer.Begin(x)
	}
	if status == 0 {
		x.Result.Cause = cause
	} else {
		x.Client.Front.CloseAfter()
		x.fail(status, cause)
	}
	x.settle()
}

// begin finds out who asks for what.
func (x *Exchange) begin() verdict {
	p := x.proxy
	x.RequestTarget = append(x.RequestTarget[:0], x.Request.Target()...)
	x.takeHost()
	x.ClientAddr = p.forwarder.Client(&x.Request, x.Client.Peer)
	x.grpc = isGRPC(&x.Request)
	x.RequestID = p.forwarder.RequestID(x.RequestID[:0], &x.Request, x.Client.Peer)
	if p.tracer != nil {
		p.tracer.Begin(x)
	}
	if p.challenge != nil && x.answerChallenge() == ended {
		return ended
	}
	if x.admit() == ended {
		return ended
	}
	if x.locate(x.RequestTarget) == ended {
		return ended
	}
	if len(p.hooks.onRequest) > 0 {
		return x.askHooks()
	}
	return goOn
}

// takeHost finds out which host and scheme are asked for.
func (x *Exchange) takeHost() {
	f, h, peer := x.proxy.forwarder, &x.Request, x.Client.Peer
	x.Host = append(x.Host[:0], h.Get(head.Host)...)
	x.Scheme, x.ClientHost = f.Scheme(h, peer), x.Host
	if host := f.Host(h, peer); !bytes.Equal(host, x.Host) {
		x.ClientHost = bytes.Clone(host)
	}
	x.OtherOrigins = f.AppendOtherOrigins(x.OtherOrigins[:0], h, peer, x.Scheme, x.ClientHost)
}

// locate takes a request target apart and finds out which path matching sees. It refuses
// what another reader might take for another path.
func (x *Exchange) locate(target []byte) verdict {
	x.splitTarget(target)
	path, refusal := match.Canonical(x.room.canonical[:0], x.Path)
	// A target that takes a fragment for a part of the path must not find other
	// segments in it than the ones that were matched.
	if fragment := target[len(x.Path):]; len(fragment) > 0 && fragment[0] == '#' && bytes.ContainsAny(fragment, `/\%`) {
		refusal = match.Fragment
	}
	x.controls = refusal == match.EncodedControl
	if refusal != match.Accepted && !x.controls && string(x.Path) != "*" {
		return x.refusePath(refusal)
	}
	x.Canonical = path
	if len(path) > 0 && &path[0] != &x.Path[0] {
		x.room.canonical = path
	}
	return goOn
}

// refusePath answers a request whose path matching and a target could understand in different
// ways.
func (x *Exchange) refusePath(refusal match.Refusal) verdict {
	x.Client.Front.CloseAfter()
	x.Result.Err = errors.New(refusal.Explain(x.Path))
	x.fail(400, CauseBadPath)
	return ended
}

// splitTarget takes a request target apart. Path and Query are parts of it.
func (x *Exchange) splitTarget(target []byte) {
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i] // no part of a request (RFC 9110 section 4.2.5)
	}
	x.Path, x.Query = target, nil
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		x.Path, x.Query = target[:i], target[i+1:]
	}
}

// search is the query with its "?", or empty. In the target that splitTarget took apart,
// which is another one than RequestTarget if a hook changed it, both follow Path.
func (x *Exchange) search() []byte {
	if len(x.Query) == 0 {
		return nil
	}
	at := len(x.Path)
	return x.Path[at : at+1+len(x.Query)]
}

// match finds the route.
func (x *Exchange) match() verdict {
	i, pattern, ok := x.proxy.table.Match(&match.Request{
		Host:   x.Host,
		Path:   x.Canonical,
		Query:  x.Query,
		Method: x.Request.Method(),

		Listener: x.Client.Listener.Name,
		Scheme:   x.Scheme,
		Header:   &x.Request,
		Client:   x.Client.Peer.Client(),
	}, &x.Captures)
	if ok {
		x.Route, x.Pattern = x.proxy.routes[i], pattern
	}
	switch l := x.Client.Listener; {
	case x.controls && !(ok && x.Route.controls):
		x.Route = nil
		return x.refusePath(match.EncodedControl)
	case l.httpsRedirect && !(ok && x.Route.ownListener) && string(x.Scheme) == "http":
		x.redirectToHTTPS()
		return ended
	case !ok:
		x.fail(404, CauseNoRoute)
		return ended
	}
	if x.Route.grpcWeb {
		x.translateWeb()
	}
	switch r := x.Route; {
	case x.grpc:
		x.Client.Front.BePatient(grpcPatience, true)
	case r.grace > 0 || r.anyRate:
		x.Client.Front.BePatient(r.grace, r.anyRate)
	}
	x.runHooks(x.proxy.hooks.onRoute)
	return goOn
}

// takeSteps takes the steps of the route that were not taken yet: all of them, or in ServeNow those
// before the first that may wait.
func (x *Exchange) takeSteps() verdict {
	for _, s := range x.Route.steps[x.step:] {
		if s.waits && !x.mayWait && (s.atOnce == nil || !s.atOnce(x)) {
			return goOn
		}
		x.step++
		if s.take(x) == ended {
			return ended
		}
	}
	return goOn
}

var errShutdown = errors.New("weir stopped before the exchange ended")

// settle accounts for the exchange, once.
func (x *Exchange) settle() {
	p, r := x.proxy, &x.Result
	x.phase = phaseSettled
	x.leaveUpstream()
	r.End = x.now()
	r.Phases = x.phases()
	if x.web != nil && x.web.textIn {
		x.Body = x.web.request.src // the bytes that came
	}
	r.BytesIn += x.Body.Seen()
	delivered, begun := x.Client.Front.Delivered()
	if r.BytesOut += delivered; !begun {
		r.Status = 0 // of a head that never left
	}
	x.endTaps()
	if r.Cause == CauseClientGone {
		if why := x.Client.Cancel.reason(); why != nil {
			r.Cause, r.Err = clientCause(why), why
		}
	}
	if (r.Cause == CauseClientGone || r.Cause == CauseTruncated) && p.closing != nil && p.closing() {
		r.Cause = CauseShutdown
	}
	if r.Cause == CauseShutdown {
		r.Err = errShutdown // what was noted is what comes of cutting
	}
	x.makeSample()
	p.metrics.settle(x)
	if p.tracer != nil {
		p.tracer.End(x)
	}
	x.Client.Listener.metrics.inFlight.Add(-1)
	x.runHooks(p.hooks.onDone)
	x.runDeferred()
}

// recover ends an exchange that panicked: the client is told if that is still
// possible, and all other exchanges go on.
func (p *Proxy) recover(x *Exchange, done *bool) {
	v := recover()
	if v == nil {
		return
	}
	*done = true
	p.metrics.Panicked(p.log, v)
	x.endPanicked(v)
}

// endPanicked ends an exchange because of the panic v.
func (x *Exchange) endPanicked(v any) {
	p := x.proxy
	if x.phase == phaseSettled {
		return // in OnDone: the client has its answer
	}
	// What comes now may panic again, for the same reason; it must not end the
	// process, and none of it may keep the rest from being done.
	p.recovered(x.abandon)
	p.recovered(func() {
		x.Result.Cause, x.Result.Err = CausePanic, fmt.Errorf("panic: %v", v)
		if x.phase < phaseReplying {
			x.Client.Front.CloseAfter()
		}
		x.fail(500, CausePanic)
	})
	p.recovered(x.settle)
}

// abandon gives back what a panic left in the attempt, and in the first one if a hook
// panicked that was called for a hedge.
func (x *Exchange) abandon() {
	for _, a := range [...]*attempt{x.attempt, &x.room.attempt} {
		if a != nil {
			a.giveUp(ending{kind: lb.Canceled, cause: CausePanic})
		}
	}
}

// recovered calls f, whose panic is counted and goes no further.
func (p *Proxy) recovered(f func()) {
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
	case forward.ClientAddr:
		if !x.ClientAddr.IsValid() {
			return x.Client.Peer.Text
		}
		return []byte(x.ClientAddr.String())
	case forward.ClientPort:
		return x.Client.Peer.Port
	case forward.Host:
		return x.ClientHost
	case forward.Hostname:
		return hostname(x.ClientHost)
	case forward.Path:
		return x.Path
	case forward.Query:
		return x.Query
	case forward.Search:
		return x.search()
	case forward.Method:
		return x.Request.Method()
	case forward.Scheme:
		return x.Scheme
	case forward.RequestID:
		return x.RequestID
	case forward.Route:
		return []byte(x.routeName())
	case forward.Upstream:
		if x.Upstream != nil {
			return []byte(x.Upstream.name)
		}
		return nil
	case forward.TraceID:
		return x.Trace.appendTraceID(nil)
	case forward.AuthUser:
		return x.User
	case forward.ClientVerified:
		return x.Client.Peer.Verified
	case forward.ClientSubject, forward.ClientIssuer, forward.ClientSerial, forward.ClientFingerprint, forward.ClientSANs, forward.ClientCertificate:
		return x.Client.Peer.Certificate.Value(name)
	case forward.Target:
		if x.Result.Target != nil {
			return []byte(x.Result.Target.Name())
		}
		return nil
	}
	return x.Captures.Get(name)
}
