package server_test

import (
	"strings"
	"testing"

	"weir/internal/testkit"
)

// mirror is a script that reports each request and answers it.
func mirror(got chan<- *testkit.Message, answer string) func(*testkit.Conn) {
	return func(c *testkit.Conn) {
		for {
			got <- c.Request()
			c.Send(answer)
		}
	}
}

// Fields that end at this hop do not pass, in either direction.
func TestHopByHop(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, mirror(got, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n"+
		"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: 2\r\n\r\nok"))
	c := through(t, origin).dial()
	c.Send("GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, te, close-not, Host, Content-Length\r\nX-Hop: 1\r\nclose-not: 1\r\n" +
		"Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nProxy-Authorization: x\r\nX-End: 2\r\nAuthorization: y\r\n\r\n")
	m, r := c.Response("GET"), receive(t, got)
	for _, name := range []string{"X-Hop", "Close-Not", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Connection", "Upgrade"} {
		equal(t, name+" of the request", r.Get(name), "")
	}
	equal(t, "TE", r.Get("TE"), "trailers")
	equal(t, "Host", r.Get("Host"), "a")
	equal(t, "X-End", r.Get("X-End"), "2")
	equal(t, "Authorization", r.Get("Authorization"), "y")
	for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate", "Connection", "Upgrade"} {
		equal(t, name+" of the response", m.Get(name), "")
	}
	equal(t, "X-End", m.Get("X-End"), "2")
	equal(t, "body", m.Body, "ok")
	c.Send(get) // the origin said keep-alive, and so do we
	equal(t, "body", c.Response("GET").Body, "ok")
}

// weir tells targets who the client was, and believes only trusted proxies about it.
func TestForwardingFields(t *testing.T) {
	t.Parallel()
	const forged = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n" +
		"X-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nVia: 1.0 x\r\nX-Request-Id: abc\r\n\r\n"
	ask := func(t *testing.T, forwarding string) (*testkit.Message, *testkit.Message, entry) {
		got := make(chan *testkit.Message, 1)
		origin := testkit.Listen(t, mirror(got, ok))
		if !strings.Contains(forwarding, "via") {
			forwarding += "\nvia = \"weir\""
		}
		w := run(t, "[forwarding]\n%s\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", forwarding, origin.URL)
		c := w.dial()
		c.Send(forged)
		m := c.Response("GET")
		return receive(t, got), m, w.logged(1)[0]
	}
	t.Run("untrusted", func(t *testing.T) {
		r, m, line := ask(t, "forwarded = true")
		equal(t, "X-Forwarded-For", r.Get("X-Forwarded-For"), "127.0.0.1")
		equal(t, "X-Forwarded-Proto", r.Get("X-Forwarded-Proto"), "http")
		equal(t, "X-Forwarded-Host", r.Get("X-Forwarded-Host"), "a.test")
		equal(t, "X-Real-IP is not the client's word", strings.Contains(r.Get("X-Real-IP"), "6.6"), false)
		equal(t, "Forwarded is not the client's word", strings.Contains(r.Get("Forwarded"), "6.6.6.6"), false)
		equal(t, "Forwarded says who", strings.Contains(r.Get("Forwarded"), "127.0.0.1"), true)
		equal(t, "Via", r.Get("Via"), "1.0 x, 1.1 weir")
		equal(t, "Via of the response", m.Get("Via"), "1.1 weir")
		equal(t, "the client's id is used", r.Get("X-Request-Id") == "abc", false)
		equal(t, "the id in the log", line.ID, r.Get("X-Request-Id"))
		equal(t, "the client in the log", line.Client, "127.0.0.1")
	})
	t.Run("trusted proxy", func(t *testing.T) {
		r, _, line := ask(t, `trusted_proxies = ["127.0.0.0/8"]`)
		equal(t, "X-Forwarded-For", r.Get("X-Forwarded-For"), "6.6.6.6, 127.0.0.1")
		equal(t, "X-Forwarded-Proto", r.Get("X-Forwarded-Proto"), "https")
		equal(t, "X-Request-Id", r.Get("X-Request-Id"), "abc")
		equal(t, "the client in the log", line.Client, "6.6.6.6")
	})
	t.Run("nothing is told", func(t *testing.T) {
		r, m, _ := ask(t, "x_forwarded = false\nvia = \"\"\nrequest_id = \"\"")
		equal(t, "X-Forwarded-For", r.Get("X-Forwarded-For"), "")
		equal(t, "Via", r.Get("Via"), "1.0 x")
		equal(t, "Via of the response", m.Get("Via"), "")
	})
}

// Rules change the path that matching saw; without one the target stays as it is.
func TestPathRules(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, mirror(got, ok))
	w := run(t, `
[[routes]]
path = "/strip/api/"
upstream = "o"
strip_prefix = true
[[routes]]
path = "/add/"
upstream = "o"
add_prefix = "/base"
[[routes]]
path = "/{service}/rewrite"
upstream = "o"
rewrite = "/new/{service}"
[[routes]]
path = "/exact/"
upstream = "o"
[upstreams.o]
targets = [%q]
`, origin.URL)
	c := w.dial()
	check := func(target, want string) {
		t.Helper()
		for range 3 { // the memory of one request must not show in the next
			m := c.Get(target)
			if m.Status() != 200 {
				t.Errorf("%s: status is %d", target, m.Status())
				return
			}
			if got := receive(t, got).Target(); got != want {
				t.Errorf("%s becomes %s, want %s", target, got, want)
			}
		}
	}
	check("/exact/a//b/../%2F%41;v=1?x=%20", "/exact/a//b/../%2F%41;v=1?x=%20")
	check("/exact/?", "/exact/?")
	check("/other/../exact/x", "/other/../exact/x")
	check("/exact/x#y?z", "/exact/x#y?z")
	check("/strip/api/a%2Fb/%C3%BC?q=1", "/a%2Fb/%C3%BC?q=1")
	check("/strip/api/", "/")
	check("/strip/%61pi/%62?", "/%62?")
	check("/strip/api/?", "/?")
	check("/strip/x/../api/./a", "/a")
	check("/x/../strip/api/b/..", "/")
	check("/strip/api/a?q#f", "/a?q")
	check("/add/%61?b", "/base/add/%61?b")
	check("/add/x/%2e%2e/y", "/base/add/y")
	check("/s/./rewrite?q", "/new/s?q")
	refused := func(target string, status int) {
		t.Helper()
		equal(t, target, w.dial().Get(target).Status(), status)
	}
	refused("/strip/../other/api/", 404)
	refused("/strip/api/../../..", 400)
	refused("/strip/api/..%2Fadd", 400)
}

// HTTP/1.0 clients and their connections do not show at the origin.
func TestVersionStaysHere(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, mirror(got, ok))
	w := through(t, origin)
	for range 3 {
		c := w.dial()
		c.Send("GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n")
		m := c.Response("GET")
		equal(t, "body", m.Body, "ok")
		_, end := c.Rest()
		equal(t, "the end", end, testkit.Closed)
		r := receive(t, got)
		equal(t, "request line", r.Line, "GET / HTTP/1.1")
		equal(t, "Connection", r.Get("Connection"), "")
	}
	equal(t, "connections", len(origin.Conns()), 1)
}

// Via names the version that was spoken on the side that a message came from
// (RFC 9110 section 7.6.3).
func TestViaNamesVersion(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	w := run(t, "[forwarding]\nvia = \"weir\"\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [%q]\n", testkit.Listen(t, func(c *testkit.Conn) {
		got <- c.Request()
		c.Send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}).URL)
	check := func(line, toTarget string) {
		t.Helper()
		c := w.dial()
		c.Send(line + "\r\nHost: a\r\n\r\n")
		m := c.Response("GET")
		equal(t, "Via of the response to "+line, m.Get("Via"), "1.0 weir")
		equal(t, "version of the response to "+line, m.Line, "HTTP/1.1 200 OK")
		equal(t, "Via of "+line, receive(t, got).Get("Via"), toTarget)
	}
	check("GET / HTTP/1.0", "1.0 weir")
	check("GET / HTTP/1.1", "1.1 weir")
}

// A request of HTTP/1.0 may do without Host, what targets get may not.
func TestClientWithoutHost(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, mirror(got, ok))
	c := through(t, origin).dial()
	c.Send("GET / HTTP/1.0\r\n\r\n")
	equal(t, "body", c.Response("GET").Body, "ok")
	r := receive(t, got)
	equal(t, "request line", r.Line, "GET / HTTP/1.1")
	equal(t, "Host", r.Get("Host"), strings.TrimPrefix(origin.URL, "http://"))
	equal(t, "X-Forwarded-Host", r.Has("X-Forwarded-Host"), false)

	// Not one that a rule gives.
	w := run(t, `
[[routes]]
upstream = "origin"
host_header = "fixed.example.org"
[upstreams.origin]
targets = [%q]
`, origin.URL+"/")
	c = w.dial()
	c.Send("GET / HTTP/1.0\r\n\r\n")
	equal(t, "body", c.Response("GET").Body, "ok")
	equal(t, "Host", receive(t, got).Get("Host"), "fixed.example.org")
}

// What captures hold decoded is encoded again where it becomes part of a URI.
func TestTemplatesMakeURIs(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	w := run(t, `
[[routes]]
path = "/u/{id}"
rewrite = "/user?id={id}"
upstream = "o"
[[routes]]
path = "/old/{rest...}"
redirect = { to = "/new/{rest}?{query}" }
[upstreams.o]
targets = [%q]
`, testkit.Listen(t, mirror(got, ok)).URL)
	check := func(target, want string) {
		t.Helper()
		equal(t, target, w.dial().Get(target).Status(), 200)
		equal(t, target, receive(t, got).Target(), want)
	}
	check("/u/a%20b%26%2F", "/user?id=a%20b%26%2F")
	check("/u/%22%3c%7C%7d%e4", "/user?id=%22%3C%7C%7D%E4")
	check("/u/\xc3\xbc?x", "/user?id=%C3%BC")
	check("/u/abc", "/user?id=abc")
	equal(t, "Location", w.dial().Get("/old/a/%C3%bc%22b%3F?q=%22").Get("Location"), "/new/a/%C3%BC%22b%3F?q=%22")
}
