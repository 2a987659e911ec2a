package config_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/testkit"
)

// A certificate fits a pattern if it has one of the values of each key, and nothing that was not verified fits.
func TestClientPattern(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.IssueWith(func(c *x509.Certificate) {
		c.Subject.Organization, c.Subject.OrganizationalUnit = []string{"Example", "Other"}, []string{"shop"}
		c.EmailAddresses = []string{"Ann@Example.org"}
		c.URIs = testkit.URLs(t, "spiffe://example.org/shop/cart", "urn:a:b")
	}, "Web", "web.example.org")
	id := config.NewClientIdentity(pair.Certificate.Leaf)
	check := func(want bool, p config.ClientPattern) {
		t.Helper()
		if got := p.Fits(id); got != want {
			t.Errorf("%s: %v, want %v", p.String(), got, want)
		}
		if p.Fits(nil) {
			t.Errorf("%s: a client without a certificate fits", p.String())
		}
	}
	type p = config.ClientPattern
	for key, values := range map[string]struct{ good, bad string }{
		"cn":     {"Web", "web Web/ We *b"},
		"o":      {"Example Other", "example Example,Other"},
		"ou":     {"shop", "Shop"},
		"dns":    {"web.example.org WEB.example.org *.example.org *.org", "example.org *.web.example.org *b.example.org eb.example.org"},
		"email":  {"Ann@example.org *@example.org", "ann@example.org *@xample.org Ann@example.org.test *nn@example.org"},
		"uri":    {"spiffe://example.org/shop/cart spiffe://example.org/* spiffe://example.org/shop/* urn:a:b", "spiffe://example.org/shop spiffe://example.org/shop/cart/* spiffe://example.org/sho* urn:a"},
		"issuer": {pair.Certificate.Leaf.Issuer.String(), "CN=" + pair.Certificate.Leaf.Issuer.String()},
	} {
		of := func(v ...string) p {
			l := config.Strings(v)
			return map[string]p{"cn": {CN: l}, "o": {O: l}, "ou": {OU: l}, "dns": {DNS: l}, "email": {Email: l}, "uri": {URI: l}, "issuer": {Issuer: l}}[key]
		}
		check(true, of("*"))
		for v := range strings.SplitSeq(values.good, " ") {
			check(true, of(v))
			check(true, of("none", v))
		}
		for v := range strings.SplitSeq(values.bad, " ") {
			check(v == "spiffe://example.org/sho*", of(v)) // which validation refuses
		}
	}
	check(true, p{CN: config.Strings{"Web"}, O: config.Strings{"Other"}, DNS: config.Strings{"*"}})
	check(false, p{CN: config.Strings{"Web"}, O: config.Strings{"None"}})
}

// A prefix of a URI takes no dot segments; one of a certificate without the name that is asked for fits not even "*".
func TestClientPatternURI(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	for uri, want := range map[string]bool{
		"spiffe://a/b/c": true, "spiffe://a/b/c/d": true, "spiffe://a/b/": false, "spiffe://a/b": false, "spiffe://a/b/../c": false, "spiffe://a/b/c/.": false, "spiffe://a/bc": false,
		"spiffe://a/b/%2e%2E/c": false, "spiffe://a/b/c/%2e": false, "spiffe://a/b/.%2e%2Fc": false, "spiffe://a/b/..c": true, "spiffe://a/b/c%2Fd": true,
	} {
		pair := authority.IssueWith(func(c *x509.Certificate) { c.URIs, c.DNSNames = testkit.URLs(t, uri), nil }, "x")
		id := config.NewClientIdentity(pair.Certificate.Leaf)
		if got := (&config.ClientPattern{URI: config.Strings{"spiffe://a/b/*"}}).Fits(id); got != want {
			t.Errorf("%s: %v, want %v", uri, got, want)
		}
		if (&config.ClientPattern{DNS: config.Strings{"*"}}).Fits(id) {
			t.Error("a certificate without a DNS name fits any")
		}
	}
}

// The fingerprint may be written as tools print it.
func TestClientPatternFingerprint(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	one, other := authority.Issue("a").Certificate.Leaf, authority.Issue("a").Certificate.Leaf
	plain := testkit.Fingerprint(one)
	var colons []string
	for i := 0; i < len(plain); i += 2 {
		colons = append(colons, strings.ToUpper(plain[i:i+2]))
	}
	for _, text := range []string{plain, strings.Join(colons, ":")} {
		p := config.ClientPattern{Fingerprint: config.Strings{text}}
		if !p.Fits(config.NewClientIdentity(one)) || p.Fits(config.NewClientIdentity(other)) {
			t.Errorf("%s fits the wrong certificate", text)
		}
	}
}

// What a condition on certificates must look like, and that it needs a listener which verifies them.
func TestClientPatternProblems(t *testing.T) {
	t.Parallel()
	check := func(client, listener, want string) {
		t.Helper()
		text := "[[listeners]]\naddress = \"127.0.0.1:0\"\n" + listener + "\n[[routes]]\n" + client + "\nrespond = { status = 200 }\n"
		_, err := config.Parse("f", []byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s, %s: %v, want %q", listener, client, err, want)
		}
	}
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("weir.test")
	secure := fmt.Sprintf("certificates = [{ cert = %q, key = %q }]\n", pair.Cert, pair.Key)
	good := secure + fmt.Sprintf("client_ca = %q", authority.File)
	check(`client.cn = "web"`, good, "")
	check(`client = { dns = "*.example.org", email = ["*@example.org", "a@b.test"], uri = ["spiffe://a/*", "urn:a:b", "*"] }`, good, "")
	check(`client.cn = "web"`, "", "routes[0].client: found a condition that never holds")
	check(`client.cn = "web"`, secure+`client_auth = "request"`, "routes[0].client: found a condition that never holds")
	check("client.cn = \"web\"\nlistener = \"b\"", good+"\nname = \"a\"\n[[listeners]]\nname = \"b\"\naddress = \"127.0.0.1:1\"", "routes[0].client: found a condition that never holds")
	check("client_certificate = true", good, "")
	check("client_certificate = true", "", "routes[0].client_certificate: found it where no listener of the route verifies")
	check("client_certificate = false", "", "")
	check(`client = {}`, good, "routes[0].client: found nothing: want at least one of cn, o, ou, dns, email, uri, issuer and fingerprint")
	check(`client.cn = ""`, good, `routes[0].client.cn[0]: found ""`)
	check(`client.dns = "*"`, good, "")
	check(`client.dns = "a*.example.org"`, good, "routes[0].client.dns[0]")
	check(`client.email = "example.org"`, good, "routes[0].client.email[0]")
	for _, uri := range []string{"example.org", "spiffe://a/*/b", "spiffe://a*", "/*", "a b:c"} {
		check(`client.uri = "`+uri+`"`, good, "routes[0].client.uri[0]")
	}
	check(`client.fingerprint = "00:11"`, good, "routes[0].client.fingerprint[0]")
	check(`client.sn = "a"`, good, "routes[0].client.sn")
	check("", secure+`client_allow = [{ cn = "a" }]`, "listeners[0].client_allow: found it without client_ca")
	check("", good+"\n"+`client_allow = [{ cn = "a" }, {}]`, "listeners[0].client_allow[1]: found nothing")
}

// A pattern implies another one only if the other lets in no client that it does not.
func TestClientPatternImplies(t *testing.T) {
	t.Parallel()
	type p = config.ClientPattern
	a, b, ab, any := config.Strings{"a"}, config.Strings{"b"}, config.Strings{"a", "b"}, config.Strings{"*"}
	for _, c := range []struct {
		wide, narrow *p
		want         bool
	}{
		{nil, nil, true}, {nil, &p{CN: a}, true}, {&p{CN: a}, nil, false}, {&p{CN: ab}, &p{CN: b}, true}, {&p{CN: a}, &p{CN: ab}, false},
		{&p{CN: any}, &p{CN: a}, true}, {&p{CN: any}, &p{O: a}, false}, {&p{CN: a}, &p{CN: a, O: b}, true}, {&p{CN: a, O: b}, &p{CN: a}, false}, {&p{CN: a}, &p{CN: any}, false},
	} {
		if got := c.wide.Implies(c.narrow); got != c.want {
			t.Errorf("%v implies %v: %v", c.wide, c.narrow, got)
		}
	}
}
