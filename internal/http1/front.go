// Package http1 is the HTTP/1.1 front end: it reads requests from a client's
// connection one after the other, lets the core serve each, and frames what the
// core answers. Package head scans and writes the heads, package body the bodies.
//
// fasthttp's own Server is not used. It takes a chunked request that was cut at
// a chunk boundary for a whole one, asks for the response only after the
// handler has returned, cannot end a body by closing, sends interim responses
// past those still in its buffer, and never lingers; a proxy must get all of
// these right, and all of them live in the loop itself.
//
// Package server gives it connections and the handler; it knows neither routes
// nor targets.
package http1

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/body"
	"weir/internal/listener"
	"weir/internal/sock"
	"weir/proxy"
)

// Handler is the core, as a front end sees it.
type Handler interface {
	// Serve serves one exchange to its end.
	Serve(x *proxy.Exchange)
	// Refuse answers a request that never became an exchange, or only notes it
	// if status is 0.
	Refuse(x *proxy.Exchange, status int, cause proxy.Cause, err error)
}

// Front serves the connections of one server. Its fields are set before the
// first connection and not changed.
type Front struct {
	// Handler serves the exchanges.
	Handler Handler
	// CancelOnHalfClose tells whether a client that closed its sending side is
	// taken for gone.
	CancelOnHalfClose func() bool
	// OnPreface takes over a connection whose client begins as one of HTTP/2 does, if its listener
	// allows that without TLS. early are the bytes that were read. nil means that none does.
	OnPreface func(c *listener.Conn, l func() *proxy.Listener, early []byte)
	// OnPanic hears of a bug of the front end's own that cost a connection. The
	// stack is still there when it is called.
	OnPanic func(v any)

	draining atomic.Bool
	parting  atomic.Bool
	conns    listener.Group[*conn]
}

// Serve serves c until it ends. It is called on a goroutine of its own. l is
// what the core knows of c's listener; it may change between requests.
func (f *Front) Serve(c *listener.Conn, l func() *proxy.Listener) {
	cn := newConn(f, c, l)
	f.conns.Add(cn)
	defer func() {
		f.conns.Remove(cn)
		cn.bond.Close()
		if v := recover(); v != nil {
			c.Reset() // a response that breaks off must not look whole
			f.OnPanic(v)
			return
		}
		if cn.early != nil {
			f.OnPreface(c, l, cn.early)
		}
	}()
	cn.serve()
}

// Drain makes every connection end after its running exchange; those without
// one end at once. A request that has arrived already is still served.
func (f *Front) Drain() {
	f.draining.Store(true)
	f.Leave()
}

// Part makes every connection end after its next answer, until Drain: a client whose request is
// under way is served. Drain may follow once clients had time for a request.
func (f *Front) Part() { f.parting.Store(true) }

// Leave does what Drain does with the connections of listeners that were closed.
func (f *Front) Leave() {
	f.conns.Each(func(c *conn) {
		if c.leaving() {
			c.wakeIdle()
		}
	})
}

// Look looks at the clients of all exchanges that have run for a while and ends
// those whose client went away, and at the connections that have begun to wait for a
// request. It is called every now and then by the owner, never by two goroutines at once.
func (f *Front) Look(now time.Time) {
	f.conns.Each(func(c *conn) {
		c.cancel.Check(now)
		c.lookOnce()
	})
}

// lookOnce looks at the socket once in each wait for a request, and interrupts the wait if something is there:
// an end that came together with the request before does not do so by itself (see sock.FirstRead). Front.Look
// alone calls it.
func (c *conn) lookOnce() {
	wait := c.spare.Load()
	if wait == c.seen || !c.onSocket() || c.state.Load() != idle {
		return
	}
	c.seen = wait
	if c.look() != sock.PendingNothing {
		c.wakeIdle()
	}
}

// look looks at the client's socket. Any goroutine may call it.
func (c *conn) look() sock.Pending {
	c.probing.Lock()
	defer c.probing.Unlock()
	return c.probe.Look()
}

// gone looks whether the client has left; half is as in proxy.Cancel.
func (c *conn) gone(half bool) bool {
	switch c.look() {
	case sock.PendingBroken:
		return true
	case sock.PendingEnd:
		return half && c.front.CancelOnHalfClose()
	}
	return false
}

// exchange is a proxy.Exchange with what HTTP/1.1 needs for one.
type exchange struct {
	*proxy.Exchange
	// body is the request's body, if it has one.
	body body.Reader
}

// free makes e ready for another request.
func (e *exchange) free() {
	if e.Body == &e.body {
		e.body.Reset(nil, body.FramingNone, 0)
	}
	e.Reset()
	exchanges.Put(e)
}

// exchanges pools them for all servers of a process.
var exchanges = sync.Pool{New: func() any { return &exchange{Exchange: proxy.NewExchange()} }}
