package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"weir/internal/header"
	"weir/internal/sock"
	"weir/internal/transport"
	"weir/internal/wire"
	"weir/lb"
)

// copyBuffer is the size of the buffers that bodies pass through.
const copyBuffer = 64 << 10

// copyBuffers is shared by all servers of a process; it holds no state.
var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// maxInterim bounds the interim responses to one request.
const maxInterim = 64

// maxStale is how many pooled connections of a target may turn out dead in a
// row before that counts as a failure of the target.
const maxStale = 2

// roundTrip sends the request to t and reads the head of its response into
// x.Response. On success x.conn holds the connection, with the response body
// next in its reader.
func (x *Exchange) roundTrip(p *Proxy, t *lb.Target, began time.Time) *attemptError {
	u := x.Upstream
	x.address(t)
	x.tellDeadline(began)
	shared := x.shares()
	for stale := 0; ; stale++ {
		if x.upload.started {
			x.upload.reset() // of an attempt that is over; what it read is held
		}
		var c *transport.Conn
		if shared {
			c = transportOf(t).Join(x.left(began), u.write)
		}
		if c == nil {
			var err error
			if c, err = transportOf(t).Acquire(x.left(began)); err != nil {
				return dialFailure(err)
			}
		}
		x.conn = c
		x.Watch.begin(c, began)
		e := x.exchangeHeads(u, c, began)
		if e == nil {
			return nil
		}
		if x.Watch.end() {
			e = clientGone(true)
		}
		x.stopUpload()
		if f := x.upload.failure(); f != nil {
			e = f // the attempt failed because of it
		}
		if errors.Is(e.err, transport.ErrAlone) {
			// No attempt of its own: it shared the fate of others.
			began = time.Now() // for the limits of what begins now
			if x.late(began) {
				e.cause = CauseTotal
				return e
			}
			transportOf(t).Release(c, false)
			x.conn, shared = nil, false
			stale--
			continue
		}
		e.stale = e.stale && stale < maxStale && x.conn == c // not a hedge's
		if !e.stale || !x.replayable() || e.sent && !x.repeatable() {
			return e
		}
		// Where one unused connection is dead the others most likely are too.
		x.Watch.end()
		transportOf(t).Release(c, false)
		transportOf(t).Close()
		x.conn = nil
	}
}

// shares says whether the exchange may share its connection to the target: it
// must be safe to repeat, and nobody must be able to mistake the end of what it
// sends or gets, which rules out HEAD.
func (x *Exchange) shares() bool {
	return x.Upstream.pipelines && x.Attempts == 1 && x.Request.IsGet() &&
		!x.upgrading && x.Body.Framing() == wire.FramingNone && x.Head.Fields&wire.FieldExpect == 0
}

// address makes the target's own name the request's Host, if the route says so
// or if the client has sent none: HTTP/1.0 allows that, HTTP/1.1 does not.
func (x *Exchange) address(t *lb.Target) {
	if mode := x.Route.hostHeader; mode == hostTarget || mode == hostPass && len(x.Host) == 0 {
		x.Request.SetHost(transportOf(t).Host())
	}
}

// exchangeHeads writes the request and reads the response's head.
func (x *Exchange) exchangeHeads(u *Upstream, c *transport.Conn, now time.Time) *attemptError {
	x.out = x.Request.AppendBytes(x.out[:0])
	x.out = x.appendHeld(x.out)
	c.LimitWrite(now, u.write)
	limit := x.limits.head()
	if x.Body.Done() {
		if err := c.Send(x.out); err != nil && !c.Sent() {
			return writeFailure(c, err)
		}
		if delay, ok := x.hedgeDelay(); ok {
			return x.waitHead(x.proxy, c, now, delay)
		}
		x.limitRead(c, now, limit)
		return x.readHead(c)
	}
	if c.Reused() && !c.Quiet() {
		return &attemptError{cause: CauseReset, err: sock.ErrNotQuiet, stale: true}
	}
	n, err := c.SendNow(x.out)
	switch {
	case err != nil && (n == 0 || sock.TimedOut(err)):
		return writeFailure(c, err)
	case err != nil:
		// A target that refuses a request may answer and close before it has
		// read all of it: the answer counts.
		x.limitRead(c, now, limit)
	default:
		// While the body moves, its own limits hold; the upload arms the limit
		// for the first byte at its end.
		x.limitRead(c, now, 0)
		x.upload.start(x, c, u.write, limit)
	}
	return x.readHead(c)
}

// writeFailure says why a request could not be written.
func writeFailure(c *transport.Conn, err error) *attemptError {
	if sock.TimedOut(err) {
		return &attemptError{cause: CauseWriteTimeout, err: err, sent: true}
	}
	return &attemptError{cause: CauseReset, err: err, stale: c.Reused()}
}

// headFailure says why no response head could be read; started says that a part
// of one came.
func headFailure(c *transport.Conn, err error, started bool) *attemptError {
	if de := (*transport.DialError)(nil); err == transport.ErrNoConn || errors.As(err, &de) {
		return dialFailure(err) // a shared connection is made when it is needed
	}
	return &attemptError{
		cause: headCause(err, started),
		err:   err,
		sent:  c.Sent(),
		stale: c.Reused() && !started && !sock.TimedOut(err),
	}
}

// readHead reads response heads until the final one and passes interim ones on.
func (x *Exchange) readHead(c *transport.Conn) *attemptError {
	for range maxInterim {
		x.rhead = wire.Head{}
		started, err := fill(c, &x.rhead)
		if err != nil {
			return headFailure(c, err, started)
		}
		if x.rhead.Fields&wire.FieldDate != 0 {
			x.proxy.metrics.relayed.CopyTo(&x.Response)
		} else {
			x.Response.Reset() // brings the Date of now (RFC 9110 section 6.6.1)
		}
		x.Response.SetNoDefaultContentType(true)
		var codings []byte
		if x.rhead.Twice()&wire.FieldContentEncoding != 0 {
			// The parser would keep the last, and nobody could decode the body.
			head, _ := c.Reader.Peek(x.rhead.Size)
			codings = wire.JoinValues(head, "content-encoding")
		}
		if err := x.Response.Read(c.Reader); err != nil {
			return &attemptError{cause: CauseBadResponse, err: err, sent: true}
		}
		if codings != nil {
			x.Response.SetContentEncodingBytes(codings)
		}
		status := x.rhead.Status
		switch {
		case status >= 200:
			x.upload.headSeen(c)
			return nil
		case status == 101:
			if x.upgrading {
				return nil
			}
			return &attemptError{cause: CauseBadResponse, err: errUnasked, sent: true}
		}
		x.Response.ResetConnectionClose()
		header.CleanResponse(&x.Response, x.rhead.Fields)
		x.Response.SetProtocol(nil)
		if err := x.Front.Inform(&x.Response); err != nil {
			return &attemptError{cause: CauseClientGone, err: err, sent: true, final: true}
		}
	}
	return &attemptError{cause: CauseBadResponse, err: errInterim, sent: true}
}

var (
	errUnasked = errors.New("101 that nobody asked for")
	errInterim = fmt.Errorf("more than %d interim responses", maxInterim)
)

// fill reads until a whole response head is in c.Reader. started says that at
// least one byte came.
func fill(c *transport.Conn, h *wire.Head) (started bool, err error) {
	maxHead := c.MaxHead()
	if c.Reader == nil {
		if err := c.Await(); err != nil {
			return false, err
		}
	}
	for {
		buf, _ := c.Reader.Peek(c.Reader.Buffered())
		if len(buf) > 0 {
			if c.Scanned(h) {
				return true, nil
			}
			err := h.ScanResponse(buf)
			switch {
			case err == nil && h.Size > maxHead:
				return true, wire.DefectHeadSize
			case err != wire.ErrShort:
				return true, err
			case len(buf) >= maxHead:
				return true, wire.DefectHeadSize
			case len(buf) == c.Reader.Size():
				c.Reader = wire.Grow(c.Reader, c.Conn, maxHead)
			}
		}
		if _, err := c.Reader.Peek(len(buf) + 1); err != nil {
			if err == bufio.ErrBufferFull {
				return true, wire.DefectHeadSize
			}
			if err == io.EOF && len(buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return len(buf) > 0, err
		}
	}
}

// transportOf returns the connections to t. Proxy speaks HTTP/1.1 to all targets.
func transportOf(t *lb.Target) *transport.HTTP1 { return t.Transport().(*transport.HTTP1) }
