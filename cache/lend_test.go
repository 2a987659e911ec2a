package cache_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/cache"
	"weir/cache/rule"
	"weir/internal/head"
)

// lendings are answers of each kind from one entry.
var lendings = []struct {
	name, fields string
	status       int
	multipart    bool
}{
	{"whole", "", 200, false},
	{"part", "Range: bytes=2-4\r\n", 206, false},
	{"parts", "Range: bytes=0-1,5-6\r\n", 206, true},
	{"not modified", "If-None-Match: \"a\"\r\n", 304, false},
	{"unsatisfiable", "Range: bytes=900-\r\n", 416, false},
}

// fillLendable stores what lendings answer from.
func fillLendable(t *testing.T) *driver {
	t.Helper()
	d := newDriver(t, 8<<20, nil)
	if !d.fillWith(t, "http://h/x", 10, "ETag: \"a\"", "Vary: Foo", "x-a: 1", "X-A: 2", "x-Case: no", "Cache-Control: public") {
		t.Fatal("not stored")
	}
	return d
}

// lend looks for the entry and makes h the head of the answer.
func (d *driver) lend(t testing.TB, fields string, h *head.Head) cache.Answer {
	t.Helper()
	q := d.request(t, "GET http://h/x", rule.Fields(fields), "")
	found := d.store.Lookup(q)
	a, ok := d.store.Answer(q, &found)
	if !ok || found.Outcome != rule.Fresh {
		t.Fatalf("%q: %v, %v", fields, found.Outcome, found.Reason)
	}
	a.Lend(h)
	return a
}

// TestLend: the head of each kind of answer is read and changed like any other, and nothing
// of that reaches the entry.
func TestLend(t *testing.T) {
	d := fillLendable(t)
	xA, other := head.NewName("X-A"), head.NewName("X-Other")
	for _, l := range lendings {
		var h head.Head
		a := d.lend(t, l.fields, &h)
		if a.Status != l.status || h.Status != l.status {
			t.Fatalf("%s: status %d, lent with %d", l.name, a.Status, h.Status)
		}
		checkLent(t, &a)
		before := bytes.Clone(a.Entry.Head)

		// The fields of each kind.
		check := func(what string, n head.Name, want string) {
			t.Helper()
			if got := string(h.Joined(n)); got != want || h.Has(head.SetOf(n)) != (want != "") && n.In(head.SetOf(n)) {
				t.Errorf("%s: %s is %q, want %q; present is %v", l.name, what, got, want, h.Has(head.SetOf(n)))
			}
		}
		all := l.status == 200 || l.status == 206
		when := func(ok bool, s string) string {
			if ok {
				return s
			}
			return ""
		}
		check("ETag", head.ETag, when(l.status != 416, `"a"`))
		check("Vary", head.Vary, when(l.status != 416, "Foo"))
		check("X-A", xA, when(all, "1, 2"))
		check("Content-Range", head.ContentRange, when(l.status == 206 && !l.multipart, "bytes 2-4/10")+when(l.status == 416, "bytes */10"))
		if kind := string(h.Get(head.ContentType)); strings.HasPrefix(kind, "multipart/byteranges; boundary=") != l.multipart || (kind == "") == all {
			t.Errorf("%s: Content-Type is %q", l.name, kind)
		}
		if date := h.Get(head.Date); string(date) != "Fri, 02 Jan 2026 03:04:05 GMT" {
			t.Errorf("%s: Date is %q", l.name, date)
		}

		// Changes.
		h.Add(head.Age, []byte("7"))
		h.Set(head.ETag, []byte(`"other"`))
		h.Del(xA)
		h.Set(other, []byte("new"))
		h.Append(head.Vary, []byte("Bar"))
		h.DelSet(head.SetOf(head.Date, head.SetCookie))
		check("Age", head.Age, "7")
		check("ETag", head.ETag, `"other"`)
		check("X-A", xA, "")
		check("X-Other", other, "new")
		check("Date", head.Date, "")
		check("Vary", head.Vary, when(l.status != 416, "Foo, ")+"Bar")
		var again head.Head
		sent := h.AppendTo(nil)
		if err := again.ScanResponse(sent); err != nil || again.Status != l.status || again.Present() != h.Present() {
			t.Errorf("%s: sent %q: %v, fields %#x, want %#x", l.name, sent, err, again.Present(), h.Present())
		}
		for _, n := range []head.Name{head.Age, head.ETag, xA, other, head.Vary, head.ContentType, head.ContentRange, head.ContentLength} {
			if !bytes.Equal(again.Joined(n), h.Joined(n)) {
				t.Errorf("%s: %s is sent as %q, want %q", l.name, n, again.Joined(n), h.Joined(n))
			}
		}

		if !bytes.Equal(a.Entry.Head, before) {
			t.Fatalf("%s: the entry's head became %q", l.name, a.Entry.Head)
		}
		// The next one gets it as it was stored.
		next := d.lend(t, l.fields, new(head.Head))
		checkLent(t, &next)
	}
}

// TestLendTogether: many answers from one entry at once do not disturb each other.
func TestLendTogether(t *testing.T) {
	d := fillLendable(t)
	var h head.Head
	first := d.lend(t, "", &h)
	before := bytes.Clone(first.Entry.Head)
	want := make([][]byte, len(lendings))
	for i, l := range lendings {
		d.lend(t, l.fields, &h)
		want[i] = h.AppendTo(nil)
	}
	edits := []func(h *head.Head){
		func(h *head.Head) { h.Add(head.Age, []byte("1")) },
		func(h *head.Head) { h.Set(head.ETag, []byte("b")) },
		func(h *head.Head) { h.Del(head.ContentType) },
		func(h *head.Head) { h.SetStatus(299) },
		func(h *head.Head) { h.SetFraming(head.LengthChunked) },
		func(h *head.Head) { h.DelFunc(func(f head.Field) bool { return !f.Is(head.Date) }) },
		func(h *head.Head) { h.Get(head.ContentLength) },
	}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			mine := &driver{store: d.store, policy: d.policy, now: d.now}
			var h, copied head.Head
			for i := range 200 {
				l := (n + i) % len(lendings)
				a := mine.lend(t, lendings[l].fields, &h)
				if out := h.AppendTo(nil); a.Status != lendings[l].status || !slices.Equal(out, want[l]) {
					t.Errorf("%s: status %d, %q, want %q", lendings[l].name, a.Status, out, want[l])
				}
				h.CopyTo(&copied)
				edits[i%len(edits)](&h)
				edits[(i+n)%len(edits)](&copied)
				h.AppendTo(nil)
				copied.AppendTo(nil)
			}
		})
	}
	all.Wait()
	if !bytes.Equal(first.Entry.Head, before) {
		t.Errorf("the entry's head became %q", first.Entry.Head)
	}
}
