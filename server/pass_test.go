package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pires/go-proxyproto"

	"weir/internal/testkit"
	"weir/lb"
)

// fragments writes the first record in records of one byte, each in a packet of its own but for
// what the kernel joins.
type fragments struct {
	net.Conn
	begun bool
}

func (f *fragments) Write(p []byte) (int, error) {
	if f.begun {
		return f.Conn.Write(p)
	}
	f.begun = true
	length := int(p[3])<<8 | int(p[4])
	for _, b := range p[5 : 5+length] {
		if _, err := f.Conn.Write([]byte{22, 3, 1, 0, 1, b}); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// passing is a weir that passes on names and ends TLS for others.
func passing(t *testing.T, a *testkit.Authority, certificates bool, names string, upstreams ...string) *weir {
	t.Helper()
	text := "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\npass_through = " + names + "\n"
	if certificates {
		pair := a.Issue("weir.test")
		text += fmt.Sprintf("certificates = [{ cert = %q, key = %q }]\nstrict_sni = true\n", pair.Cert, pair.Key)
	}
	text += answers200
	for i, targets := range upstreams {
		text += fmt.Sprintf("[upstreams.u%d]\ntargets = [%s]\n", i, targets)
	}
	return run(t, "%s", text)
}

// shake makes a handshake for a name, and returns the name of the certificate that was shown.
func shake(w *weir, a *testkit.Authority, name string, change func(net.Conn) net.Conn) (*testkit.Client, string, error) {
	w.t.Helper()
	raw := net.Conn(w.dial().Conn)
	if change != nil {
		raw = change(raw)
	}
	c := tls.Client(raw, &tls.Config{RootCAs: a.Pool, ServerName: name, InsecureSkipVerify: name == ""})
	if err := c.Handshake(); err != nil {
		return nil, "", err
	}
	return testkit.NewClient(w.t, c), c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// Names choose who ends TLS, however the hello comes.
func TestPassThrough(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	origin := func(names ...string) *testkit.Origin {
		return testkit.ListenTLS(t, tlsServer(a.Issue(names...)), testkit.Answer(ok))
	}
	one, two := origin("one.test"), origin("two.test", "a.two.test", "a.b.two.test")
	w := passing(t, a, true, `{ "one.test" = "u0", "*.two.test" = "u1" }`, `"`+one.URL+`"`, `"`+two.URL+`"`)
	n := 0
	check := func(name, shown, upstream string, change func(net.Conn) net.Conn) {
		t.Helper()
		c, who, err := shake(w, a, name, change)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		equal(t, name, who, shown)
		c.Send("GET / HTTP/1.1\r\nHost: " + name + "\r\n\r\n")
		equal(t, name, c.Response("GET").Status(), 200)
		c.Close()
		n++
		line := w.logged(n)[n-1]
		want := fmt.Sprintf("0 passed %s 1", upstream)
		if upstream == "" {
			want = "200 fixed_response  0"
		}
		equal(t, name+": the log's line", fmt.Sprint(line.Status, " ", line.Cause, " ", line.Upstream, " ", line.Attempts), want)
		if upstream != "" {
			equal(t, name+": SNI in the log", line.SNI, strings.ToLower(name))
			if line.BytesIn < 500 || line.BytesOut < 500 {
				t.Errorf("%s: %d bytes in, %d bytes out", name, line.BytesIn, line.BytesOut)
			}
		}
	}
	fragmented := func(c net.Conn) net.Conn { return &fragments{Conn: c} }
	for _, change := range []func(net.Conn) net.Conn{nil, fragmented} {
		check("one.test", "one.test", "u0", change)
		check("a.two.test", "two.test", "u1", change)
		check("a.b.two.test", "two.test", "u1", change)
		check("weir.test", "weir.test", "", change)
	}
	refused := func(name string) {
		t.Helper()
		if _, _, err := shake(w, a, name, nil); fmt.Sprint(err) != "remote error: tls: unrecognized name" {
			t.Errorf("%q: %v, want the alert unrecognized_name", name, err)
		}
	}
	refused("two.test") // the wildcard is for names below
	refused("other.test")
	refused("")
	equal(t, "the counter", w.metric(`weir_causes_total{route="",cause="passed"}`), "6")

	// HTTP without TLS is told what is wrong; an upgrade by HTTP/2 goes on as ever.
	c := w.dial()
	equal(t, "plain HTTP", c.Get("/").Status(), 400)
	framed := testkit.DialFrames(t, w.addr, &tls.Config{RootCAs: a.Pool, ServerName: "weir.test", NextProtos: []string{"h2"}})
	framed.Get(1, "/")
	equal(t, "HTTP/2", framed.Whole(1).Status(), "200")

	// A reload without the key ends TLS here.
	if err := w.Reload(parse(t, secureListener(a.Issue("one.test"), "")+answers200)); err != nil {
		t.Fatal(err)
	}
	_, who, err := shake(w, a, "one.test", nil)
	equal(t, "after the reload", fmt.Sprint(who, err), "one.test<nil>")
}

// "*" takes all names and none; what is no TLS is closed.
func TestPassEverything(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	origin := testkit.ListenTLS(t, tlsServer(a.Issue("any.test")), testkit.Answer(ok))
	w := passing(t, a, false, `{ "*" = "u0" }`, `"`+origin.URL+`"`)
	for _, name := range []string{"any.test", ""} {
		c, who, err := shake(w, a, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, who, "any.test")
		equal(t, name, c.Get("/").Status(), 200)
		c.Close()
	}
	w.logged(2)
	for _, text := range []string{"\x00\x01\x02\x03\x04\x05", "SSH-2.0-x\r\n"} {
		c := w.dial()
		c.Send(text)
		if rest, _ := c.Rest(); strings.Contains(rest, "HTTP") {
			t.Errorf("%q is answered with %q", text, rest)
		}
	}
	equal(t, "plain HTTP", w.dial().Get("/").Status(), 400)
}

// A target that is dead is passed over; if all are, the client gets an alert.
func TestPassThroughDeadTargets(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	live := testkit.ListenTLS(t, tlsServer(a.Issue("one.test")), testkit.Answer(ok))
	dead := `"https://` + testkit.Reserve(t) + `"`
	w := passing(t, a, false, `{ "one.test" = "u0", "dead.test" = "u1" }`, dead+`, "`+live.URL+`"`, dead)
	attempts := 0
	for range 4 {
		c, _, err := shake(w, a, "one.test", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for _, line := range w.logged(4) {
		equal(t, "the log's line", line.String(), "0 passed")
		attempts += line.Attempts
	}
	if attempts < 5 {
		t.Errorf("%d attempts for 4 clients: the dead target was not tried", attempts)
	}
	if _, _, err := shake(w, a, "dead.test", nil); fmt.Sprint(err) != "remote error: tls: internal error" {
		t.Errorf("with dead targets alone: %v, want the alert internal_error", err)
	}
	equal(t, "the log's line", w.logged(5)[4].String(), "0 connect_failed")
}

// A found target that ends no TLS gets nothing of a client's.
func TestPassThroughFoundTargets(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	var asked atomic.Int32
	plain := testkit.Listen(t, func(*testkit.Conn) { asked.Add(1) })
	w := passing(t, a, false, `{ "*" = "u0" }`, `"registry:shop"`)
	if err := w.Registry().Add("shop", "", lb.Endpoint{URL: plain.URL}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the target is found", func() bool { return strings.Contains(w.metrics(), `{upstream="u0",target="`+plain.URL) })
	if _, _, err := shake(w, a, "one.test", nil); fmt.Sprint(err) != "remote error: tls: internal error" {
		t.Errorf("%v, want the alert internal_error", err)
	}
	line := w.logged(1)[0]
	equal(t, "the log's line", line.String(), "0 connect_failed")
	if !strings.Contains(line.Error, "takes no TLS") {
		t.Errorf("the log's error is %q", line.Error)
	}
	equal(t, "connections to the target", asked.Load(), 0)
}

// A hello that does not end is cut by timeouts.handshake, and clients that are not allowed are refused.
func TestPassThroughLimits(t *testing.T) {
	t.Parallel()
	w := run(t, "%s", `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
pass_through = { "*" = "u" }
timeouts = { handshake = "2s" }
[[listeners]]
name = "closed"
address = "localhost:0"
pass_through = { "*" = "u" }
deny = ["127.0.0.0/8"]
`+answers200+"[upstreams.u]\ntargets = [\"https://"+testkit.Reserve(t)+"\"]\n")
	c := w.dial()
	c.Send("\x16\x03\x01\x00\xff\x01")
	_, end := c.Rest()
	equal(t, "a hello without an end", end, testkit.Closed)
	w.becomes("the counter", `weir_listener_refused_total{listener="main",reason="handshake_timeout"}`, "1")
	err := tls.Client(testkit.Dial(t, w.Addr("closed")).Conn, &tls.Config{ServerName: "one.test"}).Handshake()
	if fmt.Sprint(err) != "remote error: tls: access denied" {
		t.Errorf("a client that is not allowed: %v, want the alert access_denied", err)
	}
	equal(t, "the log's line", w.logged(1)[0].String(), "0 address_denied")
}

// proxied is a target that wants a PROXY header before TLS, and tells of each.
func proxied(t *testing.T, cfg *tls.Config) (url string, headers chan *proxyproto.Header) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	headers = make(chan *proxyproto.Header, 10)
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer raw.Close()
				r := bufio.NewReader(raw)
				header, err := proxyproto.Read(r)
				if err != nil {
					return
				}
				headers <- header
				c := tls.Server(readBefore{raw, r}, cfg)
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					io.WriteString(c, ok)
				}
			}()
		}
	}()
	return "https://" + l.Addr().String(), headers
}

// readBefore is a connection of which something was read.
type readBefore struct {
	net.Conn
	r *bufio.Reader
}

func (c readBefore) Read(p []byte) (int, error) { return c.r.Read(p) }

// A target is told by a PROXY header who the client of a passed connection is, and which connections are weir's own.
func TestPassThroughProxyHeader(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	for version, name := range []string{1: "v1", 2: "v2"} {
		if name == "" {
			continue
		}
		url, headers := proxied(t, tlsServer(a.Issue("one.test")))
		w := run(t, "%s", fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
pass_through = { "one.test" = "u" }
[[listeners]]
name = "plain"
address = "localhost:0"
[[routes]]
upstream = "u"
[upstreams.u]
targets = [%q]
connections = { proxy_protocol = %q }
tls = { ca = %q, server_name = "one.test" }
`, url, name, a.File))
		c, _, err := shake(w, a, "one.test", nil)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, name, c.Get("/").Status(), 200)
		h := receive(t, headers)
		equal(t, name, int(h.Version), version)
		equal(t, name+": the client", fmt.Sprint(h.SourceAddr), c.Conn.LocalAddr().String())
		equal(t, name+": where it came", fmt.Sprint(h.DestinationAddr), w.addr.String())

		equal(t, name, testkit.Dial(t, w.Addr("plain")).Get("/").Status(), 200)
		if h := receive(t, headers); !h.Command.IsLocal() && h.TransportProtocol != proxyproto.UNSPEC {
			t.Errorf("%s: a connection of weir's own is said to be from %v", name, h.SourceAddr)
		}
	}
}

// A connection that was passed on and has ended is no failure: the recorder does not keep it as one.
func TestPassedIsNoFailure(t *testing.T) {
	t.Parallel()
	a := testkit.NewAuthority(t)
	o := testkit.ListenTLS(t, tlsServer(a.Issue("one.test")), testkit.Answer(ok))
	w := run(t, "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\npass_through = { \"one.test\" = \"u\" }\n"+answers200+
		"[inspect]\nsample = 1\n[admin]\naddress = \"127.0.0.1:0\"\n[upstreams.u]\ntargets = [%q]\n", o.URL)
	c, _, err := shake(w, a, "one.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Get("/")
	c.Close()
	equal(t, "the log's line", w.ended(), "0 passed")
	if state := w.api("GET", "/inspect", ""); !strings.Contains(state, `"failed":0`) {
		t.Errorf("the recorder has %s", state)
	}
}
