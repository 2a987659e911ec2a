package transport

import (
	"context"
	"net"
	"net/netip"
	"time"

	"weir/config"
)

var nameForTest = address{network: "tcp", addr: "name.test:80", name: "name.test"}

// SendForTest sends bytes that need not be a request, as Send does a whole request.
func SendForTest(c *Conn, p []byte) error { return c.sendLater(p) }

// DialerForTest returns what dials port 80 of the addresses that lookup finds.
func DialerForTest(lookup func(context.Context, string) ([]netip.Addr, error), dial func(context.Context, netip.AddrPort) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	n := newNames(nameForTest, lookup)
	return func(ctx context.Context) (net.Conn, error) { return n.dial(ctx, dial) }
}

// ConnForTest returns nc as a connection to a name that is looked up from time to time.
func ConnForTest(nc net.Conn, resolve time.Duration, lookup func(context.Context, string) ([]netip.Addr, error)) *Conn {
	c := newConn(nc, nc, nil)
	newRenewal(0, resolve, newNames(nameForTest, lookup), func() {}).enter(c, 0)
	return c
}

// NewHTTP1 makes the pool of HTTP/1.1 connections to one target URL.
func NewHTTP1(rawURL string, cfg *config.Upstream, o Options) (*HTTP1, error) {
	addr, err := parseTargetURL(rawURL)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(addr, cfg, o)
	if err != nil {
		return nil, err
	}
	return newHTTP1(d, cfg, o), nil
}
