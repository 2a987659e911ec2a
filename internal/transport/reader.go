package transport

import (
	"bufio"
	"time"

	"weir/internal/sock"
)

// read reads and hands out answers until none is due. It runs on a goroutine of
// its own, the only one that gives the connection up.
func (l *lane) read() {
	c := l.conn
	defer func() {
		if v := recover(); v != nil {
			l.crash(c, v)
		}
	}()
	for {
		_, err := c.Reader.Peek(c.Reader.Buffered() + 1)
		if !l.deliver(err) {
			return
		}
	}
}

// crash ends the use of c after a panic of its reader.
func (l *lane) crash(c *Conn, v any) {
	if l.q.t.onPanic != nil {
		l.q.t.onPanic(v)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == c {
		l.end()
	}
}

// deliver hands out what was read, and sees that there is something to read
// next. err is what reading failed with. It returns false if the lane has given
// the connection up.
func (l *lane) deliver(err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.conn.Reader
	// The rest of a response did not come at once, or is more than fits.
	slow := err == bufio.ErrBufferFull || err != nil && sock.TimedOut(err)
	if slow {
		err = nil
	}
	urge := slow && !l.urged
	given, stop := l.hand()
	waits := err == nil && (!slow || urge && r.Buffered() < r.Size())
	if stop == formOther || stop == formPart && !waits {
		l.give(err)
		return false
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
	if err != nil || stop == formBad || slow && l.broken || l.state != laneOpen || part && !l.due() || l.live == 0 && l.due() {
		l.end()
		return false
	}
	if l.live > 0 {
		l.flush(l.limit())
	}
	for l.writing && !l.due() && l.state == laneOpen {
		l.wrote.Wait() // nothing is read that nobody has asked for
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
	case part || l.broken:
		l.conn.ReadUntil(time.Now().Add(partGrace))
	case !l.conn.readArmed.IsZero():
		l.conn.ReadUntil(time.Time{})
	}
	return true
}

// hand hands out the answers that were read whole. given is how many exchanges
// got theirs, stop the form of what is next, formPlain if nothing is that is due.
func (l *lane) hand() (given int, stop form) {
	r, popped := l.conn.Reader, l.popped
	for l.state == laneOpen && l.due() && r.Buffered() > 0 {
		answer, _ := r.Peek(r.Buffered())
		size, f := l.parse(answer)
		p := *l.at(0)
		if f != formPlain {
			stop = f
			break
		}
		if p != nil {
			p.n, p.sent = copy(p.buf, answer[:size]), true
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
	}
	if l.popped > popped {
		l.turn = time.Now()
	}
	return given, stop
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
	c, t := l.conn, l.q.t
	l.reset()
	t.Release(c, true)
	if t.retired.Load() {
		t.Close() // those who waited may have left before
	}
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
	if l.writing {
		l.broken = true
		l.conn.Conn.SetWriteDeadline(sock.LongAgo)
	}
	for l.writing {
		l.wrote.Wait()
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
