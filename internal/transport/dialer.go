package transport

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// Dialer opens connections to one target outside its pool, for probes: to the
// same addresses and with the same verification as exchanges.
type Dialer struct {
	d *dialer
}

// Dialer returns a dialer for the target of t.
func (t *HTTP1) Dialer() *Dialer { return &Dialer{t.dialer} }

// Host is what a Host field says that names the target itself.
func (d *Dialer) Host() string { return d.d.host }

// Secure reports whether connections use TLS.
func (d *Dialer) Secure() bool { return d.d.tls != nil }

// Dial connects within the upstream's timeouts and ctx, TLS handshake
// included. protocols are offered by ALPN (RFC 7301); none means HTTP/1.1.
func (d *Dialer) Dial(ctx context.Context, protocols ...string) (net.Conn, error) {
	if d.d.scheme == "demo" {
		return d.d.demo(d.d.addr)
	}
	nc, err := d.Connect(ctx)
	if err != nil || d.d.tls == nil {
		return nc, err
	}
	cfg := d.d.tls
	if len(protocols) > 0 {
		cfg = cfg.Clone()
		cfg.NextProtos = protocols
	}
	c := tls.Client(nc, cfg)
	if d.d.handshake > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.d.handshake)
		defer cancel()
	}
	if err := c.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, dialError("tls", err)
	}
	return c, nil
}

// Connect is Dial without TLS: it shows that something listens.
func (d *Dialer) Connect(ctx context.Context) (net.Conn, error) {
	if d.d.scheme == "demo" {
		return d.d.demo(d.d.addr)
	}
	nd := net.Dialer{Timeout: d.d.connect, KeepAlive: 30 * time.Second}
	nc, err := nd.DialContext(ctx, d.d.network, d.d.addr)
	if err != nil {
		return nil, dialError("connect", err)
	}
	return nc, nil
}
