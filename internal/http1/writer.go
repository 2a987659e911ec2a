package http1

import (
	"errors"
	"net"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/sock"
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
	// writeArmed is the deadline of writes; there is none until the client has
	// made one wait.
	writeArmed time.Time

	framing  framing
	left     int64 // bytes of a framingLength body to come
	bodyless bool
	version  head.Version // of the request
	head     bool         // the request's method is HEAD
	closing  bool         // the connection ends after this exchange
	finished bool
	aborted  bool
	tunnel   bool
	err      error
}

func (w *writer) reset() {
	w.framing, w.left, w.bodyless, w.version, w.head = framingLength, 0, false, head.HTTP11, false
	w.closing, w.finished, w.aborted, w.tunnel, w.err = false, false, false, false, nil
}

// gather appends a head to what is to be written. The buffer for that is taken with the first
// head: an exchange that waits for its target holds none.
func (w *writer) gather(h *head.Head) {
	if w.pooled == nil {
		w.pooled = outBuffers.Get().(*[]byte)
		w.out = (*w.pooled)[:0]
	}
	w.out = h.AppendTo(w.out)
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
	if !c.head && bodyless != (h.Status == 204 || h.Status == 304) {
		// A hook has changed the status, which decides what the client reads.
		if bodyless = !bodyless; !bodyless {
			length = 0
		}
	}
	c.bodyless, c.left = bodyless, length
	c.frame(h)
	switch {
	case c.closing:
		h.Set(head.Connection, []byte("close"))
	case c.version == head.HTTP10:
		h.Set(head.Connection, []byte("keep-alive"))
	}
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

// sendFile is send with bytes of a file behind p.
func (c *conn) sendFile(p []byte, file int, offset, size int64) error {
	for hasty := c.writeArmed.IsZero(); ; hasty = false { // as in send
		if !hasty {
			c.armWrite(len(p) + int(size))
		}
		n, err := c.stream.SendFile(p, file, offset, size, hasty)
		k := min(n, int64(len(p)))
		p, offset, size = p[k:], offset+n-k, size-(n-k)
		switch {
		case err == nil && len(p) == 0 && size == 0:
			return nil
		case err == nil: // was hasty
		case !sock.TimedOut(err) || n < c.leastProgress():
			return err
		default:
			c.writeArmed = time.Time{}
		}
	}
}

func (c *conn) writeChunk(p []byte) error {
	c.out = body.AppendChunkHead(c.out, len(p))
	if len(c.out)+len(p) > outBuffer {
		if err := c.writeWith(p); err != nil {
			return err
		}
	} else {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, '\r', '\n')
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
	c.out = c.out[:0]
	return c.err
}

// Flush implements proxy.Front.
func (c *conn) Flush() error {
	if c.err == nil && len(c.out) > 0 {
		c.err = c.flush()
	}
	return c.err
}

func (c *conn) flush() error {
	err := c.send(c.out, nil)
	c.out = c.out[:0]
	return err
}

// send writes p and then more. A client must take at least minRate bytes per
// second of it, looked at once in every grace; TLS cannot go on after a time-out
// and gets all of its time at once.
func (c *conn) send(p, more []byte) error {
	if c.stream == nil {
		for _, b := range [2][]byte{p, more} {
			if len(b) > 0 {
				c.armWrite(len(b))
				if _, err := c.nc.Write(b); err != nil {
					return err
				}
			}
		}
		return nil
	}
	// Most writes are taken at once and need neither a deadline nor the time.
	if c.writeArmed.IsZero() {
		n, err := c.stream.WriteNow(p, more)
		if err != nil || n == len(p)+len(more) {
			return err
		}
		p, more = advance(p, more, n)
	}
	for {
		c.armWrite(len(p) + len(more))
		n, err := c.stream.WriteBoth(p, more)
		if err == nil {
			return nil
		}
		if !sock.TimedOut(err) || int64(n) < c.leastProgress() {
			return err
		}
		p, more = advance(p, more, n)
		c.writeArmed = time.Time{}
	}
}

// advance is what is left of p and more after n bytes.
func advance(p, more []byte, n int) ([]byte, []byte) {
	k := min(n, len(p))
	return p[k:], more[n-k:]
}

// leastProgress is how many bytes a client must take in every grace.
func (c *conn) leastProgress() int64 { return max(1, int64(c.grace.Seconds()*float64(c.minRate))) }

// armWrite bounds the coming write of n bytes.
func (c *conn) armWrite(n int) {
	limit := c.grace
	if limit == 0 {
		limit = defaultGrace
	}
	if c.c.TLS() != nil && c.minRate > 0 {
		limit += time.Duration(n) * time.Second / time.Duration(c.minRate)
	}
	if d, set := sock.Rearm(c.writeArmed, time.Now(), limit); set {
		c.writeArmed = d
		c.nc.SetWriteDeadline(d)
	}
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
		moved, err = c.moveFile(k.File, n)
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
	c.err = c.sendFile(c.out, f.Descriptor, f.Offset, n)
	c.out = c.out[:0]
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
		if c.err = c.drain(p); c.err != nil {
			return moved, nil, c.err
		}
		moved += piece
		c.left -= piece
	}
	return moved, nil, nil
}

// drain sends what p holds to the client.
func (c *conn) drain(p *sock.Pipe) error {
	for p.Held() > 0 {
		before := p.Held()
		c.armWrite(before)
		if err := p.Drain(c.stream); err != nil {
			if !sock.TimedOut(err) || int64(before-p.Held()) < c.leastProgress() {
				return err
			}
			c.writeArmed = time.Time{}
		}
	}
	return nil
}

// Finish implements proxy.Front.
func (c *conn) Finish(trailer *head.Head) error {
	if c.err != nil {
		return c.err
	}
	if c.framing == framingChunked && !c.bodyless {
		c.out = body.AppendLastChunk(c.out, trailer)
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
	c.out = c.out[:0]
	if raw, ok := c.c.Raw().(*net.TCPConn); ok {
		raw.SetLinger(0)
	}
}

// Tunnel implements proxy.Front.
func (c *conn) Tunnel(h *head.Head) (net.Conn, []byte, error) {
	c.closing, c.tunnel = true, true
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
