package proxy

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/sock"
	"weir/internal/transport"
	"weir/internal/wire"
)

// upload moves a request body to the target on a goroutine of its own, so that
// an answer that comes early is seen, and both directions can stream at once.
// All of it but start, stop and reset may be called while it runs.
type upload struct {
	started bool
	done    chan struct{}
	// ended is set before the last byte leaves, so that whoever sees the answer
	// to the whole request also sees that it is whole.
	ended atomic.Bool
	// stopping is set before the upload is stopped: errors from then on are
	// nobody's fault.
	stopping atomic.Bool
	// answered stops the upload from arming the limit of the first byte.
	mu       sync.Mutex
	answered bool
	// keep is how much of the body may be kept for another attempt; 0: none.
	keep  int
	err   *attemptError // what ended the attempt; read after done
	whole bool          // all of the body was written; read after done
}

func (u *upload) reset() {
	if !u.started {
		return
	}
	u.started = false
	u.done = nil
	u.ended.Store(false)
	u.stopping.Store(false)
	u.answered, u.keep, u.err, u.whole = false, 0, nil, false
}

func (u *upload) start(x *Exchange, c *transport.Conn, writeLimit, firstByte time.Duration) {
	u.reset()
	u.started = true
	u.done = make(chan struct{})
	if retry := x.Upstream.Set.Retry(); retry.Attempts > 1 && x.Body.Left() <= int64(retry.Body) && x.repeatable() {
		u.keep = retry.Body
	}
	go u.run(x, c, writeLimit, firstByte)
}

// running says that the end of the body has not been read yet.
func (u *upload) running() bool { return u.started && !u.ended.Load() }

// failure is why the upload ended the attempt, if the upload has been stopped.
func (u *upload) failure() *attemptError {
	if !u.started {
		return nil
	}
	return u.err
}

// stopUpload ends the upload if there is one and waits for it. It reports
// whether the whole request was written.
func (x *Exchange) stopUpload() bool {
	u := &x.upload
	if !u.started {
		return x.Body.Done()
	}
	select {
	case <-u.done:
	default:
		u.stopping.Store(true)
		if !u.ended.Load() {
			x.Front.StopReading()
		}
		x.conn.SetWriteDeadline(sock.LongAgo)
		<-u.done
		x.conn.Unlimit()
	}
	return u.whole
}

// run is the goroutine. It must not touch anything of x that the exchange's own
// goroutine uses meanwhile: only Body and held, which are its own until it ends.
func (u *upload) run(x *Exchange, c *transport.Conn, writeLimit, firstByte time.Duration) {
	defer close(u.done)
	defer func() {
		if v := recover(); v != nil {
			x.proxy.metrics.Panicked(x.proxy.log, v)
			u.err = &attemptError{cause: CausePanic, err: fmt.Errorf("panic: %v", v), sent: true, final: true}
			c.Close()
		}
	}()
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	w := bodyWriter{c: c, limit: writeLimit, chunked: x.Body.Framing() == wire.FramingChunked}
	maxBody := x.Route.maxBody
	for {
		piece, err := x.Body.Next(buf[:])
		switch {
		case err == nil:
		case x.Body.Done():
			u.ended.Store(true)
			if err := w.finish(x.Body.Trailer()); err != nil {
				u.stuck(x, c, firstByte, err)
				return
			}
			u.whole = true
			u.armFirstByte(x, c, firstByte)
			return
		default:
			u.fail(c, err)
			return
		}
		if maxBody > 0 && x.Body.Seen() > maxBody {
			u.fail(c, errBodyTooLarge)
			return
		}
		if x.Body.Seen() <= int64(u.keep) {
			x.held = append(x.held, piece...)
		}
		last := x.Body.Done()
		if last {
			u.ended.Store(true)
		}
		err = w.write(piece)
		if err == nil && (last || !x.Body.Ready()) {
			err = w.flush()
		}
		if err != nil {
			u.stuck(x, c, firstByte, err)
			return
		}
		if last && !w.chunked {
			u.whole = true
			u.armFirstByte(x, c, firstByte)
			return
		}
	}
}

var errBodyTooLarge = errors.New("request body exceeds the route's limit")

// fail notes what the client did wrong and ends the attempt for good: the
// target must not take what it got for the whole request.
func (u *upload) fail(c *transport.Conn, err error) {
	if u.stopping.Load() {
		return
	}
	u.err = &attemptError{err: err, sent: true, final: true}
	var d *wire.Defect
	switch {
	case errors.As(err, &d):
		u.err.cause = CauseBadRequest
	case err == errBodyTooLarge:
		u.err.cause = CauseBodyTooLarge
	default:
		u.err.cause = clientCause(err)
	}
	c.Close()
}

// stuck notes that the target does not take the request. One that broke the
// connection may have answered it before: that is for the reader to find out.
// One that has just not read for too long ends the attempt, unless it answers
// already.
func (u *upload) stuck(x *Exchange, c *transport.Conn, firstByte time.Duration, err error) {
	if u.stopping.Load() {
		return
	}
	if !sock.TimedOut(err) {
		u.armFirstByte(x, c, firstByte)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.answered {
		u.err = &attemptError{cause: CauseWriteTimeout, err: err, sent: true}
		c.SetReadDeadline(sock.LongAgo)
	}
}

func (u *upload) armFirstByte(x *Exchange, c *transport.Conn, limit time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.answered || limit <= 0 {
		return
	}
	end := time.Now().Add(limit)
	if x.late(end) {
		end = x.deadline
	}
	c.SetReadDeadline(end)
}

// headSeen is called when the response's head is there: from now on the limits
// of its body hold.
func (u *upload) headSeen(c *transport.Conn) {
	if !u.started {
		return
	}
	u.mu.Lock()
	u.answered = true
	u.mu.Unlock()
	c.SetReadDeadline(time.Time{})
}

// bodyWriter writes a request body to a target, small pieces together.
type bodyWriter struct {
	c       *transport.Conn
	limit   time.Duration
	chunked bool
	buf     []byte
}

// gather is how many bytes are gathered before they are written.
const gather = 16 << 10

func (w *bodyWriter) write(p []byte) error {
	if !w.chunked && len(w.buf) == 0 && len(p) >= gather {
		return w.send(p)
	}
	if w.chunked {
		w.buf = wire.AppendChunkHead(w.buf, len(p))
	}
	w.buf = append(w.buf, p...)
	if w.chunked {
		w.buf = append(w.buf, '\r', '\n')
	}
	if len(w.buf) >= gather {
		return w.flush()
	}
	return nil
}

func (w *bodyWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *bodyWriter) finish(trailer []byte) error {
	if w.chunked {
		w.buf = wire.AppendLastChunk(w.buf, trailer)
	}
	return w.flush()
}

func (w *bodyWriter) send(p []byte) error {
	w.c.LimitWrite(time.Now(), w.limit)
	_, err := w.c.Write(p)
	return err
}
