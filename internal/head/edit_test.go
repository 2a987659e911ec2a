package head_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/internal/head"
)

var (
	xA = head.NewName("X-A")
	xB = head.NewName("X-B")
)

// edited is a request with many lines, on which the edits are tried.
const edited = "GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: close\r\nx-b:2\r\nVia: v\r\nx-a:  3 \r\nConnection: te\r\n\r\n"

// An edit leaves all other lines as they came, at their places.
func TestEdits(t *testing.T) {
	check := func(edit func(h *head.Head), want ...string) {
		t.Helper()
		h := scanned(t, edited)
		edit(h)
		text := "GET /x HTTP/1.1\r\n" + strings.Join(want, "\r\n") + "\r\n\r\n"
		if got := string(h.AppendTo(nil)); got != text {
			t.Errorf("the head is %q, want %q", got, text)
		}
		// What the index says is what goes out.
		again := scanned(t, string(h.AppendTo(nil)))
		if got, sent := linesOf(h), linesOf(again); !slices.Equal(got, sent) {
			t.Errorf("the fields are %q, sent are %q", got, sent)
		}
		if h.Present() != again.Present() {
			t.Errorf("present are %x, sent are %x", h.Present(), again.Present())
		}
	}
	// Set keeps the place and the spelling of the first line.
	check(func(h *head.Head) { h.Set(xA, []byte("9")) }, "Host: a", "X-A: 9", "Connection: close", "x-b:2", "Via: v", "Connection: te")
	check(func(h *head.Head) { h.Set(head.NewName("X-b"), []byte("9")) }, "Host: a", "X-A: 1", "Connection: close", "x-b: 9", "Via: v", "x-a:  3 ", "Connection: te")
	check(func(h *head.Head) { h.Set(head.Connection, nil) }, "Host: a", "X-A: 1", "Connection: ", "x-b:2", "Via: v", "x-a:  3 ")
	check(func(h *head.Head) { h.Set(head.NewName("x-C"), []byte("9")) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: v", "x-a:  3 ", "Connection: te", "x-C: 9")
	check(func(h *head.Head) { h.Set(head.Age, []byte("9")); h.Set(head.Age, []byte("8")) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: v", "x-a:  3 ", "Connection: te", "Age: 8")
	check(func(h *head.Head) { h.SetInt(xA, -12) }, "Host: a", "X-A: -12", "Connection: close", "x-b:2", "Via: v", "Connection: te")
	check(func(h *head.Head) { h.Del(xA); h.Set(xA, []byte("9")) }, "Host: a", "Connection: close", "x-b:2", "Via: v", "Connection: te", "X-A: 9")
	// Add adds, whatever there is.
	check(func(h *head.Head) { h.Add(xA, []byte("9")); h.Add(xA, nil) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: v", "x-a:  3 ", "Connection: te", "X-A: 9", "X-A: ")
	// Nothing that a value holds can begin another line, and space around it is not its own.
	check(func(h *head.Head) { h.Del(xA); h.Add(xA, []byte("\r\n9\x00\r\nX-C: 8\r\n")) }, "Host: a", "Connection: close", "x-b:2", "Via: v", "Connection: te", "X-A:   9   X-C: 8  ")
	// Append goes on the only line, and beside several.
	check(func(h *head.Head) { h.Append(head.Via, []byte("w")) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: v, w", "x-a:  3 ", "Connection: te")
	check(func(h *head.Head) { h.Append(xA, []byte("w")) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: v", "x-a:  3 ", "Connection: te", "X-A: w")
	check(func(h *head.Head) { h.Set(head.Via, nil); h.Append(head.Via, []byte("w")) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: w", "x-a:  3 ", "Connection: te")
	check(func(h *head.Head) { h.Del(head.Via); h.Append(head.Via, []byte("w")) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "x-a:  3 ", "Connection: te", "Via: w")
	// Del, DelSet and DelFunc remove all lines.
	check(func(h *head.Head) { h.Del(xA) }, "Host: a", "Connection: close", "x-b:2", "Via: v", "Connection: te")
	check(func(h *head.Head) { h.Del(xA); h.Del(xA); h.Del(head.Age); h.Del(head.NewName("X-C")) }, "Host: a", "Connection: close", "x-b:2", "Via: v", "Connection: te")
	check(func(h *head.Head) { h.DelSet(head.SetOf(head.Connection, head.Via, head.Age, xA)) }, "Host: a", "X-A: 1", "x-b:2", "x-a:  3 ")
	check(func(h *head.Head) { h.DelSet(0) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "Via: v", "x-a:  3 ", "Connection: te")
	check(func(h *head.Head) {
		h.DelFunc(func(f head.Field) bool { return f.Is(xA) || f.In(head.SetOf(head.Via)) || string(f.Value) == "te" })
	}, "Host: a", "Connection: close", "x-b:2")
	check(func(h *head.Head) { h.Del(head.Via); h.Add(head.Via, []byte("w")); h.Del(head.Via); h.Add(xB, nil) }, "Host: a", "X-A: 1", "Connection: close", "x-b:2", "x-a:  3 ", "Connection: te", "X-B: ")
	// Edits while the lines are looked at.
	check(func(h *head.Head) {
		for f := range h.All() {
			if f.Is(xB) {
				h.Del(xA)
				h.Add(head.Via, f.Value)
			}
		}
	}, "Host: a", "Connection: close", "x-b:2", "Via: v", "Connection: te", "Via: 2")
}

func TestFirstLineEdits(t *testing.T) {
	check := func(text string, edit func(h *head.Head), want string) {
		t.Helper()
		h := scanned(t, text)
		edit(h)
		if got := string(h.AppendTo(nil)); got != want {
			t.Errorf("the head is %q, want %q", got, want)
		}
	}
	check("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", func(h *head.Head) { h.SetMethod([]byte("HEAD")) }, "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
	check("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", func(h *head.Head) { h.SetTarget([]byte("/y?z")) }, "GET /y?z HTTP/1.1\r\nHost: a\r\n\r\n")
	check("HTTP/1.1 200 Fine\r\nA: b\r\n\r\n", func(h *head.Head) { h.SetStatus(304) }, "HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n")
	check("HTTP/1.1 200 Fine\r\nA: b\r\n\r\n", func(h *head.Head) { h.SetStatus(299) }, "HTTP/1.1 299 \r\nA: b\r\n\r\n")
}

func TestReads(t *testing.T) {
	h := scanned(t, edited)
	check := func(n head.Name, first string, lines ...string) {
		t.Helper()
		if got := h.Get(n); string(got) != first || (got == nil) != (len(lines) == 0) {
			t.Errorf("the first %s is %q", n, got)
		}
		var got []string
		for v := range h.Lines(n) {
			got = append(got, string(v))
		}
		if !slices.Equal(got, lines) || h.Count(n) != len(lines) {
			t.Errorf("%d lines of %s: %q, want %q", h.Count(n), n, got, lines)
		}
		if got := h.Joined(n); string(got) != strings.Join(lines, ", ") || (got == nil) != (len(lines) == 0) {
			t.Errorf("%s together is %q", n, got)
		}
	}
	check(xA, "1", "1", "3")
	check(head.NewName("x-B"), "2", "2")
	check(head.Connection, "close", "close", "te")
	check(head.Host, "a", "a")
	check(head.Age, "")
	check(head.NewName("X-C"), "")
	if want := head.SetOf(head.Host, head.Connection, head.Via); h.Present() != want || h.Repeated() != head.SetOf(head.Connection) {
		t.Errorf("present are %x and repeated %x", h.Present(), h.Repeated())
	}
	h.Del(head.Connection)
	h.Add(head.Via, []byte("w"))
	h.Set(xA, nil)
	check(head.Connection, "")
	check(head.Via, "v", "v", "w")
	check(xA, "", "")
	if want := head.SetOf(head.Host, head.Via); h.Present() != want || h.Repeated() != head.SetOf(head.Connection) {
		t.Errorf("after edits present are %x and repeated %x", h.Present(), h.Repeated())
	}
	for f := range h.All() {
		if f.Is(head.Host) != (string(f.Name) == "Host") || f.Is(xB) != (string(f.Name) == "x-b") {
			t.Errorf("%q is taken for another field", f.Name)
		}
	}
}

// What a Head returned stays as it was whatever is edited later.
func TestReadsOutliveEdits(t *testing.T) {
	h := scanned(t, edited)
	h.Set(xA, []byte("new"))
	values := [][]byte{h.Get(head.Host), h.Get(xA), h.Get(head.Via)}
	for range 100 {
		h.Add(xB, []byte(strings.Repeat("x", 100)))
		h.Set(xA, h.Get(xB))
		h.Append(head.Via, h.Get(xA))
	}
	h.DelSet(^head.Set(0))
	for i, want := range []string{"a", "new", "v"} {
		if string(values[i]) != want {
			t.Errorf("the value is %q, want %q", values[i], want)
		}
	}
}

// Edits of a copy never show in the original, nor the other way round.
func TestCopies(t *testing.T) {
	check := func(how string, copyTo func(h, dst *head.Head)) {
		t.Helper()
		h := scanned(t, edited)
		h.Set(xB, []byte("9"))
		before := string(h.AppendTo(nil))
		dst := scanned(t, "GET /another HTTP/1.1\r\nHost: b\r\nX-C: 1\r\n\r\n")
		copyTo(h, dst)
		if describe(h) != describe(dst) || string(dst.AppendTo(nil)) != before {
			t.Errorf("%s: %s of %s", how, describe(dst), describe(h))
		}
		dst.Set(xA, []byte("8"))
		dst.Set(xB, []byte("7"))
		dst.Del(head.Via)
		dst.SetTarget([]byte("/y"))
		if got := string(h.AppendTo(nil)); got != before {
			t.Errorf("%s: edits of the copy made %q of %q", how, got, before)
		}
		edited := string(dst.AppendTo(nil))
		h.Set(xA, []byte("6"))
		h.DelFunc(func(head.Field) bool { return true })
		h.Add(head.Age, nil)
		if got := string(dst.AppendTo(nil)); got != edited {
			t.Errorf("%s: edits of the original made %q of %q", how, got, edited)
		}
	}
	check("CopyTo", (*head.Head).CopyTo)
	check("Clone", (*head.Head).Clone)
	// A clone outlives what it was made of.
	h := scanned(t, edited)
	var clone head.Head
	h.Clone(&clone)
	want := describe(h)
	h.Reset()
	if err := h.ScanRequest([]byte(strings.ReplaceAll(edited, "a", "z"))); err != nil {
		t.Fatal(err)
	}
	if got := describe(&clone); got != want {
		t.Errorf("the clone is %s, was %s", got, want)
	}
}

// Several attempts copy one head at once and edit their copies.
func TestConcurrentCopies(t *testing.T) {
	h := scanned(t, edited)
	want := describe(h)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var own head.Head
			for range 100 {
				h.CopyTo(&own)
				own.Set(xA, []byte("9"))
				own.Del(head.Connection)
				own.Append(head.Via, []byte("w"))
				own.AppendTo(nil)
				if string(h.Get(xA)) != "1" || h.Count(head.Connection) != 2 {
					t.Error("an edit of a copy shows in the original")
					return
				}
			}
		})
	}
	wg.Wait()
	if got := describe(h); got != want {
		t.Errorf("the original is %s, was %s", got, want)
	}
}

// A head that is used again has nothing of the one before.
func TestReset(t *testing.T) {
	h := scanned(t, "GET http://b/x HTTP/1.0\r\nX-A: 1\r\nX-B: 2\r\nVia: 1\r\nVia: 2\r\n\r\n")
	h.SetMethod([]byte("PUT"))
	h.Reset()
	if err := h.ScanRequest([]byte(edited)); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(h), describe(scanned(t, edited)); got != want {
		t.Errorf("the head is %s, want %s", got, want)
	}
	h.Reset()
	if got, want := describe(h), describe(new(head.Head)); got != want {
		t.Errorf("the head is %s, want %s", got, want)
	}
	h.StartResponse(204)
	if got := string(h.AppendTo(nil)); got != "HTTP/1.1 204 No Content\r\n\r\n" {
		t.Errorf("the head is %q", got)
	}
}

// The usual life of heads costs no allocation.
func TestAllocations(t *testing.T) {
	check := func(what string, f func()) {
		t.Helper()
		f()
		if n := testing.AllocsPerRun(50, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	var h, other head.Head
	var out []byte
	in := []byte(browserRequest)
	check("a request", func() {
		h.Reset()
		if err := h.ScanRequest(in); err != nil {
			t.Fatal(err)
		}
		forward(&h)
		out = h.AppendTo(out[:0])
	})
	check("a copy", func() {
		h.CopyTo(&other)
		other.Set(head.Host, []byte("b"))
		other.Append(head.Via, []byte("w"))
		other.DelFunc(func(f head.Field) bool { return f.Is(head.XRealIP) })
		out = other.AppendTo(out[:0])
	})
	check("a clone", func() { h.Clone(&other) })
	sum := 0
	check("reads", func() {
		for f := range h.All() {
			sum += len(f.Value)
		}
		for v := range h.Lines(head.Via) {
			sum += len(v)
		}
		sum += h.Count(xA) + len(h.Get(head.Cookie)) + len(h.Joined(head.Cookie))
	})
	absolute := []byte("GET http://b?x HTTP/1.1\r\nHost: a\r\n\r\n")
	check("absolute-form", func() {
		h.Reset()
		if err := h.ScanRequest(absolute); err != nil {
			t.Fatal(err)
		}
	})
	response := []byte(nginxResponse)
	check("a response", func() {
		h.Reset()
		if err := h.ScanResponse(response); err != nil {
			t.Fatal(err)
		}
		h.SetStatus(203)
		h.SetInt(head.Age, 17)
		out = h.AppendTo(out[:0])
	})
	name, value := []byte("x-a"), []byte("1")
	check("a filled head", func() {
		h.StartRequest(head.HTTP2, []byte("GET"), []byte("/"))
		if h.Fill(name, value) != nil || h.Fill([]byte("host"), value) != nil || h.FinishRequest() != nil {
			t.Fatal("the head is refused")
		}
		out = h.AppendTo(out[:0])
	})
	stored := []byte("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nDate: d\r\n")
	check("a hit", func() {
		h.LendResponse(stored, head.SetOf(head.ETag, head.Date), 200, 3)
		h.Add(head.Age, value)
		out = h.AppendTo(out[:0])
		h.Del(head.Date)
		out = h.AppendTo(out[:0])
	})
	line := []byte("X-Sum: 1")
	check("a trailer section", func() {
		h.Reset()
		if err := h.ScanTrailer(line); err != nil {
			t.Fatal(err)
		}
		out = h.AppendFields(out[:0])
	})
}
