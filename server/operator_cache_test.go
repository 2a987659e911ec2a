package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"weir/admin"
	"weir/internal/testkit"
	"weir/server"
)

// TestCacheForOperators: what the admin API says of the cache.
func TestCacheForOperators(t *testing.T) {
	t.Parallel()
	w := run(t, `
[admin]
address = "127.0.0.1:0"
[cache]
purge_from = ["127.0.0.1"]
[[routes]]
upstream = "o"
cache = true
[upstreams.o]
targets = [%q]
`, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/private":
			rw.Header().Set("Cache-Control", "private")
		case "/varies":
			rw.Header().Set("Vary", "X-Kind")
			fallthrough
		default:
			rw.Header().Set("Cache-Control", "max-age=600")
			rw.Header().Set("ETag", `"1"`)
			rw.Header().Set("Cache-Groups", `"all"`)
		}
		io.WriteString(rw, strings.Repeat("x", len(r.URL.Path)*1000))
	}))
	api := func(path string, out any) {
		t.Helper()
		r, err := http.Get("http://" + w.AdminAddr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if err := json.NewDecoder(r.Body).Decode(out); err != nil || r.StatusCode != 200 {
			t.Fatalf("%s: %s, %v", path, r.Status, err)
		}
	}
	for path, times := range map[string]int{"/a": 3, "/longest-of-all-paths": 1, "/varies": 2, "/private": 1} {
		for range times {
			w.get("GET", path)
		}
	}
	check := func(path, next, because string, entries int) {
		t.Helper()
		var why admin.CacheWhy
		api("/cache/why?url="+url.QueryEscape("http://cached.example"+path), &why)
		if why.Next != next || !strings.Contains(why.Because, because) || len(why.Entries) != entries {
			t.Errorf("%s: %+v; want %q, because %q, %d entries", path, why, next, because, entries)
		}
	}
	check("/a", "hit", "the entry is fresh for another ", 1)
	check("/varies", "variant", "x-kind", 1)
	check("/private", "miss", "nothing is stored", 0)
	check("/never", "miss", "nothing is stored", 0)
	w.get("PURGE", "/a", "Purge-Mode: soft")
	check("/a", "revalidate", "purged", 1)
	for by, want := range map[string]string{"hits": "2 /a 1 /varies", "bytes": "0 /longest-of-all-paths 1 /varies"} {
		var got struct{ Entries []admin.CacheEntry }
		api("/cache/top?limit=2&by="+by, &got)
		var list []string
		for _, e := range got.Entries {
			list = append(list, fmt.Sprint(e.Hits, " ", strings.TrimPrefix(e.URL, "http://cached.example")))
		}
		equal(t, by, strings.Join(list, " "), want)
	}
}

// An explanation says what the cache would do now with the key of the request, whatever adds to it.
func TestExplainNow(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\nok"))
	w := launch(t, fmt.Sprintf("%s[[routes]]\nupstream = \"origin\"\ncache = { key.headers = [\"X-Key\"], key.ignore_query = [\"u\"] }\n[upstreams.origin]\ntargets = [%q]\n", plainListener, origin.URL))
	check := func(url, want string, fields ...string) {
		t.Helper()
		e, err := w.Explain(server.Question{URL: url, Fields: fields})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint(url, fields), e.Cache.Next, want)
	}
	check("http://weir.test/a", "miss")
	c := w.dial()
	c.Get("/a?u=1")
	check("http://weir.test/a", "hit")
	check("http://WEIR.test:80/a?u=2", "hit")
	check("http://weir.test/a", "miss", "X-Key: 1")
	c.Send("GET /b HTTP/1.1\r\nHost: weir.test\r\nX-Key: 1\r\n\r\n")
	c.Response("GET")
	check("http://weir.test/b", "miss")
	check("http://weir.test/b", "hit", "X-Key: 1")
}
