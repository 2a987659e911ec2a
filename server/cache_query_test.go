package server_test

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
)

// queried is an origin that says which parameters do not count, and counts its answers.
func queried(t *testing.T) (origin string) {
	var asked atomic.Int64
	return cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "max-age=600")
		rw.Header().Set("No-Vary-Search", `params=("utm_source" "gclid"), key-order`)
		io.WriteString(rw, fmt.Sprintf("%d: %s", asked.Add(1), r.URL.RawQuery))
	})
}

// TestCacheNoVarySearch: requests whose URLs differ only in what the origin says does not count
// get one stored response, after a restart too, until one of these URLs is purged.
func TestCacheNoVarySearch(t *testing.T) {
	t.Parallel()
	l := &library{t: t, folder: t.TempDir(), size: "64MiB", origin: queried(t)}
	l.start(nil)
	check := func(target, want string) {
		t.Helper()
		_, _, body := l.get("GET", target)
		equal(t, target, body, want)
	}
	check("/p?utm_source=a&id=1", "1: utm_source=a&id=1")
	check("/p?id=1", "1: utm_source=a&id=1")
	check("/p?gclid=x&%69d=1&utm_source", "1: utm_source=a&id=1")
	check("/p?id=2", "2: id=2")
	check("/p?b=&a=+", "3: b=&a=+")
	check("/p?a=%20&gclid=1&b", "3: b=&a=+")
	l.start(nil)
	check("/p?id=1", "1: utm_source=a&id=1")
	check("/p?gclid=y&id=2", "2: id=2")
	_, _, body := l.get("PURGE", "/p?id=1&gclid=7")
	equal(t, "PURGE", body, "{\"purged\":1}\n")
	check("/p?id=1", "4: id=1")
	check("/p?id=2&utm_source=z", "2: id=2")
	l.get("POST", "/p?gclid=8&id=2") // the fifth
	l.start(nil)
	check("/p?id=2", "6: id=2")
	check("/p?id=2&utm_source=z", "6: id=2")
}

// TestCacheNoVarySearchOff: a reload decides whether the field counts.
func TestCacheNoVarySearchOff(t *testing.T) {
	t.Parallel()
	origin := queried(t)
	w := cached(t, origin, "")
	check := func(target, want string) {
		t.Helper()
		_, _, body := w.get("GET", target)
		equal(t, target, body, want)
	}
	set := func(setting string) {
		t.Helper()
		if err := w.Reload(parse(t, fmt.Sprintf(plainListener+`
[cache]
size = "64MiB"
purge_from = ["127.0.0.1"]
[[routes]]
upstream = "origin"
[routes.cache]
%s
[upstreams.origin]
targets = [%q]
`, setting, origin))); err != nil {
			t.Fatal(err)
		}
	}
	check("/p?id=1&gclid=1", "1: id=1&gclid=1")
	check("/p?id=1&gclid=2", "1: id=1&gclid=1")
	set("no_vary_search = false")
	check("/p?id=1&gclid=2", "2: id=1&gclid=2")
	check("/p?id=1&gclid=1", "3: id=1&gclid=1")
	set("")
	check("/p?id=1&gclid=3", "1: id=1&gclid=1")
}
