package head

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// A Head that held anything before scans a response as an empty one does, however its bytes come.
func TestScanAfterOthers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	lines := []string{
		"Server: a", "Server: b", "Date: Tue, 14 May 2024 12:00:00 GMT", "Date: Tue, 14 May 2024 12:00:01 GMT", "Content-Length: 12", "Content-Length: 123",
		"Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Connection: keep-alive", "Connection: close", "Connection: keep-alive,\r\n close", "connection: Upgrade, x", "X-A: folded\r\n line", "X-A: folded   line", "X-A : space", "X-A:  space", "X-A:", "X-A:  b \t",
		"Trailer: X-Sum", "Host: a", "Host: b", "X-Forwarded-Port: 1", "no colon", ": no name", "X-A: \x01", "X-A: b\r", "TE: c", "XE: c",
	}
	response := func() []byte {
		var b strings.Builder
		b.WriteString([]string{"HTTP/1.1 200 OK\r\n", "HTTP/1.1 404\r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1 200 OK 23456\r\n"}[r.IntN(4)])
		for range r.IntN(7) {
			b.WriteString(lines[min(r.IntN(len(lines)), r.IntN(len(lines)))] + "\r\n")
		}
		b.WriteString("\r\nbody")
		return []byte(b.String())
	}
	scan := func(h *Head, text []byte, step int) error {
		text = bytes.Clone(text)
		defer clear(text) // the caller uses its buffer again
		for n := min(step, len(text)); ; n = min(n+step, len(text)) {
			if err := h.ScanResponse(text[:n]); err != ErrShort || n == len(text) {
				return err
			}
		}
	}
	var other Head
	use := []func(h *Head){
		func(h *Head) { h.Del(Connection) },
		func(h *Head) { h.Set(Connection, []byte("close")) },
		func(h *Head) { h.Append(Connection, []byte("upgrade")) },
		func(h *Head) { h.DelFunc(func(f Field) bool { return f.Is(Connection) && string(f.Value) == "close" }) },
		func(h *Head) { var l Lines; l.Add(Connection, []byte("close")); h.AddLines(&l) },
		func(h *Head) { h.Set(NewName("Server"), []byte("weir")) },
		func(h *Head) { h.Set(NewName("Server"), make([]byte, 5000)) },
		func(h *Head) { h.Add(Via, []byte("1.1 weir")) },
		func(h *Head) { h.SetFraming(LengthChunked) },
		func(h *Head) { h.SetFraming(12) },
		func(h *Head) { h.DelSet(Framing) },
		func(h *Head) { h.Append(CacheControl, []byte("no-store")) },
		func(h *Head) { h.SetStatus(500) },
		func(h *Head) { h.Clone(&other) },
		func(h *Head) { other.CopyTo(h) },
		func(h *Head) { other.Clone(h) },
		func(h *Head) { h.StartResponse(200); h.Add(Via, []byte("x")) },
		func(h *Head) { h.Reset(); h.ScanTrailer([]byte("X-Sum: 1")) },
		func(h *Head) { h.Reset(); h.ScanRequest([]byte("GET / HTTP/1.0\r\n\r\n")) },
		func(h *Head) { h.Reset(); h.ScanRequest([]byte("GET / HTTP/1.1\r\nHost: a\r\nServer: a\r\n\r\n")) },
		func(h *Head) {
			h.LendResponse([]byte("HTTP/1.1 200 OK\r\nServer: a\r\nDate: x\r\n"), SetOf(Date), 200, LengthNone)
			h.Get(Date)
		},
		func(h *Head) { var l Lines; l.Add(Via, []byte("1.1 a")); h.Reset(); h.AddLines(&l) },
		func(h *Head) { h.Reset(); h.ScanResponse([]byte("HTTP/1.1 200 OK\r\nServer: a\r\nDa")) },
	}
	type result struct {
		err               error
		text              string
		fields            []field
		version           Version
		status, size      int
		length            int64
		present, repeated Set
		folded            bool
	}
	scanned := func(h *Head, text []byte, step int) result {
		h.Reset()
		err := scan(h, text, step)
		got := result{err: err, fields: h.fields, version: h.Version, status: h.Status, size: h.Size, length: h.Length, present: h.present, repeated: h.repeated, folded: h.scan.folded}
		if err == nil {
			got.text = string(h.AppendTo(nil))
		}
		if len(got.fields) == 0 {
			got.fields = nil
		}
		return got
	}
	// options checks that Options has seen every edit.
	options := func(h *Head) {
		t.Helper()
		got := h.Options()
		slow := *h
		slow.asScanned = false
		if want := slow.Options(); got != want {
			t.Fatalf("Options of %q is %b, want %b", h.AppendTo(nil), got, want)
		}
	}
	var h Head
	var last []byte // the last head that was scanned without an error, as it came or as it went on
	same, again := 0, 0
	for range 50_000 {
		for range r.IntN(4) {
			use[r.IntN(len(use))](&h)
			options(&h)
		}
		text, step := response(), []int{1, 7, 1000}[r.IntN(3)]
		if r.IntN(2) == 0 && last != nil {
			text = last
		}
		before := 0
		if s := h.scanned; s != nil {
			before = min(s.fields, s.raw)
		}
		got, want := scanned(&h, text, step), scanned(new(Head), text, 1000)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q in steps of %d: after others %+v, alone %+v", text, step, got, want)
		}
		if want.err == nil {
			options(&h)
		}
		if before > 0 && want.err == nil && len(want.fields) > 0 {
			same++
		}
		if before > 0 && step == 1000 && &text[0] == &last[0] {
			again++
		}
		if want.err == nil {
			if last = text; r.IntN(4) == 0 {
				last = []byte(want.text) // repaired
			}
		}
		if r.IntN(2) == 0 {
			if other := response(); scanned(&h, other, 1000).err == nil {
				last = other
			}
		}
	}
	if again < 1000 {
		t.Errorf("only %d heads came to one that has remembered the same", again)
	}
	if same < 1000 {
		t.Errorf("only %d heads came to one that has remembered lines", same)
	}
}

// A scan that ended in the middle leaves nothing that a later one takes for a line: here the first field of the second head lies where
// the second line of the first one was.
func TestScanAfterDefect(t *testing.T) {
	var h Head
	for _, text := range []string{"HTTP/1.1 200 OK\r\nTE: c\r\nXE: c\r\n\r\n", "HTTP/1.1 200 OK 234567\r\nTE: c\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nXE: c\r\n\r\n"} {
		h.Reset()
		h.ScanResponse([]byte(text))
	}
	if h.Has(SetOf(TE)) || string(h.Get(NewName("XE"))) != "c" {
		t.Errorf("%q is read as %+v", h.raw, h.fields)
	}
}
