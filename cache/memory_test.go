package cache_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"weir/cache"
	"weir/cache/evict"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
	"weir/internal/testkit"
)

// fillWith stores a response of that size under a URL.
func (d *driver) fillWith(t testing.TB, url string, size int, fields ...string) bool {
	r := d.do(t, "GET "+url, nil, "", func(*head.Head) message {
		m := answer(200, append([]string{"Cache-Control: max-age=1000", "Content-Type: text/html; charset=utf-8"}, fields...)...)
		m.body = strings.Repeat("x", size)
		return m
	})
	return r.stored
}

// TestHitAllocatesNothing: from look-up to the head that the client gets.
func TestHitAllocatesNothing(t *testing.T) {
	d := newDriver(t, 8<<20, func(c *config.RouteCache) { c.Key.Headers = []string{"X-Tenant"} })
	d.fillWith(t, "http://www.example.org/a?b=c", 10<<10, "ETag: \"a\"", "Vary: Accept-Encoding, Accept-Language, X")
	check := func(name string, status int, fields string) {
		t.Helper()
		q := d.request(t, "GET http://www.example.org/a?b=c", rule.Fields(fields), "")
		var h head.Head
		var out []byte
		var a cache.Answer
		allocs := testing.AllocsPerRun(100, func() {
			found := d.store.Lookup(q)
			var ok bool
			if a, ok = d.store.Answer(q, &found); !ok || found.Outcome != rule.Fresh {
				t.Fatalf("%s: %v", name, found.Outcome)
			}
			a.Lend(&h)
			h.Add(head.Age, []byte("17"))
			out = h.AppendTo(out[:0])
		})
		if a.Status != status || allocs != 0 {
			t.Errorf("%s: status %d, %v allocations", name, a.Status, allocs)
		}
	}
	check("plain", 200, "")
	check("directives", 200, "Cache-Control: max-age=60\r\nPragma: foo\r\n")
	check("not modified", 304, "If-None-Match: \"b\", W/\"a\"\r\n")
	check("modified", 200, "If-None-Match: \"b\"\r\n")
}

var boundSize = flag.Int64("bound.mib", 16, "size of the tier in TestBound, in MiB")

// resident is the memory of this process that is in use, in MiB.
func resident() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var all, rss int
	fmt.Sscan(string(b), &all, &rss)
	return float64(rss*os.Getpagesize()) / (1 << 20)
}

// TestBound: bytes held stay within the bound in a fill of ten times as much
// with mixed sizes, for each policy (of three times as much with -short).
func TestBound(t *testing.T) {
	for _, policy := range evict.Policies() {
		size := int(*boundSize << 20)
		c := config.Default().Cache
		c.Size, c.MaxObject, c.Policy = config.Size(size), 1<<20, policy
		store, err := cache.NewStore(&c)
		if err != nil {
			t.Fatal(err)
		}
		p, err := rule.NewPolicy(config.DefaultRouteCache())
		if err != nil {
			t.Fatal(err)
		}
		d := &driver{store: store, policy: p, now: epoch}
		rnd := rand.New(rand.NewPCG(1, 2))
		var most int64
		var rss float64
		for written, i := 0, 0; written < testkit.Rounds(3, 10)*size; i++ {
			n := rnd.IntN(4 << 10)
			if i%20 == 0 {
				n = rnd.IntN(1 << 20)
			}
			if !d.fillWith(t, fmt.Sprintf("http://h/%d", i), n) {
				t.Fatalf("%s: %d bytes were not stored", policy, n)
			}
			written += n
			if i%50 == 0 {
				most = max(most, store.Stats().Bytes)
				rss = max(rss, resident())
			}
		}
		s := store.Stats()
		t.Logf("%s: at most %.1f MiB held of %d, %.1f MiB resident", policy, float64(most)/(1<<20), *boundSize, rss)
		if most > int64(size) || s.Bytes < int64(size)*8/10 || s.Evicted == 0 {
			t.Errorf("%s: at most %d of %d bytes, now %+v", policy, most, size, s)
		}
		if n := store.Purge(cache.Purge{All: true}, epoch.UnixNano()).Entries; int64(n) != s.Entries {
			t.Errorf("%s: purged %d of %d", policy, n, s.Entries)
		}
		if s := store.Stats(); s.Bytes != 0 || s.Entries != 0 || s.Filling != 0 {
			t.Errorf("%s: left behind: %+v", policy, s)
		}
	}
}

// TestMemoryCost: what an entry is counted for is about what it holds once it
// was asked for.
func TestMemoryCost(t *testing.T) {
	check := func(n, size int, fields ...string) (each float64) {
		t.Helper()
		d := newDriver(t, 512<<20, nil)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 2 * n {
			d.fillWith(t, fmt.Sprintf("http://www.example.org/some/path/%d", i%n), size, fields...)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held, counted := float64(after.HeapAlloc)-float64(before.HeapAlloc), float64(d.store.Stats().Bytes)
		if held > 1.05*counted || held < 0.8*counted {
			t.Errorf("%d entries of %d bytes hold %.0f bytes each, counted %.0f", n, size, held/float64(n), counted/float64(n))
		}
		t.Logf("%d entries of %d bytes and %d fields: %.0f bytes each held, %.0f counted: %.2f", n, size, len(fields), held/float64(n), counted/float64(n), held/counted)
		runtime.KeepAlive(d)
		return counted / float64(n)
	}
	if each := check(5_000, 1<<10, "ETag: \"abc\"", "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT", "Server: nginx",
		"Accept-Ranges: bytes", "X-Request-Id: 0123456789abcdef", "Date: Fri, 02 Jan 2026 03:04:05 GMT"); each > 2150 {
		t.Errorf("an entry of 1 KiB with eight fields is counted for %.0f bytes", each)
	}
	if testing.Short() {
		return // what follows are other sizes and fields
	}
	check(5_000, 0)
	check(5_000, 1000)
	check(5_000, 1000, "Vary: Accept-Encoding, Accept-Language", "Surrogate-Key: a b c")
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("X-Field-%d: a value like any other", i))
	}
	check(5_000, 10, many...)
	check(2000, 20_000)
	check(200, 1_000_001)
}

// TestPurge counts what is ended.
func TestPurge(t *testing.T) {
	d := newDriver(t, 8<<20, nil)
	fill := func() {
		for _, url := range []string{"http://a/x", "http://a/x/y", "http://a/z", "http://b/x", "https://a/x"} {
			d.fillWith(t, url, 10, "Surrogate-Key: all "+url[len(url)-1:], "ETag: \"a\"")
		}
	}
	check := func(name string, p cache.Purge, want int) {
		t.Helper()
		fill()
		if got := d.store.Purge(p, d.now.UnixNano()).Entries; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	check("url", cache.Purge{URL: "HTTP://A/x"}, 1)
	check("unknown url", cache.Purge{URL: "http://a/"}, 0)
	check("host", cache.Purge{Host: "A"}, 4)
	check("prefix", cache.Purge{Prefix: "http://a/x"}, 2)
	check("group", cache.Purge{Group: "x"}, 3)
	check("all of a group", cache.Purge{Group: "all"}, 5)
	check("nothing", cache.Purge{}, 0)
	check("all", cache.Purge{All: true}, 5)

	// A soft purge leaves something to validate.
	check("soft", cache.Purge{Host: "b", Soft: true}, 1)
	r := d.do(t, "GET http://b/x", nil, "", func(h *head.Head) message {
		if string(h.Get(head.IfNoneMatch)) != `"a"` {
			t.Error("not validated")
		}
		return answer(304)
	})
	if r.outcome != rule.Revalidate || r.reason != rule.ReasonPurged || r.status != 200 {
		t.Errorf("after a soft purge: %v, %v, %d", r.outcome, r.reason, r.status)
	}
	if r := d.do(t, "GET http://b/x", nil, "", nil); r.outcome != rule.Fresh {
		t.Errorf("after validation: %v", r.outcome)
	}
	q := d.request(t, "PURGE http://b/x", nil, "")
	if done, err := d.store.PurgeRequest(q, &cache.Selection{}); done.Entries != 1 || err != nil {
		t.Errorf("PURGE: %+v, %v", done, err)
	}
}

// TestVariantsAreBounded: an origin that varies without end fills its key, not
// the store.
func TestVariantsAreBounded(t *testing.T) {
	d := newDriver(t, 8<<20, nil)
	for i := range 500 {
		d.do(t, "GET http://h/x", rule.Fields(fmt.Sprintf("Foo: %d\r\n", i)), "", func(*head.Head) message {
			return answer(200, "Cache-Control: max-age=1000", "Vary: Foo")
		})
	}
	if n := d.store.Stats().Entries; n != 64 {
		t.Errorf("%d entries", n)
	}
}
