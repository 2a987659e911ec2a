package head_test

import (
	"strings"
	"sync"
	"testing"

	"weir/internal/head"
)

func TestAddLines(t *testing.T) {
	var lines, none head.Lines
	lines.Add(head.Via, []byte("1.1 a"))
	lines.Add(head.NewName("x-New"), nil)
	lines.Add(head.NewName("X-Forwarded-Port"), []byte("1\n2"))
	const want = "X-First: 1\r\nVia: 1.1 a\r\nx-New: \r\nX-Forwarded-Port: 1 2\r\nX-Last: 2\r\n"
	check := func(kind string, h *head.Head) {
		t.Helper()
		h.AddLines(&none)
		h.AddLines(&lines)
		h.Add(head.NewName("X-Last"), []byte("2"))
		if got := string(h.AppendFields(nil)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", kind, got, want)
		}
		if !h.Has(head.SetOf(head.Via)) || !h.Has(head.AllXForwarded) || h.Has(head.SetOf(head.Date)) {
			t.Errorf("%s: present %b", kind, h.Present())
		}
		if got := string(h.Get(head.Via)); got != "1.1 a" {
			t.Errorf("%s: Via %q", kind, got)
		}
		if got := h.Get(head.NewName("X-NEW")); got == nil || len(got) != 0 {
			t.Errorf("%s: X-New %q", kind, got)
		}
		h.Set(head.Via, []byte("b"))
		h.DelSet(head.AllXForwarded)
		if got, want := string(h.AppendFields(nil)), "X-First: 1\r\nVia: b\r\nx-New: \r\nX-Last: 2\r\n"; got != want {
			t.Errorf("%s, changed:\n%s\nwant\n%s", kind, got, want)
		}
	}
	var scanned, filled, lent head.Head
	if err := scanned.ScanResponse([]byte("HTTP/1.1 200 OK\r\nX-First: 1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	check("scanned", &scanned)
	filled.StartResponse(200)
	filled.Add(head.NewName("X-First"), []byte("1"))
	check("filled", &filled)
	lent.LendResponse([]byte("HTTP/1.1 200 OK\r\nX-First: 1\r\n"), 0, 200, head.LengthNone)
	check("lent", &lent)
}

// Heads do not share what they add.
func TestAddLinesTogether(t *testing.T) {
	var lines head.Lines
	lines.Add(head.Via, []byte("1.1 a"))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 100 {
				var h head.Head
				h.AddLines(&lines)
				h.Set(head.Via, []byte("changed"))
				h.AddLines(&lines)
				if got := string(h.AppendFields(nil)); strings.Count(got, "changed") != 1 || strings.Count(got, "1.1 a") != 1 {
					t.Errorf("lines %q", got)
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkAddLines(b *testing.B) {
	var lines head.Lines
	lines.Add(head.XForwardedFor, []byte("192.0.2.1"))
	lines.Add(head.XForwardedProto, []byte("https"))
	var h head.Head
	b.Run("prepared", func(b *testing.B) {
		for b.Loop() {
			h.Reset()
			h.AddLines(&lines)
		}
	})
	b.Run("one by one", func(b *testing.B) {
		for b.Loop() {
			h.Reset()
			h.Add(head.XForwardedFor, []byte("192.0.2.1"))
			h.Add(head.XForwardedProto, []byte("https"))
		}
	})
}
