package body

import (
	"io"

	"weir/internal/head"
)

// Memory is a body that lies in memory, and perhaps in a file as well. The zero
// value is an empty body.
type Memory struct {
	left []byte
	seen int64
	file File
	// filed says that file holds what is in left.
	filed bool
}

// Reset makes m the body p, which must not change while m is used.
func (m *Memory) Reset(p []byte) { *m = Memory{left: p} }

// InFile tells that the body lies in a file as well.
func (m *Memory) InFile(f File) { m.file, m.filed = f, true }

// Next implements Source.
func (m *Memory) Next([]byte) ([]byte, error) {
	if len(m.left) == 0 {
		return nil, io.EOF
	}
	p := m.left
	m.Moved(int64(len(p)))
	return p, nil
}

// Ready implements Source.
func (m *Memory) Ready() bool { return true }

// Left implements Source.
func (m *Memory) Left() int64 { return int64(len(m.left)) }

// Seen implements Source.
func (m *Memory) Seen() int64 { return m.seen }

// Whole implements Source.
func (m *Memory) Whole() bool { return true }

// Done implements Source.
func (m *Memory) Done() bool { return len(m.left) == 0 }

// Proven implements Source.
func (m *Memory) Proven() bool { return m.Done() }

// Trailer implements Source.
func (m *Memory) Trailer() *head.Head { return nil }

// Kernel implements Source.
func (m *Memory) Kernel() Kernel {
	if !m.filed {
		return Kernel{}
	}
	return Kernel{File: &m.file}
}

// Moved implements Source.
func (m *Memory) Moved(n int64) {
	m.left = m.left[n:]
	m.file.Offset += n
	m.seen += n
}
