package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/testkit"
	"weir/server"
)

// replaceFile puts a file into place as a whole.
func replaceFile(t *testing.T, path string, parts ...[]byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Revoked certificates are refused, in new handshakes, in sessions that are taken up and on
// connections that are open, as soon as the file is read again. So is everybody if a list is missing
// or has expired.
func TestRevocation(t *testing.T) {
	t.Parallel()
	root := testkit.NewAuthority(t)
	middle := root.Intermediate("middle")
	pair, alice, bob := root.Issue("weir.test"), root.Issue("alice"), middle.Issue("bob")
	crl := filepath.Join(t.TempDir(), "crl.pem")
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	replaceFile(t, crl, root.Revoke(later), middle.Revoke(later))
	var logs textLog
	w := launch(t, secureListener(pair, fmt.Sprintf("client_ca = %q\nclient_crl = %q", root.File, crl))+answers200, server.WithLog(logs.logger()))
	reads := 0
	use := func(parts ...[]byte) {
		t.Helper()
		replaceFile(t, crl, parts...)
		reads++
		testkit.Eventually(t, "the lists are read again", func() bool {
			return strings.Count(logs.String(), "authorities and revocation lists of clients were read again") == reads
		})
	}
	check := func(what string, served bool, shown ...testkit.Pair) {
		t.Helper()
		if _, err := dialCertificate(t, w.addr, root, "weir.test", shown...); (err == nil) != served {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("alice", true, alice)
	check("bob", true, bob)
	session := newSession(t, root, tls.VersionTLS13)
	session.cfg.ServerName, session.cfg.Certificates = "weir.test", []tls.Certificate{alice.Certificate}
	equal(t, "the first", session.resumes(w), false)
	equal(t, "the second", session.resumes(w), true)
	open := testkit.DialTLS(t, w.addr, session.cfg)
	equal(t, "on an open connection", open.Get("/").Status(), 200)
	other, err := dialCertificate(t, w.addr, root, "weir.test", bob)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "on another", other.Get("/").Status(), 200)

	use(root.Revoke(later, alice.Serial()), middle.Revoke(later, big.NewInt(7)))
	check("alice, revoked", false, alice)
	check("bob", true, bob)
	if c, err := tls.Dial("tcp", w.addr.String(), session.cfg); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a session of a certificate that was revoked is taken up")
		}
		c.Close()
	}
	_, end := open.Rest()
	equal(t, "the open connection", end, testkit.Closed)
	equal(t, "that of bob", other.Get("/").Status(), 200)

	use(root.Revoke(later, middle.Serial()), middle.Revoke(later))
	check("bob, whose issuer was revoked", false, bob)
	check("alice", true, alice)
	use(root.Revoke(later))
	check("bob, without a list of his issuer", false, bob)
	use(root.Revoke(past), middle.Revoke(later))
	check("alice, with a list that has expired", false, alice)
	use(root.Revoke(past, alice.Serial()), root.Revoke(later), middle.Revoke(later))
	check("alice, with an old list beside the new one", true, alice)
	// A list that another authority of the same name has signed counts for nothing.
	use(testkit.NewAuthority(t).Revoke(later, alice.Serial()), root.Revoke(later))
	check("alice, with a forged list", true, alice)

	replaceFile(t, crl, []byte("no list"))
	logs.await(t, "cannot use changed authorities and revocation lists of clients, the old ones stay")
	check("alice, with the old list", true, alice)
}

// Targets learn of the certificate by fields that clients cannot forge, whatever route and version of HTTP
// they use.
func TestCertificateFields(t *testing.T) {
	t.Parallel()
	root := testkit.NewAuthority(t)
	middle := root.Intermediate("middle")
	pair, bob := root.Issue("weir.test"), middle.Issue("bob", "bob.example.org", "192.0.2.1")
	got := make(chan *testkit.Message, 10)
	origin := testkit.Listen(t, mirror(got, ok))
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
certificates = [{ cert = %q, key = %q }]
client_ca = %q
client_auth = "optional"
[forwarding]
client_cert = true
trusted_proxies = ["127.0.0.1"]
[[routes]]
upstream = "o"
[routes.request_headers.set]
X-Issuer = "{client_issuer}"
X-Serial = "{client_serial}"
X-Names = "{client_sans}"
X-Verified = "{client_verified}"
X-Cert = "{client_certificate}"
[[routes]]
path = "/other"
upstream = "o"
[upstreams.o]
targets = [%q]
`, pair.Cert, pair.Key, root.File, origin.URL)
	whole := ":" + base64.StdEncoding.EncodeToString(bob.Certificate.Certificate[0]) + ":"
	chain := ":" + base64.StdEncoding.EncodeToString(bob.Certificate.Certificate[1]) + ":"
	check := func(what string, want map[string]string) {
		t.Helper()
		r := receive(t, got)
		for name, value := range want {
			if all := r.All(name); value == "" && len(all) > 0 || value != "" && (len(all) != 1 || all[0] != value) {
				t.Errorf("%s: %s is %q, want %q", what, name, all, value)
			}
		}
	}
	none := map[string]string{
		"Client-Cert": "", "Client-Cert-Chain": "", "Client_Cert": "", "X-Issuer": "", "X-Serial": "", "X-Names": "", "X-Cert": "", "X_Issuer": "", "X-Verified": "none",
	}
	shown := map[string]string{
		"Client-Cert": whole, "Client-Cert-Chain": chain, "Client_Cert": "", "X-Issuer": "CN=middle", "X-Serial": fmt.Sprintf("%x", bob.Serial().Bytes()),
		"X-Names": "DNS:bob, DNS:bob.example.org, IP:192.0.2.1", "X-Cert": whole, "X-Verified": "ok",
	}
	elsewhere := map[string]string{"X-Issuer": "", "X-Serial": "", "X-Verified": ""}
	forged := []string{
		"client-cert", ":YQ==:", "client-cert-chain", ":YQ==:", "client_cert", ":YQ==:", "x-issuer", "CN=me", "x-serial", "1", "x-names", "DNS:me", "x-cert", "me",
		"x_issuer", "me", "x-verified", "ok",
	}
	for _, c := range []struct {
		who  string
		show []testkit.Pair
		want map[string]string
	}{{"nobody", nil, none}, {"bob", []testkit.Pair{bob}, shown}} {
		cfg := &tls.Config{RootCAs: root.Pool, ServerName: "weir.test"}
		for _, p := range c.show {
			cfg.Certificates = []tls.Certificate{p.Certificate}
		}
		for _, path := range []string{"/", "/other"} {
			want := c.want
			if path == "/other" {
				want = elsewhere
			}
			text := "GET " + path + " HTTP/1.1\r\nHost: weir.test\r\nConnection: client-cert, x-issuer\r\n"
			var lines []string
			for i := 0; i < len(forged); i += 2 {
				lines = append(lines, forged[i]+": "+forged[i+1])
				text += lines[i/2] + "\r\n"
			}
			one := testkit.DialTLS(t, w.addr, cfg)
			one.Send(text + "\r\n")
			equal(t, c.who+path, one.Response("GET").Status(), 200)
			check(c.who+path+" by HTTP/1.1", want)
			framed := cfg.Clone()
			framed.NextProtos = []string{"h2"}
			two := testkit.DialFrames(t, w.addr, framed)
			two.Get(1, path, lines...)
			equal(t, c.who+path, two.Whole(1).Status(), "200")
			check(c.who+path+" by HTTP/2", want)
		}
	}
}

// client_auth = "request" serves clients whatever they show, and says what that was worth.
func TestRequestedCertificates(t *testing.T) {
	t.Parallel()
	clients, others := testkit.NewAuthority(t), testkit.NewAuthority(t)
	pair, alice, mallory := clients.Issue("weir.test"), clients.Issue("alice"), others.Issue("mallory")
	crl := filepath.Join(t.TempDir(), "crl.pem")
	replaceFile(t, crl, clients.Revoke(time.Now().Add(time.Hour), alice.Serial()))
	got := make(chan *testkit.Message, 10)
	origin := testkit.Listen(t, mirror(got, ok))
	text := func(keys string) string {
		return secureListener(pair, "client_auth = \"request\"\n"+keys) + "[[routes]]\nupstream = \"o\"\nrequest_headers.set = { X-Who = \"{client_subject}/{client_verified}\" }\n[upstreams.o]\ntargets = [\"" + origin.URL + "\"]\n"
	}
	w := run(t, "%s", text(fmt.Sprintf("client_ca = %q", clients.File)))
	check := func(what, want string, shown ...testkit.Pair) {
		t.Helper()
		cfg := &tls.Config{RootCAs: clients.Pool, ServerName: "weir.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for _, p := range shown {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.Certificate, nil }
		}
		for range 2 { // the second takes the session up
			c := testkit.DialTLS(t, w.addr, cfg)
			c.Send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			equal(t, what, c.Response("GET").Status(), 200)
			if who := receive(t, got).Get("X-Who"); !strings.HasPrefix(who, want) {
				t.Errorf("%s: got %q, want %q", what, who, want)
			}
		}
	}
	check("nobody", "/none")
	check("alice", "CN=alice/ok", alice)
	check("mallory", "/failed: x509: certificate signed by unknown authority", mallory)
	reload := func(keys string) {
		t.Helper()
		if err := w.Reload(parse(t, text(keys))); err != nil {
			t.Fatal(err)
		}
	}
	reload(fmt.Sprintf("client_ca = %q\nclient_crl = %q", clients.File, crl))
	check("alice, revoked", "/failed: the certificate ", alice)
	reload("")
	check("mallory, whom nobody verifies", "CN=mallory/unverified", mallory)

	// A route may ask for a certificate that is good.
	route := func(keys, want string, shown ...testkit.Pair) {
		t.Helper()
		text := secureListener(pair, "client_auth = \"request\"\n"+keys) + "[[routes]]\nclient_certificate = true\nrespond = { status = 200 }\n[[routes]]\npath = \"/open\"\nrespond = { status = 200 }\n"
		w := run(t, "%s", text)
		cfg := &tls.Config{RootCAs: clients.Pool, ServerName: "weir.test"}
		for _, p := range shown {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.Certificate, nil }
		}
		c := testkit.DialTLS(t, w.addr, cfg)
		for _, path := range []string{"/open", "/"} {
			c.Send("GET " + path + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
			c.Response("GET")
		}
		equal(t, keys+want, fmt.Sprint(w.logged(2)), "[200 fixed_response "+want+"]")
	}
	verified := fmt.Sprintf("client_ca = %q", clients.File)
	route(verified, "200 fixed_response", alice)
	route(verified, "403 certificate_required", mallory)
	route(verified, "403 certificate_required")
}

// A trailer section has none of the fields by which targets learn of certificates, and none that rules set or remove: many
// targets take a field for the same wherever it stands.
func TestCertificateFieldsInTrailer(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, mirror(got, ok))
	trailers := make(chan http.Header, 1)
	framed := framedOrigin(t, nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		trailers <- r.Trailer
	}))
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
protocols = ["h1", "h2c"]
[[routes]]
upstream = "o"
request_headers = { set = { X-Verified = "{client_verified}", X-Mine = "1" }, remove = ["X-Gone"] }
[[routes]]
path = "/other"
upstream = "o"
[[routes]]
path = "/framed"
upstream = "framed"
[upstreams.o]
targets = [%q]
[upstreams.framed]
targets = [%q]
`, origin.URL, framed)
	send := func(path, trailer string) string {
		t.Helper()
		c := w.dial()
		c.Send("POST " + path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Verified, X_Verified, X-Sum\r\n\r\n1\r\na\r\n0\r\n" + trailer + "\r\n")
		equal(t, "status of "+path, c.Response("POST").Status(), 200)
		return receive(t, got).Trailer
	}
	forged := "Client-Cert: :YQ==:\r\nclient_cert_chain: :YQ==:\r\nX-Verified: ok\r\nx_verified: ok\r\nX-VERIFIED: ok\r\n"
	equal(t, "trailer", send("/", forged+"X-Mine: 2\r\nX-Gone: 1\r\nX_Gone: 1\r\nX-Sum: 1\r\n"), "X-Sum: 1\r\n")
	equal(t, "trailer on another route", send("/other", forged+"X-Sum: 1\r\n"), "X-Sum: 1\r\n")
	// With one piece for the whole request, and with a body that comes later.
	for _, pieces := range [][]string{{"1\r\na\r\n0\r\n" + forged + "X-Sum: 1\r\n\r\n"}, {"1\r\na\r\n", "0\r\n" + forged + "X-Sum: 1\r\n\r\n"}} {
		c := w.dial()
		c.Send("POST /framed HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Verified, X_Verified, X-Sum\r\n\r\n" + pieces[0])
		for _, piece := range pieces[1:] {
			c.Send(piece)
		}
		equal(t, "status", c.Response("POST").Status(), 200)
		h := receive(t, trailers)
		equal(t, "fields in the trailer section of HTTP/2", fmt.Sprint(h["X-Verified"], h["X_verified"], h["X-Sum"]), "[] [] [1]")
	}
}
