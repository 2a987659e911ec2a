package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"weir/config"
	"weir/internal/sock"
)

// DialError says why no connection to a target came about. Nothing was sent
// when a DialError is returned, so any request may go to another target.
type DialError struct {
	// Phase is "resolve", "connect", "tls" or "http2".
	Phase string
	// Timeout says that the phase's limit of time passed.
	Timeout bool
	// Cut says that the limit that passed was not the phase's own, but what was left of the exchange's time.
	Cut bool
	// Refused says that the target actively refused.
	Refused bool
	Err     error
}

func (e *DialError) Error() string { return e.Phase + ": " + e.Err.Error() }

func (e *DialError) Unwrap() error { return e.Err }

// address is a target's URL, taken apart.
type address struct {
	scheme string // http, https, h2c, unix, demo, handler
	// network and addr are what to dial; a URL may have an address for its name ("#address").
	network, addr string
	// host is what a Host field of this target says: host and port as written.
	host string
	// name is the host without port, for SNI.
	name string
}

func parseTargetURL(raw string) (address, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, fmt.Errorf("cannot parse target URL %q: %w", raw, err)
	}
	a := address{scheme: u.Scheme, network: "tcp", host: withoutZone(u.Host), name: u.Hostname()}
	switch u.Scheme {
	case "http", "https", "h2c":
		if u.Hostname() == "" {
			return address{}, fmt.Errorf("target URL %q has no host", raw)
		}
		port := u.Port()
		if port == "" {
			port = config.DefaultPort(u.Scheme)
		}
		a.addr = net.JoinHostPort(cmp.Or(u.Fragment, u.Hostname()), port)
	case "unix":
		a.network, a.addr, a.host, a.name = "unix", u.Path, "localhost", "localhost"
		if a.addr == "" {
			a.addr = u.Opaque
		}
		if a.addr == "" {
			return address{}, fmt.Errorf("target URL %q has no socket path", raw)
		}
	case "demo", "handler":
		a.network, a.addr, a.host, a.name = localNetwork, u.Opaque, u.Scheme+"-"+u.Opaque, u.Scheme
	default:
		return address{}, fmt.Errorf("target URL %q: scheme is %q, want http, https, h2c, unix, demo or handler", raw, u.Scheme)
	}
	return a, nil
}

// localNetwork is the network of targets that are a part of this process.
const localNetwork = "local"

// withoutZone returns a host without the zone of its address, which means nothing to
// another machine (RFC 6874 section 4).
func withoutZone(host string) string {
	before, rest, ok := strings.Cut(host, "%")
	if _, after, closed := strings.Cut(rest, "]"); ok && closed {
		return before + "]" + after
	}
	return host
}

// keepAliveInterval is how often TCP looks whether the other end is still there.
const keepAliveInterval = 30 * time.Second

// dialer opens connections to one target.
type dialer struct {
	address
	connect, handshake time.Duration
	tls                *security // nil for plaintext
	local              func(scheme, name string) (net.Conn, error)
	names              *names // nil if the target has no name to resolve
	proxyHeader        byte   // the version of the PROXY header that a connection begins with; 0 for none
}

func newDialer(a address, cfg *config.Upstream, o Options) (*dialer, error) {
	d := &dialer{
		address:   a,
		connect:   time.Duration(cfg.Timeouts.Connect),
		handshake: time.Duration(cfg.Timeouts.TLS),
		local:     o.DialLocal,
		names:     newNames(a, o.Lookup),

		proxyHeader: proxyVersions[cfg.Connections.ProxyProtocol],
	}
	if a.network == localNetwork && o.DialLocal == nil {
		return nil, fmt.Errorf("target %q: this program has no targets of its own", a.scheme+":"+a.addr)
	}
	if a.scheme != "https" {
		return d, nil
	}
	var err error
	d.tls, err = newSecurity(a, &cfg.TLS, o)
	return d, err
}

// watch makes r hear that the connections that are made from now on have other authorities, or
// another certificate of weir's.
func (d *dialer) watch(r *renewal) {
	if d.tls != nil && d.tls.watched.Depends() {
		r.files = true
		d.tls.onChange = append(d.tls.onChange, r.changed)
	}
}

// dial opens a connection of HTTP/1.1, ready for the first request. within bounds it besides
// the dialer's own limits; 0 means that these alone do.
func (d *dialer) dial(within time.Duration) (*Conn, error) {
	var dry *dryConn
	nc, raw, err := d.open(within, protocolsHTTP1, func(nc net.Conn) net.Conn {
		dry = &dryConn{Conn: nc}
		if stream := sock.NewStream(nc); stream != nil {
			dry.Conn = stream
		}
		return dry
	})
	if err != nil {
		return nil, err
	}
	return newConn(nc, raw, dry), nil
}

// What is offered by ALPN (RFC 7301).
var (
	protocolsHTTP1 = []string{"http/1.1"}
	protocolsHTTP2 = []string{"h2"}
	protocolsBoth  = []string{"h2", "http/1.1"}
)

// open opens a connection. protocols are offered by ALPN, and TLS lies on what under makes of raw,
// the connection without TLS.
func (d *dialer) open(within time.Duration, protocols []string, under func(raw net.Conn) net.Conn) (nc, raw net.Conn, err error) {
	if d.network == localNetwork {
		if nc, err = d.local(d.scheme, d.addr); err != nil {
			return nil, nil, &DialError{Phase: "connect", Err: err}
		}
		return nc, nc, nil
	}
	began := time.Now()
	raw, err = d.connectTo(context.Background(), shorter(d.connect, within), nil)
	if err != nil {
		return nil, nil, dialError("connect", err).within(d.connect, within, "timeouts.connect")
	}
	if d.tls == nil {
		return raw, raw, nil
	}
	tc := tls.Client(under(raw), d.tls.offering(protocols))
	ctx, cancel := context.Background(), func() {}
	if within > 0 {
		within = max(within-time.Since(began), time.Millisecond)
	}
	if limit := shorter(d.handshake, within); limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	err = tc.HandshakeContext(ctx)
	cancel()
	if err != nil {
		raw.Close()
		return nil, nil, dialError("tls", err).within(d.handshake, within, "timeouts.tls")
	}
	return tc, raw, nil
}

// ErrNoPass says that a target is of a kind that no TLS can be passed on to.
var ErrNoPass = errors.New("the target takes no TLS that was begun by a client: want https://host:port or unix:/path")

// Connect opens a connection without TLS, for a client whose own TLS goes on to the target. It returns a
// *DialError, for ErrNoPass too.
func (d *dialer) Connect(ctx context.Context, client Ends) (net.Conn, error) {
	if d.tls == nil && d.network != "unix" {
		return nil, dialError("connect", ErrNoPass)
	}
	nc, err := d.connectTo(ctx, d.connect, &client)
	if err != nil {
		return nil, dialError("connect", err).within(d.connect, 0, "timeouts.connect")
	}
	return nc, nil
}

// connectTo opens a connection without TLS, for a client or, if that is nil, for weir itself; 0 means no limit of
// its own.
func (d *dialer) connectTo(ctx context.Context, limit time.Duration, client *Ends) (net.Conn, error) {
	nc, err := d.connectAny(ctx, limit)
	if err != nil || d.proxyHeader == 0 {
		return nc, err
	}
	if _, err = nc.Write(proxyHeader(d.proxyHeader, client)); err != nil { // the socket is new, and has room
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// connectAny opens a connection to any address of the target. Several addresses of a name are tried as
// names.dial does it.
func (d *dialer) connectAny(ctx context.Context, limit time.Duration) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: keepAliveInterval}
	if d.names == nil {
		nd.Timeout = limit
		return nd.DialContext(ctx, d.network, d.addr)
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return d.names.dial(ctx, func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		return nd.DialContext(ctx, d.network, a.String())
	})
}

// Host is what a Host field says that names the target itself.
func (d *dialer) Host() string { return d.host }

// Dial opens a connection outside the pool, for probes: to the same addresses and
// with the same verification as for exchanges, within the upstream's timeouts and
// ctx. protocols are offered by ALPN (RFC 7301); none means HTTP/1.1.
func (d *dialer) Dial(ctx context.Context, protocols ...string) (net.Conn, error) {
	if d.network == localNetwork {
		return d.local(d.scheme, d.addr)
	}
	nc, err := d.connectTo(ctx, d.connect, nil)
	if err != nil {
		return nil, dialError("connect", err)
	}
	if d.tls == nil {
		return nc, nil
	}
	tc := tls.Client(nc, d.tls.offering(protocols))
	if d.handshake > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.handshake)
		defer cancel()
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, dialError("tls", err)
	}
	return tc, nil
}

// shorter returns the shorter of two limits, where 0 stands for no limit.
func shorter(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// within makes e say which limit has passed: own, whose key that is, or what was left of the exchange's time. 0 is no limit.
func (e *DialError) within(own, left time.Duration, key string) *DialError {
	switch limit := shorter(own, left); {
	case !e.Timeout || limit <= 0 || e.Phase == "resolve":
	case limit != own:
		e.Cut = true
		e.Err = fmt.Errorf("not done within %s, which were left of the exchange's time: %w", limit.Round(time.Millisecond), e.Err)
	default:
		e.Err = fmt.Errorf("not done within %s (%s): %w", own, key, e.Err)
	}
	return e
}

func dialError(phase string, err error) *DialError {
	e := &DialError{Phase: phase, Err: err}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		e.Phase = "resolve"
	}
	var ne net.Error
	e.Timeout = errors.As(err, &ne) && ne.Timeout() || errors.Is(err, context.DeadlineExceeded)
	e.Refused = errors.Is(err, syscall.ECONNREFUSED)
	return e
}
