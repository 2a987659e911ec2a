package proxy

import (
	"fmt"
	"time"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/access"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/static"
)

// Route is a compiled route: what to do with the requests that it matches.
type Route struct {
	// Name labels the route in metrics and logs.
	Name string
	// Index is the route's place in the configuration.
	Index int

	// upstream is set if the name is fixed; else upstreamName expands to it.
	upstream     *Upstream
	upstreamName config.Template
	redirect     *redirect
	respond      *config.Respond
	files        *static.Folder

	// ownListener says that the route is for listeners that it names.
	ownListener bool
	stripPrefix bool
	addPrefix   string
	rewrite     config.Template
	hostHeader  hostMode
	hostValue   []byte
	maxBody     int64
	controls    bool     // paths may have encoded control bytes
	buffer      int64    // of a request's body of unknown length; 0: none
	upgrade     []string // the protocols that clients may switch to
	limits      limits
	// grace and anyRate replace the listener's limits of bodies, if they say something.
	grace   time.Duration
	anyRate bool

	requestCookies *forward.Cookies
	requestRules   *forward.Rules
	ambiguous      *forward.Ambiguous
	responseRules  *forward.Rules
	metrics        *routeMetrics
	steps          []step
	// ahead says that the last step is to forward, so that a request may be sent where it is read.
	ahead bool

	addresses  *access.Addresses // nil: all
	auth       *auth             // nil: anybody
	errorPages *errorPages       // nil: none
	cors       *cors             // nil: as the target says
	grpcWeb    bool              // calls of gRPC-Web are translated

	compress     *compression // nil: none
	cache        *rule.Policy // nil: no cache
	cacheStatus  bool
	serverTiming bool
}

type hostMode uint8

const (
	hostPass hostMode = iota
	hostTarget
	hostFixed
)

// Listener is what the core knows of a listener.
type Listener struct {
	// Name labels the listener in metrics and logs.
	Name string

	tunnelIdle    time.Duration // bounds the silence of upgraded connections; 0 is no bound
	httpsRedirect bool
	addresses     *access.Addresses // nil: all
	// asksForCertificates says that clients show certificates, so that Host must be the name that
	// they were shown for.
	asksForCertificates bool
	hsts                []byte // the value of Strict-Transport-Security; nil sends none
	metrics             *listenerMetrics
}

// NewListener returns the core's side of a listener.
func (m *Metrics) NewListener(cfg *config.Listener) *Listener {
	name := cfg.Label()
	return &Listener{
		Name: name, tunnelIdle: cfg.Timeouts.Tunnel.D(), httpsRedirect: cfg.HTTPSRedirect, metrics: m.listener(name),
		addresses: access.NewAddresses(cfg.Allow, cfg.Deny), asksForCertificates: cfg.AsksForCertificates(),
		hsts: []byte(cfg.HSTS.Value()),
	}
}

func newRoute(r *config.Route, index int, captures []string, upstreams map[string]*Upstream, f config.Forwarding, all *config.Compress, m *Metrics) (*Route, error) {
	request, err := forward.CompileRequest(r.RequestHeaders, captures)
	if err != nil {
		return nil, err
	}
	response, err := forward.CompileResponse(r.ResponseHeaders, captures)
	if err != nil {
		return nil, err
	}
	name := r.Label(index)
	route := &Route{
		Name:           name,
		Index:          index,
		respond:        r.Respond,
		ownListener:    len(r.Listener) > 0,
		stripPrefix:    r.StripPrefix,
		addPrefix:      r.AddPrefix,
		rewrite:        r.Rewrite,
		maxBody:        int64(r.MaxBody),
		controls:       r.ControlBytes,
		buffer:         int64(r.BufferRequest),
		upgrade:        r.Upgrade,
		limits:         routeLimits(&r.Timeouts),
		grace:          r.Timeouts.Grace.D(),
		anyRate:        r.Timeouts.AnyRate,
		requestCookies: forward.NewCookies(r.RequestCookies),
		requestRules:   request,
		ambiguous:      forward.NewAmbiguous(f, r.RequestHeaders),
		responseRules:  response,
		metrics:        m.route(name),
		serverTiming:   r.ServerTiming,
	}
	route.addresses = access.NewAddresses(r.Allow, r.Deny)
	if r.Redirect != nil {
		route.redirect = &redirect{status: r.Redirect.Status, to: newLocation(r.Redirect.To)}
	}
	if r.Files != nil {
		route.files = static.New(r.Files)
	}
	if !r.Upstream.IsZero() {
		if len(r.Upstream.Names()) == 0 {
			route.upstream = upstreams[r.Upstream.String()]
		} else {
			route.upstreamName = r.Upstream
		}
	}
	switch r.HostHeader {
	case "", "pass":
	case "target":
		route.hostHeader = hostTarget
	default:
		route.hostHeader, route.hostValue = hostFixed, []byte(r.HostHeader)
	}
	if route.cache, err = newCachePolicy(r, f); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if route.cache != nil {
		route.cacheStatus = r.Cache.Status
	}
	if route.auth, err = newAuth(r.BasicAuth); err != nil {
		return nil, err
	}
	route.compress = newCompression(r.Compress, all)
	route.cors, route.grpcWeb = newCORS(r.CORS, r.GRPCWeb), r.GRPCWeb
	route.steps = steps(r, route)
	return route, nil
}

// nameOf is the name of a field, zero if there is none.
func nameOf(text string) head.Name {
	if text == "" {
		return head.Name{}
	}
	return head.NewName(text)
}
