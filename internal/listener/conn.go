package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"weir/config"
)

// Conn is one client's connection, ready for its first request. Nothing has
// been read from it beyond the PROXY header and the TLS handshake. It belongs
// to the handler's goroutine; only Close may be called from others.
type Conn struct {
	listener *Listener
	raw      net.Conn
	conn     net.Conn // raw, or the *tls.Conn over it
	state    *tls.ConnectionState
	trust    atomic.Pointer[clientTrust] // what the client's certificate was verified with; nil without TLS
	verified string
	passed   *Passed // nil unless its TLS is ended elsewhere

	peer   netip.AddrPort // the other end of the socket, a proxy's if there is a PROXY header
	remote netip.AddrPort
	client netip.Addr // what admitClient counted; not valid if nothing

	lingers     bool // it has had its last answer; guarded by the listener's mu
	established bool // the handler has it, or is about to; guarded by the listener's mu
}

// newConn takes over an accepted connection.
func newConn(l *Listener, raw net.Conn) *Conn {
	peer := addrPort(raw.RemoteAddr())
	c := &Conn{listener: l, raw: raw, conn: raw, peer: peer, remote: peer}
	if secure, ok := raw.(*tls.Conn); ok {
		c.raw = secure.NetConn()
	}
	return c
}

// addrPort returns a TCP address, IPv4 as such, or the zero AddrPort for any
// other kind.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Listener returns the listener that accepted c; its Config is that of the last
// update, also for connections that are older.
func (c *Conn) Listener() *Listener { return c.listener }

// Config returns the configuration of c's listener as it is now.
func (c *Conn) Config() *config.Listener { return c.listener.Config() }

// NetConn returns what to read from and write to: a *net.TCPConn or
// *net.UnixConn without any wrapping (writev and splice work), or a *tls.Conn
// with its handshake done. No deadline is set.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Raw returns the *net.TCPConn or *net.UnixConn under TLS; without TLS it is
// NetConn.
func (c *Conn) Raw() net.Conn { return c.raw }

// RemoteAddr returns the client's address: the one in the PROXY header if there
// was one. It is not valid (IsValid) for the client of a unix socket. An IPv4
// address is never in its IPv6-mapped form.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// TLS returns the state of the finished handshake (SNI in ServerName, ALPN in
// NegotiatedProtocol), or nil without TLS. It is shared: do not change it.
func (c *Conn) TLS() *tls.ConnectionState { return c.state }

// Close closes the connection; with TLS it tries to tell the client first.
// Calling it again does nothing but return an error.
func (c *Conn) Close() error { return c.conn.Close() }

// Reset closes the connection so that the client cannot take what it got for all that
// was to come: TCP with a reset, TLS without the alert that says so (RFC 8446 section 6.1).
// Without TLS, a unix socket has no way to say it.
func (c *Conn) Reset() error {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	return c.raw.Close()
}

// establish brings c to where a request may come: PROXY header, limit of the
// client, TLS handshake. A reason other than "" says why it did not get there.
func (c *Conn) establish(s *settings) (Reason, error) {
	proxied := s.expectsProxyHeader(c)
	secure, _ := c.conn.(*tls.Conn)
	bounded := (proxied || s.tls != nil || secure != nil) && s.config.Timeouts.Handshake > 0
	if bounded {
		c.raw.SetDeadline(time.Now().Add(s.config.Timeouts.Handshake.D()))
		if c.listener.Closed() {
			c.shortenHandshake()
		}
	}
	if proxied {
		if err := c.readProxyHeader(); err != nil {
			return failure(err, RefusedProxyHeader), err
		}
	}
	if !c.listener.admitClient(c, s.config.Limits.ConnectionsPerAddress) {
		return RefusedAddressLimit, nil
	}
	if secure != nil {
		if reason, err := c.shakeForeignHands(secure); reason != "" {
			return reason, err
		}
	}
	if s.tls != nil {
		under := c.raw
		if c.listener.options.UnderTLS != nil {
			under = c.listener.options.UnderTLS(c.raw)
		}
		if len(s.config.PassThrough) > 0 {
			var err error
			if under, err = c.pass(s, under); err != nil {
				return failure(err, RefusedHandshake), err
			}
		}
		if c.passed == nil {
			if reason, err := c.shakeHands(under); reason != "" {
				return reason, err
			}
		}
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.established = true
	if bounded || c.listener.Closed() {
		c.raw.SetDeadline(time.Time{})
	}
	return "", nil
}

// handshakeKey is where the context of a handshake has a **settings: see settingsOf.
type handshakeKey struct{}

// errNoTLS is why a handshake fails that an update has overtaken.
var errNoTLS = errors.New("the listener has no TLS any more")

// settingsOf returns the settings of a handshake: those that are in force when its ClientHello comes. They
// stay the same until its end, so that what lets a client in is what it is judged by.
func (l *Listener) settingsOf(hello *tls.ClientHelloInfo) (*settings, error) {
	s := hello.Context().Value(handshakeKey{}).(**settings)
	if *s == nil {
		*s = l.settings.Load()
	}
	if (*s).tls == nil {
		return nil, errNoTLS
	}
	return *s, nil
}

// shakeHands does the TLS handshake over under.
func (c *Conn) shakeHands(under net.Conn) (Reason, error) {
	conn := tls.Server(under, c.listener.tls)
	var s *settings // which settingsOf sets
	if err := conn.HandshakeContext(context.WithValue(context.Background(), handshakeKey{}, &s)); err != nil {
		if answerPlainHTTP(err) {
			return RefusedPlainHTTP, nil
		}
		return failure(err, RefusedHandshake), err
	}
	state := conn.ConnectionState()
	c.state, c.conn = &state, conn
	c.verified = s.trusted.judge(c.state)
	c.trust.Store(s.trusted)
	return "", nil
}

// shakeForeignHands does the TLS handshake of a connection that a listener of crypto/tls has accepted, which an embedding program opened. The
// program's own tls.Config decides whether it verifies the client's certificate: one that it did not verify is left out.
func (c *Conn) shakeForeignHands(conn *tls.Conn) (Reason, error) {
	if err := conn.Handshake(); err != nil {
		if answerPlainHTTP(err) {
			return RefusedPlainHTTP, nil
		}
		return failure(err, RefusedHandshake), err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == config.ProtocolH2 {
		return RefusedHandshake, errForeignHTTP2
	}
	if len(state.VerifiedChains) > 0 {
		c.verified = "ok"
	} else {
		state.PeerCertificates = nil
	}
	c.state = &state
	return "", nil
}

// errForeignHTTP2 is about front ends that speak HTTP/2 on sockets alone, with or without TLS of weir's own.
var errForeignHTTP2 = errors.New(`HTTP/2 is not served on a listener of crypto/tls: its NextProtos must not have "h2"`)

// lastHandshake is how long a handshake may take that runs when the listener is
// closed: most of these clients opened a connection in advance, and it would
// hold up the end.
const lastHandshake = time.Second

// shortenHandshake bounds what is left of establish.
func (c *Conn) shortenHandshake() { c.raw.SetDeadline(time.Now().Add(lastHandshake)) }

// failure tells an error of the wire from one of the content, which is other.
func failure(err error, other Reason) Reason {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return RefusedTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return RefusedGone
	}
	return other
}

// answerPlainHTTP tells a client that sent an HTTP request instead of a TLS
// handshake what is wrong, and says whether it was one.
func answerPlainHTTP(err error) bool {
	var record tls.RecordHeaderError
	if !errors.As(err, &record) || record.Conn == nil {
		return false
	}
	switch string(record.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "TRACE", "CONNE":
	default:
		return false
	}
	const text = "this port speaks https only\n"
	io.WriteString(record.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 28\r\nConnection: close\r\n\r\n"+text)
	Linger(record.Conn)
	return true
}
