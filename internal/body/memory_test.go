package body_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/internal/body"
)

// A body in memory comes in one piece, and is proven.
func TestMemory(t *testing.T) {
	var m body.Memory
	check := func(what string, left, seen int64, done bool) {
		t.Helper()
		if m.Left() != left || m.Seen() != seen || m.Done() != done || m.Proven() != done || !m.Whole() || !m.Ready() || m.Trailer() != nil {
			t.Errorf("%s: %d left, %d seen, done %v, proven %v, whole %v, ready %v", what, m.Left(), m.Seen(), m.Done(), m.Proven(), m.Whole(), m.Ready())
		}
		if k := m.Kernel(); k != (body.Kernel{}) {
			t.Errorf("%s: not in a file, but %+v", what, k)
		}
	}
	check("the zero value", 0, 0, true)
	if p, err := m.Next(nil); len(p) > 0 || err != io.EOF {
		t.Errorf("nothing is %q, %v", p, err)
	}
	text := []byte("hello")
	m.Reset(text)
	check("at first", 5, 0, false)
	p, err := m.Next(make([]byte, 2))
	if string(p) != "hello" || err != nil || &p[0] != &text[0] {
		t.Errorf("%q, %v, or a copy", p, err)
	}
	check("in the end", 0, 5, true)
	if p, err := m.Next(nil); len(p) > 0 || err != io.EOF {
		t.Errorf("after the end: %q, %v", p, err)
	}
	m.Reset(text)
	m.Moved(2)
	check("a part was moved", 3, 2, false)
	if got, err := readBody(&m); got != "llo" || err != io.EOF {
		t.Errorf("the rest is %q, %v", got, err)
	}
}

// What a body in a file still has begins at the offset, whichever way the first part went.
func TestMemoryInFile(t *testing.T) {
	const before, text = "before", "0123456789"
	name := filepath.Join(t.TempDir(), "bodies")
	if err := os.WriteFile(name, []byte(before+text+"after"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m body.Memory
	check := func(what string) {
		t.Helper()
		k := m.Kernel()
		if k.Socket != nil || k.File == nil || k.File.Descriptor != int(f.Fd()) {
			t.Fatalf("%s: %+v", what, k)
		}
		b := make([]byte, m.Left())
		if _, err := syscall.Pread(k.File.Descriptor, b, k.File.Offset); err != nil || string(b) != text[m.Seen():] {
			t.Errorf("%s: the file has %q at %d, %v, want %q", what, b, k.File.Offset, err, text[m.Seen():])
		}
	}
	fill := func() {
		m.Reset([]byte(text))
		m.InFile(body.File{Descriptor: int(f.Fd()), Offset: int64(len(before))})
	}
	fill()
	check("at first")
	m.Moved(4)
	check("a part was moved")
	m.Moved(6)
	check("all was moved")
	if p, err := m.Next(nil); len(p) > 0 || err != io.EOF || !m.Proven() {
		t.Errorf("after all was moved: %q, %v, proven %v", p, err, m.Proven())
	}
	fill()
	m.Moved(1)
	if p, err := m.Next(nil); string(p) != text[1:] || err != nil {
		t.Errorf("the rest is %q, %v", p, err)
	}
	check("the rest was sent")
	m.Reset([]byte(strings.Repeat("x", 3)))
	if k := m.Kernel(); k != (body.Kernel{}) {
		t.Errorf("the next body is in the file of the last one: %+v", k)
	}
}
