package dnstest

import (
	"context"
	"net"
	"time"

	"github.com/miekg/dns"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/lb"
)

// The ways in which weir can follow a name server.
const (
	Addresses = "dns:"
	Services  = "srv:"
	HostName  = "http:" // a host name in the URL of a target
)

// silence is for how long answers are lost: each name is asked for once a second.
const silence = 1500 * time.Millisecond

// Place starts a server whose records weir follows in this way.
func Place(way string, schemes []discover.Scheme) (discovertest.Place, error) {
	s, err := Start()
	if err != nil {
		return discovertest.Place{}, err
	}
	p := discovertest.Place{
		Schemes:    schemes,
		Resolver:   s.Resolver(),
		Unweighted: way != Services,
		Stop:       s.Stop,
		Start:      s.Start,
		Cut: func() error {
			s.Answer(func(*dns.Msg) *dns.Msg { return nil })
			time.Sleep(silence)
			s.Answer(nil)
			return nil
		},
		Break: func() error { s.Answer(nonsense); return nil },
		Mend:  func() error { s.Answer(nil); return nil },
		Set:   func(list []lb.Endpoint) error { return s.Endpoints(list, way == Services) },
	}
	p.URL = map[string]func(string) string{
		Addresses: func(port string) string { return "dns:app.test:" + port + "?resolver=" + s.Addr },
		Services:  func(string) string { return "srv:_http._tcp.app.test?resolver=" + s.Addr },
		HostName:  func(port string) string { return "http://app.test:" + port },
	}[way]
	return p, nil
}

// Resolver returns what asks the server in place of those of the system.
func (s *Server) Resolver() *net.Resolver {
	address := s.Addr // Start writes it again
	return &net.Resolver{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

// nonsense makes an answer that no resolver can use.
func nonsense(m *dns.Msg) *dns.Msg {
	m.Question[0].Name = "nonsense.test."
	m.Answer = nil
	return m
}
