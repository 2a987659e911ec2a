package cache_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"weak"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
)

// hits answers a request n times and reports whether the last one would have
// been sent from a file.
func (d *driver) hits(t testing.TB, url string, n int) (filed bool) {
	t.Helper()
	for range n {
		q := d.request(t, "GET "+url, nil, "")
		found := d.store.Lookup(q)
		a, ok := d.store.Answer(q, &found)
		if !ok || found.Outcome != rule.Fresh {
			t.Fatalf("%s: %v", url, found.Outcome)
		}
		_, _, filed = d.store.File(&a).At()
	}
	return filed
}

// TestCopiesKeepNoStore: a store that is not used any more is freed, although
// there are copies of its bodies.
func TestCopiesKeepNoStore(t *testing.T) {
	d := newDriver(t, 64<<20, nil)
	d.fillWith(t, "http://h/a", 100<<10)
	if !d.hits(t, "http://h/a", 10) {
		t.Fatal("there is no copy")
	}
	store := weak.Make(d.store)
	d.store = nil
	for range 5 {
		runtime.GC()
	}
	if store.Value() != nil {
		t.Error("the store is still there")
	}
}

// TestCopyTooLarge: a body that is larger than all copies may be together has
// none, and costs the others nothing.
func TestCopyTooLarge(t *testing.T) {
	d := newDriver(t, 16<<20, func(*config.RouteCache) {})
	d.fillWith(t, "http://h/small", 1<<20)
	d.fillWith(t, "http://h/large", 3<<20)
	if !d.hits(t, "http://h/small", 10) {
		t.Fatal("there is no copy")
	}
	if d.hits(t, "http://h/large", 10) {
		t.Error("a copy has more than its share")
	}
	if !d.hits(t, "http://h/small", 1) {
		t.Error("the copy of another body is gone")
	}
}

// TestCopiesMakeRoom: what leaves the tier for a copy comes from all of it.
func TestCopiesMakeRoom(t *testing.T) {
	d := newDriver(t, 16<<20, nil)
	d.fillWith(t, "http://h/large", 1<<20)
	for i := range 4000 {
		d.fillWith(t, fmt.Sprintf("http://h/%d", i), 10<<10)
	}
	if d.store.Lookup(d.request(t, "GET http://h/large", nil, "")).Outcome != rule.Fresh {
		d.fillWith(t, "http://h/large", 1<<20)
	}
	if !d.hits(t, "http://h/large", 10) {
		t.Fatal("there is no copy")
	}
	if n := slices.Min(cache.EntriesForTest(d.store)); n < 20 {
		t.Errorf("a shard has %d entries left: %v", n, cache.EntriesForTest(d.store))
	}
}
