package dns

import (
	"net"
	"testing"

	"github.com/miekg/dns"

	"weir/discover/dns/dnstest"
)

// newServer returns a server with these records, and a resolver that asks it as the system would, with a search list.
func newServer(t *testing.T, records ...string) (*dnstest.Server, *resolver) {
	t.Helper()
	s, err := dnstest.Start()
	if err == nil {
		err = s.Set(records...)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	return s, &resolver{system: func() (*dns.ClientConfig, error) {
		return &dns.ClientConfig{Servers: []string{host}, Port: port, Search: []string{"one.test", "two.test"}, Ndots: 1}, nil
	}}
}

// Both families are those of the same name of the search list.
func TestSearchList(t *testing.T) {
	t.Parallel()
	s, r := newServer(t, "app.one.test. 5 IN A 10.0.0.1", "app.two.test. 5 IN AAAA fd00::2", "only.two.test. 5 IN AAAA fd00::3", "full.test. 5 IN A 10.0.0.4",
		"full.test.one.test. 5 IN AAAA fd00::5")
	both := []uint16{dns.TypeA, dns.TypeAAAA}
	check := func(name, v4, v6 string) {
		t.Helper()
		found := r.lookup(t.Context(), name, both...)
		for i, want := range []string{v4, v6} {
			got := ""
			if len(found[i].addresses) > 0 {
				got = found[i].addresses[0].String()
			}
			if got != want || found[i].err != nil || len(found[i].addresses) > 1 {
				t.Errorf("%s: got %v and %v, want %q", name, found[i].addresses, found[i].err, want)
			}
		}
	}
	check("app", "10.0.0.1", "")
	check("only", "", "fd00::3")
	check("full.test", "10.0.0.4", "")
	check("none", "", "")
	// A name that cannot be looked up may have what is looked for: the next ones do not count.
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if m.Question[0].Name == "only.one.test." && m.Question[0].Qtype == dns.TypeA {
			m.Rcode = dns.RcodeServerFailure
		}
		return m
	})
	if found := r.lookup(t.Context(), "only", both...); found[0].err == nil || found[1].err != nil || len(found[1].addresses) > 0 {
		t.Errorf("a name that fails for A: got %+v", found)
	}
}

// A server that does not know EDNS is asked without it.
func TestServerWithoutEDNS(t *testing.T) {
	t.Parallel()
	for _, code := range []int{dns.RcodeFormatError, dns.RcodeNotImplemented} {
		s, r := newServer(t, "app.one.test. 5 IN A 10.0.0.1")
		s.Question(func(q *dns.Msg) int {
			if q.IsEdns0() != nil {
				return code
			}
			return dns.RcodeSuccess
		})
		if found := r.lookup(t.Context(), "app", dns.TypeA)[0]; found.err != nil || len(found.addresses) != 1 {
			t.Errorf("%s: got %+v", dns.RcodeToString[code], found)
		}
	}
}
