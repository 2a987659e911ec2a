package transport

import (
	"net"
	"sync/atomic"
	"time"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/prefetch"
)

// Transport is the connections to one target, whichever version of HTTP they speak.
// It is safe for concurrent use.
type Transport interface {
	// Host is what a Host field says that names the target itself.
	Host() string
	// Open lends a stream for one exchange, whose connection speaks a version that it can do
	// with. within bounds the wait for a free connection
	// and for a new one, besides the target's own limits; 0 means that these alone
	// do. It returns a *DialError or ErrNoConn.
	Open(within time.Duration, v Version) (Stream, error)
	// Share lends a stream on a connection that other exchanges use at the same time, nil if
	// there is none. The connection is made when the request is sent. write bounds each
	// write.
	Share(within, write time.Duration) Stream
	// Attended lends a stream on an unused connection at which a goroutine waits, without waiting itself; nil if no
	// such connection is unused.
	Attended() Attended
	// CloseIdle closes the unused connections.
	CloseIdle()
	// Conns returns the number of open connections and how many of them are unused.
	Conns() (open, idle int)
	// Pipelined says how connections were shared; ok is false if they are not.
	Pipelined() (p Pipelined, ok bool)
	// Retire is CloseIdle for good: no upstream and no exchange has the target any more.
	Retire()
}

// Version is the version of HTTP that an exchange can do with towards its target.
type Version uint8

const (
	// AnyVersion: what the upstream is configured to speak.
	AnyVersion Version = iota
	// OnlyHTTP1: HTTP/1.1, for what belongs to a connection (upgrades, NTLM).
	OnlyHTTP1
	// PreferHTTP2: HTTP/2 if the target speaks it, for gRPC.
	PreferHTTP2
)

// Request is what a stream sends before, or instead of, what is written later.
type Request struct {
	// Head is the request's head. It is not changed.
	Head *head.Head
	// Held is the part of the body that is at hand, and Trailer the trailer section if
	// that part is the end; nil for none.
	Held    []byte
	Trailer *head.Head
	// Chunked says that the length of the body is not known.
	Chunked bool
	// More says that the body goes on: BodyWriter's Finish will end it.
	More bool
	// Call says that the request is a call of gRPC, which never ends with its head: servers wait for the end after it.
	Call bool
	// Crowded says, when the response begins, that others wait for the same client, so that what is read
	// ahead of this one is to take little memory. nil means that none wait.
	Crowded *atomic.Bool
	// Room is a buffer for the stream to use until the response begins. Send
	// leaves there what became of it.
	Room []byte
}

// Stream is one exchange's way to its target: a connection of HTTP/1.1 for the time
// of the exchange, or a stream of HTTP/2. One goroutine may read while another writes the body; the
// methods whose names begin with Interrupt may be called from anywhere, at any time
// before Release.
type Stream interface {
	// Reused says whether an earlier exchange used the connection, so that the target
	// may have closed it meanwhile.
	Reused() bool
	// Version is the version of HTTP that is spoken with the target.
	Version() head.Version
	// Refuses says whether the target may refuse a request that was sent without looking at it:
	// Sent is false then, and it is safe to repeat.
	Refuses() bool
	// Expect says which memory is used as soon as the response has begun to come, so that the processor's cache has that memory
	// when the response was read. It comes before the request is sent.
	Expect(memory prefetch.Regions)
	// Send sends a request, a whole one at the latest with ReadHead or Await, which
	// then report what went wrong; until then the request's buffers must not change.
	// n is the number of bytes that are known to have left.
	Send(r *Request) (n int, err error)
	// Sent says whether any byte of what Send was given may have reached the target.
	Sent() bool
	// Await returns when the response begins, or when the target has closed the
	// connection. After a time-out it may be called again.
	Await() error
	// ReadHead reads the next head of the response into h, interim ones included.
	// started says that at least one byte of it came.
	ReadHead(h *head.Head) (started bool, err error)
	// Response is the body of the response whose head was read last. Who calls it lends
	// reader, which a stream of HTTP/1.1 uses. err says that the body breaks off, as far as what has
	// come of it tells without a wait: Next returns it after what came before.
	Response(h *head.Head, bodyless bool, reader *body.Reader) (src body.Source, err error)
	// BodyWriter writes what follows a Request with More. Each write is bounded by
	// limit.
	BodyWriter(chunked bool, limit time.Duration) BodyWriter
	// Tunnel is the bare connection after a 101, which only HTTP/1.1 has, and what the target has sent since.
	Tunnel() (c net.Conn, early []byte)

	// LimitRead bounds the wait of the coming reads: limit from now, as exactly as
	// sock.Rearm is, 0 for no bound.
	LimitRead(now time.Time, limit time.Duration)
	// ReadUntil bounds the coming reads to end at t, exactly.
	ReadUntil(t time.Time)
	// LimitWrite bounds the coming writes as LimitRead bounds reads.
	LimitWrite(now time.Time, limit time.Duration)
	// Unlimit takes all bounds away, those of interruptions too.
	Unlimit()

	// Interrupt ends every wait with a time-out.
	Interrupt()
	// InterruptRead ends the wait of a read.
	InterruptRead()
	// InterruptWrite ends the waits of a BodyWriter, those that begin until Unlimit too.
	InterruptWrite()
	// InterruptFrom bounds the reads to end at t, like ReadUntil.
	InterruptFrom(t time.Time)
	// Cut closes the connection, or resets the stream, so that the target cannot take what it got for a whole
	// request.
	Cut()

	// Release gives the stream back. reusable says that the exchange ended by its framing
	// on both sides and neither side asked to close. The stream must not be used
	// afterwards.
	Release(reusable bool)
}

// Keeper is a Stream that can carry several exchanges of one client, one after the other,
// and is kept from others meanwhile. Release still gives it back.
type Keeper interface {
	Stream
	// Park makes the stream wait for another exchange, after one that ended as Release's reusable
	// says. It reports whether it can.
	Park() bool
	// Resume takes up a parked stream. It reports whether the stream is still as it was.
	Resume() bool
}

// Attended is a Stream on a connection at which a goroutine waits for the answer, so that who sends the request need
// not.
type Attended interface {
	Stream
	// SendAhead sends a whole request. If it reports true, next.Continue is called by the goroutine that waits, perhaps before
	// SendAhead returns: once the response has begun, or has failed to in a way that Await reports. The stream
	// and all that r refers to are that call's. Else the request has got no answer, and the stream is to be released.
	SendAhead(r *Request, next Continuation) bool
}

// BodyWriter writes a request body, small pieces together. The first error is final.
type BodyWriter interface {
	// Write takes the next bytes of the body; it keeps none of p.
	Write(p []byte) error
	// Flush sends what was gathered.
	Flush() error
	// Finish ends a body whose length is not known, and flushes.
	Finish(trailer *head.Head) error
}
