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

// placeState is what became of a place's request.
type placeState = uint32

const (
	// placeWaiting: nothing yet.
	placeWaiting placeState = iota
	// placeAnswered: the whole response is in the buffer.
	placeAnswered
	// placeTaken: it is the exchange's turn, and the connection is its own.
	placeTaken
	// placeAlone: the exchange is to be made on another connection.
	placeAlone
	// placeFailed: no connection came about.
	placeFailed
	// placeLeft: the exchange does not wait any more.
	placeLeft
)

// place is one exchange's share in a shared connection. To the exchange it is
// the connection: its first read sends the request and waits for the answer.
type place struct {
	conn Conn // what the exchange is lent; its Conn is this place
	q    *pipeline

	within, write time.Duration

	// What a lane does is written before state is, and read behind it.
	state   atomic.Uint32
	wake    chan struct{}
	buf     []byte // for the answer
	n       int    // the answer's length
	sent    bool   // the request, or it is being sent
	spoiled bool   // the connection that was taken is not to be used again
	fault   error  // what its reads return behind what is buffered

	// The lane that the exchange entered, and its part there.
	lane   *lane
	opens  bool // this exchange makes the lane's connection
	writes bool // it writes what is pending
	leads  bool // nobody was in front of it

	// mu guards what others may change who end the wait.
	mu      sync.Mutex
	taken   *Conn     // the connection, once it is the exchange's own
	until   time.Time // the deadline
	expired bool      // it has passed
	ended   bool      // it was in the past: somebody ends the wait
	timer   *time.Timer
}

func newPlace(q *pipeline) *place {
	p := &place{q: q, wake: make(chan struct{}, 1)}
	p.conn.Conn, p.conn.place = p, p
	return p
}

// reset makes p ready for another exchange, if fit is true, and returns the
// connection that was taken, if any.
func (p *place) reset() (taken *Conn, fit bool) {
	p.mu.Lock()
	taken, p.taken = p.taken, nil
	fit = !p.expired
	if !fit && p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.lane, p.buf, p.fault, p.spoiled, p.sent = nil, nil, nil, false, false
	p.conn.stream, p.conn.sent = nil, 0
	return taken, fit
}

// settle says what became of the request. The lane's lock is held.
func (p *place) settle(s placeState) {
	p.buf = nil
	p.state.Store(s)
	p.rouse()
}

func (p *place) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// ask sends request on a shared connection and reads the answer into buf, which
// any answer must fit that a lane hands on.
func (p *place) ask(request, buf []byte) (n int, err error) {
	p.state.Store(placeWaiting)
	p.buf = buf
	if len(request) > maxRequest || len(buf) < readBuffer {
		return 0, ErrAlone
	}
	l := p.q.enter(p, request)
	if l == nil {
		return 0, ErrAlone
	}
	p.lane = l
	switch {
	case p.opens:
		l.open(p)
	case p.writes:
		l.write(p.write)
	}
	for p.state.Load() == placeWaiting {
		<-p.wake // perhaps only of an earlier exchange's deadline
		if p.state.Load() == placeWaiting && p.late() {
			l.leave(p)
		}
	}
	switch p.state.Load() {
	case placeAnswered:
		return p.n, nil
	case placeTaken:
		return p.Read(buf)
	case placeFailed:
		return 0, p.fault
	case placeLeft:
		if p.leads || p.interrupted() {
			return 0, os.ErrDeadlineExceeded
		}
		// Others took the time: this exchange never had it to itself.
		if p.sent {
			p.q.owe(1)
		}
	}
	return 0, ErrAlone
}

// take makes c the exchange's own. The lane's lock is held.
func (p *place) take(c *Conn, fault error, spoiled bool) {
	p.fault, p.spoiled = fault, spoiled
	p.mu.Lock()
	p.taken = c
	c.ReadUntil(p.until)
	p.mu.Unlock()
	p.settle(placeTaken)
}

// late says whether the deadline has passed.
func (p *place) late() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expired
}

// interrupted says whether somebody ended the wait.
func (p *place) interrupted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// stream returns the socket of a connection that was taken, once nothing of it
// is buffered.
func (p *place) stream() *sock.Stream {
	if p.taken == nil || p.fault != nil || p.taken.Reader.Buffered() > 0 {
		return nil
	}
	return p.taken.stream
}

// Read reads from a connection that was taken.
func (p *place) Read(b []byte) (int, error) {
	if p.taken == nil {
		return 0, errNoMore
	}
	if p.fault != nil && p.taken.Reader.Buffered() == 0 {
		return 0, p.fault
	}
	return p.taken.Reader.Read(b)
}

var errNoMore = errors.New("nothing follows a response that was whole")

// SetReadDeadline bounds the wait for the answer.
func (p *place) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until, p.expired, p.ended = t, false, false
	if p.taken != nil {
		p.taken.ReadUntil(t)
	}
	if t.IsZero() {
		if p.timer != nil {
			p.timer.Stop()
		}
		return nil
	}
	left := time.Until(t)
	switch {
	case left <= 0:
		// Not left to the timer: p must not be used again.
		p.expired, p.ended = true, true
		p.rouse()
	case p.timer == nil:
		p.timer = time.AfterFunc(left, p.expire)
	default:
		p.timer.Reset(left)
	}
	return nil
}

// expire is called when the deadline may have passed.
func (p *place) expire() {
	p.mu.Lock()
	if !p.until.IsZero() && !time.Now().Before(p.until) {
		p.expired = true
	}
	p.mu.Unlock()
	p.rouse()
}

// SetDeadline does the same: writing is the lane's affair.
func (p *place) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (p *place) SetWriteDeadline(time.Time) error { return nil }

// Write is never called: requests that are pipelined have no body.
func (p *place) Write([]byte) (int, error) { panic("BUG: write to a shared connection") }

// Close makes the exchange fail.
func (p *place) Close() error { return p.SetReadDeadline(sock.LongAgo) }

// LocalAddr and RemoteAddr are not known before a connection was taken.
func (p *place) LocalAddr() net.Addr { return nil }

// RemoteAddr is like LocalAddr.
func (p *place) RemoteAddr() net.Addr { return nil }
