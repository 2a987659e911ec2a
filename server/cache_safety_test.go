package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir/internal/testkit"
	"weir/server"
	"weir/server/hook"
)

// TestCacheKeyHoldsWhatOriginsSee: what one client writes never changes what
// another gets for a request that an origin takes for a different one.
func TestCacheKeyHoldsWhatOriginsSee(t *testing.T) {
	t.Parallel()
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=60")
		if name, ok := strings.CutPrefix(r.URL.Path, "/vary/"); ok {
			rw.Header().Set("Vary", name)
		}
		io.WriteString(rw, r.RequestURI)
	})
	with := func(rules string) func(name, first, second string, same bool) {
		w := cached(t, origin, rules)
		ask := func(request string) string {
			c := w.dial()
			line, fields, _ := strings.Cut(request, "\n")
			c.Send("GET " + line + " HTTP/1.1\r\nHost: a.example\r\n" + strings.ReplaceAll(fields, "\n", "\r\n") + "\r\n")
			return c.Response("GET").Get("Cache-Status")
		}
		return func(name, first, second string, same bool) {
			t.Helper()
			ask(first)
			status := ask(second)
			equal(t, name+": "+status, strings.HasPrefix(status, "weir; hit"), same)
		}
	}

	check := with("")
	check("what weir replaces", "/a\nX-Forwarded-Host: evil\nForwarded: host=evil\n", "/a", true)
	check("absolute form of another host", "http://b.example/b", "/b", false)
	check("absolute form of the same host", "http://A.example/c", "/c", true)
	check("odd case of a field that selects", "/vary/x-ODD\nX-ODD: a\n", "/vary/x-ODD\nx-odd: b\n", false)
	check("absent and empty", "/vary/x-empty", "/vary/x-empty\nX-Empty:\n", false)
	check("one line and two", "/vary/x-two\nX-Two: a\nX-Two: b\n", "/vary/x-two\nX-Two: a\n", false)
	// The target does not get what Connection names.
	check("a field that ends here", "/vary/x-c\nX-C: a\nConnection: x-c\n", "/vary/x-c\nX-C: a\n", false)
	check("a language that ends here", "/vary/accept-language\nAccept-Language: de\nConnection: accept-language\n",
		"/vary/accept-language\nAccept-Language: de\n", false)

	check = with("[routes.cache.key]\nkeep_query = [\"id\"]")
	check("what does not count", "/a?id=1&x=2", "/a?x=3&id=1", true)
	check("another spelling of a name", "/b?%69d=6", "/b", false)
	check("a separator of some origins", "/c?x=1;id=6", "/c", false)

	check = with("[routes.cache.key]\nignore_query = [\"utm_*\"]\nsort_query = true")
	check("what does not count", "/a?utm_a=1&id=1", "/a?id=1", true)
	check("a separator of some origins", "/b?utm_a=1;id=6", "/b?utm_a=1", false)
	check("order of names", "/c?b=1&a=2", "/c?a=2&b=1", true)
	check("order of values", "/d?a=1&a=2", "/d?a=2&a=1", false)

	check = with("[routes.cache.key]\ncookies = [\"lang\"]\nheaders = [\"X-C\"]")
	check("a cookie", "/a\nCookie: lang=de; x=1\n", "/a\nCookie: x=2;lang=de\n", true)
	check("a cookie twice", "/b\nCookie: lang=de; lang=en\n", "/b\nCookie: lang=de\n", false)
	check("an empty cookie", "/c\nCookie: lang=\n", "/c", false)
	check("an empty field", "/d\nX-C:\n", "/d", false)
}

// TestCacheKeepsRoutesApart: routes that share a URL and differ in what else they
// ask for do not answer each other's requests; a purge and an unsafe request find
// the entries of both.
func TestCacheKeepsRoutesApart(t *testing.T) {
	t.Parallel()
	origin := func(text string) string {
		return cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(rw, text)
		})
	}
	w := run(t, `
[cache]
purge_from = ["127.0.0.1"]
[[routes]]
header = { X-Beta = "1" }
upstream = "beta"
cache = true
[[routes]]
query = { draft = "*" }
upstream = "draft"
[routes.cache]
key = { ignore_query = ["*"] }
[[routes]]
upstream = "public"
[routes.cache]
key = { ignore_query = ["*"], cookies = ["lang"] }
[upstreams.beta]
targets = [%q]
[upstreams.draft]
targets = [%q]
[upstreams.public]
targets = [%q]
`, origin("beta"), origin("draft"), origin("public"))
	check := func(want, path, status string, fields ...string) {
		t.Helper()
		_, h, body := w.get("GET", path, fields...)
		equal(t, path, body, want)
		if got := h.Get("Cache-Status"); !strings.HasPrefix(got, "weir; "+status) {
			t.Errorf("%s: %s", path, got)
		}
	}
	all := func(status string) {
		t.Helper()
		check("beta", "/x", status, "X-Beta: 1")
		check("draft", "/x?draft=1", status)
		check("public", "/x", status)
		check("public", "/x", status, "Cookie: lang=de")
	}
	all("fwd=uri-miss")
	all("hit")
	_, _, body := w.get("PURGE", "/x")
	equal(t, "purge", body, fmt.Sprintln(`{"purged":4}`))
	all("fwd=uri-miss")
	w.get("POST", "/x")
	all("fwd=uri-miss")
}

// Routes for the same URL that differ in the listener or in the client's certificate do not answer each
// other's requests.
func TestCacheKeepsListenersAndClientsApart(t *testing.T) {
	t.Parallel()
	origin := func(text string) string {
		return cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(rw, text)
		})
	}
	clients := testkit.NewAuthority(t)
	pair, client := clients.Issue("weir.test"), clients.Issue("web")
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
certificates = [{ cert = %q, key = %q }]
client_ca = %q
client_auth = "optional"
[[listeners]]
name = "internal"
address = "localhost:0"
certificates = [{ cert = %[1]q, key = %[2]q }]
[[routes]]
client.cn = "web"
upstream = "web"
cache = true
[[routes]]
listener = "internal"
upstream = "internal"
cache = true
[[routes]]
upstream = "public"
cache = true
[upstreams.web]
targets = [%[4]q]
[upstreams.internal]
targets = [%[5]q]
[upstreams.public]
targets = [%[6]q]
`, pair.Cert, pair.Key, clients.File, origin("web"), origin("internal"), origin("public"))
	check := func(listener, want, status string, shown ...tls.Certificate) {
		t.Helper()
		c := testkit.DialTLS(t, w.Addr(listener), &tls.Config{RootCAs: clients.Pool, ServerName: "weir.test", Certificates: shown})
		c.Send(get)
		a := c.Response("GET")
		equal(t, "the body", a.Body, want)
		if got := a.Get("Cache-Status"); !strings.HasPrefix(got, "weir; "+status) {
			t.Errorf("%s: %s", want, got)
		}
	}
	for _, status := range []string{"fwd=uri-miss", "hit"} {
		check("main", "web", status, client.Certificate)
		check("internal", "internal", status)
		check("main", "public", status)
	}
}

// TestCacheKeepsCredentialsApart: what hooks and rules make of a request counts
// as if the client had sent it, and what a validation brings for one client is
// not for all.
func TestCacheKeepsCredentialsApart(t *testing.T) {
	t.Parallel()
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("X-User")
		if r.Header.Get("If-None-Match") != "" {
			rw.Header().Set("Set-Cookie", "session="+user)
			rw.WriteHeader(304)
			return
		}
		rw.Header().Set("Cache-Control", "public, max-age=60")
		if r.Header.Get("Authorization") != "" {
			rw.Header().Set("Cache-Control", "max-age=60")
		}
		rw.Header().Set("ETag", `"a"`)
		fmt.Fprintf(rw, "%s%s %s", r.Host, r.URL.Path, r.Header.Get("Authorization"))
	})
	rules := "[[routes]]\nupstream = \"o\"\ncache = true\n"
	upstream := fmt.Sprintf("[upstreams.o]\ntargets = [%q]\n", origin)
	w := launch(t, rules+upstream, server.WithHooks(hook.Hooks{OnRequest: func(x hook.Exchange) {
		user := x.Request().Get("X-User")
		switch string(x.Request().Target()) {
		case "/authorization":
			x.Request().Set("Authorization", user)
		case "/target":
			x.Request().SetTarget("/" + user)
		case "/host":
			x.Request().Set("Host", user)
		}
	}}))
	check := func(path, want string) {
		t.Helper()
		for _, user := range []string{"ann", "bob"} {
			_, _, body := w.get("GET", path, "X-User: "+user)
			equal(t, path, body, strings.ReplaceAll(want, "USER", user))
		}
	}
	check("/authorization", "cached.example/authorization USER")
	check("/target", "cached.example/USER ")
	check("/host", "USER/host ")

	w = launch(t, rules+"request_headers = { set = { Authorization = \"for {client_addr}\" } }\n"+upstream)
	for range 2 {
		_, h, _ := w.get("GET", "/rule")
		if got := h.Get("Cache-Status"); !strings.HasSuffix(got, "detail=authorization") {
			t.Errorf("a rule: %s", got)
		}
	}

	w = launch(t, rules+upstream)
	w.get("GET", "/validated", "X-User: ann")
	_, h, _ := w.get("GET", "/validated", "X-User: bob", "Cache-Control: no-cache")
	equal(t, "one's own cookie", h.Get("Set-Cookie"), "session=bob")
	_, h, body := w.get("GET", "/validated", "X-User: ann")
	equal(t, "another's cookie", h.Get("Set-Cookie"), "")
	equal(t, "body", body, "cached.example/validated ")
}
