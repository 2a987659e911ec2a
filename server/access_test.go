package server_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// Clients are let in by the address that trusted proxies tell, at the listener and at the route.
func TestAllowAndDeny(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(ok))
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
deny = ["192.0.2.0/24"]
allow = ["0.0.0.0/0", "192.0.2.7"]
[forwarding]
trusted_proxies = ["127.0.0.1"]
[[routes]]
path = "/inner/"
upstream = "o"
allow = ["10.0.0.0/8"]
deny = ["10.1.0.0/16"]
[[routes]]
path = "/cached/"
upstream = "o"
cache = { forced_ttl = "1h" }
deny = ["10.1.0.0/16"]
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
`, origin.URL)
	c := w.dial()
	n := 0
	check := func(client, path string, status int, cause string) {
		t.Helper()
		c.Send("GET " + path + " HTTP/1.1\r\nHost: weir.test\r\nX-Forwarded-For: " + client + "\r\n\r\n")
		equal(t, client+" "+path, c.Response("GET").Status(), status)
		n++
		equal(t, "the log's line", w.logged(n)[n-1].String(), fmt.Sprint(status, " ", cause))
	}
	check("1.2.3.4", "/", 200, "ok")
	check("192.0.2.1", "/", 403, "address_denied")
	check("192.0.2.7", "/", 200, "ok")
	check("1.2.3.4", "/inner/", 403, "address_denied")
	check("10.0.0.1", "/inner/", 200, "ok")
	check("10.1.0.1", "/inner/", 403, "address_denied")
	check("10.0.0.1, 10.1.0.1", "/inner/", 403, "address_denied") // who the trusted one saw
	check("2001:db8::1", "/", 403, "address_denied")              // the listener's list of allowed ones has no IPv6
	check("10.0.0.1", "/cached/", 200, "ok")
	check("10.0.0.1", "/cached/", 200, "cached")
	check("10.1.0.1", "/cached/", 403, "address_denied")
	check("10.0.0.1", "/cached/", 200, "cached")
}

func basic(credentials string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(credentials)) + "\r\n"
}

func hashOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, mirror(got, ok))
	users := filepath.Join(t.TempDir(), "users")
	text := fmt.Sprintf(plainListener+`
[[routes]]
path = "/open/"
upstream = "o"
[[routes]]
path = "/pass/"
upstream = "o"
basic_auth = { file = %[2]q, pass_authorization = true }
[[routes]]
upstream = "o"
request_headers = { set = { X-User = "{auth_user}" } }
[routes.basic_auth]
realm = 'the "inner" room'
file = %[2]q
users = { alice = %[3]q }
[upstreams.o]
targets = [%[1]q]
`, origin.URL, users, hashOf(t, "secret"))
	set := func(line string) {
		t.Helper()
		if err := os.WriteFile(users, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("bob:" + hashOf(t, "hidden") + "\n")
	w := run(t, "%s", text)
	c := w.dial()
	ask := func(path, fields string) *testkit.Message {
		c.Send("GET " + path + " HTTP/1.1\r\nHost: weir.test\r\nX-User: root\r\nX_User: root\r\n" + fields + "\r\n")
		return c.Response("GET")
	}
	refused := func(what, path, fields string) {
		t.Helper()
		m := ask(path, fields)
		equal(t, what, m.Status(), 401)
	}
	served := func(what, path, fields, user, authorization string) {
		t.Helper()
		for range 2 { // hashed, and then known
			equal(t, what, ask(path, fields).Status(), 200)
			r := receive(t, got)
			equal(t, what+": X-User", r.Get("X-User"), user)
			equal(t, what+": Authorization", r.Get("Authorization"), authorization)
		}
	}
	m := ask("/", "")
	equal(t, "without", m.Status(), 401)
	equal(t, "the challenge", m.Get("WWW-Authenticate"), `Basic realm="the \"inner\" room", charset="UTF-8"`)
	refused("another scheme", "/", "Authorization: Bearer abc\r\n")
	refused("two", "/", basic("alice:secret")+basic("bob:hidden"))
	refused("wrong password", "/", basic("alice:hidden"))
	refused("nobody", "/", basic("carol:secret"))
	refused("not of this route", "/pass/", basic("alice:secret"))
	served("alice", "/", basic("alice:secret"), "alice", "")
	served("bob", "/", basic("bob:hidden"), "bob", "")
	served("passed on", "/pass/", basic("bob:hidden"), "root", strings.TrimSpace(strings.TrimPrefix(basic("bob:hidden"), "Authorization: ")))
	served("open", "/open/", basic("x:y"), "root", strings.TrimSpace(strings.TrimPrefix(basic("x:y"), "Authorization: ")))
	lines := w.logged(14)
	equal(t, "without", lines[0].String()+" "+lines[0].User, "401 unauthorized ")
	equal(t, "wrong password", lines[3].String()+" "+lines[3].Error+" "+lines[3].User, `401 bad_credentials wrong name or password of user "alice" `)
	equal(t, "alice", lines[6].String()+" "+lines[6].User, "200 ok alice")

	// A reload reads the file again; what was known of a password that changed is void.
	set("bob:" + hashOf(t, "other") + "\n")
	if err := w.Reload(parse(t, text)); err != nil {
		t.Fatal(err)
	}
	refused("bob's old password", "/", basic("bob:hidden"))
	served("bob", "/", basic("bob:other"), "bob", "")
	// A file that is wrong changes nothing.
	set("bob:plain\n")
	if err := w.Reload(parse(t, text)); err == nil || !strings.Contains(err.Error(), `users:1: user "bob": want a bcrypt hash`) {
		t.Errorf("a reload with a bad file: %v", err)
	}
	served("bob", "/", basic("bob:other"), "bob", "")
	// Without the key everybody is served.
	set("")
	if err := w.Reload(parse(t, plainListener+toOrigin(origin.URL))); err != nil {
		t.Fatal(err)
	}
	served("everybody", "/", "", "root", "")
}

// What is wrong with a hash is said without showing it.
func TestBasicAuthProblems(t *testing.T) {
	t.Parallel()
	const text = plainListener + "[[routes]]\nrespond = { status = 200 }\nbasic_auth = { users = { alice = \"secret\" } }\n"
	_, err := config.Parse("f", []byte(text), server.CheckParts)
	want := `f:6: routes[0].basic_auth.users.alice: found a text of 6 bytes: want a bcrypt hash ("$2y$...", htpasswd -nB NAME) or an argon2id hash ("$argon2id$...")`
	equal(t, "the error", fmt.Sprint(err), want)
}

// What is cached is given to no client that is not let in, and neither kept of nor for those who
// are unless the origin says so.
func TestCacheBehindBasicAuth(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			control := "max-age=60"
			if r := c.Request(); strings.Contains(r.Line, "/public") {
				control = "public, max-age=60"
			}
			c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: " + control + "\r\n\r\nok")
		}
	})
	w := run(t, `
[[routes]]
upstream = "o"
cache = true
basic_auth = { users = { alice = %q } }
[upstreams.o]
targets = [%q]
`, hashOf(t, "secret"), origin.URL)
	c := w.dial()
	n := 0
	check := func(path, fields, want string) {
		t.Helper()
		c.Send("GET " + path + " HTTP/1.1\r\nHost: weir.test\r\n" + fields + "\r\n")
		c.Response("GET")
		n++
		equal(t, path, w.logged(n)[n-1].String(), want)
	}
	alice := basic("alice:secret")
	check("/public", alice, "200 ok")
	check("/public", alice, "200 cached")
	check("/public", "", "401 unauthorized")
	check("/public", basic("alice:wrong"), "401 bad_credentials")
	check("/public", alice, "200 cached")
	check("/hers", alice, "200 ok")
	check("/hers", alice, "200 ok")
}

func dialCertificate(t *testing.T, addr net.Addr, a *testkit.Authority, name string, shown ...testkit.Pair) (*testkit.Client, error) {
	t.Helper()
	cfg := &tls.Config{RootCAs: a.Pool, ServerName: name}
	for _, p := range shown {
		// Whatever authorities the server names.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.Certificate, nil }
	}
	c, err := tls.Dial(addr.Network(), addr.String(), cfg)
	if err == nil {
		// A TLS 1.3 client learns of the refusal with the first read.
		c.Write([]byte("GET / HTTP/1.1\r\nHost: " + name + "\r\n\r\n"))
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if err != nil {
		return nil, err
	}
	return testkit.DialTLS(t, addr, cfg), nil
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	server, clients, others := testkit.NewAuthority(t), testkit.NewAuthority(t), testkit.NewAuthority(t)
	pair, alice, mallory := server.Issue("weir.test", "127.0.0.1"), clients.Issue("alice, of weir"), others.Issue("mallory")
	got := make(chan *testkit.Message, 10)
	origin := testkit.Listen(t, mirror(got, ok))
	text := func(keys string) string {
		return fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
certificates = [{ cert = %q, key = %q }]
%s
[[routes]]
upstream = "o"
[routes.request_headers.set]
X-Subject = "{client_subject}"
X-Fingerprint = "{client_fingerprint}"
[upstreams.o]
targets = [%q]
`, pair.Cert, pair.Key, keys, origin.URL)
	}
	w := run(t, "%s", text(fmt.Sprintf("client_ca = %q", clients.File)))
	refused := func(what string, shown ...testkit.Pair) {
		t.Helper()
		if _, err := dialCertificate(t, w.addr, server, "weir.test", shown...); err == nil {
			t.Errorf("%s: is let in", what)
		}
	}
	served := func(what, subject, fingerprint string, shown ...testkit.Pair) *testkit.Client {
		t.Helper()
		c, err := dialCertificate(t, w.addr, server, "weir.test", shown...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		receive(t, got)
		equal(t, what, c.Get("/").Status(), 200)
		r := receive(t, got)
		equal(t, what+": subject", r.Get("X-Subject"), subject)
		equal(t, what+": fingerprint", r.Get("X-Fingerprint"), fingerprint)
		return c
	}
	print := hexSum(alice)
	refused("nobody")
	refused("of another authority", mallory)
	old := served("alice", `CN=alice\, of weir`, print, alice)
	lines := w.logged(2)
	equal(t, "subject in the log", lines[1].Subject, `CN=alice\, of weir`)
	equal(t, "fingerprint in the log", lines[1].Fingerprint, print)

	// Host is the name that the handshake was for.
	old.Send("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
	equal(t, "another host", old.Response("GET").Status(), 421)
	old.Send("GET / HTTP/1.1\r\nHost: WEIR.test.:443\r\n\r\n")
	equal(t, "the same host", old.Response("GET").Status(), 200)
	receive(t, got)
	equal(t, "the log's line", w.logged(4)[2].String(), "421 misdirected")

	reload := func(keys string) {
		t.Helper()
		if err := w.Reload(parse(t, text(keys))); err != nil {
			t.Fatal(err)
		}
	}
	reload(fmt.Sprintf("client_ca = %q\nclient_auth = \"optional\"", clients.File))
	equal(t, "the same authorities", old.Get("/").Status(), 200)
	receive(t, got)
	served("nobody", "", "")
	refused("of another authority", mallory)
	served("alice", `CN=alice\, of weir`, print, alice)
	// Other authorities end the connections of those whom the old ones vouched for.
	reload(fmt.Sprintf("client_ca = %q", others.File))
	_, end := old.Rest()
	equal(t, "the old connection", end, testkit.Closed)
	refused("alice", alice)
	served("mallory", "CN=mallory", hexSum(mallory), mallory)
	reload("")
	served("anybody", "", "")
}

func hexSum(p testkit.Pair) string {
	sum := sha256.Sum256(p.Certificate.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// A session that began with a certificate of other authorities is not taken up again.
func TestClientCertificatesResumed(t *testing.T) {
	t.Parallel()
	server, clients, others := testkit.NewAuthority(t), testkit.NewAuthority(t), testkit.NewAuthority(t)
	pair, alice := server.Issue("weir.test", "127.0.0.1"), clients.Issue("alice")
	origin := testkit.Listen(t, testkit.Answer(ok))
	text := func(ca string) string {
		return fmt.Sprintf("[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\ncertificates = [{ cert = %q, key = %q }]\nclient_ca = %q\n", pair.Cert, pair.Key, ca) + toOrigin(origin.URL)
	}
	w := run(t, "%s", text(clients.File))
	cfg := &tls.Config{RootCAs: server.Pool, ServerName: "weir.test", Certificates: []tls.Certificate{alice.Certificate}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		c := testkit.DialTLS(t, w.addr, cfg)
		equal(t, "status", c.Get("/").Status(), 200)
		equal(t, "resumed", c.Conn.(*tls.Conn).ConnectionState().DidResume, i == 1)
		c.Close()
	}
	if err := w.Reload(parse(t, text(others.File))); err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial(w.addr.Network(), w.addr.String(), cfg)
	if err == nil {
		c.Write([]byte("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n"))
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("the session is taken up with a certificate that is not trusted any more")
		}
		c.Close()
	}
}

func TestStrictSNI(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair, wild := authority.Issue("weir.test"), authority.Issue("*.wild.test")
	origin := testkit.Listen(t, testkit.Answer(ok))
	text := func(strict bool) string {
		return fmt.Sprintf("[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\ncertificates = [{ cert = %q, key = %q }, { cert = %q, key = %q }]\nstrict_sni = %v\n",
			pair.Cert, pair.Key, wild.Cert, wild.Key, strict) + toOrigin(origin.URL)
	}
	w := run(t, "%s", text(true))
	check := func(name, want string) {
		t.Helper()
		c, err := tls.Dial("tcp", w.addr.String(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
		got := "served"
		if err != nil {
			got = err.Error()
		} else {
			c.Close()
		}
		equal(t, "SNI "+name, got, want)
	}
	const alert = "remote error: tls: unrecognized name"
	check("weir.test", "served")
	check("WEIR.test", "served")
	check("a.wild.test", "served")
	check("a.b.wild.test", alert)
	check("other.test", alert)
	check("127.0.0.1", alert) // no SNI at all
	if err := w.Reload(parse(t, text(false))); err != nil {
		t.Fatal(err)
	}
	check("other.test", "served")
	check("127.0.0.1", "served")
}

// The log says which lists refused a client, and which bound a body exceeded that says how long it is.
func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[[listeners]]
name = "closed"
address = "127.0.0.2:0"
deny = ["127.0.0.0/8"]
[[routes]]
path = "/denied"
deny = ["127.0.0.0/8"]
respond = {}
[[routes]]
max_body = "4B"
upstream = "o"
[upstreams.o]
targets = ["http://127.0.0.1:1"]
`)
	n := 0
	check := func(listener, request, cause, why string) {
		t.Helper()
		c := testkit.Dial(t, w.Addr(listener))
		c.Send(request)
		c.Response("GET")
		n++
		line := w.logged(n)[n-1]
		equal(t, request, line.Cause+": "+line.Error, cause+": "+why)
	}
	check("closed", get, "address_denied", "the listener's allow and deny do not let the client's address in")
	check("main", "GET /denied HTTP/1.1\r\nHost: weir.test\r\n\r\n", "address_denied", "the route's allow and deny do not let the client's address in")
	check("main", "POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 5\r\n\r\nabcde", "body_too_large", "request body exceeds the route's max_body")
}
