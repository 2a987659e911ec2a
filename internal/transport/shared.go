package transport

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"weir/internal/head"
	"weir/internal/sock"
)

// sharedState is how far the connection of a sharedConn is.
type sharedState uint8

const (
	// sharedIdle: it has none.
	sharedIdle sharedState = iota
	// sharedOpening: an exchange makes it.
	sharedOpening
	// sharedOpen: it may be used.
	sharedOpen
	// sharedEnding: it is not used for further exchanges.
	sharedEnding
)

// sharedConn is a connection that exchanges share while some wait on it. An
// exchange that finds no other writing writes the requests of all; one goroutine,
// which lives as long as answers are due, reads and delivers its own to each
// exchange.
//
// Only a response that is small, whole, sound and of the plainest form is
// delivered so. With any other the exchange at the head of the queue gets the
// connection itself and judges for itself, and all others are dismissed.
type sharedConn struct {
	q *pipeline

	mu    sync.Mutex
	state sharedState
	conn  *Conn
	// queue is a ring: n exchanges from first on, in the order of their requests,
	// nil for one that left; live counts the others.
	queue          [maxDepth]*slot
	first, n, live int
	// answered counts the exchanges that were in front of the queue's first, and
	// written those whose requests were written, or are being written now.
	answered, written uint64
	// last and before are what written was after the last two writes: two of them
	// may be on their way before requests are gathered until an answer comes.
	last, before uint64
	pending      []byte // requests to be written
	spare        []byte
	writerChosen bool // an exchange is about to write
	writing      bool // an exchange or the reader writes
	// wrote is signaled when a write has ended, and when none will come any more.
	wrote   sync.Cond
	broken  bool // a write failed
	ackSent bool // the rest of a response was late, and may come now
	// headSince is since when the first exchange is the first.
	headSince time.Time

	chunked *chunkedEnd
	head    head.Head // scratch of parse
	readFn  func()
}

func newSharedConn(q *pipeline) *sharedConn {
	c := &sharedConn{q: q}
	c.wrote.L = &c.mu
	c.readFn = c.read
	return c
}

// at returns the exchange with i others in front of it.
func (c *sharedConn) at(i int) **slot { return &c.queue[(c.first+i)%maxDepth] }

// due says whether answers are due.
func (c *sharedConn) due() bool { return c.answered < c.written }

// enter puts s at the end of the queue if there is room. idle says that s may be
// the one that makes the connection.
func (c *sharedConn) enter(s *slot, request []byte, idle bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.opens, s.writes, s.leads = false, false, c.n == 0
	switch c.state {
	case sharedIdle:
		if !idle {
			return false
		}
		c.state, s.opens = sharedOpening, true
		c.answered, c.written, c.last, c.before, c.broken, c.ackSent = 0, 0, 0, 0, false, false
	case sharedOpening:
		if c.full(request) {
			return false
		}
	case sharedOpen:
		if c.full(request) || c.broken || c.conn.old.Load() || time.Since(c.headSince) > c.q.slowTurn {
			return false
		}
		if !c.writerChosen && c.before <= c.answered {
			c.writerChosen, s.writes = true, true
		}
	default:
		return false
	}
	*c.at(c.n) = s
	c.n++
	c.live++
	c.pending = append(c.pending, request...)
	return true
}

// full says whether there is no room for request.
func (c *sharedConn) full(request []byte) bool {
	return c.n == c.q.depth || len(c.pending)+len(request) > maxPending
}

// open makes the connection on behalf of s, and begins.
func (c *sharedConn) open(s *slot) {
	conn, err := (*Conn)(nil), ErrAlone // unless connecting panics
	defer func() {
		if conn == nil {
			c.refuse(s, err)
		}
	}()
	if conn, err = c.q.connect(s.within); err != nil {
		return
	}
	c.mu.Lock()
	if !conn.readArmed.IsZero() {
		conn.ReadUntil(time.Time{})
	}
	c.conn, c.state, c.writerChosen, c.headSince = conn, sharedOpen, true, time.Now()
	c.mu.Unlock()
	go c.readFn()
	c.write(s.write)
}

// connect lends a connection that is known to be silent.
func (q *pipeline) connect(within time.Duration) (*Conn, error) {
	for {
		c, err := q.t.Acquire(within)
		if err != nil {
			return nil, err
		}
		if c.stream == nil || c.Quiet() {
			c.hold()
			return c, nil
		}
		q.t.Release(c, false)
		if !c.reused {
			return nil, ErrAlone // this target speaks first
		}
	}
}

// refuse tells all that no connection came about. What may be s's own lack of
// time or of luck is no answer for the others.
func (c *sharedConn) refuse(s *slot, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var de *DialError
	common := errors.As(err, &de) && (!de.Timeout || s.within == 0)
	for i := range c.n {
		other := *c.at(i)
		switch {
		case other == nil:
		case other == s || common:
			other.fault = err
			other.settle(slotFailed)
		default:
			other.settle(slotAlone)
		}
	}
	c.reset()
}

// reset makes c idle.
func (c *sharedConn) reset() {
	clear(c.queue[:])
	c.first, c.n, c.live = 0, 0, 0
	c.pending = c.pending[:0]
	c.conn, c.state = nil, sharedIdle
}

// write writes what is pending, a moment later: other exchanges that can run now
// have something to add.
func (c *sharedConn) write(limit time.Duration) {
	runtime.Gosched()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writerChosen = false
	c.flush(limit)
}

// flush writes what is pending, unless a write is under way. It gives up the lock
// while it writes.
func (c *sharedConn) flush(limit time.Duration) {
	if c.writing {
		return
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.wrote.Broadcast()
	}()
	for len(c.pending) > 0 && c.state == sharedOpen && !c.broken && c.before <= c.answered {
		if c.answered > 0 && !c.due() && c.conn.stream != nil && !c.conn.Quiet() {
			c.broken = true // the target has spoken out of turn
			c.interrupt()
			return
		}
		batch := c.pending
		c.pending, c.spare = c.spare[:0], batch
		c.written = c.answered + uint64(c.n)
		c.before, c.last = c.last, c.written
		c.wrote.Broadcast()
		c.q.writes.Add(1)
		c.conn.LimitWrite(time.Now(), limit)
		if err := c.send(c.conn, batch); err != nil {
			c.broken = true
			if sock.TimedOut(err) {
				c.interrupt()
				return
			}
			// The target may have answered before it broke: what is there is read.
			c.conn.ReadUntil(time.Now().Add(partGrace))
		}
	}
}

// send writes to conn without the lock.
func (c *sharedConn) send(conn *Conn, batch []byte) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	_, err := conn.Write(batch)
	return err
}

// interrupt ends the use of the connection. The reader, which is woken, does
// the rest.
func (c *sharedConn) interrupt() {
	if c.state == sharedOpen {
		c.state = sharedEnding
		c.conn.Conn.SetReadDeadline(sock.LongAgo)
		c.wrote.Broadcast()
	}
}

// leave takes s, which does not wait any more, out of the queue, if it was not
// answered meanwhile.
func (c *sharedConn) leave(s *slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state.Load() != slotWaiting {
		return
	}
	head := true
	for i := range c.n {
		other := c.at(i)
		if *other == s {
			*other = nil
			c.live--
			s.sent = c.answered+uint64(i) < c.written
			break
		}
		head = head && *other == nil
	}
	s.settle(slotLeft)
	if head && s.sent || c.live == 0 {
		// weir does not know what the target is doing, or no exchange waits for the target any
		// more.
		c.interrupt()
	}
}
