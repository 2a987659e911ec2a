package transport

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/config"
)

// HTTP2 is the HTTP/2 connections to one target. Exchanges share them, as many on each as the
// upstream's settings and the target allow; another connection is made when all are full. An
// HTTP2 is safe for concurrent use.
type HTTP2 struct {
	*dialer
	// most bounds the connections, 0 for no bound, see full; streams those exchanges that share one.
	most, streams int
	wait, idle    time.Duration
	// ping is how long a connection may be silent before it is asked whether it is still there, 0 for
	// any time; write bounds how long a target may take nothing.
	ping, write time.Duration
	head        int
	renewal     *renewal
	reclaim     func() bool
	// spoke says that the target has spoken HTTP/2.
	spoke   atomic.Bool
	onPanic func(v any) // may be nil

	mu sync.Mutex
	// conns are those that may get exchanges; open counts the others too that are not closed
	// yet, dialing those that are being made.
	conns         []*framedConn
	open, dialing int
	// each is how many exchanges the newest connection has room for, which is expected of others.
	each int
	// lasts is after how many exchanges the target ends a connection by GOAWAY, as far as is known from one that it
	// refused others on; 0 if it is not known to.
	lasts int
	// waiting are exchanges without a stream, in their order.
	waiting []*waiter
	retired bool
}

// waiter is an exchange that waits for a place on a connection.
type waiter struct {
	// place gets the connection, on which a place is taken, or why there is none.
	place chan placed
	// full is closed, with t.mu held, when no connection is being made, so that only the end of another exchange helps.
	full chan struct{}
}

type placed struct {
	conn *framedConn
	err  error
}

func newHTTP2(d *dialer, cfg *config.Upstream, o Options) *HTTP2 {
	c := &cfg.Connections
	t := &HTTP2{
		dialer: d, most: c.Max, streams: c.Streams, each: c.Streams, wait: c.Wait.D(), idle: c.Idle.D(), ping: c.Ping.D(),
		write: cfg.Timeouts.Write.D(), head: int(c.HeaderBytes), reclaim: o.Reclaim, onPanic: o.OnPanic,
	}
	t.renewal = newRenewal(c.MaxAge.D(), c.Resolve.D(), d.names, t.CloseIdle)
	d.watch(t.renewal)
	return t
}

// ErrVersion says that an exchange needs HTTP/1.1, and the target speaks HTTP/2 alone.
var ErrVersion = errors.New("the exchange needs HTTP/1.1, and the target speaks HTTP/2 alone")

// Open implements Transport.
func (t *HTTP2) Open(within time.Duration, v Version) (Stream, error) {
	if v == OnlyHTTP1 {
		return nil, &DialError{Phase: "http2", Err: ErrVersion}
	}
	for {
		c, err := t.take(within)
		if err != nil {
			return nil, err
		}
		if s := c.lend(); s != nil {
			return s, nil
		}
		t.giveBack(c) // it ended meanwhile, and was taken out of conns
	}
}

// take takes a place on a connection.
func (t *HTTP2) take(within time.Duration) (*framedConn, error) {
	t.mu.Lock()
	if len(t.waiting) == 0 {
		if c := t.roomy(); c != nil {
			c.give()
			t.mu.Unlock()
			return c, nil
		}
	}
	t.leaveOld()
	if t.dial(); t.dialing == 0 && t.wait == 0 {
		t.mu.Unlock()
		return nil, ErrNoConn
	}
	w := &waiter{place: make(chan placed, 1), full: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	if t.dialing == 0 {
		w.tell()
	}
	t.mu.Unlock()
	if p, ok := w.await(within, t.wait); ok {
		return p.conn, p.err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, w)
	if i < 0 {
		p := <-w.place
		return p.conn, p.err
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	if t.dialing > 0 {
		return nil, &DialError{Phase: "connect", Timeout: true, Cut: true, Err: errLate}
	}
	return nil, ErrNoConn
}

// await waits for a place for as long as within, and full for no longer than wait. ok is false if none came.
func (w *waiter) await(within, wait time.Duration) (p placed, ok bool) {
	var late, tooLate <-chan time.Time
	if within > 0 {
		timer := time.NewTimer(within)
		defer timer.Stop()
		late = timer.C
	}
	for full := w.full; ; full = nil {
		select {
		case p := <-w.place:
			return p, true
		case <-full:
			timer := time.NewTimer(wait)
			defer timer.Stop()
			tooLate = timer.C
		case <-late:
			return p, false
		case <-tooLate:
			return p, false
		}
	}
}

// tell tells the exchange that no connection is being made. t.mu is held.
func (w *waiter) tell() {
	select {
	case <-w.full: // it was told before
	default:
		close(w.full)
	}
}

var errLate = errors.New("no connection in the time that the exchange has")

// give gives a place to an exchange. t.mu is held.
func (c *framedConn) give() {
	c.used++
	c.given++
}

// roomy returns a connection with room for another exchange: one that is known to answer and to last, if there
// is any. t.mu is held.
func (t *HTTP2) roomy() *framedConn {
	var doubtful *framedConn
	for _, c := range t.conns {
		switch {
		case c.used >= c.limit || c.conn.old.Load():
		case !c.doubted && !t.spent(c):
			return c
		case doubtful == nil:
			doubtful = c
		}
	}
	if doubtful != nil && t.full() {
		return doubtful
	}
	return nil
}

// full says that no connection may be made. Those that get no more exchanges, because the target ends them or because of
// their age, count only beyond as many again: the last exchange on one may last for hours. t.mu is held.
func (t *HTTP2) full() bool {
	return t.most > 0 && (len(t.conns)+t.dialing >= t.most || t.open+t.dialing >= 2*t.most)
}

// spent says that the target most likely refuses further exchanges on the connection. t.mu is held.
func (t *HTTP2) spent(c *framedConn) bool { return t.lasts > 0 && c.given >= t.lasts }

// expected is how many exchanges a connection that is made is expected to carry. t.mu is held.
func (t *HTTP2) expected() int {
	if t.lasts > 0 {
		return min(t.each, t.lasts)
	}
	return t.each
}

// lastsFor notes that the target has ended a connection after that many exchanges, and refused others on it.
func (t *HTTP2) lastsFor(exchanges int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lasts = max(exchanges, 1)
}

// leaveOld makes connections that are old get no more exchanges. t.mu is held.
func (t *HTTP2) leaveOld() {
	t.conns = slices.DeleteFunc(t.conns, func(c *framedConn) bool {
		if c.left = c.conn.old.Load(); c.left && c.used == 0 {
			go c.closeIfUnused()
		}
		return c.left
	})
}

// dial makes another connection if the exchanges that wait, with one more, need it and it is
// allowed. It reports whether it does. t.mu is held.
func (t *HTTP2) dial() bool {
	if t.dialing*t.expected() > len(t.waiting) || t.full() {
		return false
	}
	for _, c := range t.conns {
		if c.limit == 0 {
			return false // nor would another one have room
		}
	}
	t.dialing++
	go t.connect()
	return true
}

// connect makes a connection.
func (t *HTTP2) connect() {
	c, err := dialReclaiming(t.reclaim, t.connectFrames)
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		if t.dialing > 0 {
			return
		}
		for _, w := range t.waiting { // it had no room for them
			w.tell()
		}
	}()
	t.dialing--
	if err != nil {
		// The exchanges that this connection would have served wait no longer.
		n := min(len(t.waiting), t.expected())
		for _, w := range t.waiting[:n] {
			w.place <- placed{err: err}
		}
		t.waiting = slices.Delete(t.waiting, 0, n)
		t.dialAgain()
		return
	}
	t.open++
	if c.left {
		go c.closeIfUnused()
		t.dialAgain()
		return
	}
	t.conns = append(t.conns, c)
	t.hand()
}

// dialAgain makes as many connections as the exchanges need that wait. t.mu is held.
func (t *HTTP2) dialAgain() {
	for t.dialing*t.expected() < len(t.waiting) && t.dial() {
	}
}

// hand gives places to exchanges that wait. t.mu is held.
func (t *HTTP2) hand() {
	n := 0
	for n < len(t.waiting) {
		c := t.roomy()
		if c == nil {
			break
		}
		c.give()
		t.waiting[n].place <- placed{conn: c}
		n++
	}
	t.waiting = slices.Delete(t.waiting, 0, n)
	t.dialAgain()
}

// giveBack gives back a place.
func (t *HTTP2) giveBack(c *framedConn) {
	t.mu.Lock()
	c.used--
	if c.used == 0 && !c.left && t.spent(c) {
		t.lasts = 0 // the target has not ended it
	}
	if len(t.waiting) > 0 {
		t.hand()
	}
	unused := c.used == 0
	if unused {
		c.idleSince = time.Now()
	}
	ends := unused && (c.left || t.retired || c.conn.old.Load())
	t.mu.Unlock()
	switch {
	case ends:
		c.closeIfUnused()
	case unused:
		c.lookLater(t.idle)
	}
}

// allow says how many exchanges the target allows on a connection at once.
func (t *HTTP2) allow(c *framedConn, streams uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.limit = int(min(int64(streams), int64(t.streams)))
	t.each = max(c.limit, 1)
	t.hand()
}

// doubt says whether a connection is not known to answer any more.
func (t *HTTP2) doubt(c *framedConn, doubted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.doubted = doubted; !doubted {
		t.hand()
	}
}

// leave makes a connection get no more exchanges.
func (t *HTTP2) leave(c *framedConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.left = true
	if i := slices.Index(t.conns, c); i >= 0 {
		t.conns = slices.Delete(t.conns, i, i+1)
		t.dialAgain()
	}
}

// closed notes that a connection, which has left before, is closed.
func (t *HTTP2) closed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	t.dialAgain()
}

// retireUnused takes c out of conns if no exchange uses it and it was unused for at least since. It
// reports whether it did, or how long that takes.
func (t *HTTP2) retireUnused(c *framedConn, since time.Duration) (unused bool, left time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.used > 0 {
		return false, 0
	}
	if left = since - time.Since(c.idleSince); left > 0 {
		return false, left
	}
	c.left = true
	if i := slices.Index(t.conns, c); i >= 0 {
		t.conns = slices.Delete(t.conns, i, i+1)
	}
	return true, 0
}

// Protocols are what exchanges speak, by the names of ALPN.
func (t *HTTP2) Protocols() []string { return protocolsHTTP2 }

// Share implements Transport: all connections are shared, by Open.
func (t *HTTP2) Share(time.Duration, time.Duration) Stream { return nil }

// Attended implements Transport: its connections have readers, which serve no exchanges.
func (t *HTTP2) Attended() Attended { return nil }

// Pipelined implements Transport.
func (t *HTTP2) Pipelined() (p Pipelined, ok bool) { return p, false }

// Conns implements Transport.
func (t *HTTP2) Conns() (open, idle int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.conns {
		if c.used == 0 {
			idle++
		}
	}
	return t.open, idle
}

// CloseIdle implements Transport.
func (t *HTTP2) CloseIdle() {
	t.mu.Lock()
	unused := slices.Clone(t.conns)
	t.mu.Unlock()
	for _, c := range unused {
		c.closeIfUnused()
	}
}

// Retire implements Transport.
func (t *HTTP2) Retire() {
	t.mu.Lock()
	t.retired = true
	t.mu.Unlock()
	t.renewal.end()
	t.tls.end()
	t.CloseIdle()
}
