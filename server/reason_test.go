package server_test

import (
	"crypto/tls"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/server"
)

// The access log, the log and the admin API say why a target failed, in detail.
func TestReasons(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("origin.test")
	wantsCertificate := tlsServer(authority.Issue("127.0.0.1"))
	wantsCertificate.ClientAuth, wantsCertificate.ClientCAs = tls.RequireAnyClientCert, authority.Pool
	answers := func(response string) string { return testkit.Listen(t, testkit.Answer(response)).URL }
	plain := testkit.Listen(t, func(c *testkit.Conn) { c.Send("HTTP/1.1 400 Bad Request\r\n\r\n"); c.Rest() })
	secure := func(cfg *tls.Config) string {
		return testkit.ListenTLS(t, cfg, func(c *testkit.Conn) { c.TryHead() }).URL
	}
	check := func(name, target, settings, want, reason string) {
		t.Run(name, func(t *testing.T) {
			var log textLog
			one := strings.Replace(toOrigin(target), strconv.Quote(target), fmt.Sprintf("{ url = %q, resolve = \"one\" }", target), 1)
			w := launch(t, one+"timeouts.connect = \"1m\"\nhealth.passive = { failures = 1, max_ejected = 1 }\n"+settings+"[admin]\naddress = \"127.0.0.1:0\"\n", server.WithLog(log.logger()))
			w.dial().Get("/")
			line := w.logged(1)[0]
			equal(t, "the log's line", line.String(), want)
			if !strings.Contains(line.Error, reason) {
				t.Errorf("error is %q, without %q", line.Error, reason)
			}
			if strings.HasPrefix(want, "502 connect") || strings.HasPrefix(want, "502 tls") && !strings.Contains(reason, "required") {
				if text := log.String(); !strings.Contains(text, "cannot be connected to: ") || !strings.Contains(text, reason) {
					t.Errorf("the log is %q, without %q", text, reason)
				}
				if got := w.api("GET", "/upstreams", ""); !strings.Contains(got, reason) {
					t.Errorf("the admin API says %q, without %q", got, reason)
				}
			}
		})
	}
	ca := "tls.ca = \"" + authority.File + "\"\n"
	check("two codings", answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "", "502 bad_response", "more than one Transfer-Encoding")
	check("a control byte", answers("HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n"), "", "502 bad_response", "control byte in a field value")
	check("bare line feeds", answers("HTTP/1.1 200 OK\nContent-Length: 0\n\n"), "", "502 bad_response", "line feed without carriage return")
	check("one bare line feed", answers("HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 0\r\n\r\n"), "", "502 bad_response", "line feed without carriage return")
	check("a bare line feed at the end", answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n"), "", "502 bad_response", "line feed without carriage return")
	check("no answer at all", testkit.Listen(t, func(c *testkit.Conn) { c.Head() }).URL, "", "502 reset", "the target closed the connection without an answer")
	check("unknown authority", secure(tlsServer(authority.Issue("127.0.0.1"))), "", "502 tls_failed", "unknown authority")
	check("wrong name", secure(tlsServer(pair)), ca, "502 tls_failed", "cannot validate certificate for 127.0.0.1")
	check("no TLS at all", strings.Replace(plain.URL, "http:", "https:", 1), "", "502 tls_failed", "first record does not look like a TLS handshake")
	check("a certificate is wanted", secure(wantsCertificate), ca, "502 tls_failed", "certificate required")
	check("unknown name", "http://no.such.host.invalid:80", "", "502 connect_failed", "no.such.host.invalid")
	check("nothing listens", refused(t), "", "502 connect_failed", "connection refused")
}

// The log and the admin API say that a name has no addresses.
func TestUnknownName(t *testing.T) {
	t.Parallel()
	var log textLog
	const name = "no.such.host.invalid"
	w := launch(t, toOrigin("http://"+name)+"[admin]\naddress = \"127.0.0.1:0\"\n", server.WithLog(log.logger()))
	w.dial().Get("/")
	line := w.logged(1)[0]
	equal(t, "the log's line", line.String(), "503 no_target")
	if want := "no usable target: there are none: lookup " + name; !strings.HasPrefix(line.Error, want) {
		t.Errorf("error is %q, want %q", line.Error, want)
	}
	testkit.Eventually(t, "the failure is known", func() bool {
		return strings.Contains(log.String(), name) && strings.Contains(w.api("GET", "/sources", ""), `"failing":"lookup `+name) &&
			strings.Contains(w.api("GET", "/upstreams", ""), `"targets":[],"reason":"lookup `+name)
	})
}

// A request that is refused is logged with what is wrong with it, and a good one without
// anything.
func TestReasonsOfRefusals(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		if m, err := c.TryHead(); err == nil && m.ReadBody(c.Reader) == nil {
			c.TrySend(ok)
		}
	})
	check := func(request, want, reason string) {
		t.Helper()
		limits := slow
		if strings.Contains(reason, "min_rate") {
			limits = `grace = "2s", min_rate = "10KB"` // so that the client is never silent for so long
		}
		w := limited(t, origin.URL, limits, "")
		c := w.dial()
		if strings.Contains(reason, "min_rate") {
			stop := drip(c, request, "x")
			defer receive(t, stop)
		} else {
			c.Send(request)
		}
		c.Head("GET")
		line := w.logged(1)[0]
		equal(t, "the log's line", line.String(), want)
		equal(t, "error", line.Error, reason)
	}
	path := func(p string) string { return "GET " + p + " HTTP/1.1\r\nHost: a\r\n\r\n" }
	check(path("/a"), "200 ok", "")
	check(path("/a%0ab"), "400 bad_path", `path_encoded_control: "%0a" at byte 2 of the path`)
	check(path("/a%00b"), "400 bad_path", `path_null_byte: "%00" at byte 2 of the path`)
	check(path("/a%41%4g"), "400 bad_path", `path_broken_escape: "%4g" at byte 5 of the path`)
	check(path("/a%4"), "400 bad_path", `path_broken_escape: "%4" at byte 2 of the path`)
	check(path(`/%41\b`), "400 bad_path", `path_backslash: "\\" at byte 4 of the path`)
	check(path("/a/../.."), "400 bad_path", `path_above_root: ".." at byte 6 of the path`)
	check(path("/a/b/..%2fc/d"), "400 bad_path", `path_dot_segment: "..%2fc" at byte 5 of the path`)
	check(path("/..;x/d"), "400 bad_path", `path_dot_segment: "..;x" at byte 1 of the path`)
	check(path("/a//../d"), "400 bad_path", `path_dot_segment: ".." at byte 4 of the path`)
	check(path("/a#/b"), "400 bad_path", `path_fragment: "#" at byte 2 of the path`)
	check("GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400 bad_request", "malformed request target")
	check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 bad_request", "more than one Host field")
	check(post(10)+"hello", "408 client_slow", "client sent nothing for 300ms (timeouts.grace)")
	check(post(100_000), "408 client_slow", "client sent less than 10000 bytes per second (timeouts.min_rate)")
	check(post(-1)+"5\r\nhello\r\n", "408 client_slow", "client sent nothing for 300ms (timeouts.grace)")
}

// Clients are told the kind of failure if the configuration says so, and never an address.
func TestProxyStatus(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	secure := testkit.ListenTLS(t, tlsServer(authority.Issue("127.0.0.1")), func(c *testkit.Conn) { c.TryHead() }).URL
	bad := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")).URL
	check := func(target, path, want string) {
		t.Helper()
		w := run(t, "[forwarding]\nproxy_status = true\n[[routes]]\npath = \"/a\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [{ url = %q, resolve = \"one\" }]\n", target)
		if got := w.dial().Get(path).Get("Proxy-Status"); got != want {
			t.Errorf("%s of %s: %s, want %s", path, target, got, want)
		}
	}
	check(refused(t), "/a", `weir; error=connection_refused; details="connect_failed: connection refused"`)
	check(secure, "/a", `weir; error=tls_certificate_error; details="tls_failed: certificate signed by unknown authority"`)
	check(bad, "/a", `weir; error=http_protocol_error; details="bad_response: more than one Content-Length"`)
	check("http://no.such.host.invalid:80", "/a", `weir; error=dns_error; details="connect_failed: no such host"`)
	check(bad, "/b", `weir; error=destination_not_found; details="no_route"`)
	w := run(t, "[[routes]]\npath = \"/a\"\nrespond = { body = \"x\" }\n")
	if got := w.dial().Get("/b"); got.Has("Proxy-Status") {
		t.Errorf("without the key: %s", got.Get("Proxy-Status"))
	}
}
