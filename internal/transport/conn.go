package transport

import (
	"bufio"
	"net"
	"sync/atomic"
	"time"

	"weir/internal/prefetch"
	"weir/internal/sock"
)

// Conn is a connection to a target. HTTP1.Acquire lends it to one exchange,
// which gives it back with Release; between exchanges it rests in the pool of
// fasthttp.HostClient. The lender's methods are not safe for concurrent use,
// but one goroutine may write while another reads, and SetDeadline may be
// called from anywhere to end both.
type Conn struct {
	// What every exchange uses comes first: it lies together, because the processor's cache has lost most of it before it is used
	// again.

	// Reader reads the connection from the beginning of the response on (Await);
	// before that it may be nil. A caller that needs a larger one (sock.Grow) puts
	// it here.
	Reader *bufio.Reader

	reused  bool
	maxHead int
	lease   lease
	home    *HTTP1 // which the connection goes back to
	// stream is the same connection without TLS.
	stream *sock.Stream
	// request is what Send left for the next Read, sent how much of the
	// exchange's request was written.
	request []byte
	sent    int
	first   sock.FirstRead // zero without stream
	// slot is set if the connection is shared; then it is Conn, too.
	slot *slot
	dry  *dryConn // under TLS, else nil
	// attendant waits at the connection while no exchange uses it; nil for connections of the pool.
	attendant *attendant
	// attend says that one is to wait there from the end of the exchange on.
	attend bool
	// old says that no further exchange is to use the connection.
	old atomic.Bool
	// interrupted says that Interrupt was called since the attendant was taken.
	interrupted atomic.Bool
	// writeEnded says that InterruptWrite was called since Unlimit.
	writeEnded atomic.Bool
	// readArmed and writeArmed are the deadlines that are set on Conn.
	readArmed, writeArmed time.Time

	net.Conn
	probe *sock.Probe
	// renewal makes the connection old if its address goes; nil means that nothing does.
	renewal   *renewal
	renewable renewable
}

func newConn(c, raw net.Conn, dry *dryConn) *Conn {
	s := &Conn{Conn: c, probe: sock.NewProbe(raw), dry: dry}
	if dry == nil {
		if s.stream = sock.NewStream(c); s.stream != nil {
			s.Conn = s.stream
			s.first.Init(s.stream, s, &s.Reader, readers)
			s.first.Near(prefetch.Of(s))
		}
	}
	return s
}

// Close ends the connection.
func (c *Conn) Close() error {
	if c.renewable.aging != nil {
		c.renewable.aging.Stop()
	}
	if c.renewal != nil {
		c.renewal.leave(c)
	}
	return c.Conn.Close()
}

// Reused reports whether an earlier exchange used the connection, so that the
// target may have closed it meanwhile.
func (c *Conn) Reused() bool { return c.reused }

// MaxHead bounds a response head in bytes.
func (c *Conn) MaxHead() int { return c.maxHead }

// Stream returns the connection without TLS, or nil if it has TLS or is shared.
func (c *Conn) Stream() *sock.Stream {
	if c.slot != nil {
		return c.slot.stream()
	}
	return c.stream
}

// sendLater writes a request whole, at the latest with Await, which then reports what
// went wrong; until then p must not change. A connection that
// was used before is looked at first: if it is not quiet, the error is
// sock.ErrNotQuiet and nothing was written.
func (c *Conn) sendLater(p []byte) error {
	c.sent = 0
	if c.stream != nil || c.slot != nil {
		c.request = p
		return nil
	}
	_, err := c.SendNow(p)
	return err
}

// SendNow writes the beginning of a request at once. The caller has looked at
// a connection that was used before (Quiet).
func (c *Conn) SendNow(p []byte) (n int, err error) {
	n, err = c.Write(p)
	c.sent = n
	return n, err
}

// Read reads from the target.
func (c *Conn) Read(p []byte) (n int, err error) {
	switch {
	case c.first.Active():
		return c.first.Read(p)
	case c.request == nil:
		return c.Conn.Read(p)
	case c.slot == nil:
		panic("BUG: read without Await after Send")
	}
	request := c.request
	c.request = nil
	if n, err = c.slot.ask(request, p); c.slot.sent {
		c.sent = len(request)
	}
	return n, err
}

// Await writes what Send was given, and returns when the response begins, which
// is then in Reader, or when the target has closed the connection. After a
// time-out it may be called again.
func (c *Conn) Await() (err error) {
	request := c.request
	switch {
	case c.attendant != nil && c.attendant.came:
		c.attendant.came, err = false, c.attendant.err
	case c.stream == nil:
		_, err = c.Reader.Peek(1)
	case request == nil:
		err = c.first.Await()
	default:
		if c.sent, err = c.first.Ask(request, !c.reused); c.sent > 0 || !sock.TimedOut(err) {
			c.request = nil
		}
	}
	return err
}

// hold sees that there is a Reader.
func (c *Conn) hold() {
	if c.Reader == nil {
		c.Reader = readers.Get(c)
	}
}

// letGo gives Reader back.
func (c *Conn) letGo() {
	if c.Reader != nil {
		readers.Put(c.Reader)
	}
	c.Reader = nil
}

// readers pools the buffers of responses, for all targets.
var readers = sock.NewBuffers(readBuffer).WithSmall(smallBuffer)

// Sent reports whether any byte of what Send was given may have reached the
// target.
func (c *Conn) Sent() bool { return c.sent > 0 }

// Quiet reports whether an unused connection is still as its last exchange left
// it: open, and without a byte that no request asked for.
func (c *Conn) Quiet() bool { return c.probe.Look() == sock.PendingNothing }

// ackNow makes TCP acknowledge what has come at once. A sender that holds back
// the rest of a message until then (Nagle's algorithm) would else wait for the
// delayed acknowledgement, for some 40 ms.
func (c *Conn) ackNow() {
	if c.stream != nil {
		c.stream.AckNow()
	}
}

// drained reports whether nothing is left inside the TLS layer, where no peek
// at the socket can see it.
func (c *Conn) drained() bool {
	if c.dry == nil {
		return true
	}
	c.dry.on = true
	var b [1]byte
	n, err := c.Conn.Read(b[:])
	c.dry.on = false
	return n == 0 && err == errDry
}

// LimitRead bounds the wait of the coming reads: limit from now, as exactly as
// sock.Rearm is, 0 for no bound.
func (c *Conn) LimitRead(now time.Time, limit time.Duration) {
	if d, set := sock.Rearm(c.readArmed, now, limit); set {
		c.readArmed = d
		c.Conn.SetReadDeadline(d)
	}
}

// ReadUntil bounds the coming reads to end at t, exactly.
func (c *Conn) ReadUntil(t time.Time) {
	c.readArmed = t
	c.Conn.SetReadDeadline(t)
}

// LimitWrite does the same for writes.
func (c *Conn) LimitWrite(now time.Time, limit time.Duration) {
	if d, set := sock.Rearm(c.writeArmed, now, limit); set {
		c.writeArmed = d
		c.Conn.SetWriteDeadline(d)
	}
}

// Unlimit takes all deadlines away.
func (c *Conn) Unlimit() {
	c.writeEnded.Store(false)
	c.readArmed, c.writeArmed = time.Time{}, time.Time{}
	c.Conn.SetDeadline(time.Time{})
}

// dryConn lets the TLS layer above be read without reading the network.
type dryConn struct {
	net.Conn
	on bool
}

func (c *dryConn) Read(p []byte) (int, error) {
	if c.on {
		return 0, errDry
	}
	return c.Conn.Read(p)
}

// dryError looks like a time-out, after which crypto/tls can be read again.
type dryError struct{}

func (dryError) Error() string   { return "nothing buffered" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

var errDry = dryError{}
