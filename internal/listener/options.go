package listener

import (
	"crypto/x509"
	"net"
	"net/netip"
	"time"

	"weir/internal/secure"
)

// Options are what a listener needs besides its configuration. The zero
// Options are usable. They stay the same for the life of a Listener; Update
// does not change them. The callbacks may run on several goroutines at once
// and must not block: they run on the accept loop or a connection's goroutine.
type Options struct {
	// Inherited are the sockets that "systemd:NAME" addresses choose from; nil
	// means there are none.
	Inherited *Inherited
	// Socket is used instead of opening the configured address, which then is
	// only the listener's identity; nil means to open it. The Listener owns it.
	Socket net.Listener
	// Room bounds the connections of all listeners that have the same Room; nil means no
	// bound.
	Room *Room
	// UnderTLS returns what TLS reads and writes in place of a socket, which
	// must have the socket's CloseWrite; nil means the socket.
	UnderTLS func(socket net.Conn) net.Conn
	// Issuer has the certificates of listeners with tls; nil means that there are none. It is only
	// used for those.
	Issuer Issuer
	// CertificateInterval is the time between two looks at the files of TLS: certificates and
	// all that OnFiles hears of. 0 means DefaultCertificateInterval, less than 0 means never.
	CertificateInterval time.Duration

	// Tickets are keys of session tickets that the listener of this address had in the process
	// before this one; nil means that there was none.
	Tickets []secure.TicketKey
	// Now is the time for keys of session tickets; nil means time.Now.
	Now func() time.Time

	// OnRefuse hears of each connection that was closed before it reached the
	// handler: why, the error behind it (nil if the reason says it all), and
	// the client (not valid for a unix socket's).
	OnRefuse func(reason Reason, err error, client netip.AddrPort)
	// OnVisit serves the connection of a Visit, on a goroutine of its own; the connection is closed
	// when it returns. nil closes it at once.
	OnVisit func(*Conn)
	// OnAcceptError hears of each failed accept and how long the loop waits
	// before the next.
	OnAcceptError func(err error, wait time.Duration)
	// OnCertificates hears of each reading of changed certificate files. A nil
	// err means all of them are in use; otherwise those it names keep their
	// old content.
	OnCertificates func(err error)
	// OnStaple hears of the first failure to learn whether a certificate is revoked (OCSP) after a success, or of all, and
	// of the first success, by a nil err. OnRevoked hears each time that one is.
	OnStaple  func(leaf *x509.Certificate, err error)
	OnRevoked func(leaf *x509.Certificate)
	// OnFiles hears the same of other files of TLS, which what names.
	OnFiles func(what string, err error)
}

// DefaultCertificateInterval is the time between two looks at the files of TLS
// (see Options.CertificateInterval) if Options do not say otherwise: the same as
// for the files of targets.
const DefaultCertificateInterval = secure.Interval

// Reason names why a connection was closed before it reached the handler. The
// names are those of metrics and logs.
type Reason string

// The reasons; Reasons lists them.
const (
	// RefusedAddressLimit is limits.connections_per_address.
	RefusedAddressLimit Reason = "address_limit"
	// RefusedProxyHeader is a missing or bad PROXY header from an address that
	// must send one.
	RefusedProxyHeader Reason = "proxy_header"
	// RefusedHandshake is a failed TLS handshake.
	RefusedHandshake Reason = "tls_handshake"
	// RefusedPlainHTTP is an HTTP request without TLS on a TLS listener; the
	// client was told so with a 400.
	RefusedPlainHTTP Reason = "plain_http"
	// RefusedTimeout is timeouts.handshake.
	RefusedTimeout Reason = "handshake_timeout"
	// RefusedGone is a client that closed before it had sent what was asked of
	// it: port scanners and the health checks of TCP balancers.
	RefusedGone Reason = "client_gone"
	// RefusedShutdown is Abort while the handshake was under way.
	RefusedShutdown Reason = "shutdown"
)

// Reasons returns all reasons, in a fixed order.
func Reasons() []Reason {
	return []Reason{
		RefusedAddressLimit, RefusedProxyHeader, RefusedHandshake, RefusedPlainHTTP,
		RefusedTimeout, RefusedGone, RefusedShutdown,
	}
}

// Stats are the counts of one listener since Open.
type Stats struct {
	// Open is the number of connections now, those in a handshake included.
	Open int
	// Accepted is the number of connections taken from the sockets.
	Accepted uint64
	// Paused is how often accepting stopped because limits.connections was reached.
	Paused uint64
	// AcceptErrors is the number of failed accepts.
	AcceptErrors uint64
	// Refused is the number of connections closed before the handler, by
	// reason. Every reason is in it. The map is the caller's.
	Refused map[Reason]uint64
}

// Plus returns the counts of both together.
func (s Stats) Plus(o Stats) Stats {
	sum := Stats{
		Open:         s.Open + o.Open,
		Accepted:     s.Accepted + o.Accepted,
		Paused:       s.Paused + o.Paused,
		AcceptErrors: s.AcceptErrors + o.AcceptErrors,
		Refused:      make(map[Reason]uint64),
	}
	for _, r := range Reasons() {
		sum.Refused[r] = s.Refused[r] + o.Refused[r]
	}
	return sum
}
