package head_test

import (
	"slices"
	"strings"
	"testing"

	"weir/internal/head"
)

// A stored response goes out as it was stored; fields are added without an index, and
// read, changed and removed with one.
func TestLendResponse(t *testing.T) {
	check := func(stored string, edit func(h *head.Head), want string) {
		t.Helper()
		first := scanned(t, stored+"\r\n")
		raw := []byte(stored)
		var h head.Head
		h.LendResponse(raw, first.Present(), first.Status, first.Length)
		if h.Status != first.Status || h.Length != first.Length || string(h.Phrase()) != string(first.Phrase()) {
			t.Errorf("%q: lent is %s", stored, describe(&h))
		}
		h.LendResponse(raw, first.Present(), first.Status, first.Length)
		edit(&h)
		if got := string(h.AppendTo(nil)); got != want {
			t.Errorf("%q goes out as %q, want %q", stored, got, want)
		}
		again := scanned(t, string(h.AppendTo(nil)))
		if got, sent := linesOf(&h), linesOf(again); !slices.Equal(got, sent) || h.Present() != again.Present() {
			t.Errorf("%q: the fields are %q, sent are %q", stored, got, sent)
		}
		if got := string(h.AppendTo(nil)); got != want {
			t.Errorf("%q goes out with an index as %q, want %q", stored, got, want)
		}
		if string(raw) != stored {
			t.Errorf("%q was changed to %q", stored, raw)
		}
	}
	const stored = "HTTP/1.1 200 Fine\r\nETag: \"x\"\r\nx-a:1\r\nContent-Length: 3\r\n"
	age := []byte("17")
	check(stored, func(h *head.Head) {}, stored+"\r\n")
	check(stored, func(h *head.Head) { h.Add(head.Age, age) }, stored+"Age: 17\r\n\r\n")
	check(stored, func(h *head.Head) { h.Set(head.Age, age); h.Set(head.Age, []byte("18")) }, stored+"Age: 18\r\n\r\n")
	check(stored, func(h *head.Head) { h.Add(head.Age, age); h.Add(xA, nil); h.Del(head.ETag) }, "HTTP/1.1 200 Fine\r\nx-a:1\r\nContent-Length: 3\r\nAge: 17\r\nX-A: \r\n\r\n")
	check(stored, func(h *head.Head) { h.Set(xA, age) }, "HTTP/1.1 200 Fine\r\nETag: \"x\"\r\nx-a: 17\r\nContent-Length: 3\r\n\r\n")
	check(stored, func(h *head.Head) { h.Del(head.Date); h.DelSet(head.SetOf(head.Via)) }, stored+"\r\n")
	check(stored, func(h *head.Head) { h.Append(head.Vary, []byte("a")); h.Append(head.Vary, []byte("b")) }, stored+"Vary: a, b\r\n\r\n")
	check(stored, func(h *head.Head) { h.DelFunc(func(f head.Field) bool { return f.Is(xA) }) }, "HTTP/1.1 200 Fine\r\nETag: \"x\"\r\nContent-Length: 3\r\n\r\n")
	check(stored, func(h *head.Head) { h.SetStatus(304); h.DelSet(head.Framing) }, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nx-a:1\r\n\r\n")
	check(stored, func(h *head.Head) { h.SetStatus(206); h.Add(head.Age, age) }, "HTTP/1.1 206 Partial Content\r\n"+strings.TrimPrefix(stored, "HTTP/1.1 200 Fine\r\n")+"Age: 17\r\n\r\n")
	check("HTTP/1.1 299 \r\nA: b\r\n", func(h *head.Head) {}, "HTTP/1.1 299 \r\nA: b\r\n\r\n")
	check("HTTP/1.1 204 No Content\r\n", func(h *head.Head) {}, "HTTP/1.1 204 No Content\r\n\r\n")
	check("HTTP/1.1 204 No Content\r\n", func(h *head.Head) { h.Add(head.Age, age) }, "HTTP/1.1 204 No Content\r\nAge: 17\r\n\r\n")
	check(stored, func(h *head.Head) {
		var other head.Head
		h.Add(head.Age, age)
		h.CopyTo(&other)
		other.Del(head.ETag)
		other.Clone(&other)
	}, stored+"Age: 17\r\n\r\n")
}

// AppendFields leaves the first line out, with and without an index.
func TestAppendFields(t *testing.T) {
	const fields = "ETag: \"x\"\r\nx-a:1\r\n"
	h := scanned(t, "HTTP/1.1 200 OK\r\n"+fields+"\r\n")
	var lent head.Head
	lent.LendResponse([]byte("HTTP/1.1 200 OK\r\n"+fields), h.Present(), 200, head.LengthNone)
	for _, h := range []*head.Head{h, &lent} {
		if got := string(h.AppendFields([]byte("before "))); got != "before "+fields {
			t.Errorf("the fields are %q", got)
		}
		h.Get(head.ETag)
		if got := string(h.AppendFields(nil)); got != fields {
			t.Errorf("the fields are %q", got)
		}
	}
}
