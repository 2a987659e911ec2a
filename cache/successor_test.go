package cache_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weir/cache"
	"weir/cache/disk"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/testkit"
)

// process is the store of one of two processes, with a folder.
type process struct {
	*driver
	released chan struct{}
}

// newProcess makes a store whose folder is opened once released is closed, or at once if after
// is false.
func newProcess(t *testing.T, folder string, after bool, m cache.Memory) *process {
	t.Helper()
	p := &process{driver: newDriver(t, 8<<20, nil), released: make(chan struct{})}
	d, err := disk.New(&config.CachePersist{Folder: folder, Size: 8 << 20, MaxObject: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if after {
		d.After(p.released)
	}
	p.store.Recall(m)
	if err := p.store.Attach(d, 10, 0, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		t.Fatal(err)
	}
	p.now = time.Now() // the tier keeps what is fresh now, and came in after its start
	t.Cleanup(func() { p.store.Close() })
	return p
}

// outcome is what a request would come to.
func (p *process) outcome(t *testing.T, url string) rule.Outcome {
	t.Helper()
	q := p.request(t, "GET "+url, nil, "")
	found := p.store.Lookup(q)
	if f, role := p.store.Join(q, &found, false); role == cache.Lead {
		f.Abort(cache.ErrAborted)
	}
	return found.Outcome
}

// TestReplaced: two processes never have the folder at once; the new one finds there what the
// old one has stored, but for what either has purged or invalidated meanwhile.
func TestReplaced(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	old := newProcess(t, folder, false, cache.Memory{})
	for _, url := range []string{"http://h/kept", "http://h/by-old", "http://h/by-new", "http://h/posted"} {
		old.fillWith(t, url, 10, "ETag: \"a\"")
	}
	testkit.Eventually(t, "all is written", func() bool { return old.store.TierStats()[0].Written == 4 })

	next := newProcess(t, folder, true, old.store.Memory())
	told := &testkit.Other{T: t, To: next.store}
	old.store.Connect(told)
	next.store.Connect(&testkit.Other{T: t, To: old.store})
	// The new one has no folder yet: a miss, and a purge that is pending.
	if got := next.outcome(t, "http://h/kept"); got != rule.Miss {
		t.Errorf("without a folder: %v", got)
	}
	done := next.store.Purge(cache.Purge{URL: "http://h/by-new"}, time.Now().UnixNano())
	if !slices.Equal(done.Pending, []string{"disk"}) {
		t.Errorf("pending: %q", done.Pending)
	}
	if got := old.outcome(t, "http://h/by-new"); got == rule.Fresh {
		t.Error("the old process still answers what the new one has purged")
	}
	before := told.Messages
	if err := old.store.Release(); err != nil || told.Messages == before {
		t.Errorf("%d messages before, %d after: %v", before, told.Messages, err)
	}
	// What the old one still does has no folder any more.
	next.fillWith(t, "http://h/posted", 10, "ETag: \"b\"")
	if done := old.store.Purge(cache.Purge{URL: "http://h/by-old"}, time.Now().UnixNano()); len(done.Pending) > 0 {
		t.Errorf("pending: %q", done.Pending)
	}
	old.now = time.Now() // when the answer comes
	change(t, old.driver, "http://h/posted")
	if got := next.outcome(t, "http://h/posted"); got == rule.Fresh {
		t.Error("an invalidation of the old process does not reach the memory of the new one")
	}
	close(next.released)
	testkit.Eventually(t, "the folder is read", func() bool { return next.outcome(t, "http://h/kept") == rule.Fresh })
	for _, url := range []string{"http://h/by-old", "http://h/by-new", "http://h/posted"} {
		if got := next.outcome(t, url); got == rule.Fresh {
			t.Errorf("%s came back", url)
		}
	}
	testkit.Eventually(t, "all is announced", func() bool { return next.store.TierStats()[0].Unannounced == 0 })
	if err := old.store.Close(); err != nil {
		t.Error(err)
	}
	if err := next.store.Close(); err != nil {
		t.Error(err)
	}

	// It lasts over a start of a third.
	last := newProcess(t, folder, false, cache.Memory{})
	testkit.Eventually(t, "the folder is read again", func() bool { return last.outcome(t, "http://h/kept") == rule.Fresh })
	for _, url := range []string{"http://h/by-old", "http://h/by-new", "http://h/posted"} {
		if got := last.outcome(t, url); got == rule.Fresh {
			t.Errorf("%s came back after another start", url)
		}
	}
}

// TestNeverReleased: a process that ends before it got the folder leaves it alone.
func TestNeverReleased(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	old := newProcess(t, folder, false, cache.Memory{})
	next := newProcess(t, folder, true, old.store.Memory())
	next.fillWith(t, "http://h/x", 10, "ETag: \"a\"")
	if err := next.store.Close(); err != nil {
		t.Error(err)
	}
	old.fillWith(t, "http://h/x", 10, "ETag: \"a\"")
	testkit.Eventually(t, "the old process writes", func() bool { return old.store.TierStats()[0].Written == 1 })
}

// deafOther learns nothing.
type deafOther struct{}

func (deafOther) Tell([]byte)                     {}
func (deafOther) Await(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// A purge that the other process of an upgrade does not learn is done here, and says so.
func TestPurgeUnheard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newDriver(t, 1<<20, nil)
		p.fillWith(t, "http://h/a", 10)
		p.store.Connect(deafOther{})
		done := p.store.Purge(cache.Purge{All: true}, time.Now().UnixNano())
		if done.Entries != 1 || !slices.Equal(done.Pending, []string{"the other process of the upgrade"}) {
			t.Errorf("purged %d, pending: %q", done.Entries, done.Pending)
		}
		p.store.Connect(nil)
		if done := p.store.Purge(cache.Purge{All: true}, time.Now().UnixNano()); len(done.Pending) > 0 {
			t.Errorf("pending: %q", done.Pending)
		}
	})
}
