package proxy

import "sync"

// copyBuffer is the size of the largest buffers that bodies pass through.
const copyBuffer = 64 << 10

// copyBuffers are pools of *[]byte of a size, the smallest first. All servers of a process share them; they
// hold no state.
var copyBuffers = [...]struct {
	size int
	pool sync.Pool
}{{size: 4 << 10}, {size: 16 << 10}, {size: copyBuffer}}

// buffer is one of copyBuffers, or none. Its size follows what it is needed for, so that exchanges whose peers
// are slow, of which there may be many, hold little. The zero value holds none.
type buffer struct {
	// bytes is what bytes may be read into; empty while none is held.
	bytes []byte
	// held is bytes as its pool has it; kind is the place of the pool in copyBuffers.
	held *[]byte
	kind int
}

// take holds the largest buffer of at most n bytes, or the smallest one.
func (b *buffer) take(n int) {
	kind := len(copyBuffers) - 1
	for kind > 0 && copyBuffers[kind].size > n {
		kind--
	}
	if b.held != nil && b.kind == kind {
		return
	}
	b.release()
	held, _ := copyBuffers[kind].pool.Get().(*[]byte)
	if held == nil {
		made := make([]byte, copyBuffers[kind].size)
		held = &made
	}
	b.bytes, b.held, b.kind = *held, held, kind
}

// fit is called when n bytes were read at once: a buffer that was filled is too small, and one that stays
// nearly empty too large.
func (b *buffer) fit(n int) {
	switch size := len(b.bytes); {
	case n == size:
		b.take(4 * size)
	case n <= size/16:
		b.take(size / 4)
	}
}

// release gives the buffer back.
func (b *buffer) release() {
	if b.held != nil {
		copyBuffers[b.kind].pool.Put(b.held)
	}
	*b = buffer{}
}
