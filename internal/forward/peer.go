package forward

import (
	"bytes"
	"net/netip"
	"strconv"
	"unsafe"

	"weir/internal/head"
)

// Peer is the other end of a client connection. It is made once per connection,
// by NewPeer, and only read afterwards, by any number of goroutines.
type Peer struct {
	// Address is the peer's address without zone, IPv4 as IPv4; invalid for
	// unix sockets.
	Address netip.Addr
	// Scheme is "http" or "https".
	Scheme []byte
	// Certificate is what the peer has shown; nil if it has shown none, or one that was not
	// good where that does not end the handshake.
	Certificate *Certificate
	// Text is Address as text; "unknown" for a unix socket.
	Text []byte
	// Port is the peer's port as text; empty for a unix socket.
	Port []byte
	// Verified is "ok", "none" if the peer has shown no certificate, "unverified" if there are no authorities
	// to verify it with, or "failed: " and why; empty if it was not asked for one.
	Verified []byte
	// node is Text as a node of RFC 7239 section 6: quoted and in brackets for
	// IPv6.
	node []byte
	// lines are X-Forwarded-For and X-Forwarded-Proto for requests that came without
	// them.
	lines head.Lines
}

// NewPeer returns the Peer for a connection; remote is the zero AddrPort for
// unix sockets.
func NewPeer(remote netip.AddrPort, tls bool) Peer {
	p := Peer{Address: remote.Addr().Unmap().WithZone("")}
	// All texts are parts of one allocation.
	all, start := make([]byte, 0, 96), 0
	part := func() []byte {
		text := all[start:len(all):len(all)]
		start = len(all)
		return text
	}
	if remote.IsValid() {
		all = p.Address.AppendTo(all)
		p.Text = part()
		all = strconv.AppendUint(all, uint64(remote.Port()), 10)
		p.Port = part()
	} else {
		all = append(all, "unknown"...)
		p.Text = part()
	}
	all = append(all, "http"...)
	if tls {
		all = append(all, 's')
	}
	p.Scheme = part()
	if p.node = p.Text; p.Address.Is6() {
		all = append(append(append(all, `"[`...), p.Text...), `]"`...)
		p.node = part()
	}
	p.lines.Add(head.XForwardedFor, p.Text)
	p.lines.Add(head.XForwardedProto, p.Scheme)
	return p
}

// parseAddress reads an address as forwarding fields have it: "192.0.2.1",
// "2001:db8::1", "[2001:db8::1]", the first and the last also with a port. Zones
// are refused, because they mean nothing on another machine. It does not
// allocate.
func parseAddress(b []byte) (netip.Addr, bool) {
	if len(b) > 2 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || end+1 < len(b) && b[end+1] != ':' {
			return netip.Addr{}, false
		}
		b = b[1:end]
	} else if i := bytes.IndexByte(b, ':'); i >= 0 && bytes.IndexByte(b[i+1:], ':') < 0 {
		b = b[:i]
	}
	// The longest text of an IPv6 address has 45 bytes.
	if len(b) == 0 || len(b) > 45 || bytes.IndexByte(b, '%') >= 0 {
		return netip.Addr{}, false
	}
	// An Addr without a zone keeps nothing of its text, and the error, which
	// does, goes no further.
	a, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	return a.Unmap(), err == nil
}
