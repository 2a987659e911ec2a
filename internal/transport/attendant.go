package transport

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/sock"
)

// Continuation is what is left of an exchange whose request was sent ahead.
type Continuation interface {
	// Continue takes the exchange to its end.
	Continue()
}

// attendant is a goroutine that waits at an unused connection without TLS. Another goroutine, which must not wait, takes
// the connection, sends a request, and leaves the rest of the exchange to the attendant. An exchange with a goroutine of
// its own would wake that twice, to send the request and to read the answer.
//
// The pool counts the connections of attendants as lent.
type attendant struct {
	t     *HTTP1
	c     *Conn
	lease lease
	state atomic.Uint32 // an attendantState
	// sending is held by the goroutine that writes the request: the answer may come before the write has returned. The exchange does not
	// go on before that, because the request lies in its buffers.
	sending sync.Mutex
	claim   func() bool // ask, as a value that is made once
	// next is what the attendant goes on with once it was asked.
	next Continuation
	// used is when the last exchange ended.
	used time.Time
	// offered says that others may take the connection. The attendant's goroutine owns it.
	offered bool
	// came says that the answer has begun, or that there will be none because of err, and that the exchange was not told yet.
	came bool
	err  error
	// closes is for close.
	closes sync.Once
}

// attendantState says which goroutine has an attendant's connection.
type attendantState = uint32

const (
	// attendantUnused: it is offered, or the goroutine that took it has not sent anything yet.
	attendantUnused attendantState = iota
	// attendantAsked: a request was sent, or is being sent.
	attendantAsked
	// attendantServing: the attendant serves the exchange.
	attendantServing
	// attendantReturned: the exchange has given the connection back, for another one.
	attendantReturned
	// attendantOver: the connection is closed, or the attendant is to close it.
	attendantOver
)

// attendants are those of an HTTP1 that are unused, the one that was used last at the end.
type attendants struct {
	mu   sync.Mutex
	idle []*attendant
}

// Attended implements Transport.
func (t *HTTP1) Attended() Attended {
	for {
		a := t.attendants.take()
		switch {
		case a == nil:
			return nil // not an Attended of no connection
		case a.c.old.Load():
			a.dismiss()
		default:
			c := a.c
			c.lease = a.lease
			c.interrupted.Store(false)
			return c
		}
	}
}

// Attend makes an attendant wait at the connection of s once its exchange has ended, if it can be used again then.
func Attend(s Stream) {
	if c, ok := s.(*Conn); ok && c.slot == nil && c.stream != nil && c.home.hc.MaxConns == unlimited {
		c.attend = true
	}
}

// SendAhead implements Attended.
func (c *Conn) SendAhead(r *Request, next Continuation) bool {
	a := c.attendant
	out := r.assemble()
	a.sending.Lock()
	defer a.sending.Unlock()
	c.first.Small, c.sent, a.next = r.Crowded, len(out), next
	n, err := c.stream.WriteAhead(out, a.claim)
	switch {
	case n == len(out) && err == nil:
		return true
	case err == sock.ErrNotQuiet:
		return false
	case a.state.CompareAndSwap(attendantAsked, attendantOver):
		a.wake()
		return false
	}
	c.old.Store(true) // the target has answered a part, and would take a next request for the rest
	return true
}

// ask begins an exchange. From then on it may be the attendant's. It fails if the target has closed the connection at this moment.
func (a *attendant) ask() bool { return a.state.CompareAndSwap(attendantUnused, attendantAsked) }

// employ makes an attendant wait at an unused connection.
func (t *HTTP1) employ(c *Conn, l lease) {
	c.attend, c.reused = false, true
	c.LimitWrite(time.Time{}, 0) // a limit that has passed would end the write of a request that is sent ahead
	a := &attendant{t: t, c: c, lease: l}
	a.claim, c.attendant = a.ask, a
	go a.work()
}

// work serves one exchange after the other.
func (a *attendant) work() {
	look := a.look
	for {
		a.used, a.offered = time.Now(), false
		a.limitIdle()
		a.state.Store(attendantUnused)
		if !a.await(look) {
			break
		}
		a.sending.Lock()
		next := a.next
		a.next = nil
		a.sending.Unlock()
		next.Continue()
		if a.state.Load() != attendantReturned {
			return // the exchange has closed the connection
		}
		if a.c.old.Load() {
			break
		}
	}
	a.t.attendants.remove(a)
	a.c.letGo()
	a.close()
	a.t.pool.close(a.lease)
}

// limitIdle sees that an unused connection has a deadline. One that comes early is put off when it comes, because setting one for
// each exchange costs too much.
func (a *attendant) limitIdle() {
	limit := a.t.hc.MaxIdleConnDuration
	if c := a.c; c.readArmed.IsZero() || c.readArmed.After(a.used.Add(2*limit)) {
		c.ReadUntil(a.used.Add(limit))
	}
}

// await waits until the connection was taken and asked, and the answer has begun or failed. It returns false if the connection
// is to be closed.
func (a *attendant) await(look func(fd uintptr) bool) bool {
	for {
		err := a.c.first.AwaitBy(look)
		switch {
		case err != nil && sock.TimedOut(err) && a.early():
		case a.state.CompareAndSwap(attendantAsked, attendantServing):
			a.came, a.err = true, err
			return true
		case a.state.CompareAndSwap(attendantUnused, attendantOver), a.state.Load() == attendantOver:
			return false
		}
	}
}

// look reads the beginning of an answer, if it is there. The first call of a wait offers the connection instead: what comes from then
// on wakes the attendant, and a goroutine that takes the connection looks whether anything came before, which saves a read here.
func (a *attendant) look(fd uintptr) bool {
	switch {
	case !a.offered:
		a.offered = true
		a.t.attendants.offer(a)
		return a.t.retired.Load() && a.state.CompareAndSwap(attendantUnused, attendantOver) // Retire may have come before
	case a.state.Load() != attendantUnused:
	case sock.Silent(fd): // it was woken by what had been read before
		return false
	case a.state.CompareAndSwap(attendantUnused, attendantOver):
		return true // bytes that no request asked for, or the end; neither is read, so that a goroutine that takes the connection cannot miss them
	}
	return a.state.Load() == attendantOver || a.c.first.Look(fd)
}

// early says that a wait was ended too soon, by a deadline that was not meant for it. It sets one for an unused connection.
func (a *attendant) early() bool {
	switch c := a.c; a.state.Load() {
	case attendantAsked:
		return !c.interrupted.Load() && (c.readArmed.IsZero() || time.Now().Before(c.readArmed))
	case attendantUnused:
		runtime.Gosched() // perhaps for the goroutine that has taken the connection
		return a.t.attendants.rest(a)
	}
	return false
}

// rest sets the deadline of an unused attendant. It returns false if the attendant has been unused for too long; then no exchange takes it
// any more.
func (s *attendants) rest(a *attendant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.idle, a)
	if a.offered && i < 0 {
		return true // the goroutine that has taken the connection is about to set a deadline
	}
	if end := a.used.Add(a.t.hc.MaxIdleConnDuration); time.Now().Before(end) {
		a.c.ReadUntil(end)
		return true
	}
	if i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
	}
	return false
}

// spared says that the exchange which gives the connection back has not asked the attendant, or not reached it. The attendant then closes
// the connection.
func (a *attendant) spared() bool {
	a.dismiss()
	return a.state.Load() == attendantOver
}

// release takes the connection back from the exchange that the attendant serves.
func (a *attendant) release(reusable bool) {
	if reusable {
		a.state.Store(attendantReturned)
		return
	}
	a.state.Store(attendantOver)
	a.t.pool.close(a.lease)
}

// dismiss makes an unused attendant that was taken close its connection.
func (a *attendant) dismiss() {
	if a.state.CompareAndSwap(attendantUnused, attendantOver) {
		a.wake()
	}
}

// close closes an unused connection. It returns once the descriptor is free, also if another goroutine closes the connection at this
// moment: a new connection may want the descriptor.
func (a *attendant) close() { a.closes.Do(func() { a.c.Conn.Close() }) }

func (a *attendant) wake() { a.c.Conn.SetReadDeadline(sock.LongAgo) }

// offer lets others take a.
func (s *attendants) offer(a *attendant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, a)
}

// take takes the one that was used last; nil if no connection is unused.
func (s *attendants) take() *attendant {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle) - 1
	if n < 0 {
		return nil
	}
	a := s.idle[n]
	s.idle[n] = nil
	s.idle = s.idle[:n]
	return a
}

// remove takes a away, if it is there.
func (s *attendants) remove(a *attendant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.idle, a); i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
	}
}

// count is the number of those that are unused.
func (s *attendants) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.idle)
}

// dismiss closes the connections of all.
func (s *attendants) dismiss() {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, a := range idle {
		a.dismiss()
	}
	for _, a := range idle {
		a.close()
	}
}
