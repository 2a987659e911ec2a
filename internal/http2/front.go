// Package http2 is the HTTP/2 front end (RFC 9113): it reads frames from a client's
// connection, lets the core serve the streams, and writes what the core answers. The Framer and
// the decoder of header blocks are those of golang.org/x/net; streams, flow control, priorities
// and limits are its own, because net/http's server costs ten times as much.
//
// One goroutine reads a connection. What cannot wait (hits in memory, redirects, refusals) is
// answered by that goroutine. All else begins once no whole frame is left in the buffer, so that a request and its reset
// that come together never reach a target: a request without body whose target has an unused connection is sent by
// the same goroutine, and the one that waits at that connection serves the rest; others get a goroutine of their own. Writes
// never wait either: what the socket does not take is drained by another goroutine, and the
// body bytes that follow are chosen by priority when there is room, not before.
//
// All state of a connection that several goroutines use is guarded by one lock, conn.mu.
package http2

import (
	"sync/atomic"
	"time"

	"weir/internal/listener"
	"weir/proxy"
)

// Handler is the core, as a front end sees it whose reader must not wait.
type Handler interface {
	// ServeNow takes an exchange as far as that needs no waiting. It returns nil if the exchange
	// has ended, else what takes the exchange to its end.
	ServeNow(x *proxy.Exchange) Rest
	// Refuse answers a request that never became an exchange, or only notes it
	// if status is 0.
	Refuse(x *proxy.Exchange, status int, cause proxy.Cause, err error)
}

// Rest is what is left of an exchange that had to wait.
type Rest interface {
	// ServeAhead sends the request ahead if that needs no waiting. If it reports true, next.Continue is called when the exchange
	// can go on, perhaps before ServeAhead returns, on a goroutine that may wait; that call has x, and calls ServeRest.
	ServeAhead(x *proxy.Exchange, next proxy.Continuation) (sent bool)
	// ServeRest serves the exchange to its end.
	ServeRest(x *proxy.Exchange)
}

// Front serves the connections of one server. Its fields are set before the
// first connection and not changed.
type Front struct {
	// Handler serves the exchanges.
	Handler Handler
	// OnPanic hears of a bug of the front end's own that cost a connection. The
	// stack is still there when it is called.
	OnPanic func(v any)

	workers  workers
	draining atomic.Bool
	// spare is how many bytes the windows of connections have beyond connWindow, all together.
	spare atomic.Int64
	conns listener.Group[*conn]
}

// Preface is what a client's connection begins with (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Serve serves c until it ends. It is called on a goroutine of its own. l is
// what the core knows of c's listener; it may change between requests. early are bytes that
// were read from c before.
func (f *Front) Serve(c *listener.Conn, l func() *proxy.Listener, early []byte) {
	cn := newConn(f, c, l, early)
	if cn == nil {
		c.Close()
		return
	}
	f.conns.Add(cn)
	defer func() {
		f.conns.Remove(cn)
		cn.endCredit()
		if v := recover(); v != nil {
			c.Reset()
			f.OnPanic(v)
			cn.lose(errPanic)
			cn.running.Wait()
		}
	}()
	cn.serve()
}

// Drain makes every connection end once its streams have ended. Streams that the client begins
// before it knows are still served.
func (f *Front) Drain() {
	f.draining.Store(true)
	f.workers.close()
	f.Leave()
}

// Leave does the same with the connections of listeners that were closed.
func (f *Front) Leave() {
	for _, c := range f.conns.List() {
		if c.ought() {
			c.leave()
		}
	}
}

// Look ends what clients have stalled for too long. It is called every now and then by the
// owner, never by two goroutines at once.
func (f *Front) Look(now time.Time) {
	f.workers.trim()
	for _, c := range f.conns.List() {
		c.look(now)
	}
}

// CloseSpare makes room for other clients: it ends connections without streams, those
// first that have waited longest, and returns how many.
func (f *Front) CloseSpare() int {
	now := time.Now()
	return f.conns.EndSpare(func(c *conn) (at int64, ok bool) {
		since, ok := c.spareSince(now)
		return since.UnixNano(), ok
	}, (*conn).leave)
}
