package transport

import (
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Ends are the two ends of a client's connection to weir. They are not valid if it came by a unix socket.
type Ends struct{ From, To netip.AddrPort }

// proxyVersions are the versions of the PROXY protocol by their names in a configuration.
var proxyVersions = map[string]byte{"v1": 1, "v2": 2}

// proxyHeader is the PROXY header of a version for a connection that is for a client, or for weir itself if client
// is nil.
func proxyHeader(version byte, client *Ends) []byte {
	h := &proxyproto.Header{Version: version, Command: proxyproto.LOCAL}
	if client != nil {
		h.Command = proxyproto.PROXY
	}
	if client != nil && client.From.IsValid() && client.To.IsValid() {
		addEnds(h, client)
	}
	text, err := h.Format()
	if err != nil {
		panic("BUG: " + err.Error()) // addresses are all that can be wrong
	}
	return text
}

// addEnds adds the ends of a client's connection. Both must be of one kind, which they may not be if a proxy in front
// of weir said who the client is: version 1 then has no words for them.
func addEnds(h *proxyproto.Header, client *Ends) {
	from, to := client.From.Addr().Unmap(), client.To.Addr().Unmap()
	switch {
	case from.Is4() && to.Is4():
		h.TransportProtocol = proxyproto.TCPv4
	case from.Is6() && to.Is6(), h.Version == 2:
		h.TransportProtocol = proxyproto.TCPv6
		from, to = netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16())
	default:
		return
	}
	h.SourceAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, client.From.Port()))
	h.DestinationAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, client.To.Port()))
}
