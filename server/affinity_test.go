package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// The cookie that decides may stand in any of several Cookie lines, as gateways
// from HTTP/2 leave them.
func TestSeveralCookieLines(t *testing.T) {
	t.Parallel()
	check := func(name, settings string) {
		t.Run(name, func(t *testing.T) {
			w := run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%s]
%s
`, answering(t, "a", "b", "c"), settings)
			c := w.dial()
			// With the hash each user is led by its cookie; with the sticky cookie
			// by the one that the first answer brought.
			for user := range 10 {
				cookie := fmt.Sprint("user=", user)
				c.Send("GET / HTTP/1.1\r\nHost: a\r\nCookie: " + cookie + "\r\n\r\n")
				m := c.Response("GET")
				if set := m.Get("Set-Cookie"); set != "" {
					cookie, _, _ = strings.Cut(set, ";")
				}
				for range 3 {
					c.Send("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; b=2\r\nCookie: c=3\r\ncookie: " + cookie + "\r\n\r\n")
					again := c.Response("GET")
					equal(t, "target", again.Body, m.Body)
					equal(t, "Set-Cookie", again.Get("Set-Cookie"), "")
				}
			}
		})
	}
	check("hash", `balance = "hash"`+"\n"+`hash.by = "cookie:user"`)
	check("sticky", `sticky.cookie = "weir"`)
}

// The sticky cookie is about one client: the cache keeps the response without it.
func TestStickyCookieIsNotCached(t *testing.T) {
	t.Parallel()
	w := run(t, `
[cache]
[[routes]]
upstream = "origin"
cache = {}
[upstreams.origin]
targets = [%q]
sticky.cookie = "weir"
`, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		rw.Header().Set("ETag", `"v"`)
		if r.Header.Get("If-None-Match") != "" {
			rw.WriteHeader(304)
			return
		}
		fmt.Fprint(rw, "hello")
	}))
	check := func(name, path, cache string, cookie bool) {
		t.Helper()
		status, h, _ := w.get("GET", path)
		equal(t, name+": status", status, 200)
		if got := h.Get("Cache-Status"); !strings.Contains(got, cache) {
			t.Errorf("%s: Cache-Status is %q, want %q in it", name, got, cache)
		}
		equal(t, name+": has a cookie", strings.HasPrefix(h.Get("Set-Cookie"), "weir="), cookie)
	}
	check("fetched", "/?cc=max-age=60", "stored", true)
	check("from the cache", "/?cc=max-age=60", "hit", false)
	check("validated: fetched", "/v?cc=no-cache", "stored", true)
	check("validated", "/v?cc=no-cache", "fwd=stale; fwd-status=304", false)
}

// An exchange that the cache begins again, because a 304 fits nothing it has,
// goes where its key leads.
func TestHashKeyOutlivesRefetch(t *testing.T) {
	t.Parallel()
	var urls []string
	for _, n := range []string{"a", "b", "c"} {
		urls = append(urls, fmt.Sprintf("%q", cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Cache-Control", "no-cache")
			if r.Header.Get("If-None-Match") != "" {
				rw.Header().Set("ETag", `"unknown"`)
				rw.WriteHeader(304)
				return
			}
			rw.Header().Set("ETag", `"v"`)
			fmt.Fprint(rw, n)
		})))
	}
	w := run(t, `
[cache]
[[routes]]
upstream = "origin"
cache = {}
[upstreams.origin]
targets = [%s]
balance = "hash"
hash.by = "path"
`, strings.Join(urls, ", "))
	for key := range 8 {
		path := fmt.Sprint("/", key)
		_, _, first := w.get("GET", path)
		for range 3 {
			_, _, again := w.get("GET", path)
			equal(t, "target of "+path, again, first)
		}
	}
}

// Clients of a target that the configuration drains go elsewhere, and no new ones
// come to it; what runs there finishes, over a reload.
func TestDrainByConfiguration(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	one := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if c.Request().Target() == "/slow" {
				c.Wait(release)
			}
			c.Send(say("one"))
		}
	})
	two := testkit.Listen(t, testkit.Answer(say("two")))
	text := func(drain bool) string {
		return fmt.Sprintf(plainListener+`
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [{ url = %q, drain = %t }, { url = %q, priority = 1 }]
sticky.cookie = "weir"
`, one.URL, drain, two.URL)
	}
	w := run(t, "%s", text(false))
	c := w.dial()
	m := c.Get("/")
	equal(t, "at first", m.Body, "one")
	cookie, _, _ := strings.Cut(m.Get("Set-Cookie"), ";")
	c.Send("GET /slow HTTP/1.1\r\nHost: a\r\nCookie: " + cookie + "\r\n\r\n")
	testkit.Eventually(t, "it runs", func() bool { return one.Requests() == 2 })
	if err := w.Reload(parse(t, text(true))); err != nil {
		t.Fatal(err)
	}
	state := func(state string) string {
		return w.metric(fmt.Sprintf(`weir_upstream_target_state{upstream="origin",target=%q,state=%q}`, one.URL, state))
	}
	equal(t, "draining", state("draining"), "1")
	for range 4 {
		d := w.dial()
		d.Send("GET / HTTP/1.1\r\nHost: a\r\nCookie: " + cookie + "\r\n\r\n")
		equal(t, "a client with its cookie", d.Response("GET").Body, "two")
		equal(t, "a client without", w.dial().Get("/").Body, "two")
	}
	close(release)
	equal(t, "the running one", c.Response("GET").Body, "one")
	equal(t, "requests", one.Requests(), 2)
	if err := w.Reload(parse(t, text(false))); err != nil {
		t.Fatal(err)
	}
	equal(t, "afterwards", w.dial().Get("/").Body, "one")
}
