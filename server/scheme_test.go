package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"weir/cache"
)

// schemeSite redirects to https by what it is told of the scheme, as applications behind TLS
// do, and lets both answers be stored.
func schemeSite(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Cache-Control", "public, max-age=600")
	if r.Header.Get("X-Forwarded-Proto") == "https" {
		fmt.Fprintf(rw, "page of %s", r.Host)
		return
	}
	http.Redirect(rw, r, "https://example.com"+r.URL.Path, http.StatusMovedPermanently)
}

// schemeWeir trusts the peers in trusted, in front of schemeSite.
func schemeWeir(t *testing.T, trusted string) *weir {
	return run(t, `
[forwarding]
trusted_proxies = [%q]
[cache]
purge_from = ["127.0.0.1"]
[[routes]]
upstream = "origin"
cache = true
[[routes]]
path = "/redirect"
redirect = { to = "{scheme}://other.example/" }
[upstreams.origin]
targets = [%q]
sticky.cookie = "at"
`, trusted, cachedOrigin(t, schemeSite))
}

// TestSchemeOfTheClient: what a trusted proxy says about the scheme counts wherever weir asks for
// one, and what others say counts nowhere.
func TestSchemeOfTheClient(t *testing.T) {
	t.Parallel()
	w := schemeWeir(t, "127.0.0.0/8")
	check := func(what, method, path string, status int, cacheStatus string, fields ...string) http.Header {
		t.Helper()
		got, h, _ := w.get(method, path, fields...)
		equal(t, what+": status", got, status)
		if s := h.Get("Cache-Status"); !strings.HasPrefix(s, cacheStatus) {
			t.Errorf("%s: Cache-Status is %q, want %q", what, s, cacheStatus)
		}
		return h
	}
	const https = "X-Forwarded-Proto: https"
	h := check("http", "GET", "/a", 301, "weir; fwd=uri-miss", "X-Forwarded-Proto: http")
	equal(t, "the cookie of http is secure", strings.Contains(h.Get("Set-Cookie"), "Secure"), false)
	h = check("https", "GET", "/a", 200, "weir; fwd=uri-miss", https)
	equal(t, "the cookie of https is secure", strings.Contains(h.Get("Set-Cookie"), "Secure"), true)
	check("https in Forwarded", "GET", "/a", 200, "weir; hit", "Forwarded: for=192.0.2.1;proto=https")
	check("as the connection", "GET", "/a", 301, "weir; hit")
	check("that of a WebSocket", "GET", "/a", 200, "weir; hit", "X-Forwarded-Proto: wss")
	check("a list in capitals, told to the target in one form", "GET", "/c", 200, "weir; fwd=uri-miss", "X-Forwarded-Proto: HTTPS, http")
	check("a scheme that is none", "GET", "/a", 301, "weir; hit", "X-Forwarded-Proto: gopher")
	check("told to the target", "GET", "/b", 200, "weir; fwd=uri-miss", "Forwarded: proto=https")
	h = check("redirect", "GET", "/redirect", 308, "", https)
	equal(t, "Location", h.Get("Location"), "https://other.example/")
	check("purge of https", "PURGE", "/a", 200, "", https)
	check("https after its purge", "GET", "/a", 200, "weir; fwd=uri-miss", https)

	schemes := map[string]int{}
	for _, line := range w.logged(11) {
		schemes[line.Scheme]++
	}
	equal(t, "https in the access log", schemes["https"], 8)
	equal(t, "http in the access log", schemes["http"], 3)

	w = schemeWeir(t, "192.0.2.0/24")
	check("forged, cold", "GET", "/a", 301, "weir; fwd=uri-miss", https)
	check("forged", "GET", "/a", 301, "weir; hit", "Forwarded: proto=https")
	h = check("forged redirect", "GET", "/redirect", 308, "", https)
	equal(t, "Location", h.Get("Location"), "http://other.example/")
}

// TestHostsOfOneKey: spellings of a host that mean the same share a key, for purges too.
func TestHostsOfOneKey(t *testing.T) {
	t.Parallel()
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "public, max-age=600")
	}), "")
	c := w.dial()
	ask := func(host string) string {
		c.Send("GET /a HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		m := c.Response("GET")
		return strings.Split(m.Get("Cache-Status"), ";")[1]
	}
	equal(t, "cold", ask("example.com"), " fwd=uri-miss")
	same := []string{"example.com:80", "example.com.", "EXAMPLE.com.:80", "example.com:"}
	for _, host := range same {
		equal(t, host, ask(host), " hit")
	}
	for _, host := range []string{"example.com:443", "example.com:8080", "www.example.com", "[::1]:80"} {
		equal(t, host, ask(host), " fwd=uri-miss")
	}
	equal(t, "[::1]", ask("[::1]"), " hit")
	for i, host := range same {
		p := cache.Purge{URL: "http://" + host + "/a"}
		switch i {
		case 1:
			p = cache.Purge{Prefix: "http://" + host + "/"}
		case 2:
			p = cache.Purge{Host: host}
		}
		done, err := w.Purge(p)
		if done.Entries != 1 || err != nil {
			t.Errorf("%+v ends %d entries, %v, want 1", p, done.Entries, err)
		}
		ask("example.com")
	}
	c.Send("PURGE /a HTTP/1.1\r\nHost: Example.Com.:80\r\n\r\n")
	equal(t, "PURGE", c.Response("PURGE").Body, "{\"purged\":1}\n")
}

// TestHostOfTheClient: an origin may believe what a trusted proxy says about the host, so that counts
// for keys, purges, redirects and the log, and what others say counts nowhere.
func TestHostOfTheClient(t *testing.T) {
	t.Parallel()
	const file = `
[forwarding]
trusted_proxies = [%q]
[cache]
purge_from = ["127.0.0.1"]
[[routes]]
upstream = "origin"
cache = true
[[routes]]
path = "/redirect"
redirect = { to = "{scheme}://{host}/" }
[upstreams.origin]
targets = [%q]
`
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprintf(rw, "%s of %s", r.Header.Values("X-Forwarded-Host"), r.Host)
	})
	w := run(t, file, "127.0.0.0/8", origin)
	check := func(what, method, fields, status, body string) {
		t.Helper()
		c := w.dial()
		c.Send(method + " /a HTTP/1.1\r\nHost: weir.internal\r\n" + fields + "\r\n\r\n")
		m := c.Response(method)
		equal(t, what, m.Body, body)
		if s := m.Get("Cache-Status"); !strings.Contains(s, status) {
			t.Errorf("%s: Cache-Status is %q, want %q", what, s, status)
		}
	}
	const one, two, three = "X-Forwarded-Host: One.example:80", "X-Forwarded-Host: two.example", "Forwarded: for=192.0.2.1;host=\"three.example\""
	check("one", "GET", one, "fwd=uri-miss", "[One.example:80] of weir.internal")
	check("two", "GET", two, "fwd=uri-miss", "[two.example] of weir.internal")
	check("three", "GET", three, "fwd=uri-miss", "[three.example] of weir.internal")
	check("none", "GET", "X-A: 1", "fwd=uri-miss", "[weir.internal] of weir.internal")
	check("that of the request", "GET", "X-Forwarded-Host: weir.internal", "hit", "[weir.internal] of weir.internal")
	check("a list", "GET", two+", weir.internal", "hit", "[two.example] of weir.internal")
	check("two lines", "GET", two+"\r\n"+one, "hit", "[two.example] of weir.internal")
	check("two that differ", "GET", two+"\r\n"+three, "fwd=uri-miss", "[two.example] of weir.internal")
	check("no host", "GET", "X-Forwarded-Host: a b", "hit", "[weir.internal] of weir.internal")
	check("two again", "GET", two, "hit", "[two.example] of weir.internal")
	check("purge", "PURGE", two, "", "{\"purged\":2}\n")
	check("two, purged", "GET", two, "fwd=uri-miss", "[two.example] of weir.internal")
	check("POST", "POST", two+"\r\nContent-Length: 0", "fwd=method", "[two.example] of weir.internal")
	check("two, changed", "GET", two, "fwd=uri-miss", "[two.example] of weir.internal")
	check("one is still there", "GET", one, "hit", "[One.example:80] of weir.internal")
	done, err := w.Purge(cache.Purge{URL: "http://one.example/a"})
	if done.Entries != 1 || err != nil {
		t.Errorf("a purge by URL ends %d entries, %v", done.Entries, err)
	}
	_, h, _ := w.get("GET", "/redirect", two)
	equal(t, "Location", h.Get("Location"), "http://two.example/")
	hosts := map[string]int{}
	for _, line := range w.logged(16) {
		hosts[line.Host]++
	}
	equal(t, "two.example in the log", hosts["two.example"], 10)

	w = run(t, file, "192.0.2.0/24", origin)
	check("forged, cold", "GET", one, "fwd=uri-miss", "[weir.internal] of weir.internal")
	check("forged", "GET", three, "hit", "[weir.internal] of weir.internal")
}
