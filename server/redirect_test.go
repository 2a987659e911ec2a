package server_test

import (
	"testing"

	"weir/internal/testkit"
)

// raw sends a request of its own and returns the response.
func (w *weir) raw(method, request string) *testkit.Message {
	w.t.Helper()
	c := w.dial()
	c.Send(request)
	return c.Response(method)
}

// No value turns a path into the address of another site.
func TestRedirectStaysOnTheSite(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[routes]]
path = "/old/{rest...}"
redirect.to = "/{rest}"
[[routes]]
path = "/twice/{a}/{rest...}"
redirect.to = "/{rest}{search}"
[[routes]]
path = "/shop/{tenant}/{rest...}"
redirect.to = "https://{tenant}.example.org/{rest}"
[[routes]]
redirect.to = "{path}/"
`)
	check := func(target, want string) {
		t.Helper()
		equal(t, target, w.dial().Get(target).Get("Location"), want)
	}
	check("/old//evil.example/x", "/evil.example/x")
	check("/old///evil.example", "/evil.example")
	check("//evil.example", "/evil.example/")
	check("////evil.example", "/evil.example/")
	check("/twice/a//evil.example?q", "/evil.example?q")
	check("/old/%5Cevil.example", "/%5Cevil.example")
	// Slashes that do not begin the path stay.
	check("/old/a//b", "/a//b")
	check("/shop/me//b", "https://me.example.org//b")
	check("/shop/a@evil.example/b", "https://a@evil.example.example.org/b")
}

func TestRedirectKeepsTheQuery(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[routes]]
path = "/plain"
redirect.to = "/new"
[[routes]]
path = "/mark"
redirect.to = "/new?{query}"
[[routes]]
path = "/own"
redirect.to = "/new?a=1"
[[routes]]
path = "/search"
redirect.to = "/new{search}#top"
[[routes]]
path = "/fragment"
redirect.to = "/new#top"
[[routes]]
path = "/bare"
redirect.to = "/new?{query}#top"
`)
	check := func(target, want string) {
		t.Helper()
		equal(t, target, w.dial().Get(target).Get("Location"), want)
	}
	check("/plain", "/new")
	check("/plain?", "/new")
	check("/plain?a=1&b", "/new?a=1&b")
	check("/mark", "/new")
	check("/mark?a=/?", "/new?a=/?")
	check("/own?b=2", "/new?a=1")
	check("/search", "/new#top")
	check("/search?q", "/new?q#top")
	check("/fragment?q", "/new?q#top")
	check("/bare", "/new#top")
	check("/bare?q", "/new?q#top")
}

func TestHTTPSRedirect(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
https_redirect = true
[forwarding]
trusted_proxies = ["127.0.0.1"]
[[routes]]
listener = "main"
path = "/.well-known/acme-challenge/"
respond.body = "challenge"
[[routes]]
path = "/page"
respond.body = "page"
[routes.response_headers]
set.X-Page = "1"
`)
	check := func(method, target, fields, want string, status int) {
		t.Helper()
		r := w.raw(method, method+" "+target+" HTTP/1.1\r\n"+fields+"\r\n")
		equal(t, method+" "+target+" "+fields, r.Status(), status)
		equal(t, method+" "+target+" "+fields, r.Get("Location"), want)
		equal(t, "the route's rules", r.Has("X-Page"), status == 200 && target == "/page")
	}
	check("GET", "/page", "Host: example.org\r\n", "https://example.org/page", 301)
	check("GET", "/page?a=1", "Host: example.org:80\r\n", "https://example.org/page?a=1", 301)
	check("HEAD", "/page", "Host: example.org:8080\r\n", "https://example.org/page", 301)
	check("GET", "/nowhere", "Host: [::1]:80\r\n", "https://[::1]/nowhere", 301)
	check("GET", "//evil.example", "Host: a\r\n", "https://a//evil.example", 301)
	check("POST", "/page", "Host: a\r\nContent-Length: 0\r\n", "https://a/page", 308)
	check("PUT", "/page", "Host: a\r\nContent-Length: 3\r\n\r\nabc", "https://a/page", 308)
	check("OPTIONS", "*", "Host: a\r\n", "", 400)
	// Routes that name the listener, and clients that came over https, are not redirected.
	check("GET", "/.well-known/acme-challenge/x", "Host: a\r\n", "", 200)
	check("GET", "/page", "Host: a\r\nX-Forwarded-Proto: https\r\n", "", 200)
	check("GET", "/page", "Host: a\r\nX-Forwarded-Proto: HTTPS, http\r\n", "", 200)
	check("GET", "/page", "Host: a\r\nForwarded: for=1.2.3.4;proto=https\r\n", "", 200)
	check("GET", "/page", "Host: a\r\nX-Forwarded-Proto: gopher\r\n", "https://a/page", 301)
	// Without a host there is nothing to redirect to.
	equal(t, "HTTP/1.0 without a host", w.raw("GET", "GET /page HTTP/1.0\r\n\r\n").Status(), 400)
}

// Only trusted peers are believed about the scheme.
func TestSchemeAndListenerConditions(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[[listeners]]
name = "inner"
address = "127.0.0.2:0"
[forwarding]
trusted_proxies = ["10.0.0.0/8"]
[[routes]]
scheme = "http"
redirect = { to = "https://{hostname}:8443{path}", status = 301 }
[[routes]]
scheme = "https"
respond.body = "secure"
[[routes]]
listener = "inner"
scheme = "http"
respond.body = "inner"
`)
	r := w.raw("GET", "GET /a?b HTTP/1.1\r\nHost: x:80\r\nX-Forwarded-Proto: https\r\n\r\n")
	equal(t, "main", r.Get("Location"), "https://x:8443/a?b")
	equal(t, "inner", testkit.Dial(t, w.Addr("inner")).Get("/").Body, "inner")
}

// A rewrite never makes a target without a slash in front, or in absolute-form.
func TestRewriteMakesAPath(t *testing.T) {
	t.Parallel()
	got := make(chan *testkit.Message, 1)
	w := run(t, `
[[routes]]
path = "/name/{name}"
rewrite = "{name}"
upstream = "o"
[[routes]]
path = "/rest/{rest...}"
rewrite = "{rest}"
upstream = "o"
[[routes]]
path = "/slash/{rest...}"
rewrite = "/{rest}?{query}"
upstream = "o"
[[routes]]
path = "/search/{rest...}"
rewrite = "/{rest}{search}"
upstream = "o"
[upstreams.o]
targets = [%q]
`, testkit.Listen(t, mirror(got, ok)).URL)
	check := func(target, want string) {
		t.Helper()
		equal(t, target, w.dial().Get(target).Status(), 200)
		equal(t, target, receive(t, got).Target(), want)
	}
	check("/name/abc", "/abc")
	check("/name/http:", "/http:")
	check("/name/*", "/*")
	check("/rest/http://evil.example/x", "/http://evil.example/x")
	check("/rest/", "/")
	check("/rest//evil.example", "/evil.example")
	check("/slash//evil.example", "/evil.example")
	check("/slash/a?b=c", "/a?b=c")
	check("/search/a?b=c", "/a?b=c")
	check("/search/a", "/a")
}
