package cache_test

import (
	"fmt"
	"testing"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
)

// extended is a driver whose keys hold a request field, with n keys for a URL.
func extended(t testing.TB, n int) *driver {
	d := newDriver(t, 256<<20, func(c *config.RouteCache) { c.Key.Headers = []string{"X"} })
	for i := range n {
		for _, url := range []string{"http://h/a", "http://h/b"} {
			r := d.do(t, "GET "+url, fmt.Appendf(nil, "X: %d\r\n", i), "", func(*head.Head) message {
				return answer(200, "Cache-Control: max-age=60")
			})
			if !r.stored {
				t.Fatalf("not stored: %v", r.decision.Reason)
			}
		}
	}
	return d
}

// TestPurgeExtended: a purge and an unsafe request end what is stored for a URL, whatever
// else its keys hold, and what is being fetched.
func TestPurgeExtended(t *testing.T) {
	check := func(name string, want int, end func(d *driver) int) {
		t.Helper()
		d := extended(t, 100)
		q := d.request(t, "GET http://h/a", rule.Fields("X: new\r\n"), "")
		found := d.store.Lookup(q)
		f, _ := d.store.Join(q, &found, false)
		if n := end(d); n != want {
			t.Errorf("%s: ended %d, want %d", name, n, want)
		}
		if n := d.store.Stats().Entries; n != int64(200-want) {
			t.Errorf("%s: %d entries are left", name, n)
		}
		if want > 0 {
			if f.Respond(nil, d.response(answer(200, "Cache-Control: max-age=60"))).Reason != rule.ReasonDoomed {
				t.Errorf("%s: what was being fetched is stored", name)
			}
		}
		f.Abort(cache.ErrAborted)
	}
	check("a purge", 100, func(d *driver) int { return d.store.Purge(cache.Purge{URL: "http://h/a"}, d.now.UnixNano()).Entries })
	check("a purge of another URL", 0, func(d *driver) int { return d.store.Purge(cache.Purge{URL: "http://h/"}, d.now.UnixNano()).Entries })
	check("PURGE", 100, func(d *driver) int {
		done, err := d.store.PurgeRequest(d.request(t, "PURGE http://h/a", nil, ""), &cache.Selection{})
		if err != nil {
			t.Error(err)
		}
		return done.Entries
	})
	check("POST", 100, func(d *driver) int {
		q := d.request(t, "POST http://h/a", rule.Fields("X: 7\r\n"), "")
		_, n := d.store.Unsafe(q, d.response(answer(200)))
		return n
	})
	check("everything twice", 200, func(d *driver) int {
		n := d.store.Purge(cache.Purge{Host: "h"}, d.now.UnixNano()).Entries
		return n + d.store.Purge(cache.Purge{URL: "http://h/a"}, d.now.UnixNano()).Entries
	})
}

// BenchmarkInvalidate is an unsafe request on a route whose keys hold a field, in a store
// with many entries.
func BenchmarkInvalidate(b *testing.B) {
	d := extended(b, 20_000)
	q := d.request(b, "POST http://h/c", rule.Fields("X: 7\r\n"), "")
	r := d.response(answer(200))
	for b.Loop() {
		d.store.Unsafe(q, r)
	}
}
