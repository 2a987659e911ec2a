package server

import (
	"io"
	"log/slog"
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
	tiers      func(c *config.Cache) ([]Tier, error)
	schemes    discover.Schemes
	handlers   map[string]mounter
	load       func() (*config.Config, error)
	slowTurn   time.Duration // transport.Options.SlowTurn; for tests
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
// them. One with the name of a weir's own replaces that.
func WithAlgorithms(a ...lb.Algorithm) Option {
	return func(o *options) { o.algorithms = append(o.algorithms, a...) }
}

// balancing returns weir's own algorithms and those that were added.
func (o *options) balancing() []lb.Algorithm { return append(balance.Algorithms(), o.algorithms...) }

// WithSchemes adds sources of targets, for URLs in targets, and of services, for
// discovery.catalogs. weir's own are in the packages below discover; without this option
// there are none.
func WithSchemes(s ...discover.Scheme) Option {
	return func(o *options) { o.schemes = append(o.schemes, s...) }
}

// WithHandler makes h the target "handler:name", which upstreams balance, cache, probe and count
// like any other. Reloads keep it. A request's context ends when its client leaves; Close
// waits until h has returned. docs/embedding.md says more. name has letters, digits, "_" and "-".
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
