package transport

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"weir/internal/head"
	"weir/internal/sock"
)

// laneState is how far a lane's connection is.
type laneState uint8

const (
	// laneIdle: it has none.
	laneIdle laneState = iota
	// laneOpening: an exchange makes it.
	laneOpening
	// laneOpen: it may be used.
	laneOpen
	// laneEnding: it is not used for further exchanges.
	laneEnding
)

// lane is a connection that exchanges share while some wait on it. Requests are
// written together by whoever finds nobody writing; one goroutine, which lives
// as long as answers are due, reads and hands each exchange its own.
//
// Only a response that is small, whole, sound and of the plainest form is handed
// on so. With any other the exchange whose turn it is gets the connection itself
// and judges for itself, and those behind it are sent away.
type lane struct {
	q *pipeline

	mu    sync.Mutex
	state laneState
	conn  *Conn
	// queue is a ring: n exchanges from first on, in the order of their requests,
	// nil for one that left; live counts the others.
	queue          [maxDepth]*place
	first, n, live int
	// popped counts the exchanges that were in front of the queue's first, and
	// asked those whose requests were written, or are being written now.
	popped, asked uint64
	// last and before are what asked was after the last writes: two of them may
	// be on their way before requests are gathered until an answer comes.
	last, before uint64
	pending      []byte // requests to be written
	spare        []byte
	claimed      bool // somebody is about to write
	writing      bool // somebody writes
	// wrote is signaled when somebody has written, or nobody is to any more.
	wrote  sync.Cond
	broken bool // a write failed
	urged  bool // the rest of a response was late, and may come now
	// turn is since when the first exchange is the first.
	turn time.Time

	chunked *chunkedEnd // nil until it is needed
	head    head.Head   // scratch of parse
	readFn  func()
}

func newLane(q *pipeline) *lane {
	l := &lane{q: q}
	l.wrote.L = &l.mu
	l.readFn = l.read
	return l
}

// at returns the exchange with i others in front of it.
func (l *lane) at(i int) **place { return &l.queue[(l.first+i)%maxDepth] }

// due says whether answers are due.
func (l *lane) due() bool { return l.popped < l.asked }

// enter queues p up if there is room. idle says that p may be the one that makes
// the connection.
func (l *lane) enter(p *place, request []byte, idle bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.opens, p.writes, p.leads = false, false, l.n == 0
	switch l.state {
	case laneIdle:
		if !idle {
			return false
		}
		l.state, p.opens = laneOpening, true
		l.popped, l.asked, l.last, l.before, l.broken, l.urged = 0, 0, 0, 0, false, false
	case laneOpening:
		if l.full(request) {
			return false
		}
	case laneOpen:
		if l.full(request) || l.broken || time.Since(l.turn) > slowTurn {
			return false
		}
		if !l.claimed && l.before <= l.popped {
			l.claimed, p.writes = true, true
		}
	default:
		return false
	}
	*l.at(l.n) = p
	l.n++
	l.live++
	l.pending = append(l.pending, request...)
	return true
}

// full says whether there is no room for request.
func (l *lane) full(request []byte) bool {
	return l.n == l.q.depth || len(l.pending)+len(request) > maxPending
}

// open makes the connection on behalf of p, and begins.
func (l *lane) open(p *place) {
	c, err := (*Conn)(nil), ErrAlone // unless connecting panics
	defer func() {
		if c == nil {
			l.refuse(p, err)
		}
	}()
	if c, err = l.q.connect(p.within); err != nil {
		return
	}
	l.mu.Lock()
	if !c.readArmed.IsZero() {
		c.ReadUntil(time.Time{})
	}
	l.conn, l.state, l.claimed, l.turn = c, laneOpen, true, time.Now()
	l.mu.Unlock()
	go l.readFn()
	l.write(p.write)
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

// refuse tells all that no connection came about. What may be p's own lack of
// time or of luck is no answer for the others.
func (l *lane) refuse(p *place, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var de *DialError
	shared := errors.As(err, &de) && (!de.Timeout || p.within == 0)
	for i := range l.n {
		other := *l.at(i)
		switch {
		case other == nil:
		case other == p || shared:
			other.fault = err
			other.settle(placeFailed)
		default:
			other.settle(placeAlone)
		}
	}
	l.reset()
}

// reset makes the lane idle.
func (l *lane) reset() {
	clear(l.queue[:])
	l.first, l.n, l.live = 0, 0, 0
	l.pending = l.pending[:0]
	l.conn, l.state = nil, laneIdle
}

// write writes what is pending, a moment later: others that can run now have
// something to add.
func (l *lane) write(limit time.Duration) {
	runtime.Gosched()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed = false
	l.flush(limit)
}

// flush writes what is pending, if nobody else does. It gives up the lock while
// it writes.
func (l *lane) flush(limit time.Duration) {
	if l.writing {
		return
	}
	l.writing = true
	defer func() {
		l.writing = false
		l.wrote.Broadcast()
	}()
	for len(l.pending) > 0 && l.state == laneOpen && !l.broken && l.before <= l.popped {
		if l.popped > 0 && !l.due() && l.conn.stream != nil && !l.conn.Quiet() {
			l.broken = true // somebody has spoken out of turn
			l.interrupt()
			return
		}
		batch := l.pending
		l.pending, l.spare = l.spare[:0], batch
		l.asked = l.popped + uint64(l.n)
		l.before, l.last = l.last, l.asked
		l.wrote.Broadcast()
		l.q.writes.Add(1)
		l.conn.LimitWrite(time.Now(), limit)
		if err := l.send(l.conn, batch); err != nil {
			l.broken = true
			if sock.TimedOut(err) {
				l.interrupt()
				return
			}
			// The target may have answered before it broke: what is there is read.
			l.conn.ReadUntil(time.Now().Add(partGrace))
		}
	}
}

// send writes to c without the lock.
func (l *lane) send(c *Conn, batch []byte) error {
	l.mu.Unlock()
	defer l.mu.Lock()
	_, err := c.Write(batch)
	return err
}

// interrupt ends the use of the connection. The reader, which is woken, does
// the rest.
func (l *lane) interrupt() {
	if l.state == laneOpen {
		l.state = laneEnding
		l.conn.Conn.SetReadDeadline(sock.LongAgo)
		l.wrote.Broadcast()
	}
}

// leave takes p, which does not wait any more, out of the queue, if it was not
// answered meanwhile.
func (l *lane) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state.Load() != placeWaiting {
		return
	}
	turn := true
	for i := range l.n {
		other := l.at(i)
		if *other == p {
			*other = nil
			l.live--
			p.sent = l.popped+uint64(i) < l.asked
			break
		}
		turn = turn && *other == nil
	}
	p.settle(placeLeft)
	if turn && p.sent || l.live == 0 {
		// Nobody knows what the target is at, or nobody waits for it any more.
		l.interrupt()
	}
}
