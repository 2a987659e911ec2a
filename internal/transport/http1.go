package transport

import (
	"bufio"
	"io"
	"net"
	"os"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/internal/sock"
)

// Open implements Transport.
func (t *HTTP1) Open(within time.Duration, _ Version) (Stream, error) {
	c, err := t.Acquire(within)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Share implements Transport.
func (t *HTTP1) Share(within, write time.Duration) Stream {
	c := t.Join(within, write)
	if c == nil {
		return nil // not a Stream of no connection
	}
	return c
}

// Refuses implements Stream.
func (c *Conn) Refuses() bool { return false }

// Version implements Stream.
func (c *Conn) Version() head.Version { return head.HTTP11 }

// Send implements Stream.
func (c *Conn) Send(r *Request) (n int, err error) {
	if c.slot == nil {
		c.first.Small = r.Crowded
	}
	out := r.assemble()
	if !r.More {
		return 0, c.sendLater(out)
	}
	if c.reused && !c.Quiet() {
		return 0, sock.ErrNotQuiet
	}
	return c.SendNow(out)
}

// Expect implements Stream. Exchanges that share a connection have no memory in common.
func (c *Conn) Expect(memory prefetch.Regions) {
	if c.slot == nil {
		c.first.Expect(memory)
	}
}

// assemble makes, in Room, what is sent in HTTP/1.1.
func (r *Request) assemble() []byte {
	out := r.Head.AppendTo(r.Room[:0])
	switch {
	case !r.Chunked:
		out = append(out, r.Held...)
	case len(r.Held) > 0:
		out = append(body.AppendChunkHead(out, len(r.Held)), r.Held...)
		out = append(out, '\r', '\n')
	}
	if r.Chunked && !r.More {
		out = body.AppendLastChunk(out, r.Trailer)
	}
	r.Room = out
	return out
}

// ReadHead implements Stream.
func (c *Conn) ReadHead(h *head.Head) (started bool, err error) {
	if c.Reader == nil || c.request != nil {
		if err := c.Await(); err != nil {
			return false, err
		}
	}
	h.Reset()
	for {
		buf, _ := c.Reader.Peek(c.Reader.Buffered())
		if len(buf) > 0 {
			err := h.ScanResponse(buf)
			switch {
			case err == nil && h.Size > c.maxHead:
				return true, head.DefectHeadSize
			case err == nil:
				c.Reader.Discard(h.Size)
				return true, nil
			case err != head.ErrShort:
				return true, err
			case len(buf) >= c.maxHead:
				return true, head.DefectHeadSize
			case len(buf) == c.Reader.Size():
				c.Reader = sock.Grow(c.Reader, c.Conn, c.maxHead)
			}
		}
		if _, err := c.Reader.Peek(len(buf) + 1); err != nil {
			if err == bufio.ErrBufferFull {
				return true, head.DefectHeadSize
			}
			if err == io.EOF && len(buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return len(buf) > 0, err
		}
	}
}

// Response implements Stream, by RFC 9112 section 6.3.
func (c *Conn) Response(h *head.Head, bodyless bool, r *body.Reader) (body.Source, error) {
	switch {
	case bodyless:
		r.Reset(c.Reader, body.FramingNone, 0)
	case h.Length == head.LengthChunked:
		r.Reset(c.Reader, body.FramingChunked, 0)
		r.OnSocket(c.stream) // not that of a slot: bytes of a connection that was taken may be in its own reader
	case h.Length >= 0:
		r.Reset(c.Reader, body.FramingLength, h.Length)
		r.OnSocket(c.Stream())
	default:
		r.Reset(c.Reader, body.FramingClose, 0)
	}
	return r, r.Flaw()
}

// Tunnel implements Stream.
func (c *Conn) Tunnel() (net.Conn, []byte) {
	early, _ := c.Reader.Peek(c.Reader.Buffered())
	c.Reader.Discard(len(early))
	return c.Conn, early
}

// Interrupt implements Stream.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	c.Conn.SetDeadline(sock.LongAgo)
}

// InterruptRead implements Stream.
func (c *Conn) InterruptRead() { c.Conn.SetReadDeadline(sock.LongAgo) }

// InterruptWrite implements Stream.
func (c *Conn) InterruptWrite() {
	c.writeEnded.Store(true)
	c.Conn.SetWriteDeadline(sock.LongAgo)
}

// InterruptFrom implements Stream.
func (c *Conn) InterruptFrom(t time.Time) { c.Conn.SetReadDeadline(t) }

// Cut implements Stream.
func (c *Conn) Cut() { c.Conn.Close() }

// Release implements Stream.
func (c *Conn) Release(reusable bool) { c.home.Release(c, reusable) }

// Park implements Keeper.
func (c *Conn) Park() bool {
	if c.slot != nil || c.Reader != nil && c.Reader.Buffered() > 0 || !c.drained() {
		return false
	}
	c.letGo()
	c.request, c.sent, c.first.Small = nil, 0, nil
	c.Unlimit()
	return true
}

// Resume implements Keeper.
func (c *Conn) Resume() bool {
	c.reused = true
	if !c.Quiet() {
		return false
	}
	if c.stream == nil {
		c.hold()
	}
	return true
}

// BodyWriter implements Stream.
func (c *Conn) BodyWriter(chunked bool, limit time.Duration) BodyWriter {
	return &bodyWriter{c: c, limit: limit, chunked: chunked}
}

// bodyWriter writes a request body to a connection.
type bodyWriter struct {
	c       *Conn
	limit   time.Duration
	chunked bool
	buf     []byte
}

// gather is how many bytes are gathered before they are written.
const gather = 16 << 10

// Write implements BodyWriter.
func (w *bodyWriter) Write(p []byte) error {
	if !w.chunked && len(w.buf) == 0 && len(p) >= gather {
		return w.send(p)
	}
	if w.chunked {
		w.buf = body.AppendChunkHead(w.buf, len(p))
	}
	w.buf = append(w.buf, p...)
	if w.chunked {
		w.buf = append(w.buf, '\r', '\n')
	}
	if len(w.buf) >= gather {
		return w.Flush()
	}
	return nil
}

// Flush implements BodyWriter.
func (w *bodyWriter) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// Finish implements BodyWriter.
func (w *bodyWriter) Finish(trailer *head.Head) error {
	if w.chunked {
		w.buf = body.AppendLastChunk(w.buf, trailer)
	}
	return w.Flush()
}

func (w *bodyWriter) send(p []byte) error {
	w.c.LimitWrite(time.Now(), w.limit)
	if w.c.writeEnded.Load() {
		return os.ErrDeadlineExceeded // the new limit may have taken back the interruption
	}
	_, err := w.c.Write(p)
	return err
}
