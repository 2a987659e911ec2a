package cache_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"weir/cache"
	"weir/cache/rule"
	"weir/cache/tier"
	"weir/internal/testkit"
)

// memoryTier is a tier whose values a test can change.
type memoryTier struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memoryTier) Name() string      { return "memory" }
func (m *memoryTier) Shared() bool      { return true }
func (m *memoryTier) Blobs() tier.Blobs { return nil }
func (m *memoryTier) Close() error      { return nil }

func (m *memoryTier) Announce(context.Context, tier.Announcement) error { return nil }

func (m *memoryTier) Start(f tier.Follower, _ string) error {
	f.CaughtUp("")
	return nil
}

func (m *memoryTier) Get(key []byte) ([]byte, tier.Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[string(key)], nil, nil
}

func (m *memoryTier) Set(key, value []byte, _ tier.Blob, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[string(key)] = bytes.Clone(value)
	return nil
}

// attach is a driver whose store has the tier.
func attach(t *testing.T, m tier.Tier) *driver {
	t.Helper()
	d := newDriver(t, 8<<20, nil)
	if err := d.store.Attach(m, 10, 0, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		t.Fatal(err)
	}
	d.now = time.Now() // the tier keeps what is fresh now, and came in after its start
	t.Cleanup(func() { d.store.Close() })
	return d
}

// TestTierDamaged: a record with a good checksum and a head that is not sound is damaged. It
// costs a miss.
func TestTierDamaged(t *testing.T) {
	const url = "http://h/x"
	m := &memoryTier{values: map[string][]byte{}}
	from := attach(t, m)
	from.fillWith(t, url, 10, "ETag: \"a\"")
	testkit.Eventually(t, "the entry is written", func() bool { return from.store.TierStats()[0].Written == 1 })
	good := m.values["GET "+url]
	if good == nil {
		t.Fatalf("the tier has %q", m.values)
	}
	check := func(name string, change func(r *tier.Record), sound bool) {
		t.Helper()
		r, err := tier.Decode(good, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		m.values["GET "+url] = r.Append(nil, 0)
		d := attach(t, m)
		q := d.request(t, "GET "+url, nil, "")
		found := d.store.Lookup(q)
		f, role := d.store.Join(q, &found, false)
		s, entries := d.store.TierStats()[0], d.store.Stats().Entries
		if !sound {
			if role != cache.Lead || found.Outcome != rule.Miss || s.Hits != 0 || s.Damaged != 1 || entries != 0 {
				t.Fatalf("%s: role %v, %v, %d entries, %+v", name, role, found.Outcome, entries, s)
			}
			f.Abort(cache.ErrAborted)
			return
		}
		if role != cache.Ready || found.Outcome != rule.Fresh || s.Hits != 1 || s.Damaged != 0 || entries != 1 {
			t.Fatalf("%s: role %v, %v, %d entries, %+v", name, role, found.Outcome, entries, s)
		}
		a, ok := d.store.Answer(q, &found)
		if !ok {
			t.Fatalf("%s: no answer", name)
		}
		checkLent(t, &a)
	}
	// replace changes the head without its length.
	replace := func(old, new string) func(r *tier.Record) {
		return func(r *tier.Record) {
			if len(old) != len(new) || !bytes.Contains(r.Head, []byte(old)) {
				t.Fatalf("%q is not in %q, or has not the length of %q", old, r.Head, new)
			}
			r.Head = bytes.Replace(r.Head, []byte(old), []byte(new), 1)
		}
	}
	// fields replaces the fields.
	fields := func(text string) func(r *tier.Record) {
		return func(r *tier.Record) {
			r.Head = append(bytes.Clone(r.Head[:r.Line]), text...)
			r.End = len(r.Head)
		}
	}
	check("nothing", func(*tier.Record) {}, true)
	check("another value", replace("\"a\"", "\"b\""), true)
	check("other fields", fields("A: b\r\n"), true)
	check("no fields", fields(""), true)

	check("control byte in a value", replace("\"a\"", "\"\x00\""), false)
	check("escape in a value", replace("\"a\"", "\"\x1b\""), false)
	check("line break in a value", replace("\"a\"", "\"\n\""), false)
	check("no colon", replace("ETag:", "ETag "), false)
	check("no name", replace("ETag:", ":Tag:"), false)
	check("space in a name", replace("ETag:", "E ag:"), false)
	check("no line break", fields("ETag: \"a\""), false)
	check("a line of its own", fields("A: b\r\n\r\nC: d\r\n"), false)
	check("folded line", fields("A: b\r\n c\r\n"), false)
	check("version", replace("HTTP/1.1", "HTTP/1.0"), false)
	check("status", replace("200", "404"), false)
	check("control byte in the phrase", replace("OK", "O\x07"), false)
	check("line break in the phrase", replace(" OK", " \r\n"), false)
	check("no line break after the phrase", replace("OK\r\n", "OK\t\t"), false)
	check("no status line", func(r *tier.Record) { r.Line = 0 }, false)
	check("another status", func(r *tier.Record) { r.Status = 404 }, false)
	check("length", fields("Content-Length: 3\r\n"), false)
	check("coding", fields("Transfer-Encoding: chunked\r\n"), false)
	check("connection", fields("Connection: close\r\n"), false)
}
