package cache_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"weir/cache"
	"weir/cache/rule"
	"weir/cache/tier"
	"weir/config"
	"weir/internal/head"
	"weir/internal/testkit"
)

// varied is an answer for whose URL only the parameter id counts.
func varied(fields ...string) message {
	return answer(200, append(fields, "Cache-Control: max-age=60", `No-Vary-Search: except=("id")`)...)
}

// storeAs stores the origin's answer for a URL.
func (d *driver) storeAs(t *testing.T, url string, m message) {
	t.Helper()
	if r := d.do(t, "GET "+url, nil, "", func(*head.Head) message { return m }); !r.stored {
		t.Fatalf("%s is not stored: %v", url, r.decision.Reason)
	}
}

// fresh says whether a URL is answered without the origin.
func (d *driver) fresh(t *testing.T, url string) bool {
	t.Helper()
	found := d.store.Lookup(d.request(t, "GET "+url, nil, ""))
	return found.Outcome == rule.Fresh
}

// lead begins a fetch.
func (d *driver) lead(t *testing.T, url string) *cache.Fetch {
	t.Helper()
	q := d.request(t, "GET "+url, nil, "")
	found := d.store.Lookup(q)
	f, role := d.store.Join(q, &found, false)
	if role != cache.Lead {
		t.Fatalf("%s: role %v", url, role)
	}
	return f
}

// TestPurgeVaried: whatever ends an answer to one URL ends it for all URLs that share it, and
// what is being fetched for one of them; and nothing of another path.
func TestPurgeVaried(t *testing.T) {
	check := func(name string, end func(d *driver)) {
		t.Helper()
		d := newDriver(t, 8<<20, func(c *config.RouteCache) { c.Key.Headers = []string{"X"} })
		d.storeAs(t, "http://h/p?id=1&x=1", varied("Surrogate-Key: g"))
		d.storeAs(t, "http://h/other?id=1", answer(200, "Cache-Control: max-age=60"))
		if !d.fresh(t, "http://h/p?x=2&id=1") || !d.fresh(t, "http://h/other?id=1") {
			t.Fatal("not stored")
		}
		if x := d.store.Explain("http://h/p?x=2&id=1", d.now.UnixNano()); len(x.Entries) != 1 || x.Entries[0].URL != "http://h/p?id=1" {
			t.Errorf("explained as %+v", x)
		}
		q := d.request(t, "GET http://h/p?id=1&x=3", rule.Fields("X: another key\r\n"), "")
		found := d.store.Lookup(q)
		f, _ := d.store.Join(q, &found, false)
		end(d)
		if d.fresh(t, "http://h/p?x=2&id=1") || d.fresh(t, "http://h/p?id=1&x=1") || d.fresh(t, "http://h/p?id=1") {
			t.Errorf("%s: the entry still answers", name)
		}
		if reason := f.Respond(nil, d.response(varied())).Reason; reason != rule.ReasonDoomed {
			t.Errorf("%s: what was being fetched is stored: %v", name, reason)
		}
		f.Abort(cache.ErrAborted)
		if everything := name == "all" || name == "the host"; d.fresh(t, "http://h/other?id=1") == everything {
			t.Errorf("%s: another path: ended %v", name, !everything)
		}
		d.store.Purge(cache.Purge{All: true}, d.now.UnixNano())
		if n := cache.VariationsForTest(d.store); n != 0 {
			t.Errorf("%s: %d variations are left", name, n)
		}
	}
	purge := func(p cache.Purge) func(d *driver) {
		return func(d *driver) { d.store.Purge(p, d.now.UnixNano()) }
	}
	check("the URL", purge(cache.Purge{URL: "http://h/p?id=1&x=1"}))
	check("an equivalent URL", purge(cache.Purge{URL: "http://h/p?y&id=1&z=2"}))
	check("softly", purge(cache.Purge{URL: "http://h/p?y&%69d=1", Soft: true}))
	check("a prefix", purge(cache.Purge{Prefix: "http://h/p"}))
	check("a prefix with a query", purge(cache.Purge{Prefix: "http://h/p?x="}))
	check("a group", purge(cache.Purge{Group: "g"}))
	check("the host", purge(cache.Purge{Host: "h"}))
	check("all", purge(cache.Purge{All: true}))
	check("PURGE", func(d *driver) {
		d.store.PurgeRequest(d.request(t, "PURGE http://h/p?id=1&y", nil, ""), &cache.Selection{})
	})
	check("PURGE of a pattern", func(d *driver) {
		d.store.PurgeRequest(d.request(t, "PURGE http://h/p?x.*", nil, ""), &cache.Selection{Pattern: true})
	})
	check("POST", func(d *driver) {
		d.store.Unsafe(d.request(t, "POST http://h/p?y=1&id=1", nil, ""), d.response(answer(200)))
	})
	check("Location", func(d *driver) {
		d.store.Unsafe(d.request(t, "POST http://h/x", nil, ""), d.response(answer(200, "Location: p?id=1&u")))
	})
}

// TestVariationCollapses: requests for equivalent URLs wait for one fetch, and take its answer
// only if it is for their URL, too.
func TestVariationCollapses(t *testing.T) {
	for _, still := range []bool{true, false} {
		d := newDriver(t, 8<<20, nil)
		d.storeAs(t, "http://h/p?id=1", varied())
		f := d.lead(t, "http://h/p?id=2&x=1")
		other := driver{store: d.store, policy: d.policy, now: d.now}
		q := other.request(t, "GET http://h/p?x=2&id=2", nil, "")
		found := d.store.Lookup(q)
		if g, role := d.store.Join(q, &found, false); role != cache.Follow || g != f {
			t.Fatalf("role %v", role)
		}
		m, want := varied(), cache.Ready
		if !still {
			m, want = answer(200, "Cache-Control: max-age=60"), cache.Retry
		}
		if dec := f.Respond(nil, d.response(m)); dec.Action != cache.Keep {
			t.Fatal(dec.Reason)
		}
		if reason := f.Commit(); reason != rule.ReasonNone {
			t.Fatal(reason)
		}
		if role, _, err := f.Wait(q, &found, nil); role != want || err != nil {
			t.Errorf("role %v, %v, want %v", role, err, want)
		}
		if !d.fresh(t, "http://h/p?id=2&x=1") || d.fresh(t, "http://h/p?id=2&x=3") != still {
			t.Errorf("still %v: the answer is under the wrong key", still)
		}
	}
}

// TestVariationLearned: an answer that says only now which URLs it is for is not stored if
// something ended an answer for its path, or for whole hosts, since it was asked for; and
// nothing else keeps it from being stored.
func TestVariationLearned(t *testing.T) {
	check := func(p cache.Purge, want rule.Reason) {
		t.Helper()
		d := newDriver(t, 8<<20, nil)
		f := d.lead(t, "http://h/p?id=1&x=1")
		d.store.Purge(p, d.now.UnixNano())
		f.Respond(nil, d.response(varied()))
		if reason := f.Commit(); reason != want {
			t.Errorf("%+v: %v, want %v", p, reason, want)
		}
		if n, stored := cache.VariationsForTest(d.store), want == rule.ReasonNone; (n == 1) != stored {
			t.Errorf("%+v: %d variations", p, n)
		}
	}
	check(cache.Purge{URL: "http://h/p?id=1&x=2"}, rule.ReasonDoomed)
	check(cache.Purge{URL: "http://h/p"}, rule.ReasonDoomed)
	check(cache.Purge{Group: "g"}, rule.ReasonDoomed)
	check(cache.Purge{URL: "http://h/other"}, rule.ReasonNone)
}

// TestVariationOvertaken: an answer that says only now which URLs it is for goes to no request
// that waits for it, or comes later, if one of these URLs was purged since it was asked for.
func TestVariationOvertaken(t *testing.T) {
	d := newDriver(t, 8<<20, nil)
	f := d.lead(t, "http://h/p?id=1&x=1")
	join := func() (*cache.Request, cache.Found, *cache.Fetch, cache.Role) {
		other := driver{store: d.store, policy: d.policy, now: d.now}
		q := other.request(t, "GET http://h/p?id=1&x=1", nil, "")
		found := d.store.Lookup(q)
		f, role := d.store.Join(q, &found, false)
		return q, found, f, role
	}
	q, found, g, role := join()
	if role != cache.Follow || g != f {
		t.Fatalf("role %v", role)
	}
	m := varied("Content-Length: 0")
	f.Respond(nil, d.response(m))
	d.store.Purge(cache.Purge{URL: "http://h/p?id=1&x=2"}, d.now.UnixNano())
	if role, reason, err := f.Wait(q, &found, nil); role != cache.Retry || reason != rule.ReasonDoomed || err != nil {
		t.Errorf("role %v, %v, %v", role, reason, err)
	}
	if _, _, g, role = join(); role != cache.Lead {
		t.Errorf("role %v", role)
	}
	g.Abort(cache.ErrAborted)
	if reason := f.Commit(); reason != rule.ReasonDoomed {
		t.Error(reason)
	}
}

// TestVariationsBounded: a path has a few variations at a time; an answer with another one is
// for its own URL alone.
func TestVariationsBounded(t *testing.T) {
	d := newDriver(t, 8<<20, nil)
	for i := range 20 {
		d.storeAs(t, fmt.Sprint("http://h/p?id=", i), answer(200, "Cache-Control: max-age=60", fmt.Sprintf(`No-Vary-Search: params=("x%d")`, i)))
	}
	if n := cache.VariationsForTest(d.store); n != 4 {
		t.Errorf("%d variations of one path", n)
	}
	if !d.fresh(t, "http://h/p?id=3&x3=1") || d.fresh(t, "http://h/p?id=9&x9=1") || !d.fresh(t, "http://h/p?id=9") {
		t.Error("the wrong ones are known")
	}
}

// TestVariationTier: what a tier has of a variation answers where the variation is not known
// yet, and no more once an equivalent URL was purged.
func TestVariationTier(t *testing.T) {
	m := &memoryTier{values: map[string][]byte{}}
	fill := func(url string) {
		t.Helper()
		from := attach(t, m)
		from.storeAs(t, url, varied("Vary: Accept-Encoding"))
		testkit.Eventually(t, "the entry is written", func() bool { return from.store.TierStats()[0].Written == 1 })
	}
	fill("http://h/p?x=1&id=1")
	var d *driver
	check := func(url string, want bool) {
		t.Helper()
		q := d.request(t, "GET "+url, nil, "")
		found := d.store.Lookup(q)
		if found.Outcome != rule.Fresh {
			if f, role := d.store.Join(q, &found, false); role != cache.Ready {
				f.Abort(errRefused)
			}
		}
		if got := found.Outcome == rule.Fresh; got != want {
			t.Errorf("%s: answered %v", url, got)
		}
	}
	for _, p := range []cache.Purge{{URL: "http://h/p?y=1&id=1"}, {Prefix: "http://h/p?y"}} {
		d = attach(t, m)
		d.now = d.now.Add(tier.Skew)
		check("http://h/p?x=1&id=2", false)
		check("http://h/p?id=1", true)
		check("http://h/p?id=1&x=3", true)
		d.store.Purge(p, d.now.UnixNano())
		check("http://h/p?id=1", false)
		check("http://h/p?id=1&x=3", false)
	}
}

// TestVariationAllocations: a hit under a variation does not allocate either.
func TestVariationAllocations(t *testing.T) {
	d := newDriver(t, 8<<20, nil)
	d.storeAs(t, "http://h/p?id=1&x=1", answer(200, "Cache-Control: max-age=60", `No-Vary-Search: key-order, params=("x" "y")`))
	q := d.request(t, "GET http://h/p?y=1&id=1&x=%20", nil, "")
	d.store.Lookup(q)
	if n := testing.AllocsPerRun(100, func() {
		if d.store.Lookup(q).Outcome != rule.Fresh {
			t.Fatal("no hit")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestVariationRace: after a purge no request gets what was made before, whatever the origin
// says of queries meanwhile and whatever is under way.
func TestVariationRace(t *testing.T) {
	base := newDriver(t, 16<<10, nil) // entries leave, and what was known with them
	var version atomic.Int64
	var ends sync.WaitGroup
	for i := range 8 {
		ends.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			d := driver{store: base.store, policy: base.policy, now: base.now}
			url := func() string { return fmt.Sprintf("http://h/%d?id=%d&x=%d", rnd.IntN(3), rnd.IntN(3), rnd.IntN(3)) }
			for range 500 {
				u, least := url(), int64(0)
				if rnd.IntN(4) == 0 {
					least = version.Add(1)
					base.store.Purge(cache.Purge{URL: u}, d.now.UnixNano())
				}
				q := d.request(t, "GET "+u, nil, "")
				found := d.store.Lookup(q)
				if found.Outcome == rule.Fresh {
					a, _ := d.store.Answer(q, &found)
					if got, _ := strconv.ParseInt(string(a.Body), 10, 64); got < least {
						t.Errorf("got version %d after the purge for version %d", got, least)
						return
					}
					continue
				}
				f, role := d.store.Join(q, &found, false)
				if role != cache.Lead && role != cache.Alone {
					continue
				}
				m := answer(200, "Cache-Control: max-age=60", []string{
					`No-Vary-Search: except=("id")`, `No-Vary-Search: except=("id")`, `No-Vary-Search: params=("x")`, "X: y",
				}[rnd.IntN(4)])
				m.body = strconv.FormatInt(version.Load(), 10)
				if f.Respond(nil, d.response(m)).Action == cache.Keep {
					f.Write([]byte(m.body))
					f.Commit()
				}
				f.Abort(cache.ErrAborted)
			}
		})
	}
	ends.Wait()
	base.store.Purge(cache.Purge{All: true}, base.now.UnixNano())
	if n := cache.VariationsForTest(base.store); n != 0 {
		t.Errorf("%d variations are left", n)
	}
}
