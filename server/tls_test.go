package server_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/testkit"
)

func tlsServer(p testkit.Pair) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.Certificate}}
}

func tlsClient(a *testkit.Authority) *tls.Config {
	return &tls.Config{RootCAs: a.Pool, ServerName: "127.0.0.1"}
}

// Targets behind TLS: who they must be, and who weir is to them.
func TestSecureTargets(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	server, client := authority.Issue("origin.test"), authority.Issue("weir")
	names := make(chan string, 10)
	answer := func(c *testkit.Conn) {
		state := c.Conn.(*tls.Conn).ConnectionState()
		who := ""
		if len(state.PeerCertificates) > 0 {
			who = state.PeerCertificates[0].Subject.CommonName
		}
		names <- state.ServerName + " " + who + " " + state.NegotiatedProtocol
		testkit.Answer(ok)(c)
	}
	cfg := tlsServer(server)
	cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, authority.Pool
	cfg.NextProtos = []string{"h2", "http/1.1"}
	check := func(name, settings string, status int, want string) {
		t.Run(name, func(t *testing.T) {
			origin := testkit.ListenTLS(t, cfg, answer)
			w := run(t, "[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n[upstreams.o.tls]\n%s", origin.URL, settings)
			equal(t, "status", w.dial().Get("/").Status(), status)
			if status == 200 {
				equal(t, "name, client, protocol", receive(t, names), want)
				equal(t, "the log's line", w.ended(), "200 ok")
			} else {
				equal(t, "the log's line", w.ended(), "502 tls_failed")
			}
		})
	}
	check("unknown authority", "", 502, "")
	check("unknown authority with the right name", "server_name = \"origin.test\"\n", 502, "")
	check("another name", "ca = \""+authority.File+"\"\n", 502, "")
	check("authority and name", "ca = \""+authority.File+"\"\nserver_name = \"origin.test\"\n", 200, "origin.test  http/1.1")
	check("no questions", "insecure_skip_verify = true\n", 200, "  http/1.1")
	check("client certificate", "ca = \""+authority.File+"\"\nserver_name = \"origin.test\"\ncert = \""+client.Cert+"\"\nkey = \""+client.Key+"\"\n",
		200, "origin.test weir http/1.1")
}

// A reload reads certificates anew, whose files keep their names.
func TestRenewedCertificates(t *testing.T) {
	t.Parallel()
	authority, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	origin := testkit.ListenTLS(t, tlsServer(authority.Issue("127.0.0.1")), testkit.Answer(ok))
	file := filepath.Join(t.TempDir(), "ca.pem")
	install := func(a *testkit.Authority) {
		t.Helper()
		pem, err := os.ReadFile(a.File)
		if err == nil {
			err = os.WriteFile(file, pem, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(plainListener+"[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\ntls = { ca = %q }\n", origin.URL, file)
	install(other)
	w := run(t, "%s", text)
	equal(t, "trusting another authority", w.dial().Get("/").Status(), 502)
	install(authority)
	reload := func() error { return w.Reload(parse(t, text)) }
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	c := w.dial() // whose next request follows the end of the exchange before
	for range 2 {
		equal(t, "trusting the right one", c.Get("/").Status(), 200)
	}
	// What did not change keeps its connections.
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	equal(t, "after another reload", c.Get("/").Status(), 200)
	used := 0 // the others were refused: the first, and those with which weir looked whether the target is back
	for _, conn := range origin.Conns() {
		if conn.Seen() != "" {
			used++
		}
	}
	equal(t, "connections with requests", used, 1)
	// A file that cannot be used is an error, and changes nothing.
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	if err := reload(); err == nil || !strings.Contains(err.Error(), "no certificate in it") {
		t.Errorf("a reload with an empty file: %v", err)
	}
	equal(t, "with the old ones", w.dial().Get("/").Status(), 200)
}

func TestUnixTarget(t *testing.T) {
	t.Parallel()
	origin := testkit.ListenUnix(t, testkit.Answer(ok))
	c := through(t, origin).dial()
	for range 2 {
		equal(t, "body", c.Get("/").Body, "ok")
	}
	equal(t, "connections", len(origin.Conns()), 1)
}

// Clients behind TLS: bodies of all kinds pass.
func TestSecureClients(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	w := run(t, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n[[listeners.certificates]]\ncert = %q\nkey = %q\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n",
		pair.Cert, pair.Key, origin.URL)
	c := testkit.DialTLS(t, w.addr, tlsClient(authority))
	for range 2 {
		c.Send(post(5) + "hello")
		equal(t, "body", c.Response("POST").Body, "ok")
	}
	c.Send("GET /\x01 HTTP/1.1\r\n\r\n")
	equal(t, "status", c.Response("GET").Status(), 400)
	_, end := c.Rest()
	equal(t, "the end", end, testkit.Closed)
}
