package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// varying starts weir in front of an origin whose answers say what it got in the fields that
// X-Vary or the query names, which their Vary names, too. rest goes into the one route's
// table; asked counts.
func varying(t *testing.T, rest string) (w *weir, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		vary := r.URL.Query().Get("vary")
		rw.Header().Set("Cache-Control", "max-age=600")
		rw.Header().Set("Vary", vary)
		for name := range strings.SplitSeq(vary, ",") {
			fmt.Fprintf(rw, "%s=%s\n", name, strings.Join(r.Header[http.CanonicalHeaderKey(name)], "|"))
		}
	})
	return run(t, `
[forwarding]
trusted_proxies = ["192.0.2.0/24"]
[[routes]]
upstream = "o"
%s
[upstreams.o]
targets = [%q]
`, rest, origin), asked
}

// TestVaryOfWhatTargetsGet: requests that a target gets alike share an answer, however different
// their clients wrote them, and no others do.
func TestVaryOfWhatTargetsGet(t *testing.T) {
	t.Parallel()
	thirty := make([]string, 30)
	for i := range thirty {
		thirty[i] = fmt.Sprintf("Cookie: lang=de; _ga=GA1.%d; consent=%d", i, i)
	}
	spellings := []string{
		"gzip, deflate, br", "gzip,deflate,br", "gzip, deflate;q=0.5, br", "br, gzip", "gzip;q=1.0, br;q=0.9, *;q=0.1", "GZIP, BR",
		"deflate, gzip;q=1.0, br", " br;q=1 ,gzip", "gzip, br, identity;q=0.5",
	}
	for i := range spellings {
		spellings[i] = "Accept-Encoding: " + spellings[i]
	}
	for _, c := range []struct {
		name, rest, vary string
		requests         []string
		asked            int64
		body             string // of the last one
	}{
		{"without rules", "cache = true", "Cookie", thirty, 30, "Cookie=lang=de; _ga=GA1.29; consent=29\n"},
		{"cookies removed", "request_headers.remove = [\"cookie\"]\ncache = true", "Cookie", thirty, 1, "Cookie=\n"},
		{"a cookie kept", "request_cookies.keep = [\"lang\"]\ncache = true", "Cookie", thirty, 1, "Cookie=lang=de\n"},
		{"cookies removed by name", "request_cookies.remove = [\"_ga*\", \"consent\"]\ncache = true", "Cookie", thirty, 1, "Cookie=lang=de\n"},
		{"a cookie kept, another value", "request_cookies.keep = [\"lang\"]\ncache = true", "Cookie",
			[]string{"Cookie: lang=de; a=1", "Cookie: lang=en; a=1", "Cookie: a=2; lang=de"}, 2, "Cookie=lang=de\n"},
		{"a field ignored", "[routes.cache]\nignore_vary = [\"Cookie\"]", "Cookie", thirty, 1, "Cookie=lang=de; _ga=GA1.0; consent=0\n"},
		{"a field set", "request_headers.set.Accept-Language = \"de\"\ncache = true", "Accept-Language",
			[]string{"Accept-Language: en", "Accept-Language: fr", "X: 1"}, 1, "Accept-Language=de\n"},
		{"one coding", "request_headers.set.Accept-Encoding = \"gzip\"\ncache = true", "Accept-Encoding", spellings, 1, "Accept-Encoding=gzip\n"},
		{"spellings of codings", "cache = true", "Accept-Encoding", spellings, 1, "Accept-Encoding=gzip, br\n"},
		{"spellings as they are", "[routes.cache]\nfold_encodings = false", "Accept-Encoding", spellings[:2], 1, "Accept-Encoding=gzip, deflate, br\n"},
		{"forged forwarding fields", "cache = true", "X-Forwarded-Proto",
			[]string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: x", "Y: 1"}, 1, "X-Forwarded-Proto=http\n"},
		{"forged with underscores", "request_headers.set.X-Service = \"a\"\ncache = true", "X_Service",
			[]string{"X_Service: 1", "X_Service: 2"}, 1, "X_Service=\n"},
		{"in the key", "request_headers.remove = [\"X-A\"]\ncache.key.headers = [\"X-A\"]", "X-B",
			[]string{"X-A: 1", "X-A: 2"}, 1, "X-B=\n"},
		{"cookies in the key", "request_cookies.remove = [\"a\"]\ncache.key.cookies = [\"a\", \"b\"]", "X-B",
			[]string{"Cookie: a=1; b=1", "Cookie: a=2; b=1", "Cookie: a=1; b=2"}, 2, "X-B=\n"},
		{"credentials that targets do not get", "request_headers.remove = [\"Authorization\"]\ncache = true", "X-B",
			[]string{"Authorization: Basic YTpi", "Authorization: Basic Yjpj"}, 1, "X-B=\n"},
		{"credentials that targets get", "cache = true", "X-B", []string{"Authorization: Basic YTpi", "Authorization: Basic YTpi"}, 2, "X-B=\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, asked := varying(t, c.rest)
			var body string
			for _, fields := range c.requests {
				_, _, body = w.get("GET", "/a?vary="+c.vary, fields)
			}
			equal(t, "requests to the origin", asked.Load(), c.asked)
			equal(t, "the last answer", body, c.body)
		})
	}
}

// TestBackgroundSendsWhatClientsDo: a validation in the background sends what a fetch for a
// client does, once, and its answer is the same variant.
func TestBackgroundSendsWhatClientsDo(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 2)
	origin := cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=50, stale-while-revalidate=600")
		rw.Header().Set("Age", "100")
		rw.Header().Set("Vary", "Cookie, X-Forwarded-For")
		requests <- r.Clone(context.Background())
	})
	w := run(t, `
[forwarding]
trusted_proxies = ["127.0.0.0/8"]
[[routes]]
upstream = "o"
request_cookies.keep = ["a"]
[routes.cache]
ignore_vary = ["X-Forwarded-For"]
[upstreams.o]
targets = [%q]
`, origin)
	fields := []string{"Cookie: a=1; b=2", "X-Forwarded-For: 192.0.2.1", "Via: 1.1 lb"}
	w.get("GET", "/", fields...)
	first := receive(t, requests)
	_, h, _ := w.get("GET", "/", append(fields, "Cookie: b=3")...)
	if !strings.HasPrefix(h.Get("Cache-Status"), "weir; hit; ttl=-") {
		t.Errorf("Cache-Status is %q", h.Get("Cache-Status"))
	}
	r := receive(t, requests)
	equal(t, "the method", r.Method, "GET")
	for _, name := range []string{"Cookie", "X-Forwarded-For", "Via", "Accept-Encoding"} {
		equal(t, name, strings.Join(r.Header[name], "|"), strings.Join(first.Header[name], "|"))
	}
	equal(t, "Cookie", r.Header.Get("Cookie"), "a=1")
}
