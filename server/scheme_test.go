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
	check("a scheme that is none", "GET", "/a", 301, "weir; hit", "X-Forwarded-Proto: gopher")
	check("told to the target", "GET", "/b", 200, "weir; fwd=uri-miss", "Forwarded: proto=https")
	h = check("redirect", "GET", "/redirect", 308, "", https)
	equal(t, "Location", h.Get("Location"), "https://other.example/")
	check("purge of https", "PURGE", "/a", 200, "", https)
	check("https after its purge", "GET", "/a", 200, "weir; fwd=uri-miss", https)

	schemes := map[string]int{}
	for _, line := range w.logged(9) {
		schemes[line.Scheme]++
	}
	equal(t, "https in the access log", schemes["https"], 6)
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
