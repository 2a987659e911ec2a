package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/cache"
	"weir/cache/rule"
	"weir/cache/tier"
	"weir/internal/testkit"
)

// tellTier is a tier that takes announcements, or fails to.
type tellTier struct {
	memoryTier
	fails error
	told  []tier.Announcement
}

func (m *tellTier) Announce(_ context.Context, a tier.Announcement) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails == nil {
		m.told = append(m.told, a)
	}
	return m.fails
}

// marks are those of all announcements.
func (m *tellTier) marks(t *testing.T) (list []tier.Mark, messages int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.told {
		marks, err := tier.DecodeMarks(a.Message)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, marks...)
	}
	return list, len(m.told)
}

// change makes unsafe requests succeed.
func change(t *testing.T, d *driver, urls ...string) {
	t.Helper()
	for _, url := range urls {
		d.store.Unsafe(d.request(t, "POST "+url, rule.Fields("Content-Length: 0\r\n"), ""), d.response(answer(204)))
	}
}

// TestAnnounceFlood: POSTs that come faster than a tier is told cost bounded memory, and the
// oldest invalidations; never a purge, and never everything.
func TestAnnounceFlood(t *testing.T) {
	m := &tellTier{memoryTier: memoryTier{values: map[string][]byte{}}, fails: errors.New("full")}
	d := attach(t, m)
	if done := d.store.Purge(cache.Purge{URL: "http://h/purged"}, d.now.UnixNano()); !slices.Equal(done.Pending, []string{"memory"}) {
		t.Errorf("pending: %q", done.Pending)
	}
	long := strings.Repeat("x", 3500)
	const posts = 3000
	for i := range posts {
		change(t, d, fmt.Sprintf("http://h/%d/%s", i, long), "http://h/always")
	}
	s := d.store.TierStats()[0]
	if s.Up || s.Forgotten == 0 || s.Unannounced*3500 > 5<<20 {
		t.Errorf("%+v", s)
	}
	m.mu.Lock()
	m.fails = nil
	m.mu.Unlock()
	change(t, d, "http://h/last")
	testkit.Eventually(t, "all is announced", func() bool { return d.store.TierStats()[0].Unannounced == 0 })
	list, messages := m.marks(t)
	if !list[0].Purge || list[0].Key != "GET http://h/purged" {
		t.Errorf("the purge is not first: %+v", list[0])
	}
	times := map[string]int{}
	for _, k := range list {
		if k.All {
			t.Error("everything has ended")
		}
		times[k.Key]++
	}
	if times["GET http://h/last"] != 1 || times[fmt.Sprintf("GET http://h/%d/%s", posts-1, long)] != 1 {
		t.Error("the newest invalidations are not announced")
	}
	if times["GET http://h/always"] > 2 {
		t.Errorf("one URL is announced %d times", times["GET http://h/always"])
	}
	if messages > len(list)/5 {
		t.Errorf("%d messages for %d marks", messages, len(list))
	}
	testkit.Eventually(t, "the tier is up", func() bool { return d.store.TierStats()[0].Up })
}

// TestAnnounceTogether: purges at once share announcements.
func TestAnnounceTogether(t *testing.T) {
	m := &tellTier{memoryTier: memoryTier{values: map[string][]byte{}}}
	d := attach(t, m)
	var all sync.WaitGroup
	const n = 500
	for i := range n {
		all.Go(func() {
			if done := d.store.Purge(cache.Purge{URL: fmt.Sprintf("http://h/%d", i)}, d.now.UnixNano()); len(done.Pending) > 0 {
				t.Errorf("pending: %q", done.Pending)
			}
		})
	}
	all.Wait()
	list, _ := m.marks(t)
	if len(list) != n {
		t.Errorf("%d purges are announced, want %d", len(list), n)
	}
	for _, k := range list {
		if !k.Purge {
			t.Errorf("%+v is no purge", k)
		}
	}
}
