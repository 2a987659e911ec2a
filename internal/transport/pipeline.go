package transport

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrAlone says that a connection from Join cannot answer this exchange, for no
// fault that is known of its target: the exchange is to be made on a connection
// of its own. Conn.Sent tells whether the target may have seen the request.
var ErrAlone = errors.New("shared connection gave the exchange up")

const (
	// maxDepth bounds how many exchanges share a connection.
	maxDepth = 64
	// maxRequest bounds a request that is pipelined.
	maxRequest = 4 << 10
	// maxPending bounds what gathers for one write. Two writes fit the buffers of
	// a socket, so that none waits for a target that waits to be read.
	maxPending = 32 << 10
	// defaultSlowTurn is Options.SlowTurn if that is 0.
	defaultSlowTurn = 100 * time.Millisecond
	// partGrace is how long the rest of a response may take before it gets the
	// connection to itself: once, and once more after a hint to the target.
	partGrace = 10 * time.Millisecond
	// ackFor is how long a target that was seen to wait for acknowledgements gets
	// them at once.
	ackFor = 10 * time.Second
	// repeatCost is how many answers pay for one request that is sent again.
	repeatCost = 20
	// firstPause is how long a target that cost too many repeats is not
	// pipelined to, twice as long each time, lastPause at most.
	firstPause = 10 * time.Second
	lastPause  = 5 * time.Minute
)

// pipeline is the set of connections to one target that exchanges share. It has
// connections only while exchanges wait on them; then they rest in the pool of
// the HTTP1 as any other.
type pipeline struct {
	t     *HTTP1
	depth int
	// most bounds conns: half of the connections stay for other exchanges.
	most int
	// slowTurn is Options.SlowTurn.
	slowTurn time.Duration
	made     time.Time

	// conns is replaced by a longer one when all are full. mu guards that, and
	// is taken before the lock of a sharedConn.
	conns atomic.Pointer[[]*sharedConn]
	hint  atomic.Uint32 // the one that had room last
	mu    sync.Mutex
	slots sync.Pool

	// credit is what is left of the answers that pay for repeats.
	credit atomic.Int64
	// until is when a pause ends, 0 for none; pause is how long the next one is.
	until, pause atomic.Int64

	// ackUntil is until when the target is taken for one that awaits an
	// acknowledgement before it goes on sending, 0 for not.
	ackUntil atomic.Int64

	answered, writes, repeated atomic.Uint64
}

func newPipeline(t *HTTP1, depth, conns int, slowTurn time.Duration) *pipeline {
	q := &pipeline{t: t, depth: min(depth, maxDepth), most: 1 << 20, slowTurn: slowTurn, made: time.Now()}
	if slowTurn == 0 {
		q.slowTurn = defaultSlowTurn
	}
	if conns > 0 {
		q.most = conns / 2
	}
	q.credit.Store(q.allowance())
	q.pause.Store(int64(firstPause))
	q.conns.Store(new([]*sharedConn))
	q.slots.New = func() any { return newSlot(q) }
	return q
}

// now returns nanoseconds on a clock that only goes forward and is never 0.
func (q *pipeline) now() int64 { return int64(time.Since(q.made)) + 1 }

// allowance is what three full connections that break cost.
func (q *pipeline) allowance() int64 { return int64(3 * repeatCost * (q.depth - 1)) }

// open says whether exchanges may share connections now.
func (q *pipeline) open() bool {
	until := q.until.Load()
	return until == 0 || q.now() >= until && q.until.CompareAndSwap(until, 0)
}

// paid counts n answers.
func (q *pipeline) paid(n int) {
	q.answered.Add(uint64(n))
	if q.credit.Add(int64(n)) > q.allowance() {
		q.credit.Store(q.allowance())
		q.pause.Store(int64(firstPause))
	}
}

// owe counts n requests that are sent again. Too many of them begin a pause.
func (q *pipeline) owe(n int) {
	if n == 0 {
		return
	}
	q.repeated.Add(uint64(n))
	if q.credit.Add(-int64(repeatCost*n)) >= 0 {
		return
	}
	q.credit.Store(q.allowance())
	pause := q.pause.Load()
	q.until.Store(q.now() + pause)
	q.pause.Store(min(2*pause, int64(lastPause)))
}

// awaitsAcks notes that the target went on sending only when what it had sent was
// acknowledged: it uses Nagle's algorithm, and would stop for 40 ms time and again.
func (q *pipeline) awaitsAcks() { q.ackUntil.Store(q.now() + int64(ackFor)) }

// acksAtOnce says whether the target is to get acknowledgements at once. They
// cost a system call for each read, and more wake-ups.
func (q *pipeline) acksAtOnce() bool {
	until := q.ackUntil.Load()
	if until != 0 && q.now() >= until {
		q.ackUntil.Store(0)
		until = 0
	}
	return until != 0
}

// enter finds a connection for s, or returns nil if none has room.
func (q *pipeline) enter(s *slot, request []byte) *sharedConn {
	conns := *q.conns.Load()
	hint := int(q.hint.Load())
	for i := range conns {
		at := hint + i
		if at >= len(conns) {
			at -= len(conns)
		}
		if at < len(conns) && conns[at].enter(s, request, false) {
			if i > 0 {
				q.hint.Store(uint32(at))
			}
			return conns[at]
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	conns = *q.conns.Load()
	for i, c := range conns {
		if c.enter(s, request, true) {
			q.hint.Store(uint32(i))
			return c
		}
	}
	if len(conns) >= q.most {
		return nil
	}
	c := newSharedConn(q)
	if !c.enter(s, request, true) {
		panic("BUG: a new shared connection has no room")
	}
	more := append(conns[:len(conns):len(conns)], c)
	q.conns.Store(&more)
	q.hint.Store(uint32(len(conns)))
	return c
}

// Pipelined are figures of the shared connections to a target.
type Pipelined struct {
	// Answered counts exchanges that were answered on a shared connection,
	// Writes the writes that took their requests, and Repeated the requests
	// that had to be sent again.
	Answered, Writes, Repeated uint64
	// Paused says that nothing is pipelined now, because too much was repeated.
	Paused bool
}

// Pipelined returns the figures of the shared connections. ok is false if the
// target has none by configuration.
func (t *HTTP1) Pipelined() (p Pipelined, ok bool) {
	q := t.pipeline
	if q == nil {
		return Pipelined{}, false
	}
	return Pipelined{q.answered.Load(), q.writes.Load(), q.repeated.Load(), !q.open()}, true
}

// Join lends a connection that several exchanges share: the request goes out
// together with those of others, and the answers come in the same order. It is
// for requests that are safe to repeat and have no body; responses to HEAD are
// not expected. nil means that there is no such connection and Acquire is to be
// used. A shared connection is made when the request is sent, by Send and the
// following Read, whose errors are then those of Acquire too; within and write
// bound that and the writing, 0 for no bound. After ErrAlone the exchange is to
// be made once more, on a connection from Acquire.
func (t *HTTP1) Join(within, write time.Duration) *Conn {
	q := t.pipeline
	if q == nil || !q.open() {
		return nil
	}
	s := q.slots.Get().(*slot)
	s.within, s.write = within, write
	c := &s.conn
	c.home, c.maxHead = t, t.head
	c.hold()
	return c
}

// releaseShared takes back a connection that Join lent.
func (t *HTTP1) releaseShared(c *Conn, reusable bool) {
	s := c.slot
	if s.shared != nil && s.state.Load() == slotWaiting {
		s.shared.leave(s) // a panic ended the wait
	}
	if taken := s.taken; taken != nil {
		reusable = reusable && !s.spoiled && s.fault == nil && c.Reader.Buffered() == 0
	}
	c.letGo()
	c.request = nil
	taken, fit := s.reset()
	if taken != nil {
		t.Release(taken, reusable)
	}
	if fit {
		t.pipeline.slots.Put(s)
	}
}
