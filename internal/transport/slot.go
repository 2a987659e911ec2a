package transport

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/sock"
)

// slotState is what became of a slot's request.
type slotState = uint32

const (
	// slotWaiting: nothing yet.
	slotWaiting slotState = iota
	// slotAnswered: the whole response is in the buffer.
	slotAnswered
	// slotTaken: it is the exchange's turn, and the connection is its own.
	slotTaken
	// slotAlone: the exchange is to be made on another connection.
	slotAlone
	// slotFailed: no connection came about.
	slotFailed
	// slotLeft: the exchange does not wait any more.
	slotLeft
)

// slot is one exchange's share in a shared connection. To the exchange it is
// the connection: its first read sends the request and waits for the answer.
type slot struct {
	conn Conn // what the exchange is lent; its Conn is this slot
	q    *pipeline

	within, write time.Duration

	// What a sharedConn does is written before state is, and read after it.
	state   atomic.Uint32
	wake    chan struct{}
	buf     []byte // for the answer
	n       int    // the answer's length
	sent    bool   // the request, or it is being sent
	spoiled bool   // the connection that was taken is not to be used again
	fault   error  // what its reads return after what is buffered

	// The connection that the exchange entered, and its part there.
	shared *sharedConn
	opens  bool // this exchange makes the connection
	writes bool // it writes what is pending
	leads  bool // no exchange was in front of it

	// mu guards what a goroutine that ends the wait may change.
	mu      sync.Mutex
	taken   *Conn     // the connection, once it is the exchange's own
	until   time.Time // the deadline
	expired bool      // it has passed
	ended   bool      // it was in the past: the wait is to end at once
	timer   *time.Timer
}

func newSlot(q *pipeline) *slot {
	s := &slot{q: q, wake: make(chan struct{}, 1)}
	s.conn.Conn, s.conn.slot = s, s
	return s
}

// reset makes s ready for another exchange, if fit is true, and returns the
// connection that was taken, if any.
func (s *slot) reset() (taken *Conn, fit bool) {
	s.mu.Lock()
	taken, s.taken = s.taken, nil
	fit = !s.expired
	if !fit && s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.shared, s.buf, s.fault, s.spoiled, s.sent = nil, nil, nil, false, false
	s.conn.sent = 0
	return taken, fit
}

// settle says what became of the request. The lock of the sharedConn is held.
func (s *slot) settle(state slotState) {
	s.buf = nil
	s.state.Store(state)
	s.rouse()
}

func (s *slot) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ask sends request on a shared connection and reads the answer into buf, which
// any answer must fit that a sharedConn delivers.
func (s *slot) ask(request, buf []byte) (n int, err error) {
	s.state.Store(slotWaiting)
	s.buf = buf
	if len(request) > maxRequest || len(buf) < readBuffer {
		return 0, ErrAlone
	}
	if s.shared = s.q.enter(s, request); s.shared == nil {
		return 0, ErrAlone
	}
	switch {
	case s.opens:
		s.shared.open(s)
	case s.writes:
		s.shared.write(s.write)
	}
	for s.state.Load() == slotWaiting {
		<-s.wake // perhaps only of an earlier exchange's deadline
		if s.state.Load() == slotWaiting && s.late() {
			s.shared.leave(s)
		}
	}
	switch s.state.Load() {
	case slotAnswered:
		return s.n, nil
	case slotTaken:
		return s.Read(buf)
	case slotFailed:
		return 0, s.fault
	case slotLeft:
		if s.leads || s.interrupted() {
			return 0, os.ErrDeadlineExceeded
		}
		// Others took the time: this exchange never had it to itself.
		if s.sent {
			s.q.owe(1)
		}
	}
	return 0, ErrAlone
}

// take makes c the exchange's own. The lock of the sharedConn is held.
func (s *slot) take(c *Conn, fault error, spoiled bool) {
	s.fault, s.spoiled = fault, spoiled
	s.mu.Lock()
	s.taken = c
	c.ReadUntil(s.until)
	s.mu.Unlock()
	s.settle(slotTaken)
}

// late says whether the deadline has passed.
func (s *slot) late() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}

// interrupted says whether the wait was ended by a deadline in the past.
func (s *slot) interrupted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// stream returns the socket of a connection that was taken, once nothing of it
// is buffered.
func (s *slot) stream() *sock.Stream {
	if s.taken == nil || s.fault != nil || s.taken.Reader.Buffered() > 0 {
		return nil
	}
	return s.taken.stream
}

// Read reads from a connection that was taken.
func (s *slot) Read(b []byte) (int, error) {
	if s.taken == nil {
		return 0, errNoMore
	}
	if s.fault != nil && s.taken.Reader.Buffered() == 0 {
		return 0, s.fault
	}
	return s.taken.Reader.Read(b)
}

var errNoMore = errors.New("nothing follows a response that was whole")

// SetReadDeadline bounds the wait for the answer.
func (s *slot) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.expired, s.ended = t, false, false
	if s.taken != nil {
		s.taken.ReadUntil(t)
	}
	if t.IsZero() {
		if s.timer != nil {
			s.timer.Stop()
		}
		return nil
	}
	left := time.Until(t)
	switch {
	case left <= 0:
		// Not left to the timer: s must not be used again.
		s.expired, s.ended = true, true
		s.rouse()
	case s.timer == nil:
		s.timer = time.AfterFunc(left, s.expire)
	default:
		s.timer.Reset(left)
	}
	return nil
}

// expire is called when the deadline may have passed.
func (s *slot) expire() {
	s.mu.Lock()
	if !s.until.IsZero() && !time.Now().Before(s.until) {
		s.expired = true
	}
	s.mu.Unlock()
	s.rouse()
}

// SetDeadline does the same: the sharedConn bounds the writing.
func (s *slot) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (s *slot) SetWriteDeadline(time.Time) error { return nil }

// Write is never called: requests that are pipelined have no body.
func (s *slot) Write([]byte) (int, error) { panic("BUG: write to a shared connection") }

// Close makes the exchange fail.
func (s *slot) Close() error { return s.SetReadDeadline(sock.LongAgo) }

// LocalAddr and RemoteAddr are not known before a connection was taken.
func (s *slot) LocalAddr() net.Addr { return nil }

// RemoteAddr is like LocalAddr.
func (s *slot) RemoteAddr() net.Addr { return nil }
