package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// whoRoutes answers with the route that the client's certificate leads to.
const whoRoutes = `
[[routes]]
name = "shop"
client = { o = "Example", uri = "spiffe://example.org/shop/*" }
respond = { body = "shop" }
[[routes]]
name = "any"
client.cn = "*"
respond = { body = "any" }
[[routes]]
name = "open"
respond = { body = "open" }
`

// shopper changes a certificate to one that the first of whoRoutes takes.
func shopper(t *testing.T) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.Organization, c.URIs = []string{"Example"}, testkit.URLs(t, "spiffe://example.org/shop/cart")
	}
}

// Routes are chosen by what a verified certificate says, by HTTP/1.1 and HTTP/2, in new sessions and in those that are
// taken up; a certificate that was not verified says nothing.
func TestClientConditions(t *testing.T) {
	t.Parallel()
	clients, others := testkit.NewAuthority(t), testkit.NewAuthority(t)
	pair := clients.Issue("weir.test")
	shop, plain, forged := clients.IssueWith(shopper(t), "shop"), clients.Issue("plain"), others.IssueWith(shopper(t), "forged")
	check := func(w *weir, what, want string, shown ...testkit.Pair) {
		t.Helper()
		for _, protocol := range []string{"http/1.1", "h2"} {
			cfg := &tls.Config{RootCAs: clients.Pool, ServerName: "weir.test", NextProtos: []string{protocol}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			for _, p := range shown {
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.Certificate, nil }
			}
			for _, session := range []string{"new", "taken up"} {
				got := ""
				if protocol == "h2" {
					c := testkit.DialFrames(t, w.addr, cfg)
					c.Get(1, "/")
					got = c.Whole(1).Body
				} else {
					c := testkit.DialTLS(t, w.addr, cfg)
					c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\nClient-Cert: :YQ==:\r\n\r\n")
					got = c.Response("GET").Body
				}
				equal(t, fmt.Sprintf("%s by %s, session %s", what, protocol, session), strings.TrimSpace(got), want)
			}
		}
	}
	for _, auth := range []string{"optional", "request"} {
		text := secureListener(pair, fmt.Sprintf("client_ca = %q\nclient_auth = %q", clients.File, auth)) + whoRoutes
		w := run(t, "%s", text)
		check(w, auth+", nobody", "open")
		check(w, auth+", shop", "shop", shop)
		check(w, auth+", plain", "any", plain)
		if auth == "request" {
			check(w, auth+", forged", "open", forged)
		}
		if err := w.Reload(parse(t, strings.NewReplacer(`client = { o = "Example", uri = "spiffe://example.org/shop/*" }`, "path = \"/none\"").Replace(text))); err != nil {
			t.Fatal(err)
		}
		check(w, auth+", shop without its condition", "any", shop)
	}
	// A certificate that is not verified fits nothing, also if a program brings such a route, which a file may not.
	w := run(t, "%s", secureListener(pair, "client_auth = \"request\"")+"[[routes]]\nrespond = { body = \"open\" }\n")
	cfg := parse(t, secureListener(pair, "client_auth = \"request\"")+"[[routes]]\nrespond = { body = \"open\" }\n")
	cfg.Routes = append(cfg.Routes, config.Route{Name: "any", Client: &config.ClientPattern{CN: config.Strings{"*"}}, HostHeader: "pass", Respond: &config.Respond{Status: 200, Body: "any"}})
	_ = w.Reload(cfg) // may be refused; then the old configuration stays
	check(w, "unverified", "open", shop)
}

// A listener lets in only the clients that it names, in new handshakes and in sessions that are taken up; a reload ends the
// connections of others.
func TestClientAllow(t *testing.T) {
	t.Parallel()
	root := testkit.NewAuthority(t)
	pair, shop, plain := root.Issue("weir.test"), root.IssueWith(shopper(t), "shop"), root.Issue("plain")
	text := func(keys string) string {
		return secureListener(pair, fmt.Sprintf("client_ca = %q\n", root.File)+keys) + answers200
	}
	const some = `client_allow = [{ cn = "nobody" }, { o = "Example", uri = "spiffe://example.org/shop/*" }]`
	w := run(t, "%s", text(""))
	check := func(what string, served bool, shown ...testkit.Pair) {
		t.Helper()
		if _, err := dialCertificate(t, w.addr, root, "weir.test", shown...); (err == nil) != served {
			t.Errorf("%s: %v", what, err)
		}
	}
	session := newSession(t, root, tls.VersionTLS13)
	session.cfg.ServerName, session.cfg.Certificates = "weir.test", []tls.Certificate{plain.Certificate}
	session.resumes(w)
	equal(t, "a session is taken up", session.resumes(w), true)
	open := testkit.DialTLS(t, w.addr, session.cfg)
	equal(t, "before the reload", open.Get("/").Status(), 200)
	reload := func(keys string) {
		t.Helper()
		if err := w.Reload(parse(t, text(keys))); err != nil {
			t.Fatal(err)
		}
	}
	reload(some)
	_, end := open.Rest()
	equal(t, "the connection that is open", end, testkit.Closed)
	check("shop", true, shop)
	check("plain", false, plain)
	if c, err := tls.Dial("tcp", w.addr.String(), session.cfg); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a session of a client that is not let in is taken up")
		}
		c.Close()
	}
	reload(some + "\nclient_auth = \"optional\"")
	check("nobody", true)
	check("plain, who need not show a certificate", false, plain)
	// Who has shown none, or none that is good, has no connection any more when a good one is required.
	for auth, shown := range map[string][]testkit.Pair{"optional": nil, "request": {testkit.NewAuthority(t).Issue("forged")}} {
		reload(fmt.Sprintf("client_auth = %q", auth))
		c, err := dialCertificate(t, w.addr, root, "weir.test", shown...)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, auth+", before the reload", c.Get("/").Status(), 200)
		reload("")
		_, end := c.Rest()
		equal(t, auth+", the connection that is open", end, testkit.Closed)
	}
	check("plain again", true, plain)
}

// explain takes a client's certificate, and says which routes it does not fit.
func TestExplainClient(t *testing.T) {
	t.Parallel()
	root := testkit.NewAuthority(t)
	shop, err := os.ReadFile(root.IssueWith(shopper(t), "shop").Cert)
	if err != nil {
		t.Fatal(err)
	}
	pair := root.Issue("weir.test")
	cfg := parse(t, secureListener(pair, fmt.Sprintf("client_ca = %q\nclient_auth = \"optional\"", root.File))+whoRoutes)
	for want, certificate := range map[string]string{"shop": string(shop), "open": ""} {
		e, err := server.Explain(cfg, server.Question{URL: "https://weir.test/", ClientCert: certificate})
		if err != nil || e.Route != want {
			t.Fatalf("%v, %v, want %s", e, err, want)
		}
		if want == "open" && (e.Routes[0].Misfit != "client" || e.Routes[0].Wants != "o Example, uri spiffe://example.org/shop/*") {
			t.Errorf("the first route says %+v", e.Routes[0])
		}
	}
	if _, err := server.Explain(cfg, server.Question{URL: "https://weir.test/", ClientCert: "none"}); err == nil {
		t.Error("what is no certificate is taken for one")
	}
}
