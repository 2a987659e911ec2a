package cache_test

import (
	"testing"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/internal/head"
	"weir/internal/testkit"
)

// page is an origin's answer that may be stored.
func page(*head.Head) message {
	m := answer(200, "Cache-Control: max-age=7200")
	m.body = "page"
	return m
}

// asked says whether a GET of an URL has to ask the origin.
func (d *driver) asked(t *testing.T, url string) bool {
	t.Helper()
	q := d.request(t, "GET "+url, nil, "")
	found := d.store.Lookup(q)
	if found.Outcome == rule.Fresh {
		return false
	}
	f, role := d.store.Join(q, &found, false)
	if role == cache.Ready { // a tier has given it
		return false
	}
	f.Abort(cache.ErrAborted)
	return d.do(t, "GET "+url, nil, "", page).asked
}

// TestDoubtAfterClockSetBack: what was in doubt when the clock was ahead does not put what comes in
// after it was set back in doubt.
func TestDoubtAfterClockSetBack(t *testing.T) {
	m := &memoryTier{values: map[string][]byte{}}
	d := attach(t, m) // everything until now is in doubt
	d.now = d.now.Add(-time.Hour)
	if first, again := d.asked(t, "http://h/x"), d.asked(t, "http://h/x"); !first || again {
		t.Error("what was fetched after the clock was set back does not answer")
	}
	testkit.Eventually(t, "the entry is written", func() bool { return d.store.TierStats()[0].Written == 1 })
	other := attach(t, m)
	other.now = d.now
	for range 2 {
		if !other.asked(t, "http://h/x") {
			continue
		}
		t.Error("what a tier that others share gives after the clock was set back does not answer")
	}
}

// TestPurgeAfterClockSetBack: what came in before the clock was set back, and was purged after that,
// stays away when its time comes again.
func TestPurgeAfterClockSetBack(t *testing.T) {
	m := &memoryTier{values: map[string][]byte{}}
	d := attach(t, m)
	ahead := d.now
	for _, url := range []string{"http://h/x", "http://h/y"} {
		if first, again := d.asked(t, url), d.asked(t, url); !first || again {
			t.Fatalf("%s does not answer", url)
		}
	}
	testkit.Eventually(t, "the entries are written", func() bool { return d.store.TierStats()[0].Written == 2 })
	d.now = ahead.Add(-time.Hour)
	if n := d.store.Purge(cache.Purge{URL: "http://h/x"}, d.now.UnixNano()).Entries; n != 1 {
		t.Errorf("purged %d", n)
	}
	if !d.asked(t, "http://h/z") {
		t.Error("/z was there before")
	}
	if n := d.store.Purge(cache.Purge{URL: "http://h/z", Soft: true}, d.now.UnixNano()).Entries; n != 1 {
		t.Errorf("purged %d softly", n)
	}
	if r := d.do(t, "GET http://h/z", nil, "", page); r.outcome != rule.Revalidate {
		t.Errorf("a soft purge after the clock was set back: %v", r.outcome)
	}
	d.now = ahead.Add(time.Minute)
	if d.asked(t, "http://h/y") {
		t.Error("what was not purged is gone")
	}
	if !d.asked(t, "http://h/x") {
		t.Error("what was purged came back from the tier")
	}
}
