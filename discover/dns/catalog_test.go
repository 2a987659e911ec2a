package dns_test

import (
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"weir/discover"
	source "weir/discover/dns"
	"weir/discover/sourcetest"
)

// A catalog asks for a name for each service. One that cannot be looked up does not hold up the others.
func TestCatalog(t *testing.T) {
	t.Parallel()
	s := serve(t, "v1.shop.test. 0 IN A 10.0.0.1", "v2.shop.test. 0 IN A 10.0.0.2", "_http._tcp.cart.test. 0 IN SRV 1 1 81 v1.shop.test.")
	s.Answer(func(m *dns.Msg) *dns.Msg {
		if strings.HasPrefix(m.Question[0].Name, "v3.") {
			m.Rcode = dns.RcodeServerFailure
		}
		return m
	})
	all := source.Schemes()
	r := sourcetest.Catalog(t, all[0], "dns:{version}.{service}.test:80?service=shop/v1&service=shop/v2&service=shop/v3&min_ttl=100ms&family=ipv4&resolver="+s.Addr)
	r.Sees("shop/v1 http://10.0.0.1:80, shop/v2 http://10.0.0.2:80")
	sourcetest.Catalog(t, all[1], "srv:_http._tcp.{service}.test?service=cart&family=ipv4&resolver="+s.Addr).Sees("cart http://10.0.0.1:81")
	set(t, s, "v1.shop.test. 0 IN A 10.0.0.3", "v2.shop.test. 0 IN A 10.0.0.2")
	r.Sees("shop/v1 http://10.0.0.3:80, shop/v2 http://10.0.0.2:80")
	s.Answer(nil)
	set(t, s, "v1.shop.test. 0 IN A 10.0.0.3", "v3.shop.test. 0 IN A 10.0.0.4")
	r.Sees("shop/v1 http://10.0.0.3:80, shop/v3 http://10.0.0.4:80")
	for text, want := range map[string]string{
		"dns:{service}.test:80": "no option service", "dns:app.test:80?service=a": "{service}", "dns:{service}.test:80?service=a/v1": "without", "dns:{service}.{version}:80?service=a": "with a version",
		"dns:{service}.test:80?service=a%2Fb%2Fc": "version", "dns:{service}.test?service=a": "NAME:PORT", "dns:{service}.test:80?service=a&x=1": "one of the options",
	} {
		u, err := url.Parse(text)
		if err == nil {
			_, err = all[0].Catalog(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
