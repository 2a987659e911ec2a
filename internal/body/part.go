package body

import (
	"io"
	"os"

	"weir/internal/head"
)

// FileRun is a piece of a FileParts: text, and then a part of the file.
type FileRun struct {
	Text         []byte
	Offset, Size int64
}

// FileParts is a body of parts of an open file, which the process reads piece by piece, or the
// kernel moves. Who opened the file closes it.
type FileParts struct {
	file       *os.File
	runs       []FileRun
	left, seen int64
	kernel     File
}

// NewFileParts returns a body of these parts. It changes runs.
func NewFileParts(file *os.File, runs []FileRun) *FileParts {
	b := &FileParts{file: file, runs: runs, kernel: File{Descriptor: int(file.Fd())}}
	for _, r := range runs {
		b.left += int64(len(r.Text)) + r.Size
	}
	b.skip()
	return b
}

// skip drops the runs that were delivered.
func (b *FileParts) skip() {
	for len(b.runs) > 0 && len(b.runs[0].Text) == 0 && b.runs[0].Size == 0 {
		b.runs = b.runs[1:]
	}
}

// Next implements Source. A file that became shorter is an io.ErrUnexpectedEOF.
func (b *FileParts) Next(buf []byte) ([]byte, error) {
	if len(b.runs) == 0 {
		return nil, io.EOF
	}
	if text := b.runs[0].Text; len(text) > 0 {
		b.Moved(int64(len(text)))
		return text, nil
	}
	r := &b.runs[0]
	n, err := b.file.ReadAt(buf[:min(int64(len(buf)), r.Size)], r.Offset)
	if n == 0 {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	b.Moved(int64(n))
	return buf[:n], nil
}

// Ready implements Source: reading a file may wait for a disk.
func (b *FileParts) Ready() bool { return len(b.runs) > 0 && len(b.runs[0].Text) > 0 }

// Left implements Source.
func (b *FileParts) Left() int64 { return b.left }

// Seen implements Source.
func (b *FileParts) Seen() int64 { return b.seen }

// Whole implements Source.
func (b *FileParts) Whole() bool { return b.Done() }

// Done implements Source.
func (b *FileParts) Done() bool { return b.left == 0 }

// Proven implements Source.
func (b *FileParts) Proven() bool { return b.Done() }

// Trailer implements Source.
func (b *FileParts) Trailer() *head.Head { return nil }

// Kernel implements Source: the last part can be moved.
func (b *FileParts) Kernel() Kernel {
	if len(b.runs) != 1 || len(b.runs[0].Text) > 0 {
		return Kernel{}
	}
	b.kernel.Offset = b.runs[0].Offset
	return Kernel{File: &b.kernel}
}

// Moved implements Source.
func (b *FileParts) Moved(n int64) {
	b.left -= n
	b.seen += n
	for n > 0 {
		r := &b.runs[0]
		if text := min(n, int64(len(r.Text))); text > 0 {
			r.Text = r.Text[text:]
			n -= text
		}
		part := min(n, r.Size)
		r.Offset += part
		r.Size -= part
		n -= part
		b.skip()
	}
}
