package config

import (
	"reflect"
	"time"
)

// Default returns a configuration with the default of every key. It needs at
// least one listener and one route to be usable. The caller owns it.
func Default() *Config { return fresh[Config]() }

// DefaultListener returns a listener with the default of every key; it needs an address.
func DefaultListener() Listener { return *fresh[Listener]() }

// DefaultRoute returns a route with the default of every key; it needs one of
// Upstream, Redirect and Respond.
func DefaultRoute() Route { return *fresh[Route]() }

// DefaultRedirect returns a redirect with the default of every key; it needs To.
func DefaultRedirect() Redirect { return *fresh[Redirect]() }

// DefaultRespond returns a fixed response with the default of every key.
func DefaultRespond() Respond { return *fresh[Respond]() }

// DefaultUpstream returns an upstream with the default of every key; it needs targets.
func DefaultUpstream() Upstream { return *fresh[Upstream]() }

// DefaultTarget returns a target with the default of every key but its URL.
func DefaultTarget(url string) Target {
	t := *fresh[Target]()
	t.URL = url
	return t
}

// defaulter is implemented by the types whose defaults differ from zero. It is
// called once for a new value, before the tables inside it, and before the keys
// of a file are applied.
type defaulter interface{ setDefaults() }

// fresh returns a new T with the default of every key.
func fresh[T any]() *T {
	v := new(T)
	layouts(nil).setDefaults(reflect.ValueOf(v).Elem())
	return v
}

// setDefaults gives v, and the tables that v always has, their defaults.
// Elements of lists and maps, and tables that are pointers, get theirs when they
// are made.
func (l layouts) setDefaults(v reflect.Value) {
	if d, ok := v.Addr().Interface().(defaulter); ok {
		d.setDefaults()
	}
	for _, f := range l.of(v.Type()) {
		if inner := v.Field(f.index); inner.Kind() == reflect.Struct {
			l.setDefaults(inner)
		}
	}
}

func (m *Metrics) setDefaults() {
	*m = Metrics{PerRoute: true, PerTarget: true, PerPath: true, Histograms: HistogramsPrometheus}
}

func (l *Listener) setDefaults() {
	l.MinTLS, l.MaxTLS, l.ClientAuth, l.OCSPStapling = "1.2", "1.3", ClientAuthRequire, true
}

func (t *UpstreamTLS) setDefaults() { t.MinTLS, t.MaxTLS = "1.2", "1.3" }

func (l *ListenerLimits) setDefaults() { l.HeaderBytes = 16 << 10 }

func (t *ListenerTimeouts) setDefaults() {
	*t = ListenerTimeouts{
		Handshake: Duration(10 * time.Second),
		Header:    Duration(10 * time.Second),
		Idle:      Duration(75 * time.Second),
		Grace:     Duration(time.Minute),
		MinRate:   240,
		Tunnel:    Duration(time.Hour),
	}
}

func (r *Route) setDefaults() { r.HostHeader, r.Upgrade = "pass", Strings{websocket} }

// websocket is the protocol that routes let clients switch to by default.
const websocket = "websocket"

func (r *Redirect) setDefaults() { r.Status = 308 }

func (r *Respond) setDefaults() { r.Status = 200 }

func (u *Upstream) setDefaults() { u.setBalanceDefaults() }

func (t *Target) setDefaults() { t.Weight, t.Resolve = 1, ResolveAll }

func (t *UpstreamTimeouts) setDefaults() {
	*t = UpstreamTimeouts{
		Connect:   Duration(2 * time.Second),
		TLS:       Duration(5 * time.Second),
		FirstByte: Duration(time.Minute),
		Idle:      Duration(time.Minute),
		Write:     Duration(30 * time.Second),
	}
}

func (c *Connections) setDefaults() {
	*c = Connections{
		Wait:        Duration(time.Second),
		Idle:        Duration(50 * time.Second),
		MaxAge:      Duration(time.Hour),
		Resolve:     Duration(5 * time.Second),
		HeaderBytes: 64 << 10,
		Protocol:    "auto",
		Streams:     100,
		Ping:        Duration(10 * time.Second),
	}
}

func (f *Forwarding) setDefaults() {
	*f = Forwarding{XForwarded: true, RequestID: "X-Request-Id", CancelOnHalfClose: true}
}

func (l *Log) setDefaults() {
	*l = Log{Output: "stderr", Facility: "daemon", Level: "info", Format: "text"}
}

func (a *AccessLog) setDefaults() {
	*a = AccessLog{Output: "stdout", Format: "json", Facility: "local7"}
}

func (l *Lifecycle) setDefaults() {
	l.Drain = Duration(30 * time.Second)
	l.Upgrade = Duration(time.Minute)
}
