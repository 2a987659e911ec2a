package lb

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"weir/internal/wire"
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
	broken       bool // a write failed
	urged        bool // the rest of a response was late, and may come now
	// turn is since when the first exchange is the first.
	turn time.Time

	chunked *chunkedEnd
	readFn  func()
}

func newLane(q *pipeline) *lane {
	l := &lane{q: q}
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
	p.opens, p.writes = false, false
	switch l.state {
	case laneIdle:
		if !idle {
			return false
		}
		l.state, p.opens = laneOpening, true
		l.popped, l.asked, l.last, l.before, l.broken, l.urged = 0, 0, 0, 0, false, false
	case laneOpening:
		if l.n == l.q.depth {
			return false
		}
	case laneOpen:
		if l.n == l.q.depth || l.broken || time.Since(l.turn) > slowTurn {
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

// open makes the connection on behalf of p, and begins.
func (l *lane) open(p *place) error {
	c, err := l.q.connect(p.within)
	l.mu.Lock()
	if err != nil {
		l.refuse(p, err)
		l.mu.Unlock()
		return err
	}
	if !c.readArmed.IsZero() {
		c.ReadUntil(time.Time{})
	}
	l.conn, l.state, l.claimed, l.turn = c, laneOpen, true, time.Now()
	l.mu.Unlock()
	l.write(p.write)
	go l.readFn()
	return nil
}

// connect lends a connection that is known to be silent.
func (q *pipeline) connect(within time.Duration) (*Conn, error) {
	for {
		c, err := q.t.Acquire(within)
		if err != nil {
			return nil, err
		}
		if !c.reused || c.stream == nil || c.Quiet() {
			return c, nil
		}
		q.t.Release(c, false)
	}
}

// refuse tells all that no connection came about. What may be p's own lack of
// time or of luck is no answer for the others.
func (l *lane) refuse(p *place, err error) {
	var de *DialError
	shared := errors.As(err, &de) && (!de.Timeout || p.within == 0)
	for i := range l.n {
		other := *l.at(i)
		switch {
		case other == nil || other == p:
		case shared:
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
	l.claimed = false
	l.flush(limit)
	l.mu.Unlock()
}

// flush writes what is pending, if nobody else does. It gives up the lock while
// it writes.
func (l *lane) flush(limit time.Duration) {
	if l.writing {
		return
	}
	l.writing = true
	for len(l.pending) > 0 && l.state == laneOpen && !l.broken && l.before <= l.popped {
		if l.popped > 0 && !l.due() && l.conn.stream != nil && !l.conn.Quiet() {
			l.broken = true // somebody has spoken out of turn
			l.interrupt()
			break
		}
		batch := l.pending
		l.pending, l.spare = l.spare[:0], batch
		l.asked = l.popped + uint64(l.n)
		l.before, l.last = l.last, l.asked
		c := l.conn
		l.mu.Unlock()
		l.q.writes.Add(1)
		c.LimitWrite(time.Now(), limit)
		_, err := c.Write(batch)
		l.mu.Lock()
		if err != nil {
			// The target may have answered before it broke: what is there is read.
			l.broken = true
			if isTimeout(err) {
				l.interrupt()
			}
		}
	}
	l.writing = false
}

func isTimeout(err error) bool {
	var ne interface{ Timeout() bool }
	return errors.As(err, &ne) && ne.Timeout()
}

// interrupt ends the use of the connection. The reader, which is woken, does
// the rest.
func (l *lane) interrupt() {
	if l.state == laneOpen {
		l.state = laneEnding
		l.conn.Conn.SetReadDeadline(longAgo)
	}
}

// leave takes p, which does not wait any more, out of the queue. It returns
// false if p was answered meanwhile.
func (l *lane) leave(p *place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state.Load() != placeWaiting {
		return false
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
	return true
}

// read reads and hands out answers until none is due. It runs on a goroutine of
// its own, the only one that gives the connection up.
func (l *lane) read() {
	r := l.conn.Reader
	for {
		_, err := r.Peek(r.Buffered() + 1)
		l.mu.Lock()
		more := l.deliver(err)
		l.mu.Unlock()
		if !more {
			return
		}
	}
}

// deliver hands out what was read, and sees that there is something to read
// next. err is what reading failed with. It returns false if the lane has given
// the connection up.
func (l *lane) deliver(err error) bool {
	r := l.conn.Reader
	// The rest of a response did not come at once, or is more than fits.
	slow := err == bufio.ErrBufferFull || err != nil && isTimeout(err)
	if slow {
		err = nil
	}
	urge := slow && !l.urged
	given, bad := 0, false
	for l.state == laneOpen && l.due() && r.Buffered() > 0 {
		answer, _ := r.Peek(r.Buffered())
		size, head, form := l.parse(answer)
		if form == formPart && err == nil && (!slow || urge && r.Buffered() < r.Size()) {
			break
		}
		if bad = form == formBad; bad {
			break // perhaps it belongs to the answer before
		}
		p := *l.at(0)
		if form != formPlain || p != nil && size > len(p.buf) {
			l.q.paid(given)
			l.give(err)
			return false
		}
		if p != nil {
			p.n, p.head, p.sent = copy(p.buf, answer[:size]), head, true
			p.settle(placeAnswered)
			l.live--
			given++
		}
		*l.at(0) = nil
		l.first = (l.first + 1) % maxDepth
		l.n--
		l.popped++
		r.Discard(size)
	}
	if given > 0 {
		l.q.paid(given)
		l.turn = time.Now()
	}
	part := r.Buffered() > 0
	switch {
	case part && urge:
		// Perhaps the target waits until what it has sent is acknowledged.
		l.urged = true
		l.conn.ackNow()
	case l.urged && given > 0:
		l.urged = false
		l.q.holds()
	}
	if err != nil || bad || l.state != laneOpen || part && !l.due() || l.live == 0 && l.due() {
		l.end()
		return false
	}
	if l.live > 0 {
		l.flush(l.limit())
	}
	for l.writing && !l.due() {
		// Nothing is read that nobody has asked for; the writer is about to.
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
	if l.due() && l.q.held() {
		l.conn.ackNow()
	}
	switch {
	case l.state != laneOpen || l.broken && !l.due():
		l.end()
		return false
	case l.live == 0 && !l.due():
		l.rest()
		return false
	case part:
		l.conn.ReadUntil(time.Now().Add(partGrace))
	case !l.conn.readArmed.IsZero():
		l.conn.ReadUntil(time.Time{})
	}
	return true
}

// limit is the limit for writing of one that waits.
func (l *lane) limit() time.Duration {
	for i := range l.n {
		if p := *l.at(i); p != nil {
			return p.write
		}
	}
	return 0
}

// rest gives the connection back: all is answered.
func (l *lane) rest() {
	c := l.conn
	l.reset()
	l.q.t.Release(c, true)
}

// end closes the connection and sends everybody away.
func (l *lane) end() {
	l.halt()
	l.scatter(0)
	c := l.conn
	l.reset()
	l.q.t.Release(c, false)
}

// give lets the exchange whose turn it is have the connection, with what was
// read, and sends those behind it away. err is what reading failed with, if it
// did.
func (l *lane) give(err error) {
	l.halt()
	p := *l.at(0)
	if p == nil {
		l.end()
		return
	}
	l.scatter(1)
	spoiled := l.broken || l.asked > l.popped+1
	c := l.conn
	l.reset()
	c.Unlimit()
	p.take(c, err, spoiled)
}

// halt lets nobody else in and ends a write under way.
func (l *lane) halt() {
	l.state = laneEnding
	for l.writing {
		l.broken = true
		l.conn.Conn.SetWriteDeadline(longAgo)
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
}

// scatter sends all away but the first few.
func (l *lane) scatter(from int) {
	repeats := 0
	for i := from; i < l.n; i++ {
		p := *l.at(i)
		if p == nil {
			continue
		}
		if p.sent = l.popped+uint64(i) < l.asked; p.sent {
			repeats++
		}
		p.settle(placeAlone)
	}
	l.q.owe(repeats)
}

// form is what a lane can do with what it read.
type form uint8

const (
	// formPart: more may make it plain.
	formPart form = iota
	// formPlain: it is whole, and the connection can go on.
	formPlain
	// formOther: it is for the exchange to judge.
	formOther
	// formBad: it is no response.
	formBad
)

// parse looks at the response that answer begins with.
func (l *lane) parse(answer []byte) (size int, h wire.Head, f form) {
	limit := l.conn.maxHead
	switch err := h.ScanResponse(answer); {
	case err == wire.ErrShort && len(answer) < limit:
		return 0, h, formPart
	case err == wire.ErrShort:
		return 0, h, formOther
	case err != nil:
		return 0, h, formBad
	}
	const framing = wire.FieldContentLength | wire.FieldTransferEncoding
	switch {
	case h.Size > limit, h.Status < 200, h.Minor == 0,
		h.Fields&framing == framing,
		h.Fields&wire.FieldConnection != 0 && !keepsAlive(answer[:h.Size], &h):
		return 0, h, formOther
	case h.Status == 204 || h.Status == 304:
		if h.Length > 0 || h.Length == wire.LengthChunked {
			return 0, h, formOther // some send the body all the same
		}
		return h.Size, h, formPlain
	case h.Length == wire.LengthChunked:
		if l.chunked == nil {
			l.chunked = newChunkedEnd()
		}
		n, f := l.chunked.find(answer[h.Size:])
		return h.Size + n, h, f
	case h.Length < 0 || h.Length > int64(readBuffer-h.Size):
		return 0, h, formOther
	}
	size = h.Size + int(h.Length)
	if size > len(answer) {
		return 0, h, formPart
	}
	return size, h, formPlain
}

// keepsAlive says whether the head's only Connection field is a plain
// "keep-alive".
func keepsAlive(head []byte, h *wire.Head) bool {
	at := bytes.Index(head, keepAlive[0])
	if at < 0 {
		if at = bytes.Index(head, keepAlive[1]); at < 0 {
			return false
		}
	}
	next := head[at+len(keepAlive[0])] // of the line behind, or of the empty line
	return h.Twice()&wire.FieldConnection == 0 && next != ' ' && next != '\t'
}

var keepAlive = [2][]byte{[]byte("\nConnection: keep-alive\r\n"), []byte("\nconnection: keep-alive\r\n")}

// chunkedEnd finds the end of a chunked body, by the same code that reads it
// later.
type chunkedEnd struct {
	src  bytes.Reader
	br   *bufio.Reader
	body wire.Body
}

func newChunkedEnd() *chunkedEnd { return &chunkedEnd{br: bufio.NewReaderSize(nil, readBuffer)} }

// find returns how long the body is that p begins with, if it is whole.
func (e *chunkedEnd) find(p []byte) (int, form) {
	e.src.Reset(p)
	e.br.Reset(&e.src)
	e.body.Reset(e.br, wire.FramingChunked, 0)
	for {
		switch _, err := e.body.Next(nil); err {
		case nil:
		case io.EOF:
			return len(p) - e.src.Len() - e.br.Buffered(), formPlain
		case wire.ErrTruncated:
			return 0, formPart
		default:
			return 0, formBad
		}
	}
}
