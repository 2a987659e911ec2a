package transport

import (
	"io"
	"os"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/body"
	"weir/internal/frames"
	"weir/internal/head"
)

// framedBody is the Source of a response's body. framedConn.mu guards it.
type framedBody struct {
	s      *framedStream
	pieces frames.Pieces
	// window is how much may come, limit how much may come before it is wanted, taken what was taken of
	// which the target has not been told.
	window, limit, taken int64
	// length is what the head says, -1 if nothing; due is how much of that has to come.
	length, due int64
	seen        int64
	// trails says that the head announces a trailer section.
	trails  bool
	ended   bool  // the end has come
	err     error // final; io.EOF after the end
	trailer *head.Head
}

// begin takes what the final head says.
func (b *framedBody) begin(h *head.Head, isHead bool) {
	b.length = max(h.Length, -1)
	if isHead || h.Status == 204 || h.Status == 304 {
		b.length = 0
	}
	b.due, b.trails = b.length, h.Has(trailerField)
}

var trailerField = head.SetOf(head.Trailer)

// take takes the payload of a frame, and reports whether it fits what was announced.
func (b *framedBody) take(p []byte, end bool) bool {
	if b.due >= 0 {
		if b.due -= int64(len(p)); b.due < 0 || end && b.due > 0 {
			return false
		}
	}
	b.ended = b.ended || end
	if b.err == nil {
		b.pieces.Add(p)
	}
	b.s.readable.Broadcast()
	return true
}

// skip says that no body is wanted.
func (b *framedBody) skip() { b.err = io.EOF }

// here says whether Next need not wait.
func (b *framedBody) here() bool {
	return b.err != nil || b.pieces.Size() > 0 || b.ended || b.s.lost != nil
}

// Next implements body.Source.
func (b *framedBody) Next([]byte) ([]byte, error) {
	c := b.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	b.pieces.Return()
	for !b.here() {
		if err := b.s.wait(&b.s.readable, b.s.readBy); err != nil {
			b.err = err
			return nil, err
		}
	}
	switch {
	case b.err != nil:
		return nil, b.err
	case b.pieces.Size() == 0 && b.ended:
		b.err = io.EOF
		return nil, b.err
	case b.pieces.Size() == 0:
		b.err = b.s.lost
		return nil, b.err
	}
	p := b.pieces.Next()
	b.seen += int64(len(p))
	if b.pieces.Size() == 0 && b.ended {
		b.err = io.EOF // nothing can follow
	}
	b.grant(int64(len(p)))
	return p, nil
}

// grant lets the target send n bytes more, and more than that if the client takes them as fast as
// they come.
func (b *framedBody) grant(n int64) {
	c := b.s.c
	if b.taken += n; !b.owes() {
		return
	}
	if b.pieces.Size() == 0 && b.limit < maxWindow && c.grown+b.limit <= maxGrown {
		c.grown += b.limit
		b.taken += b.limit
		b.limit *= 2
	}
	b.pay()
	c.Flush()
}

// owes says that the target is to be told what was taken.
func (b *framedBody) owes() bool { return !b.ended && b.s.lost == nil && b.taken >= b.limit/2 }

// pay tells the target what was taken.
func (b *framedBody) pay() {
	b.s.c.Window(b.s.id, b.taken)
	b.window += b.taken
	b.taken = 0
}

func (b *framedBody) locked(what func() bool) bool {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	return what()
}

// Ready implements body.Source.
func (b *framedBody) Ready() bool { return b.locked(b.here) }

// Whole implements body.Source.
func (b *framedBody) Whole() bool { return b.locked(func() bool { return b.ended || b.err == io.EOF }) }

// Done implements body.Source.
func (b *framedBody) Done() bool { return b.locked(func() bool { return b.err == io.EOF }) }

// Proven implements body.Source.
func (b *framedBody) Proven() bool { return b.Done() }

// Left implements body.Source. Of a body that has come whole it is known, but a trailer section
// needs a framing without a length in HTTP/1.1, which is what Left decides.
func (b *framedBody) Left() int64 {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	switch {
	case b.err == io.EOF:
		return 0
	case b.trails || b.trailer != nil:
		return -1
	case b.length >= 0:
		return b.length - b.seen
	case b.ended:
		return int64(b.pieces.Size())
	}
	return -1
}

// Seen implements body.Source.
func (b *framedBody) Seen() int64 {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	return b.seen
}

// Trailer implements body.Source.
func (b *framedBody) Trailer() *head.Head {
	b.s.c.mu.Lock()
	defer b.s.c.mu.Unlock()
	if b.err != io.EOF {
		return nil
	}
	return b.trailer
}

// Kernel implements body.Source.
func (b *framedBody) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (b *framedBody) Moved(int64) { panic("BUG: bytes of frames cannot be moved inside the kernel") }

// framedUpload is the BodyWriter of a stream, and what is sent of a request after its head.
// framedConn.mu guards it.
type framedUpload struct {
	s     *framedStream
	limit time.Duration
	// pending are bytes that wait for room. They are the caller's.
	pending []byte
	window  int64
	// left is how much is to be sent, -1 if that is not known; more says that Write will be called.
	left    int64
	more    bool
	trailer []byte // a trailer section that waits for pending
	// last is where in Out, of that round, the stream's last frame is.
	last  int
	round uint64
	// ended says that the end is in Out, err why nothing more is sent.
	ended bool
	err   error
}

// begin takes what a request says of its body.
func (u *framedUpload) begin(r *Request, window int64) {
	u.window, u.left, u.more = window, -1, r.More
	if !r.Chunked && r.Head.Has(lengthField) {
		u.left = r.Head.Length
		if u.left < 0 {
			u.left = int64(len(r.Held))
		}
	}
}

var lengthField = head.SetOf(head.ContentLength)

// held takes the part of the body that is at hand.
func (u *framedUpload) held(r *Request) {
	if !r.More && r.Trailer != nil {
		u.trailer = frames.TrailerBlock(r.Trailer)
	}
	if len(r.Held) > 0 {
		u.queue(r.Held)
	} else if !r.More {
		u.finish()
	}
}

func (u *framedUpload) queue(p []byte) {
	u.pending = p
	u.s.c.sending = append(u.s.c.sending, u.s)
}

// send appends the next n bytes. It is for a stream that is the last one of sending.
func (u *framedUpload) send(n int) {
	c := u.s.c
	u.last, u.round = c.Data(u.s.id, u.pending[:n]), c.Round
	u.pending = u.pending[n:]
	u.window -= int64(n)
	c.window -= int64(n)
	if u.left >= 0 {
		u.left -= int64(n)
	}
	c.moved(idleForData)
	c.sent = min(c.sent+n, maxUpdatedFor)
	if len(u.pending) > 0 {
		return
	}
	u.unqueue()
	if u.left == 0 || !u.more {
		u.finish()
	}
	u.s.writable.Broadcast()
}

func (u *framedUpload) unqueue() {
	u.pending = nil
	for i, s := range u.s.c.sending {
		if s == u.s {
			u.s.c.sending = append(u.s.c.sending[:i], u.s.c.sending[i+1:]...)
			return
		}
	}
}

// finish sends the end.
func (u *framedUpload) finish() {
	c := u.s.c
	switch {
	case u.ended:
		return
	case u.trailer != nil:
		c.Block(u.s.id, c.Encoder.AfterSize(u.trailer), h2.FlagHeadersEndStream)
	case c.EndAt(u.last, u.round):
	default:
		c.Frame(0, h2.FrameData, h2.FlagDataEndStream, u.s.id)
	}
	u.ended = true
}

// stop makes nothing more be sent, because of why.
func (u *framedUpload) stop(why error) {
	if u.err == nil {
		u.err = why
	}
	u.unqueue()
	u.s.writable.Broadcast()
}

// Write implements BodyWriter.
func (u *framedUpload) Write(p []byte) error {
	c := u.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) > 0 && u.drain() == nil {
		u.queue(p)
		u.drain()
	}
	return u.err
}

// drain waits until nothing is pending: what Send was given may wait for room when more of the body comes.
func (u *framedUpload) drain() error {
	if len(u.pending) == 0 {
		return u.err
	}
	c := u.s.c
	if u.limit > 0 {
		u.s.writeBy = time.Now().Add(u.limit)
	}
	c.Pump()
	for len(u.pending) > 0 {
		if u.s.writeEnded {
			u.stop(os.ErrDeadlineExceeded)
			break
		}
		if !c.Writing() && len(c.Out) > 0 {
			c.Flush()
			continue
		}
		if err := u.s.wait(&u.s.writable, u.s.writeBy); err != nil {
			u.stop(err)
		}
	}
	return u.err
}

// Flush implements BodyWriter.
func (u *framedUpload) Flush() error {
	c := u.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Flush()
	return u.err
}

// Finish implements BodyWriter.
func (u *framedUpload) Finish(trailer *head.Head) error {
	c := u.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.drain() != nil {
		return u.err
	}
	if trailer != nil {
		u.trailer = frames.TrailerBlock(trailer)
	}
	u.finish()
	c.Flush()
	return u.err
}
