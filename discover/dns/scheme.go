// Package dns finds endpoints by asking name servers: "dns:app.internal:8080" for the addresses
// of a name, "srv:_http._tcp.app.internal" for SRV records (RFC 2782).
//
// It asks itself, instead of the system, because the system does not say how long an answer may be
// used. A name is asked for again when the answer's time to live has passed.
package dns

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"weir/discover"
)

const (
	// floor and ceiling bound the time for which an answer is used, unless the URL says otherwise.
	floor   = time.Second
	ceiling = 30 * time.Second
	longest = 24 * time.Hour // the most that either may be
)

// Schemes is what weir can do with name servers.
func Schemes() []discover.Scheme {
	return []discover.Scheme{
		{Name: "dns", Source: newAddresses, Catalog: catalogOf(newAddresses)},
		{Name: "srv", Source: newServices, Catalog: catalogOf(newServices)},
	}
}

// settings are the options that both schemes have.
type settings struct {
	// scheme is that of the endpoints.
	scheme   string
	resolver resolver
	families []uint16
	least    time.Duration
	most     time.Duration
}

func newAddresses(u *url.URL, _ discover.SchemeOptions) (discover.Source, error) {
	name, port, err := net.SplitHostPort(u.Opaque)
	if number, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil || number == 0 || !isName(name) {
		return nil, fmt.Errorf(`found %q: want "dns:NAME:PORT"`, u)
	}
	s := &addresses{host: host{name: name}, port: port}
	return s, s.read(u, "http", "https")
}

func newServices(u *url.URL, _ discover.SchemeOptions) (discover.Source, error) {
	if !isName(u.Opaque) {
		return nil, fmt.Errorf(`found %q: want "srv:_SERVICE._tcp.NAME"`, u)
	}
	s := &services{name: u.Opaque}
	if strings.HasPrefix(strings.ToLower(s.name), "_https.") {
		return s, s.read(u, "https", "http")
	}
	return s, s.read(u, "http", "https")
}

// read reads the options; schemes are those that endpoints may have, the default first.
func (s *settings) read(u *url.URL, schemes ...string) error {
	q := discover.ParseQuery(u.RawQuery)
	s.scheme = q.OneOf("scheme", schemes...)
	for _, server := range q.Texts("resolver") {
		address, ok := serverAddress(server)
		if !ok {
			q.Wrong("resolver", "an address, with a port if that is not 53")
		}
		s.resolver.servers = append(s.resolver.servers, address)
	}
	switch q.OneOf("family", "any", "ipv4", "ipv6") {
	case "any":
		s.families = []uint16{dns.TypeA, dns.TypeAAAA}
	case "ipv4":
		s.families = []uint16{dns.TypeA}
	case "ipv6":
		s.families = []uint16{dns.TypeAAAA}
	}
	s.least = q.Duration("min_ttl", floor, 100*time.Millisecond, longest)
	s.most = q.Duration("max_ttl", max(ceiling, s.least), s.least, longest)
	return q.Err()
}

// isName says whether s is a name that name servers can be asked for.
func isName(s string) bool {
	_, labels := dns.IsDomainName(s)
	_, address := netip.ParseAddr(s)
	return labels && s != "" && s != "." && address != nil && !strings.ContainsAny(s, " /\\@:")
}

// serverAddress returns the address of a name server with its port.
func serverAddress(s string) (string, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53).String(), true
	}
	a, err := netip.ParseAddrPort(s)
	return s, err == nil && a.Port() != 0
}

// wait is how long answers with this time to live are used.
func (s *settings) wait(ttl time.Duration) time.Duration { return min(max(ttl, s.least), s.most) }
