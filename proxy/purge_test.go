package proxy

import (
	"strings"
	"testing"
)

const purgeRoute = cachedRoute + "[cache]\npurge_from = [\"192.0.2.0/24\"]\n"

// A PURGE from where it is allowed.
func TestPurge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, purgeRoute)
		a := s.on("a", answer("200\nCache-Control: max-age=60", "hello"))
		equal(t, "a miss", s.request("GET /x").serve(), "200 ok")
		c := s.request("PURGE /x")
		equal(t, "the purge", c.serve(), "200 purge")
		equal(t, "the answer", c.front.sent(), "{\"purged\":1}\n")
		equal(t, "a miss again", s.request("GET /x").serve(), "200 ok")
		c = s.request("PURGE /x")
		c.with(2, "{}")
		equal(t, "a purge with a body", c.serve(), "501 purge")
		equal(t, "a hit", s.request("GET /x").serve(), "200 cached")
		equal(t, "streams", a.count(), 2)
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, strings.Replace(purgeRoute, "192.0.2.0", "198.51.100.0", 1))
		for _, method := range []string{"PURGE", "PURGEKEYS", "PURGETAGS", "BAN", "URLPURGE"} {
			equal(t, method, s.request(method+" /x").serve(), "403 purge")
		}
	})
	bubble(t, func(t *testing.T) {
		s := newStand(t, cachedRoute)
		a := s.on("a", answer("200", "mine"))
		equal(t, "a PURGE to the target", s.request("PURGE /x").serve(), "200 ok")
		equal(t, "a BAN to the target", s.request("BAN /x").serve(), "200 ok")
		equal(t, "streams", a.count(), 2)
	})
}

// What content management systems send is done as meant, or refused.
func TestPurgeSelection(t *testing.T) {
	// Four pages: what is left of them says what a request has ended.
	pages := []struct{ path, keys string }{
		{"/a", "Surrogate-Key: one two"}, {"/a/b", "X-Magento-Tags: cat_p_1,one"}, {"/c?d", "xkey: three, cat_p_2"}, {"/c", "Cache-Tag: f"},
	}
	check := func(request, want, left string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			t.Helper()
			s := newStand(t, purgeRoute)
			a := s.on("a")
			for _, p := range pages {
				a.scripts = []script{answer("200\nCache-Control: max-age=60\n"+p.keys, "hello")}
				equal(t, p.path, s.request("GET "+p.path).serve(), "200 ok")
			}
			c := s.request(request)
			equal(t, request, c.serve(), want)
			equal(t, request+": streams", a.count(), len(pages))
			if strings.HasPrefix(want, "501") {
				contains(t, request+": the reason", c.front.sent(), "{\"error\":\"")
			}
			var still []string
			for _, p := range pages {
				if got := s.request("GET " + p.path + "\nCache-Control: only-if-cached").serve(); got == "200 cached" {
					still = append(still, p.path)
				}
			}
			equal(t, request+": what is left", strings.Join(still, " "), left)
		})
	}
	const all = "/a /a/b /c?d /c"
	check("PURGE /a", "200 purge", "/a/b /c?d /c")
	check("PURGE /a\nX-Purge-Method: default", "200 purge", "/a/b /c?d /c")
	check("PURGE /a\nX-Purge-Method: exact", "200 purge", "/a/b /c?d /c")
	check("PURGE /a/.*\nX-Purge-Method: regex", "200 purge", "/a /c?d /c")
	check("PURGE /.*\nX-Purge-Method: regex", "200 purge", "")
	check("PURGE /\nSurrogate-Key: one three", "200 purge", "/c")
	check("PURGE /a\nCache-Tag: f,two", "200 purge", "/a/b /c?d")
	check("PURGE /\nxkey: three", "200 purge", "/a /a/b /c")
	check("PURGE /\nxkey-purge: three\nxkey-purge: f", "200 purge", "/a /a/b")
	check("PURGE /\nX-Magento-Tags-Pattern: ((^|,)cat_p_1(,|$))|((^|,)cat_p_2(,|$))", "200 purge", "/a /c")
	check("PURGE /\nX-Magento-Tags-Pattern: .*", "200 purge", "")
	check("PURGE /\nClear-Cache: true", "200 purge", "")
	check("PURGEKEYS /\nxkey-softpurge: one", "200 purge", "/c?d /c")
	check("PURGETAGS /\nX-Cache-Tags: one,f", "200 purge", "/c?d")
	check("PURGE /c\nFastly-Soft-Purge: 1", "200 purge", "/a /a/b /c?d")
	check("PURGE /c\nUser-Agent: a\nX-Forwarded-For: 192.0.2.7", "200 purge", "/a /a/b /c?d")

	for _, method := range []string{"BAN", "URIBAN", "FULLBAN", "BANURL", "URLPURGE", "DOMAINPURGE", "FASTPURGE", "PURGEALL"} {
		check(method+" /a", "501 purge", all)
	}
	check("PURGE /a*", "501 purge", all)
	check("PURGE /*", "501 purge", all)
	check("PURGEKEYS /", "501 purge", all)
	check("PURGETAGS /a", "501 purge", all)
	check("PURGE /a\nPurge-Mode: gentle", "501 purge", all)
	check("PURGE /a\nX-Purge-Method: prefix", "501 purge", all)
	check("PURGE /(a|c)\nX-Purge-Method: regex", "501 purge", all)
	check("PURGE /a.*b\nX-Purge-Method: regex", "501 purge", all)
	check("PURGE /\nX-Magento-Tags-Pattern: cat_p_.*", "501 purge", all)
	check("PURGE /\nX-Magento-Tags-Pattern: ((^|,)cat_p_(,|$))|x", "501 purge", all)
	check("PURGE /a\nSurrogate-Key: ,", "501 purge", all)
	check("PURGE /.*\nX-Purge-Method: regex\nSurrogate-Key: f", "501 purge", all)
	check("PURGE /a\nClear-Cache: maybe", "501 purge", all)
	for _, name := range []string{"X-Ban-Url", "X-Host", "X-Url", "X-Pool", "Varnish-Ban-All", "X-Purge-Regex", "X-VC-Purge-Method", "Purge-Cache-Tags", "xkey-other", "Edge-Cache-Tag",
		"X-LiteSpeed-Purge", "X-Key", "Tags"} {
		check("PURGE /a\n"+name+": x", "501 purge", all)
	}
}

// A PURGE ends what came by http and by https.
func TestPurgeSchemes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, purgeRoute+"[forwarding]\ntrusted_proxies = [\"192.0.2.0/24\"]\n")
		a := s.on("a", answer("200\nCache-Control: max-age=60", "hello"))
		for range 2 {
			equal(t, "http", s.request("GET /x").serve()[:3], "200")
			equal(t, "https", s.request("GET /x\nX-Forwarded-Proto: https").serve()[:3], "200")
		}
		equal(t, "streams", a.count(), 2)
		c := s.request("PURGE /x")
		equal(t, "the purge", c.serve(), "200 purge")
		equal(t, "the answer", c.front.sent(), "{\"purged\":2}\n")
	})
}
