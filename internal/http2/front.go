// Package http2 is the HTTP/2 front end (RFC 9113): it reads frames from a client's
// connection, lets the core serve the streams, and writes what the core answers. The Framer and
// the header compression are those of golang.org/x/net; streams, flow control, priorities
// and limits are its own, because net/http's server costs ten times as much.
//
// One goroutine reads a connection. What cannot wait (hits in memory, redirects, refusals) is
// answered by that goroutine; all else gets a goroutine of its own once no whole frame is left in the
// buffer, so that a request and its reset that come together never reach a target. Writes
// never wait either: what the socket does not take is drained by another goroutine, and the
// body bytes that follow are chosen by priority when there is room, not before.
//
// All state of a connection that several goroutines use is guarded by one lock, conn.mu.
package http2

import (
	"cmp"
	"slices"
	"sync"
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
	mu       sync.Mutex
	conns    map[*conn]struct{}
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
	f.add(cn)
	defer func() {
		f.remove(cn)
		if v := recover(); v != nil {
			c.Reset()
			f.OnPanic(v)
			cn.lose(errPanic)
			cn.running.Wait()
		}
	}()
	cn.serve()
}

func (f *Front) add(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conns == nil {
		f.conns = make(map[*conn]struct{})
	}
	f.conns[c] = struct{}{}
}

func (f *Front) remove(c *conn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
}

// list returns the connections.
func (f *Front) list() []*conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*conn, 0, len(f.conns))
	for c := range f.conns {
		list = append(list, c)
	}
	return list
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
	for _, c := range f.list() {
		if c.ought() {
			c.leave()
		}
	}
}

// Look ends what clients have stalled for too long. It is called every now and then by the
// owner, never by two goroutines at once.
func (f *Front) Look(now time.Time) {
	f.workers.trim()
	for _, c := range f.list() {
		c.look(now)
	}
}

// spareShare is the part of the spare connections that CloseSpare ends at once.
const spareShare = 64

// CloseSpare makes room for other clients: it ends connections without streams, those
// first that have waited longest, and returns how many.
func (f *Front) CloseSpare() int {
	type spare struct {
		c     *conn
		since time.Time
	}
	var list []spare
	now := time.Now()
	for _, c := range f.list() {
		if since, ok := c.spareSince(now); ok {
			list = append(list, spare{c, since})
		}
	}
	slices.SortFunc(list, func(a, b spare) int { return cmp.Compare(a.since.UnixNano(), b.since.UnixNano()) })
	list = list[:(len(list)+spareShare-1)/spareShare]
	for _, s := range list {
		s.c.leave()
	}
	return len(list)
}
