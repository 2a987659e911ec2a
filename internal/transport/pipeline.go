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
	// slowTurn is how long the exchange whose turn it is may wait before no
	// others queue up behind it.
	slowTurn = 100 * time.Millisecond
	// partGrace is how long the rest of a response may take before it gets the
	// connection to itself: once, and once more after a hint to the target.
	partGrace = 10 * time.Millisecond
	// urgentFor is how long a target that was seen to wait for acknowledgements
	// gets them at once.
	urgentFor = 10 * time.Second
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
	// most bounds the lanes: half of the connections stay for other exchanges.
	most int
	// made is when the pipeline was made.
	made time.Time

	// lanes is replaced by a longer one when all are full. mu guards that, and
	// is taken before a lane's own lock.
	lanes  atomic.Pointer[[]*lane]
	hint   atomic.Uint32 // the lane that had room last
	mu     sync.Mutex
	places sync.Pool

	// credit is what is left of the answers that pay for repeats.
	credit atomic.Int64
	// until is when a pause ends, 0 for none; pause is how long the next one is.
	until, pause atomic.Int64

	// urgent is until when the target is taken for one that holds back what it
	// sends until the last is acknowledged, 0 for not.
	urgent atomic.Int64

	answered, writes, repeated atomic.Uint64
}

func newPipeline(t *HTTP1, depth, conns int) *pipeline {
	q := &pipeline{t: t, depth: min(depth, maxDepth), most: 1 << 20, made: time.Now()}
	if conns > 0 {
		q.most = conns / 2
	}
	q.credit.Store(q.allowance())
	q.pause.Store(int64(firstPause))
	q.lanes.Store(new([]*lane))
	q.places.New = func() any { return newPlace(q) }
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

// holds notes that a target went on sending only when what it had sent was
// acknowledged: it uses Nagle's algorithm, and would stop for 40 ms time and again.
func (q *pipeline) holds() { q.urgent.Store(q.now() + int64(urgentFor)) }

// held says whether the target is to get acknowledgements at once. They cost a
// system call for each read, and more wake-ups.
func (q *pipeline) held() bool {
	until := q.urgent.Load()
	if until != 0 && q.now() >= until {
		q.urgent.Store(0)
		until = 0
	}
	return until != 0
}

// enter finds a lane for p, or returns nil if there is none.
func (q *pipeline) enter(p *place, request []byte) *lane {
	lanes := *q.lanes.Load()
	hint := int(q.hint.Load())
	for i := range lanes {
		at := hint + i
		if at >= len(lanes) {
			at -= len(lanes)
		}
		if at < len(lanes) && lanes[at].enter(p, request, false) {
			if i > 0 {
				q.hint.Store(uint32(at))
			}
			return lanes[at]
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lanes = *q.lanes.Load()
	for i, l := range lanes {
		if l.enter(p, request, true) {
			q.hint.Store(uint32(i))
			return l
		}
	}
	if len(lanes) >= q.most {
		return nil
	}
	l := newLane(q)
	if !l.enter(p, request, true) {
		panic("BUG: a new lane has no room")
	}
	more := append(lanes[:len(lanes):len(lanes)], l)
	q.lanes.Store(&more)
	q.hint.Store(uint32(len(lanes)))
	return l
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
	p := q.places.Get().(*place)
	p.within, p.write = within, write
	c := &p.conn
	c.maxHead = t.head
	c.hold()
	return c
}

// part takes back a connection that Join lent.
func (t *HTTP1) part(c *Conn, reusable bool) {
	p := c.place
	if p.lane != nil && p.state.Load() == placeWaiting {
		p.lane.leave(p) // a panic ended the wait
	}
	if taken := p.taken; taken != nil {
		reusable = reusable && !p.spoiled && p.fault == nil && c.Reader.Buffered() == 0
	}
	c.letGo()
	c.request = nil
	taken, fit := p.reset()
	if taken != nil {
		t.Release(taken, reusable)
	}
	if fit {
		t.pipeline.places.Put(p)
	}
}
