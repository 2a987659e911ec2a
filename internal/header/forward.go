package header

import (
	"net/netip"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/internal/wire"
)

// Peer is who sits at the other end of a client connection. It is made once per
// connection, by NewPeer, and only read afterwards.
type Peer struct {
	// Address is the peer's address without zone, IPv4 as IPv4; invalid for
	// unix sockets.
	Address netip.Addr
	// Text is Address as text; "unknown" if there is none.
	Text []byte
	// Port is the peer's port as text; empty if there is none.
	Port []byte
	// Scheme is "http" or "https".
	Scheme []byte
	// node is Text as a node of RFC 7239: quoted and in brackets for IPv6.
	node []byte
}

// NewPeer returns the Peer for a connection; remote is the zero AddrPort for
// unix sockets.
func NewPeer(remote netip.AddrPort, tls bool) Peer { return Peer{} }

// Forwarder tells targets who the client was, and believes only trusted peers
// about it. It is never changed after NewForwarder and may be used by any number
// of goroutines.
type Forwarder struct{}

// NewForwarder compiles c. An error is always of type Problems.
func NewForwarder(c config.Forwarding) (*Forwarder, error) { return &Forwarder{}, nil }

// Trusts says whether the peer's forwarding fields are believed.
func (f *Forwarder) Trusts(p *Peer) bool { return false }

// Client returns the address of the client: the peer's, unless the peer is
// trusted; then the rightmost address of X-Forwarded-For (or of Forwarded, if
// there is no X-Forwarded-For) that is not itself trusted. It must be called before Apply.
func (f *Forwarder) Client(h *fasthttp.RequestHeader, present wire.Fields, p *Peer) netip.Addr {
	return p.Address
}

// RequestID appends the exchange's request id to dst: the one a trusted peer
// sent, if it is sane, or a new one.
func (f *Forwarder) RequestID(dst []byte, h *fasthttp.RequestHeader, p *Peer) []byte { return dst }

// Apply writes the forwarding fields, Via and the request id into a request. It
// must be called after CleanRequest and before the Host is changed. id is
// what RequestID returned.
func (f *Forwarder) Apply(h *fasthttp.RequestHeader, present wire.Fields, p *Peer, id []byte) {}

// ApplyResponse writes Via into a response.
func (f *Forwarder) ApplyResponse(h *fasthttp.ResponseHeader, present wire.Fields) {}
