package body

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestFileParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(b *FileParts) (text string, err error) {
		buf := make([]byte, 3)
		for {
			before := b.Left()
			piece, err := b.Next(buf)
			if err != nil {
				if err == io.EOF && b.Done() && b.Proven() {
					err = nil
				}
				return text, err
			}
			text += string(piece)
			if b.Left() != before-int64(len(piece)) || b.Seen() != int64(len(text)) {
				t.Errorf("left %d, seen %d after %q", b.Left(), b.Seen(), text)
			}
		}
	}
	check := func(want string, runs ...FileRun) {
		t.Helper()
		if got, err := read(NewFileParts(f, runs)); got != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	check("")
	check("0123456789", FileRun{nil, 0, 10})
	check("45", FileRun{nil, 4, 2})
	check("<4567>[01]", FileRun{[]byte("<"), 4, 4}, FileRun{[]byte(">["), 0, 2}, FileRun{[]byte("]"), 0, 0})
	if got, err := read(NewFileParts(f, []FileRun{{nil, 5, 9}})); got != "56789" || err != io.ErrUnexpectedEOF {
		t.Errorf("a file that is too short: %q, %v", got, err)
	}

	// The kernel may move what is the last part, from where it has come to.
	b := NewFileParts(f, []FileRun{{[]byte("ab"), 1, 2}, {nil, 5, 4}})
	for _, n := range []int64{1, 2, 1} { // ends inside text, inside a part, and between two
		if k := b.Kernel(); k != (Kernel{}) {
			t.Errorf("with %d left: %+v", b.Left(), k)
		}
		b.Moved(n)
	}
	b.Moved(1)
	if k := b.Kernel(); k.File == nil || k.File.Offset != 6 || b.Left() != 3 {
		t.Errorf("%+v, %d left", k, b.Left())
	}
	b.Moved(3)
	if !b.Done() || b.Kernel() != (Kernel{}) {
		t.Error("it is not done")
	}
}
