package transport

import (
	"bufio"
	"time"

	"weir/internal/sock"
)

// read reads and delivers answers until none is due. It runs on a goroutine of
// its own, the only one that gives the connection up.
func (c *sharedConn) read() {
	conn := c.conn
	defer func() {
		if v := recover(); v != nil {
			c.crash(conn, v)
		}
	}()
	for {
		_, err := conn.Reader.Peek(conn.Reader.Buffered() + 1)
		if !c.step(err) {
			return
		}
	}
}

// crash ends the use of conn after a panic of its reader.
func (c *sharedConn) crash(conn *Conn, v any) {
	if c.q.t.onPanic != nil {
		c.q.t.onPanic(v)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.end()
	}
}

// next is what becomes of a sharedConn after its reader has delivered what it
// could.
type next uint8

const (
	// nextRead: more is read.
	nextRead next = iota
	// nextAck: more is read after what came was acknowledged. Perhaps the target
	// waits for that with the rest of a response, which is late.
	nextAck
	// nextGiveAway: the exchange at the head of the queue gets the connection.
	nextGiveAway
	// nextEnd: the connection is closed.
	nextEnd
)

// step delivers what was read, and sees that there is something to read next.
// err is what reading failed with. It returns false if the connection was given
// up.
func (c *sharedConn) step(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	// late: the rest of a response did not come at once, or is more than fits.
	late := err == bufio.ErrBufferFull || err != nil && sock.TimedOut(err)
	if late {
		err = nil
	}
	mayAck := late && !c.ackSent
	switch c.classify(c.deliver(), err, late, mayAck) {
	case nextGiveAway:
		c.giveAway(err)
		return false
	case nextEnd:
		c.end()
		return false
	case nextAck:
		c.ackSent = true
		c.conn.ackNow()
	}
	return c.goOn()
}

// classify says what becomes of the connection. stop is the form of what is first
// in the buffer, formPlain if nothing there is due; mayAck says that the late rest
// of a response may be asked for by an acknowledgement.
func (c *sharedConn) classify(stop form, err error, late, mayAck bool) next {
	r := c.conn.Reader
	buffered := r.Buffered() > 0
	switch {
	case stop == formOther:
		return nextGiveAway
	case stop == formPart && (err != nil || late && (!mayAck || r.Buffered() == r.Size())):
		return nextGiveAway // the exchange waits for the rest, or finds that the rest is missing
	case err != nil, stop == formBad, c.state != sharedOpen:
		return nextEnd
	case late && c.broken:
		return nextEnd // what the target had answered before the write failed is read
	case buffered && !c.due():
		return nextEnd // bytes that no request asked for
	case c.live == 0 && c.due():
		return nextEnd // no exchange waits for what comes
	case buffered && mayAck:
		return nextAck
	}
	return nextRead
}

// deliver delivers the answers that were read whole. stop is the form of what is
// next, formPlain if nothing is that is due.
func (c *sharedConn) deliver() (stop form) {
	r, delivered, answered := c.conn.Reader, 0, c.answered
	for c.state == sharedOpen && c.due() && r.Buffered() > 0 {
		answer, _ := r.Peek(r.Buffered())
		size, f := c.parse(answer)
		if f != formPlain {
			stop = f
			break
		}
		if s := *c.at(0); s != nil {
			s.n, s.sent = copy(s.buf, answer[:size]), true
			s.settle(slotAnswered)
			c.live--
			delivered++
		}
		*c.at(0) = nil
		c.first = (c.first + 1) % maxDepth
		c.n--
		c.answered++
		r.Discard(size)
	}
	if delivered > 0 {
		c.q.paid(delivered)
		if c.ackSent {
			c.ackSent = false
			c.q.awaitsAcks() // the rest came after the acknowledgement
		}
	}
	if c.answered > answered {
		c.headSince = time.Now()
	}
	return stop
}

// goOn writes what is pending, and sees that there is something to read next. It
// returns false if the connection was given up.
func (c *sharedConn) goOn() bool {
	if c.live > 0 {
		c.flush(c.limit())
	}
	for c.writing && !c.due() && c.state == sharedOpen {
		c.wrote.Wait() // nothing is read that no request asked for
	}
	if c.due() && c.q.acksAtOnce() {
		c.conn.ackNow()
	}
	switch {
	case c.state != sharedOpen || c.broken && !c.due():
		c.end()
		return false
	case c.live == 0 && !c.due():
		c.release()
		return false
	case c.conn.Reader.Buffered() > 0 || c.broken:
		c.conn.ReadUntil(time.Now().Add(partGrace))
	case !c.conn.readArmed.IsZero():
		c.conn.ReadUntil(time.Time{})
	}
	return true
}

// limit is the limit for writing of an exchange that waits.
func (c *sharedConn) limit() time.Duration {
	for i := range c.n {
		if s := *c.at(i); s != nil {
			return s.write
		}
	}
	return 0
}

// release gives the connection back: all is answered.
func (c *sharedConn) release() {
	conn, t := c.conn, c.q.t
	c.reset()
	t.Release(conn, true)
	if t.retired.Load() {
		t.CloseIdle() // the exchanges that waited may have left before
	}
}

// end closes the connection and dismisses all exchanges.
func (c *sharedConn) end() {
	c.stopWriting()
	c.dismiss(0)
	conn := c.conn
	c.reset()
	c.q.t.Release(conn, false)
}

// giveAway lets the exchange at the head of the queue have the connection, with
// what was read, and dismisses all others. err is what reading failed with, if it
// did.
func (c *sharedConn) giveAway(err error) {
	c.stopWriting()
	s := *c.at(0)
	if s == nil {
		c.end()
		return
	}
	c.dismiss(1)
	spoiled := c.broken || c.written > c.answered+1
	conn := c.conn
	c.reset()
	conn.Unlimit()
	s.take(conn, err, spoiled)
}

// stopWriting lets no other exchange in and ends a write under way.
func (c *sharedConn) stopWriting() {
	c.state = sharedEnding
	if c.writing {
		c.broken = true
		c.conn.Conn.SetWriteDeadline(sock.LongAgo)
	}
	for c.writing {
		c.wrote.Wait()
	}
}

// dismiss sends all exchanges away but the first few: they are made on
// connections of their own.
func (c *sharedConn) dismiss(from int) {
	repeats := 0
	for i := from; i < c.n; i++ {
		s := *c.at(i)
		if s == nil {
			continue
		}
		if s.sent = c.answered+uint64(i) < c.written; s.sent {
			repeats++
		}
		s.settle(slotAlone)
	}
	c.q.owe(repeats)
}
