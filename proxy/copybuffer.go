package proxy

import "sync"

// copyBuffer is the size of the largest buffers that bodies pass through.
const copyBuffer = 64 << 10

// copyBuffers is shared by all servers of a process; it holds no state.
var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// lessBuffers are pools of smaller ones, the smallest first.
var lessBuffers = [...]struct {
	size int
	pool sync.Pool
}{{size: 4 << 10}, {size: 16 << 10}}

// buffer is one of those, or none. Its size follows what it is needed for, so that exchanges whose peers
// are slow, of which there may be many, hold little. The zero value holds none.
type buffer struct {
	// bytes is what bytes may be read into; empty while none is held.
	bytes []byte
	// large is bytes, or else less, which comes from a pool of lessBuffers.
	large *[copyBuffer]byte
	less  *[]byte
	pool  int
}

// take holds the largest buffer of at most n bytes, or the smallest one.
func (b *buffer) take(n int) {
	if n >= copyBuffer {
		if b.large == nil {
			b.release()
			b.large = copyBuffers.Get().(*[copyBuffer]byte)
			b.bytes = b.large[:]
		}
		return
	}
	i := len(lessBuffers) - 1
	for i > 0 && lessBuffers[i].size > n {
		i--
	}
	if b.less != nil && b.pool == i {
		return
	}
	b.release()
	less, _ := lessBuffers[i].pool.Get().(*[]byte)
	if less == nil {
		p := make([]byte, lessBuffers[i].size)
		less = &p
	}
	b.bytes, b.less, b.pool = *less, less, i
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
	switch {
	case b.large != nil:
		copyBuffers.Put(b.large)
	case b.less != nil:
		lessBuffers[b.pool].pool.Put(b.less)
	}
	*b = buffer{}
}
