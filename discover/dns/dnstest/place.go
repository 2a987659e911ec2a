package dnstest

import (
	"github.com/miekg/dns"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/lb"
)

// Place starts a server whose addresses, or SRV records, the schemes dns and srv follow.
func Place(services bool, schemes []discover.Scheme) (discovertest.Place, error) {
	s, err := Start()
	if err != nil {
		return discovertest.Place{}, err
	}
	p := discovertest.Place{
		URL:     func(string) string { return "srv:_http._tcp.app.test?resolver=" + s.Addr },
		Schemes: schemes,
		Stop:    s.Stop,
		Start:   s.Start,
		Break:   func() error { s.Answer(nonsense); return nil },
		Mend:    func() error { s.Answer(nil); return nil },
		Set:     func(list []lb.Endpoint) error { return s.Endpoints(list, true) },
	}
	if !services {
		p.URL = func(port string) string { return "dns:app.test:" + port + "?resolver=" + s.Addr }
		p.Unweighted = true
		p.Set = func(list []lb.Endpoint) error { return s.Endpoints(list, false) }
	}
	return p, nil
}

// nonsense makes an answer that no resolver can use.
func nonsense(m *dns.Msg) *dns.Msg {
	m.Question[0].Name = "nonsense.test."
	m.Answer = nil
	return m
}
