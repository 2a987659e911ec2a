package http2

import (
	"io"
	"sync"
	"time"

	"weir/internal/body"
	"weir/internal/frames"
	"weir/internal/head"
)

// requestBody is the Source of a body that comes in DATA frames. conn.mu guards it.
type requestBody struct {
	s        *stream
	readable sync.Cond
	pieces   frames.Pieces
	// window is how much the client may send, taken what it has not been told of.
	window, taken int64
	// left is how much is still to be delivered, due how much still has to arrive; -1 if the
	// request does not say.
	left, due int64
	seen      int64
	ended     bool  // the end has arrived
	err       error // final; io.EOF after the end
	failure   error // what comes after what has arrived
	paused    bool  // the exchange does not read on for now
	trailer   *head.Head
	// waiting is since when the client is waited for; behind is how far it is behind rate.
	waiting time.Time
	behind  time.Duration
}

// start says how long the body is: length is as in a head.
func (b *requestBody) start(length int64) {
	b.left, b.due = max(length, -1), max(length, -1)
	if !b.ended && b.due >= 0 && b.s.Request.Has(trailerField) {
		// A trailer section follows. The length is kept to, but not passed on: HTTP/1.1 has room for the section only
		// after chunks.
		b.left, b.s.Request.Length = -1, head.LengthChunked
	}
	if b.left == 0 || b.ended {
		b.left, b.due, b.err = 0, 0, io.EOF
	}
}

var trailerField = head.SetOf(head.Trailer)

// complete says that nothing of the body is missing, though its end may not have been said.
func (b *requestBody) complete() bool { return b.ended || b.due == 0 }

// take takes the payload of a frame, and reports whether it fits what was announced.
func (b *requestBody) take(p []byte, end bool) bool {
	if b.due >= 0 {
		if b.due -= int64(len(p)); b.due < 0 || end && b.due > 0 {
			return false
		}
	}
	b.ended = b.ended || end
	b.pieces.Add(p)
	b.readable.Signal()
	return true
}

// fail makes the body break off after what has arrived.
func (b *requestBody) fail(why error) {
	if b.failure == nil {
		b.failure = why
	}
	b.readable.Broadcast()
}

// Next implements body.Source.
func (b *requestBody) Next([]byte) ([]byte, error) {
	c := b.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.next()
}

func (b *requestBody) next() ([]byte, error) {
	b.pieces.Return()
	if b.err == nil && !b.here() {
		b.waiting = time.Now()
		for !b.here() {
			b.readable.Wait()
		}
		b.behind += time.Since(b.waiting)
		b.waiting = time.Time{}
	}
	switch {
	case b.err != nil:
		return nil, b.err
	case b.paused:
		return nil, body.ErrPaused
	case b.pieces.Size() == 0 && b.failure != nil:
		b.err = b.failure
		return nil, b.err
	case b.pieces.Size() == 0:
		b.err = io.EOF
		return nil, b.err
	}
	p := b.pieces.Next()
	n := int64(len(p))
	b.seen += n
	if b.left > 0 {
		b.left -= n
	}
	if b.s.rate > 0 {
		b.behind = max(0, b.behind-time.Duration(n)*time.Second/time.Duration(b.s.rate))
	}
	if b.left == 0 || b.ended && b.pieces.Size() == 0 && b.trailer == nil && b.failure == nil {
		b.err = io.EOF // nothing can follow
	}
	b.grant(n)
	return p, nil
}

// sized says that the request says how long the body is.
func (b *requestBody) sized() bool { return b.left >= 0 }

// here says whether next need not wait.
func (b *requestBody) here() bool {
	return b.pieces.Size() > 0 || b.ended || b.failure != nil || b.paused
}

// grant lets the client send n bytes more, and tells it so.
func (b *requestBody) grant(n int64) {
	b.giveBack(n)
	if c := b.s.c; len(c.Out) > 0 && !b.s.inline {
		c.Flush()
	}
}

// giveBack lets the client send n bytes more.
func (b *requestBody) giveBack(n int64) {
	c := b.s.c
	c.giveBack(int(n))
	b.taken += n
	if !b.ended && b.due != 0 && b.taken >= streamWindow/2 && b.s.state != streamClosed {
		c.Window(b.s.id, b.taken)
		b.window += b.taken
		b.taken = 0
	}
}

func (b *requestBody) locked(what func() bool) bool {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	return what()
}

// Ready implements body.Source.
func (b *requestBody) Ready() bool { return b.locked(func() bool { return b.err != nil || b.here() }) }

// Whole implements body.Source.
func (b *requestBody) Whole() bool {
	return b.locked(func() bool { return b.err == io.EOF || b.due == 0 && b.failure == nil && b.left >= 0 })
}

// Done implements body.Source.
func (b *requestBody) Done() bool { return b.locked(func() bool { return b.err == io.EOF }) }

// Proven implements body.Source.
func (b *requestBody) Proven() bool { return b.Done() }

// Left implements body.Source.
func (b *requestBody) Left() int64 {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	return b.left
}

// Seen implements body.Source.
func (b *requestBody) Seen() int64 {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	return b.seen
}

// Trailer implements body.Source.
func (b *requestBody) Trailer() *head.Head {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	if b.err != io.EOF {
		return nil
	}
	return b.trailer
}

// Kernel implements body.Source.
func (b *requestBody) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (b *requestBody) Moved(int64) { panic("BUG: bytes of frames cannot be moved inside the kernel") }
