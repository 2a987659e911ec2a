package frames

import "sync"

// Pieces are the bytes of a body that have arrived and are not wanted yet. The zero value is
// empty.
type Pieces struct {
	list []*piece
	lent *piece
	size int // of list
}

// piece holds bytes that have arrived.
type piece struct {
	buf    []byte
	pooled bool
}

const (
	pieceSize  = 16 << 10
	smallPiece = 1 << 10
)

var pieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, 0, pieceSize), pooled: true} }}

func newPiece(size int) *piece {
	if size <= smallPiece {
		return &piece{buf: make([]byte, 0, smallPiece)}
	}
	return pieces.Get().(*piece)
}

func (p *piece) release() {
	if p != nil && p.pooled {
		p.buf = p.buf[:0]
		pieces.Put(p)
	}
}

// Add adds a copy of p.
func (l *Pieces) Add(p []byte) {
	for len(p) > 0 {
		var last *piece
		if n := len(l.list); n > 0 {
			last = l.list[n-1]
		}
		if last == nil || len(last.buf) == cap(last.buf) {
			last = newPiece(len(p))
			l.list = append(l.list, last)
		}
		n := min(len(p), cap(last.buf)-len(last.buf))
		last.buf = append(last.buf, p[:n]...)
		l.size += n
		p = p[n:]
	}
}

// Size is how many bytes there are.
func (l *Pieces) Size() int { return l.size }

// Next takes the first bytes, of which there must be some. They are valid until Return.
func (l *Pieces) Next() []byte {
	l.lent = l.list[0]
	copy(l.list, l.list[1:])
	l.list[len(l.list)-1] = nil
	l.list = l.list[:len(l.list)-1]
	l.size -= len(l.lent.buf)
	return l.lent.buf
}

// Return gives back what the last Next has returned.
func (l *Pieces) Return() {
	l.lent.release()
	l.lent = nil
}

// Drop forgets all, and returns how many bytes that was.
func (l *Pieces) Drop() int {
	n := l.size
	for _, p := range l.list {
		p.release()
	}
	l.Return()
	l.list, l.size = nil, 0
	return n
}
