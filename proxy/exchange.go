package proxy

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"weir/internal/body"
	"weir/internal/figures"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/match"
	"weir/internal/prefetch"
	"weir/lb"
)

// Front is the client's side of an exchange, as a front end lends it to the
// core. Its methods are called by the goroutine that serves the exchange, but
// for PauseReading. The first error of a writing method is final.
type Front interface {
	// Inform sends an interim response (1xx but 101). Clients that cannot take
	// one get none.
	Inform(h *head.Head) error
	// Start takes the final head, which the front end may change. length is the number
	// of body bytes to come, or -1 if that is not known. bodyless says that no body
	// follows whatever the head announces (answers to HEAD, 204, 304). Start may
	// write later.
	Start(h *head.Head, length int64, bodyless bool) error
	// Room says how large a buffer the exchange may take for the next bytes of the body. A client that takes
	// nothing, or has many exchanges at once, gets small ones.
	Room() int
	// Write takes the next bytes of the body; it keeps none of p.
	Write(p []byte) error
	// Move moves n body bytes from where k says, and flushes before. srcErr is the failure
	// of a socket that the bytes come from, err that of the client, or
	// errors.ErrUnsupported, with nothing done, if there is no way between the two.
	Move(k body.Kernel, n int64) (moved int64, srcErr, err error)
	// Flush sends what Start and Write have taken.
	Flush() error
	// Finish ends the body, with a trailer section where the framing has room for
	// one, and sends everything. trailer may be nil.
	Finish(trailer *head.Head) error
	// Delivered is how many bytes of the final response's body were written, payload alone, and whether
	// any of that response, its head included. What TLS or the kernel has taken counts as written.
	Delivered() (bytes int64, begun bool)
	// Abort makes sure that the client cannot take what it got for a whole
	// response.
	Abort()
	// CloseAfter makes this exchange the last one of its connection. It must
	// come before Start.
	CloseAfter()
	// BePatient bounds the client's silence in the bodies of this exchange by grace, if that is
	// more than 0, and does not judge their rates if anyRate.
	BePatient(grace time.Duration, anyRate bool)
	// PauseReading makes a Next of the request body that waits, and every later one, fail at once with
	// body.ErrPaused, until ResumeReading: the body goes on then where it was. Any goroutine may call
	// PauseReading; ResumeReading must not be called while another goroutine reads the body.
	PauseReading()
	ResumeReading()
	// Tunnel sends a 101, or what the protocol has instead of it, which h says then, and lends the
	// bare connection; early are bytes that the client had already sent. The exchange ends the
	// connection.
	Tunnel(h *head.Head) (conn net.Conn, early []byte, err error)
}

// Client is the client of an exchange and the way to it, as a front end lends them.
type Client struct {
	// Front is the way to the client.
	Front Front
	// Cancel ends the exchange if the client goes away. The front end owns it and
	// resets it before each exchange.
	Cancel *Cancel
	// Bond is what is kept for the client's connection. The front end owns it and closes it
	// after the connection. nil, for connections that carry several exchanges at once, means
	// that nothing can be kept.
	Bond *Bond
	// Listener is where the client came in.
	Listener *Listener
	// Peer is the other end of the connection.
	Peer *forward.Peer
	// TLS says whether the client's connection is encrypted.
	TLS bool
	// Room is how many bytes of a body Front takes without waiting for the client: ServeNow
	// leaves longer stored bodies to ServeRest. 0 stands for any number, for front ends whose
	// reader may wait. Weir's own pages do not ask: they are short.
	Room int64
	// Crowded says that many answers wait for the client to take them. nil, for connections that carry
	// one exchange at a time, means that none do.
	Crowded *atomic.Bool
	// Memory is what the front end uses to answer. Both regions may be empty.
	Memory [2]prefetch.Region
	// Handshake is what client and listener have agreed on by TLS; nil without, or if that is
	// not known.
	Handshake *tls.ConnectionState
	// Remote is the peer's address and port; invalid for unix sockets.
	Remote netip.AddrPort
}

// Exchange is one request and its answer, from first byte in to last byte out.
// A front end fills Client, Request, Body and Start, the core the rest.
// Exchanges are pooled: nothing of one may be kept after Serve has returned.
type Exchange struct {
	current

	// Request is the request's head as the client sent it, but for what hooks changed.
	Request head.Head
	// RequestTarget is the request target as it came.
	RequestTarget []byte
	// Host is the Host field, or the authority of an absolute target, as the client sent it or
	// OnRequest changed it.
	Host []byte
	// OtherOrigins has what fields tell targets of hosts and schemes other than ClientHost and Scheme;
	// empty if they tell of none.
	OtherOrigins []byte
	// RequestID identifies the exchange in logs.
	RequestID []byte
	// User is the name of the user whose password the client has shown; empty if the route asks
	// for none.
	User []byte
	// Captures are the values of the route's path template.
	Captures match.Captures

	// outgoing is the request as targets get it.
	outgoing head.Head
	// held is the part of the request's body that was read and kept.
	held []byte
	// sticky is the client's sticky cookie.
	sticky []byte
	taps   taps
	// deferred are the functions that run when the exchange is over.
	deferred []func()
	cached   cached
	// upgrade is what protocols the client asked for in an upgrade that a target may
	// agree to; empty for other exchanges.
	upgrade []byte
	room    room
}

// current is what an Exchange knows of the request that it serves, without buffers: Reset forgets all of it at once.
type current struct {
	// Client is the client and the way to it. The front end owns it and keeps it as it is
	// until Serve has returned; it may be the same for all exchanges of a connection.
	Client *Client
	// Body is the request's body.
	Body body.Source
	// Start is when the first byte arrived.
	Start time.Time
	// Passed says that the exchange is a connection whose TLS is ended elsewhere: weir sees no
	// requests. Host is the name that the client asks for.
	Passed bool

	// Path and Query are the parts of the target that the request has after OnRequest, Canonical is
	// the path as matching sees it, which may be Path itself.
	Path, Query, Canonical []byte
	// ClientHost is the host as the client had it: what trusted proxies say counts.
	ClientHost []byte
	// ClientAddr is the address of the client, behind trusted proxies too; invalid
	// for clients on unix sockets.
	ClientAddr netip.Addr
	// Scheme is "http" or "https", as the client had it: what trusted proxies say counts.
	Scheme []byte
	// Route is nil before routing, and if no route fits. Pattern is the index of the path
	// of the route that fits, 0 for a route without one.
	Route   *Route
	Pattern int
	// Upstream is where the request goes; nil if the exchange did not get that far.
	Upstream *Upstream

	// Response is the head that the client gets; never nil.
	Response *head.Head
	// Result is what became of the exchange.
	Result Result
	// Record is told of the exchange's attempts; a hook of OnRoute may set it. It is nil for
	// nearly all exchanges.
	Record Record
	// Trace is what the exchange is in traces; zero without a Tracer.
	Trace Trace
	// Pin, if not nil, says where the exchange goes in place of where its route says.
	Pin *Pin

	proxy *Proxy
	phase phase
	step  int // the next step of the route
	// mayWait says that ServeNow is over.
	mayWait bool
	// controls says that the path has encoded control bytes.
	controls bool
	// tied says that no other client may use the exchange's connections to targets.
	tied bool
	// grpc says that the exchange is a gRPC call.
	grpc bool
	// prepared says that prepare has made outgoing of the request as it is now.
	prepared bool
	// buffered says that held is all of a body whose length was not known.
	buffered bool
	// web is set if the call is one of gRPC-Web, which weir translates.
	web *webCall
	// panicked is what ServeAhead panicked with; nil if it did not.
	panicked any
	// attempt is the running attempt, or the last one; nil before the first.
	attempt *attempt
	// pick is what the balancer is told.
	pick lb.Pick
	// encoded is the response's body while it is compressed; nil otherwise.
	encoded *encoded
	time    clock
	moments moments
	sample  figures.Sample // when the exchange has ended
}

// Result is what became of an exchange, for logs and metrics.
type Result struct {
	// Status is the final status code that was sent; 0 if none was.
	Status int
	// Cause is why the exchange ended as it did.
	Cause Cause
	// Err is the error that Cause stands for; it may be nil. It is never shown to
	// clients.
	Err error
	// Target is where the last attempt went; nil if there was no attempt.
	Target *lb.Target
	// Attempts counts the attempts.
	Attempts int
	// BytesIn and BytesOut are payload bytes from and to the client, as far as they moved; for
	// upgraded connections those of the tunnel.
	BytesIn, BytesOut int64
	// FirstByte is how long the target took from the end of the request to its
	// response head; 0 if there was none.
	FirstByte time.Duration
	// Phases are what the time of the exchange was made up of. They are 0 before OnDone.
	Phases figures.Phases
	// Cache is what the cache did.
	Cache CacheResult
	// GRPC is the status of a gRPC call.
	GRPC GRPCStatus
	// End is when the last byte was written; zero before OnDone.
	End time.Time
}

// Pin says where an exchange goes. The cache neither answers it nor keeps its response.
type Pin struct {
	// Upstream takes the place of the route's; empty keeps that.
	Upstream string
	// Prefer are the targets to pick from, if one of them can be picked.
	Prefer []lb.Identity
}

// phase is how far an exchange has come.
type phase uint8

const (
	// phaseReceived: the client has got nothing yet.
	phaseReceived phase = iota
	// phaseAnswered: a hook has made the response, which is still to be sent.
	phaseAnswered
	// phaseReplying: the final head was handed to the front end.
	phaseReplying
	// phaseSettled: the exchange was counted and logged.
	phaseSettled
)

// room are buffers that an exchange uses again.
type room struct {
	attempt   attempt // for the first attempt
	reply     head.Head
	memory    body.Memory
	empty     body.Memory
	canonical []byte
	scratch   []byte
	// lookup is variable, as a value that is made once.
	lookup func(name string) []byte
	// sent is sentHead, as a value that is made once.
	sent func() *head.Head
}

// reset forgets what the buffers hold, or borrow: a stored entry that was sent must not stay
// in memory for as long as an exchange waits to be used again. What was not used is not
// touched.
func (r *room) reset() {
	if r.reply.Status != 0 {
		r.reply.Reset()
		r.memory.Reset(nil)
	}
	r.canonical = r.canonical[:0]
	r.scratch = r.scratch[:0]
}

// NewExchange returns an Exchange for a front end to pool.
func NewExchange() *Exchange {
	x := new(Exchange)
	x.room.lookup, x.room.sent = x.variable, x.sentHead
	x.Response, x.Body = &x.room.reply, &x.room.empty
	return x
}

// Reset makes x ready for the next request of the same or another connection. It
// keeps buffers and forgets everything else.
func (x *Exchange) Reset() {
	x.current = current{Body: &x.room.empty, Response: &x.room.reply, phase: phaseReceived}
	x.Request.Reset()
	x.RequestTarget = x.RequestTarget[:0]
	x.Host = x.Host[:0]
	x.OtherOrigins = x.OtherOrigins[:0]
	x.RequestID = x.RequestID[:0]
	x.User = x.User[:0]
	x.Captures.Reset()
	if len(x.outgoing.Method()) > 0 {
		x.outgoing.Reset()
	}
	if x.held = x.held[:0]; cap(x.held) > copyBuffer {
		x.held = nil // too much to keep in a pool
	}
	x.sticky = x.sticky[:0]
	x.taps.reset()
	if len(x.deferred) > 0 {
		clear(x.deferred)
		x.deferred = x.deferred[:0]
	}
	x.cached.reset()
	x.upgrade = x.upgrade[:0]
	x.room.reset()
	x.room.attempt.reset()
}

// now is the time, by the clock that ran when x started: the wall clock may be set meanwhile.
// It costs half of what time.Now costs, which reads two clocks.
func (x *Exchange) now() time.Time { return x.Start.Add(time.Since(x.Start)) }

// Answer makes OnRequest's exchange end with this response: it is sent instead
// of routing the request. contentType may be empty.
func (x *Exchange) Answer(status int, contentType, text string) {
	x.phase = phaseAnswered
	x.ownHead(status)
	if contentType != "" {
		x.Response.Set(head.ContentType, []byte(contentType))
	}
	x.room.scratch = append(x.room.scratch[:0], text...)
}
