package http1

import (
	"errors"
	"net"
	"syscall"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/sock"
	"weir/proxy"
)

// outBuffer is how much of a response is gathered before it is written: a head
// and a body of some KiB leave in one write.
const outBuffer = 16 << 10

// framing is how the client sees the end of a response body.
type framing uint8

const (
	framingLength framing = iota
	framingChunked
	framingClose
)

// writer is the writing half of a conn.
type writer struct {
	out    []byte
	pooled *[]byte
	// overhead is how many bytes of out are no bytes of a body, delivered how many of the
	// response's body were written.
	overhead  int
	delivered int64
	progress  progress
	framing   framing
	bodyless  bool
	version   head.Version // of the request
	head      bool         // the request's method is HEAD
	closing   bool         // the connection ends after this exchange
	finished  bool
	aborted   bool
	tunnel    bool
	left      int64 // bytes of a framingLength body to come
	err       error
	// pace bounds how slowly the client may take what is written.
	pace sock.Pace
}

// progress is how far the final response has come.
type progress uint8

const (
	// responseAwaited: interim responses at most were gathered.
	responseAwaited progress = iota
	// responseGathered: the head was gathered, and nothing of it written.
	responseGathered
	// responseBegun: some of it was written.
	responseBegun
)

func (w *writer) reset() {
	w.framing, w.left, w.bodyless, w.version, w.head = framingLength, 0, false, head.HTTP11, false
	w.closing, w.finished, w.aborted, w.tunnel, w.err = false, false, false, false, nil
	w.overhead, w.delivered, w.progress = 0, 0, responseAwaited
	w.pace.Reset(defaultGrace, 0)
}

// gather appends a head to what is to be written. The buffer for that is taken with the first
// head: an exchange that waits for its target holds none.
func (w *writer) gather(h *head.Head) {
	if w.pooled == nil {
		w.pooled = outBuffers.Get().(*[]byte)
		w.out = (*w.pooled)[:0]
	}
	before := len(w.out)
	w.out = h.AppendTo(w.out)
	w.overhead += len(w.out) - before
}

func (w *writer) releaseOut() {
	if w.pooled != nil {
		if cap(w.out) <= 4*outBuffer {
			*w.pooled = w.out[:0]
		}
		outBuffers.Put(w.pooled)
		w.pooled, w.out = nil, nil
	}
}

// CloseAfter implements proxy.Front.
func (c *conn) CloseAfter() { c.closing = true }

// Inform implements proxy.Front.
func (c *conn) Inform(h *head.Head) error {
	if c.version == head.HTTP10 {
		return nil
	}
	c.gather(h)
	return c.Flush()
}

// Start implements proxy.Front.
func (c *conn) Start(h *head.Head, length int64, bodyless bool) error {
	c.closing = c.closing || c.draining()
	c.bodyless, c.left = bodyless, length
	c.frame(h)
	switch {
	case c.closing:
		h.Set(head.Connection, []byte("close"))
	case c.version == head.HTTP10:
		h.Set(head.Connection, []byte("keep-alive"))
	}
	c.progress = responseGathered
	c.gather(h)
	return nil
}

// frame chooses how the client sees the end of the body, and writes that into h.
func (c *conn) frame(h *head.Head) {
	switch {
	case c.bodyless:
		// What the head says of a body that does not follow stays.
		if !c.head || h.Status == 204 || c.version == head.HTTP10 {
			h.Del(head.TransferEncoding)
		}
		if h.Status == 204 {
			h.Del(head.ContentLength) // RFC 9110 section 8.6
		} else if c.head && c.left > 0 {
			h.SetFraming(c.left)
		}
	case c.left >= 0:
		c.framing = framingLength
		h.SetFraming(c.left)
	case c.version == head.HTTP10:
		c.framing, c.closing = framingClose, true
		h.SetFraming(head.LengthNone)
		h.Del(head.Trailer)
	default:
		c.framing = framingChunked
		h.SetFraming(head.LengthChunked)
	}
}

// Write implements proxy.Front.
func (c *conn) Write(p []byte) error {
	if c.err != nil || c.bodyless {
		return c.err
	}
	switch c.framing {
	case framingLength:
		if c.left -= int64(len(p)); c.left < 0 {
			panic("BUG: more bytes of a body than its head says")
		}
	case framingChunked:
		return c.writeChunk(p)
	}
	if len(c.out)+len(p) <= outBuffer {
		c.out = append(c.out, p...)
		return nil
	}
	return c.writeWith(p)
}

func (c *conn) writeChunk(p []byte) error {
	before := len(c.out)
	c.out = body.AppendChunkHead(c.out, len(p))
	c.overhead += len(c.out) - before
	if len(c.out)+len(p) > outBuffer {
		if err := c.writeWith(p); err != nil {
			return err
		}
	} else {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, '\r', '\n')
	c.overhead += 2
	return nil
}

// writeWith writes what is gathered and p, without copying p.
func (c *conn) writeWith(p []byte) error {
	if len(c.out) > 0 && c.stream == nil {
		// A record of TLS each: gather as far as one goes.
		n := min(len(p), max(0, outBuffer-len(c.out)))
		c.out = append(c.out, p[:n]...)
		p = p[n:]
	}
	c.err = c.send(c.out, p)
	return c.err
}

// Flush implements proxy.Front.
func (c *conn) Flush() error {
	if c.err == nil && len(c.out) > 0 {
		c.err = c.send(c.out, nil)
	}
	return c.err
}

// send writes what is gathered, which is p, and then more, and notes how much of the body
// has left. A record of TLS is written whole or not at all, and the stream below TLS waits
// for the client: TLS itself cannot go on after a time-out.
func (c *conn) send(p, more []byte) error {
	var n int
	var err error
	switch {
	case c.stream != nil:
		n, err = c.stream.WritePaced(&c.pace, p, more)
	default:
		n, err = c.sendSecure(p, more)
	}
	c.sent(int64(n))
	return c.slow(err)
}

// sendSecure is send by TLS.
func (c *conn) sendSecure(p, more []byte) (n int, err error) {
	if c.under != nil {
		c.under.At(&c.pace)
		defer c.under.Free()
	}
	for _, b := range [2][]byte{p, more} {
		if len(b) == 0 || err != nil {
			continue
		}
		var k int
		k, err = c.nc.Write(b)
		n += k
	}
	return n, err
}

// sent notes that n bytes have left, of which the first are those that were gathered.
func (c *conn) sent(n int64) {
	c.delivered += max(n-int64(c.overhead), 0)
	if c.progress == responseGathered && n > 0 {
		c.progress = responseBegun
	}
	c.out, c.overhead = c.out[:0], 0
}

// Delivered implements proxy.Front.
func (c *conn) Delivered() (int64, bool) { return c.delivered, c.progress == responseBegun }

// slow says which limit a client is below that took too little.
func (c *conn) slow(err error) error {
	return proxy.Slow(err, c.pace.Grace(), c.pace.Rate())
}

// defaultGrace bounds the writing of answers to requests whose head never came
// as far as naming the limits.
const defaultGrace = 10 * time.Second

// Move implements proxy.Front. Every wait for the client is bounded as any write is.
func (c *conn) Move(k body.Kernel, n int64) (moved int64, srcErr, err error) {
	switch {
	case c.err != nil:
		return 0, nil, c.err
	case c.stream == nil || c.framing != framingLength || c.bodyless:
		return 0, nil, errors.ErrUnsupported
	case k.File != nil:
		if moved, err = c.moveFile(k.File, n); errors.Is(err, syscall.EIO) { // the file's fault
			return 0, err, nil
		}
	default:
		moved, srcErr, err = c.moveSocket(k, n)
	}
	return moved, srcErr, err
}

// moveFile sends n bytes of a file.
func (c *conn) moveFile(f *body.File, n int64) (int64, error) {
	if c.left -= n; c.left < 0 {
		panic("BUG: more bytes of a body than its head says")
	}
	wrote, err := c.stream.SendFilePaced(&c.pace, c.out, f.Descriptor, f.Offset, n)
	c.sent(wrote)
	c.err = c.slow(err)
	return n, c.err
}

// moveSocket sends n bytes that come from another socket.
func (c *conn) moveSocket(k body.Kernel, n int64) (moved int64, srcErr, err error) {
	p, err := sock.AcquirePipe()
	if err != nil {
		return 0, nil, errors.ErrUnsupported
	}
	defer p.Release()
	if err := c.Flush(); err != nil {
		return 0, nil, err
	}
	for moved < n {
		if k.Wait > 0 {
			k.Socket.SetReadDeadline(time.Now().Add(k.Wait))
		}
		if err := p.Fill(k.Socket, n-moved); err != nil {
			return moved, err, nil
		}
		piece := int64(p.Held())
		err := c.stream.DrainPaced(&c.pace, p)
		c.sent(piece - int64(p.Held()))
		if c.err = c.slow(err); c.err != nil {
			return moved, nil, c.err
		}
		moved += piece
		c.left -= piece
	}
	return moved, nil, nil
}

// Finish implements proxy.Front.
func (c *conn) Finish(trailer *head.Head) error {
	if c.err != nil {
		return c.err
	}
	if c.framing == framingChunked && !c.bodyless {
		before := len(c.out)
		c.out = body.AppendLastChunk(c.out, trailer)
		c.overhead += len(c.out) - before
	}
	if c.framing == framingLength && c.left > 0 && !c.bodyless {
		panic("BUG: fewer bytes of a body than its head says")
	}
	err := c.Flush()
	c.finished = err == nil
	return err
}

// Abort implements proxy.Front: the connection is reset, because an ordinary
// end is how some clients recognise the end of a body.
func (c *conn) Abort() {
	c.aborted = true
	c.out, c.overhead = c.out[:0], 0
}

// Tunnel implements proxy.Front.
func (c *conn) Tunnel(h *head.Head) (net.Conn, []byte, error) {
	if c.mode == modeNone {
		panic("BUG: a tunnel for a request without an Upgrade field")
	}
	c.closing, c.tunnel, c.progress = true, true, responseGathered
	c.gather(h)
	if err := c.Flush(); err != nil {
		return nil, nil, err
	}
	c.finished = true
	c.nc.SetDeadline(time.Time{})
	if c.br == nil {
		return c.nc, nil, nil
	}
	early, _ := c.br.Peek(c.br.Buffered())
	c.br.Discard(len(early))
	return c.nc, early, nil
}
