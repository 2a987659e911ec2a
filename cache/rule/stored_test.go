package rule_test

import (
	"bytes"
	"testing"

	"weir/cache/rule"
	"weir/internal/head"
)

// A tier that returns what no head can be, or what says where an answer ends, is damaged or
// hostile.
func TestLoad(t *testing.T) {
	check := func(status int, line, fields string, want bool) {
		t.Helper()
		s, ok := rule.Load(rule.Terms{}, status, []byte(line), []byte(fields), 5)
		if ok != want {
			t.Errorf("%d %q %q: loaded %v, want %v", status, line, fields, ok, want)
		}
		if ok {
			checkSound(t, &s)
		}
	}
	const line, fields = "HTTP/1.1 200 OK\r\n", "ETag: \"a\"\r\nx-a:1\r\n"
	check(200, line, fields, true)
	check(200, line, "", true)
	check(200, "HTTP/1.1 200 So so\r\n", fields, true)
	check(299, "HTTP/1.1 299 \r\n", fields, true)
	check(204, "HTTP/1.1 204 No Content\r\n", fields, true)

	// The status line.
	check(200, "", fields, false)
	check(200, "\r\n", fields, false)
	check(200, "HTTP/1.1 200\r\n", fields, false)
	check(200, "HTTP/1.1 200 OK", fields, false)
	check(200, "HTTP/1.1 200 OK\n", fields, false)
	check(200, "HTTP/1.0 200 OK\r\n", fields, false)
	check(200, "HTTP/1.1 404 OK\r\n", fields, false)
	check(200, "HTTP/1.1 2000 OK\r\n", fields, false)
	check(1000, "HTTP/1.1 1000 OK\r\n", fields, false)
	check(200, "http/1.1 200 OK\r\n", fields, false)
	check(200, "HTTP/1.1 200 OK\r\nA: b\r\n", fields, false)
	check(200, "HTTP/1.1 200 O\rK\r\n", fields, false)
	check(200, "HTTP/1.1 200 O\x00K\r\n", fields, false)
	check(200, "HTTP/1.1 200 O\x7fK\r\n", fields, false)
	check(200, "HTTP/1.1 200 O\x1bK\r\n", fields, false)

	// The fields.
	check(200, line, "ETag", false)
	check(200, line, "ETag: \"a\"", false)
	check(200, line, "ETag: \"a\"\n", false)
	check(200, line, "ETag \"a\"\r\n", false)
	check(200, line, "ETag : \"a\"\r\n", false)
	check(200, line, ": a\r\n", false)
	check(200, line, "\r\n", false)
	check(200, line, fields+"\r\n", false)
	check(200, line, "\r\n"+fields, false)
	check(200, line, "A: b\r\n c\r\n", false)
	check(200, line, "A: b\x00\r\n", false)
	check(200, line, "A: b\rB: c\r\n", false)
	check(200, line, "A: b\nB: c\r\n", false)
	check(200, line, "A: \x1b[31m\r\n", false)
	check(200, line, "A\x00: b\r\n", false)

	// What belongs to a connection, to one answer or to its framing.
	check(200, line, "Content-Length: 4\r\n", false)
	check(200, line, fields+"transfer-encoding: chunked\r\n", false)
	check(200, line, "Connection: close\r\n", false)
	check(200, line, "Age: 1\r\n", false)
	check(200, line, "Trailer: a\r\n", false)
}

// checkSound checks that what is stored goes out as a head that says what Stored says.
func checkSound(t *testing.T, s *rule.Stored) {
	t.Helper()
	before := bytes.Clone(s.Head)
	var lent, scanned head.Head
	lent.LendResponse(s.Head, s.Present, s.Status, s.Length)
	sent := lent.AppendTo(nil)
	if err := scanned.ScanResponse(sent); err != nil || scanned.Size != len(sent) || scanned.Status != s.Status || scanned.Present() != s.Present {
		t.Fatalf("%q is sent as %q: %v, status %d, fields %#x; stored are %d and %#x", before, sent, err, scanned.Status, scanned.Present(), s.Status, s.Present)
	}
	length := s.Length
	if length < 0 || !rule.HasBody(s.Status) {
		length = head.LengthNone
	}
	if scanned.Length != length {
		t.Fatalf("%q says that %d bytes follow, stored are %d", sent, scanned.Length, s.Length)
	}
	for f := range scanned.All() {
		if n := head.NewName(string(f.Name)); !bytes.Equal(lent.Joined(n), scanned.Joined(n)) {
			t.Fatalf("%s is %q in the lent head, %q in a scan", f.Name, lent.Joined(n), scanned.Joined(n))
		}
	}
	lent.Set(head.ETag, []byte("x"))
	lent.DelSet(head.Framing)
	lent.DelFunc(func(head.Field) bool { return true })
	if !bytes.Equal(s.Head, before) {
		t.Fatalf("%q became %q", before, s.Head)
	}
}

// FuzzLoad: what a tier returns is refused or is sound.
func FuzzLoad(f *testing.F) {
	f.Add(200, []byte("HTTP/1.1 200 OK\r\n"), []byte("ETag: \"a\"\r\nx-a:1\r\n"), int64(5))
	f.Add(204, []byte("HTTP/1.1 204 No Content\r\n"), []byte(""), int64(0))
	f.Add(299, []byte("HTTP/1.1 299 \r\n"), []byte("Vary: a\r\nVary: b\r\n"), int64(-1))
	f.Add(200, []byte("HTTP/1.1 200 \x01\r\n"), []byte("Content-Length: 1\r\n"), int64(5))
	f.Add(200, []byte("HTTP/1.0 200 OK\r\n"), []byte("A\x00: b\r\n\r\n"), int64(5))
	f.Fuzz(func(t *testing.T, status int, line, fields []byte, length int64) {
		if s, ok := rule.Load(rule.Terms{}, status, line, fields, max(length, -1)); ok {
			checkSound(t, &s)
		}
	})
}
