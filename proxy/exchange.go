package proxy

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weir/internal/header"
	"weir/internal/match"
	"weir/internal/sock"
	"weir/internal/transport"
	"weir/internal/wire"
	"weir/lb"
)

// Front is the client's side of an exchange, as a front end lends it to the
// core. Its methods are called by the goroutine that serves the exchange, but
// for StopReading. The first error of a writing method is final.
type Front interface {
	// Inform sends an interim response (1xx but 101). Clients that cannot take
	// one get none.
	Inform(h *fasthttp.ResponseHeader) error
	// Start takes the final head. length is the number of body bytes to come,
	// or -1 if that is not known. bodyless says that no body follows whatever
	// the head announces (answers to HEAD, 204, 304). Start may write later.
	Start(h *fasthttp.ResponseHeader, length int64, bodyless bool) error
	// Write takes the next bytes of the body; it keeps none of p.
	Write(p []byte) error
	// WriteFile does what Write does with bytes that are in a file as well, where
	// they do not change before the exchange ends.
	WriteFile(p []byte, file int, offset int64) error
	// Splice moves n body bytes straight from src, and flushes before. Each wait
	// for src is bounded by limit. srcErr is the failure of src, err that of the
	// client, or errors.ErrUnsupported, with nothing done, if there is no way
	// between the two.
	Splice(src *sock.Stream, n int64, limit time.Duration) (moved int64, srcErr, err error)
	// Flush sends what Start and Write have taken.
	Flush() error
	// Finish ends the body, with trailers where the framing has room for them,
	// and sends everything.
	Finish(trailer []byte) error
	// Abort makes sure that the client cannot take what it got for a whole
	// response.
	Abort()
	// CloseAfter makes this exchange the last one of its connection. It must
	// come before Start.
	CloseAfter()
	// StopReading makes a Read of the request body that blocks, and every
	// later one, fail at once. Any goroutine may call it.
	StopReading()
	// Tunnel sends a 101 and lends the bare connection; early are bytes that the
	// client had already sent. The exchange ends the connection.
	Tunnel(h *fasthttp.ResponseHeader) (conn net.Conn, early []byte, err error)
}

// Exchange is one request and its answer, from first byte in to last byte out.
// A front end fills the first part, the core the rest. Exchanges are pooled:
// hooks must not keep one, nor any slice of it, after they return.
type Exchange struct {
	// Front is the way to the client.
	Front Front
	// Watch ends the exchange if the client goes away meanwhile. The front end
	// owns it and looks at the client.
	Watch *Watch
	// Listener names the listener.
	Listener *Listener
	// Peer is who sits at the other end of the connection.
	Peer *header.Peer
	// Remote is its address and port; invalid for unix sockets.
	Remote netip.AddrPort
	// TLS says whether the client's connection is encrypted.
	TLS bool
	// Request is the request's head. Its target is in origin-form or "*".
	Request fasthttp.RequestHeader
	// Head is what the scan of the raw head found.
	Head wire.Head
	// Body is the request's body.
	Body wire.Body
	// Start is when the first byte arrived.
	Start time.Time

	// Target is the request target as it came; Path and Query are its parts,
	// Canonical is the path as matching sees it, which may be Path itself.
	Target, Path, Query, Canonical []byte
	// Host is the Host field as the client sent it, or the authority of an
	// absolute target.
	Host []byte
	// Client is the address of the client, behind trusted proxies too; invalid
	// for clients on unix sockets.
	Client netip.Addr
	// RequestID identifies the exchange in logs.
	RequestID []byte
	// Captures are the values of the route's path template.
	Captures match.Captures

	// Route is nil before routing, and if no route fits.
	Route *Route
	// Upstream and Chosen are where the last attempt went; nil if there was none.
	Upstream *Upstream
	Chosen   *lb.Target
	// Attempts counts the tries.
	Attempts int

	// Response is the head that the client gets.
	Response fasthttp.ResponseHeader
	// Status is the final status code that was sent; 0 if none was.
	Status int
	// Cause is why the exchange ended as it did.
	Cause Cause
	// Err is the error behind Cause; it may be nil. It is never shown to clients.
	Err error
	// BytesIn and BytesOut are payload bytes from and to the client; for
	// upgraded connections those of the tunnel.
	BytesIn, BytesOut int64
	// FirstByte is how long the target took from the end of the request to its
	// response head; 0 if there was none.
	FirstByte time.Duration
	// Cache is what the cache did.
	Cache CacheResult
	// End is when the last byte was written; zero before OnDone.
	End time.Time

	proxy    *Proxy
	began    bool // the final head was handed to Front
	answered bool // a hook answered
	panicked bool
	// canonical is room for a path that is not the raw one.
	canonical []byte
	held      []byte
	out       []byte
	scratch   []byte
	rhead     wire.Head
	rbody     wire.Body
	pick      lb.Pick
	sticky    []byte // the client's sticky cookie
	limits    limits
	deadline  time.Time // zero: none
	upload    upload
	// upgrading says that a 101 is welcome; protocol is what was asked for.
	upgrading bool
	protocol  []byte
	lookup    func(name string) []byte // variables of this exchange, made once

	conn        *transport.Conn // lent for the running attempt
	holdsTarget bool            // Chosen is to be given back
	learned     bool            // the balancer knows how the attempt goes
	rbodyErr    error           // the target's fault in its body

	cached cached
}

// NewExchange returns an Exchange for a front end to pool.
func NewExchange() *Exchange {
	x := new(Exchange)
	x.lookup = x.variable
	x.Request.SetNoDefaultContentType(true)
	return x
}

// Reset makes x ready for the next request of the same or another connection.
func (x *Exchange) Reset() {
	x.Head = wire.Head{}
	x.Path, x.Query, x.Canonical = nil, nil, nil
	x.Target, x.Host, x.RequestID = x.Target[:0], x.Host[:0], x.RequestID[:0]
	x.Client = netip.Addr{}
	x.Captures.Reset()
	x.Route, x.Upstream, x.Chosen = nil, nil, nil
	x.Attempts, x.Status, x.Cause, x.Err = 0, 0, CauseOK, nil
	x.BytesIn, x.BytesOut, x.FirstByte = 0, 0, 0
	x.End = time.Time{}
	x.proxy, x.began, x.answered, x.upgrading, x.panicked = nil, false, false, false, false
	if x.held = x.held[:0]; cap(x.held) > copyBuffer {
		x.held = nil // too much to keep in a pool
	}
	x.pick.Reset()
	x.conn, x.holdsTarget, x.learned, x.rbodyErr = nil, false, false, nil
	x.upload.reset()
	x.Cache = CacheResult{}
	x.cached.reset()
}

// Answer makes OnRequest's exchange end with this response: it is sent instead
// of routing the request. contentType may be empty.
func (x *Exchange) Answer(status int, contentType, body string) {
	x.answered = true
	x.ownHead(status)
	if contentType != "" {
		x.Response.SetContentType(contentType)
	}
	x.scratch = append(x.scratch[:0], body...)
}

// Watch is where a front end finds out what to interrupt when a client goes
// away while its exchange waits for a target. The zero value is ready.
type Watch struct {
	mu    sync.Mutex
	conn  *transport.Conn
	done  chan struct{} // closed when the client goes away; nil if nobody waits for it
	since time.Time
	gone  bool
}

// begin says that the exchange now waits for c.
func (w *Watch) begin(c *transport.Conn, now time.Time) {
	w.mu.Lock()
	w.conn, w.since, w.gone = c, now, false
	w.mu.Unlock()
}

// wait says that the exchange now waits for another one's fetch. The channel is
// closed if the client goes away.
func (w *Watch) wait(now time.Time) <-chan struct{} {
	done := make(chan struct{})
	w.mu.Lock()
	w.done, w.since, w.gone = done, now, false
	w.mu.Unlock()
	return done
}

// end says that it does not any more, and reports whether the client went away
// meanwhile.
func (w *Watch) end() bool {
	w.mu.Lock()
	gone := w.gone
	w.conn, w.done = nil, nil
	w.mu.Unlock()
	return gone
}

// Check interrupts the exchange if it has been waiting since before old and
// gone reports that the client went away. It is called again and again by the
// front end's owner; gone must not block.
func (w *Watch) Check(old time.Time, gone func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil && w.done == nil || w.since.After(old) {
		return
	}
	if !w.gone && !gone() {
		return
	}
	w.gone = true
	if w.conn != nil {
		w.conn.SetDeadline(sock.LongAgo)
	}
	if w.done != nil {
		close(w.done)
		w.done = nil
	}
}
