package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What is wrong with certificates that weir is to get itself is said at its key.
func TestCertificatesErrors(t *testing.T) {
	const acme = "tls = 'acme'\n"
	for _, c := range []struct{ listener, more, want string }{
		{"tls = 'acmee'\n", "", `listeners[0].tls: found "acmee": want one of "", "acme", "internal"; did you mean "acme"?`},
		{"domains = 'a.org'\n", "", "listeners[0].domains: found it without tls"},
		{acme, "", `listeners[0].tls: found "acme" without names`},
		{acme + "domains = '*.a.org'\n", "", `listeners[0].domains[0]: found "*.a.org": want a name without "*."`},
		{acme + "domains = 'a b'\n", "", `listeners[0].domains[0]: found "a b"`},
		{acme + "https_redirect = true\ndomains = 'a.org'\n", "", "listeners[0].https_redirect"},
		{"", "certificates.ca = 'http://ca.org/dir'\n", `certificates.ca: found "http://ca.org/dir": want a URL such as "https://`},
		{"", "certificates.email = 'a@b, c@d'\n", "certificates.email"},
		{"", "certificates.storage = 's3://bucket'\n", "certificates.storage"},
		{"", "certificates.key_type = 'dsa'\n", `certificates.key_type: found "dsa"`},
		{"", "certificates.challenges = ['http-01', 'dns-01']\n", `certificates.challenges: found "dns-01" beside others`},
		{"", "certificates.challenges = 'dns-01'\n", "certificates.dns.provider: found nothing"},
		{"", "certificates.challenges = 'dns-02'\n", `certificates.challenges[0]: found "dns-02"`},
		{"", "certificates.eab.key_id = 'k'\n", "certificates.eab.hmac: found nothing"},
		{"", "certificates.eab.hmac = 'k'\n", "certificates.eab.key_id: found nothing"},
		{"", "certificates.eab = { key_id = 'k', hmac = 'not base64!' }\n", "certificates.eab.hmac: found a text that is no base64"},
		{"", "certificates.dns = { provider = 'rfc2136', server = 'ns:53', key_name = 'k', key_secret = '?' }\n", "certificates.dns.key_secret: found a text that is no base64"},
		{acme + "domains = 'bücher.example'\n", "", `listeners[0].domains[0]: found "bücher.example": want a name such as "www.example.org" or "*.example.org" (international names in their "xn--" form)`},
		{acme + "domains = '1.2.3.4'\n", "certificates.dns = { provider = 'cloudflare', token = 't' }\n", `listeners[0].domains[0]: found "1.2.3.4": want a name, because "dns-01" proves no addresses`},
		{"", "certificates.dns.provider = 'exec'\n", "certificates.dns.command: found nothing"},
		{"", "certificates.dns.provider = 'rfc2136'\n", "certificates.dns.server: found nothing"},
		{"", "certificates.dns = { provider = 'rfc2136', server = 'ns' }\n", `certificates.dns.server: found "ns": want "host:port"`},
		{"", "certificates.dns = { provider = 'rfc2136', server = 'ns:53', key_name = 'k' }\n", "certificates.dns.key_secret: found nothing"},
		{"", "certificates.dns.provider = 'cloudflare'\n", "certificates.dns.token: found nothing"},
		{"", "certificates.on_demand.ask = 'ftp://a'\n", `certificates.on_demand.ask: found "ftp://a"`},
		{"", "certificates.on_demand.per_minute = 0\n", "certificates.on_demand.per_minute: found 0"},
	} {
		text := c.more + "[[listeners]]\naddress = ':1'\n" + c.listener + "[[routes]]\nrespond = {}\n"
		_, err := Parse("a.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", text, err, c.want)
		}
	}
}

// Names come from domains, else from the hosts of the routes that the listener has.
func TestDomains(t *testing.T) {
	const routes = `
[[routes]]
host = ["B.org", "*.b.org"]
respond = {}
[[routes]]
host = "plain.org"
scheme = "http"
respond = {}
[[routes]]
host = "other.org"
listener = "other"
respond = {}
[[routes]]
host = "b.org"
path = "/x"
respond = {}
[[listeners]]
name = "other"
address = ":2"
[[listeners]]
address = ":1"
`
	for listener, want := range map[string]string{
		"tls = 'acme'\n": "[b.org]",
		"tls = 'acme'\ndomains = ['A.org', '1.2.3.4']\n":                                   "[a.org 1.2.3.4]",
		"tls = 'acme'\ndomains = ['a.org.', 'A.org', '2001:DB8:0::1', '::ffff:1.2.3.4']\n": "[a.org 2001:db8::1 1.2.3.4]",
		"tls = 'internal'\n": "[b.org *.b.org localhost 127.0.0.1 ::1]",
		"tls = 'acme'\n[certificates.dns]\nprovider='cloudflare'\ntoken='t'\n": "[b.org *.b.org]",
		"": "[]",
	} {
		c, err := Parse("a.toml", []byte(routes+listener))
		if err != nil {
			t.Errorf("%s: %v", listener, err)
			continue
		}
		if got := fmt.Sprint(c.Domains(&c.Listeners[1])); got != want {
			t.Errorf("%s: got %s, want %s", listener, got, want)
		}
	}
}

// The challenges are those that weir can answer.
func TestChallenges(t *testing.T) {
	c := Default()
	c.Listeners = []Listener{{Issuer: IssuerACME}}
	check := func(want ...string) {
		t.Helper()
		if got := c.Challenges(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(ChallengeALPN)
	c.Listeners = append(c.Listeners, Listener{})
	check(ChallengeHTTP, ChallengeALPN)
	c.Certificates.DNS.Provider = DNSExec
	check(ChallengeDNS)
	c.Certificates.Challenges = Strings{ChallengeHTTP}
	check(ChallengeHTTP)
}

// What no CA of the internet gives a certificate for is known before it is asked; a CA of one's own may.
func TestUnlikelyDomains(t *testing.T) {
	const names = "domains = ['a.org', 'localhost', 'shop.localhost', 'printer', 'a.home.arpa', '10.0.0.1', 'fe80::1', '8.8.8.8', '_x.a.org', 'xn--bcher-kva.example']\n"
	for more, want := range map[string]string{
		"tls = 'acme'\n" + names:     "[localhost shop.localhost printer a.home.arpa 10.0.0.1 fe80::1 _x.a.org]",
		"tls = 'internal'\n" + names: "[]",
		"tls = 'acme'\n" + names + "[certificates]\nca = 'https://ca.home.arpa/dir'\n": "[]",
	} {
		c, err := Parse("a.toml", []byte("[[routes]]\nrespond = {}\n[[listeners]]\naddress = ':1'\n"+more))
		if err != nil {
			t.Errorf("%s: %v", more, err)
			continue
		}
		if got := fmt.Sprint(c.UnlikelyDomains(&c.Listeners[0])); got != want {
			t.Errorf("%s: got %s, want %s", more, got, want)
		}
	}
}

// Keys of external accounts are taken with padding and in both alphabets.
func TestExternalAccountKey(t *testing.T) {
	for _, text := range []string{"-_8", "+/8=", "-_8=", "+/8"} {
		if got := (&ExternalAccount{HMAC: text}).Key(); got != "-_8" {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
