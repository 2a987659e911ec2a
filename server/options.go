package server

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/discover"
	"weir/internal/mount"
	"weir/lb"
	"weir/lb/balance"
	"weir/proxy"
	"weir/server/hook"
	"weir/trace"
)

// Option changes what New builds. Options that are not given have the defaults
// that their comments name.
type Option func(*options)

type options struct {
	log        *slog.Logger
	hooks      []proxy.Hooks
	accessLog  io.Writer
	algorithms []lb.Algorithm
	systemd    bool
	checked    bool
	version    string
	// predecessor is the process before this one; nil for none.
	predecessor *Predecessor
	tiers       func(c *config.Cache) ([]Tier, error)
	schemes     discover.Schemes
	resolver    *net.Resolver
	issuer      Issuer // nil: no certificates but those in files
	exporter    func(c *config.Tracing) (trace.Exporter, error)

	loadBalance func(p *lb.Pick, targets []*lb.Target) *lb.Target
	extract     func(x hook.Exchange) (name, version string, ok bool)
	handlers    map[string]mounter
	load        func() (*config.Config, error)
	slowTurn    time.Duration // transport.Options.SlowTurn; for tests
}

// WithLog sends the server's own log to log; without it there is none.
func WithLog(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// WithHooks calls h at fixed points of each exchange. Hooks of several options are called in
// the order of the options.
func WithHooks(h hook.Hooks) Option {
	return func(o *options) { o.hooks = append(o.hooks, hooksOf(h)) }
}

// WithAccessLogWriter writes an access log whose output is "stdout" to w
// instead.
func WithAccessLogWriter(w io.Writer) Option { return func(o *options) { o.accessLog = w } }

// WithAlgorithms adds balancing algorithms for upstreams whose balance names
// them. One that has the name of an algorithm of weir's own replaces that one.
func WithAlgorithms(a ...lb.Algorithm) Option {
	return func(o *options) { o.algorithms = append(o.algorithms, a...) }
}

// WithLoadBalance makes f choose the target of each attempt, for all upstreams, in place of what
// their key balance says. targets are those of one priority group; f returns one of them
// that p.Admits, or nil if it admits none. Many goroutines call f at once; it must not wait,
// and must keep nothing. Health, retries and limits go on as without it.
func WithLoadBalance(f func(p *lb.Pick, targets []*lb.Target) *lb.Target) Option {
	return func(o *options) { o.loadBalance = f }
}

// loadBalancer picks by a function of WithLoadBalance.
type loadBalancer struct {
	pick    func(p *lb.Pick, targets []*lb.Target) *lb.Target
	targets []*lb.Target
}

func (b loadBalancer) Pick(p *lb.Pick) *lb.Target { return b.pick(p, b.targets) }

// WithExtractNameVersion makes f say which service a request is for, on routes whose upstream is a
// template, in place of the template: name and version as they are registered, the version
// perhaps empty. If ok is false, the template says it. f runs for each request on the
// goroutine that reads it, and must not wait.
func WithExtractNameVersion(f func(x hook.Exchange) (name, version string, ok bool)) Option {
	return func(o *options) { o.extract = f }
}

// nameUpstream returns what names the upstream of an exchange; nil if templates do.
func (o *options) nameUpstream() func(x *proxy.Exchange, dst []byte) ([]byte, bool) {
	if o.extract == nil {
		return nil
	}
	return func(x *proxy.Exchange, dst []byte) ([]byte, bool) {
		name, version, ok := o.extract(view{x})
		return append(dst, discover.UpstreamName(name, version)...), ok
	}
}

// balancing returns weir's own algorithms and those that were added.
func (o *options) balancing() []lb.Algorithm {
	list := append(balance.Algorithms(), o.algorithms...)
	if o.loadBalance != nil {
		for i := range list {
			list[i].New = func(in lb.Input) (lb.Picker, error) { return loadBalancer{o.loadBalance, in.Targets}, nil }
		}
	}
	return list
}

// WithSchemes adds sources of targets, for URLs in targets, and of services, for
// discovery.catalogs. weir's own are in the packages below discover; without this option
// there are none. A program's own scheme has a name that begins with "x-", such as "x-fleet", or one of weir's, in the place of which
// it is used. Of several of one name the first counts.
func WithSchemes(s ...discover.Scheme) Option {
	return func(o *options) { o.schemes = append(o.schemes, s...) }
}

// WithResolver makes r.Dial connect to the name servers that are asked for the addresses of targets' host
// names; nil, or without Dial, they are connected to directly. Whatever r says besides, names are looked up as the
// system does: by /etc/hosts and /etc/resolv.conf.
func WithResolver(r *net.Resolver) Option { return func(o *options) { o.resolver = r } }

// WithTraceExporter provides what sends spans to a collector: make is called for every new setting of
// the configuration's tracing table. weir's own is trace/otlp; without this option there is none, and
// tracing.endpoint must be "none".
func WithTraceExporter(make func(c *config.Tracing) (trace.Exporter, error)) Option {
	return func(o *options) { o.exporter = make }
}

// WithHandler makes h the target "handler:name", which upstreams balance, cache, probe and count
// like any other. Reloads keep it. A request's context ends when its client leaves; Close
// waits until h has returned, so h must not wait for Close. docs/embedding.md says more. name has letters, digits, "_" and "-"; of several
// handlers of one name the last counts.
func WithHandler(name string, h http.Handler) Option {
	return withMounter(name, func(o mount.Options) *mount.Server { return mount.HTTP(h, o) })
}

// WithFastHTTP does the same with a handler of fasthttp. Bodies of requests are streamed: PostBody
// reads the body whole, RequestBodyStream reads piece by piece.
func WithFastHTTP(name string, h fasthttp.RequestHandler) Option {
	return withMounter(name, func(o mount.Options) *mount.Server { return mount.FastHTTP(h, o) })
}

func withMounter(name string, m mounter) Option {
	return func(o *options) {
		if o.handlers == nil {
			o.handlers = make(map[string]mounter)
		}
		o.handlers[name] = m
	}
}

// WithSystemdSockets lets "systemd:NAME" addresses choose from the sockets that
// the service manager passed to this process; without it they are errors. Only
// one server of a process may have it.
func WithSystemdSockets() Option { return func(o *options) { o.systemd = true } }

// WithChecked says that every configuration which New and Reload get has passed Check, or
// config.Load with CheckParts, so that it is not checked a second time.
func WithChecked() Option { return func(o *options) { o.checked = true } }

// WithVersion tells the version of the program, for the metric weir_build_info.
func WithVersion(version string) Option { return func(o *options) { o.version = version } }
