package http1

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"weir/config"
	"weir/internal/body"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/listener"
	"weir/internal/prefetch"
	"weir/internal/sock"
	"weir/proxy"
)

// readBuffer is what a connection starts with; a head that does not fit gets a
// larger one, up to the listener's limit.
const readBuffer = 4 << 10

// inputs pools the buffers that requests are read into.
var inputs = sock.NewBuffers(readBuffer)

// conn is one client's connection. Its goroutine owns it, but for what says
// otherwise.
type conn struct {
	// What every exchange uses comes first: it lies together, because the processor's cache has lost most of it before it is used
	// again.

	front    *Front
	from     *listener.Listener // which has accepted c
	stream   *sock.Stream       // nc; nil under TLS
	under    *sock.PacedStream  // what TLS reads from and writes to; nil without TLS
	listener func() *proxy.Listener
	// br is nil while the connection waits for a request, unless it is no socket.
	// That is less memory, and requests of many connections go through few
	// buffers, which stay in the processor's cache.
	br     *bufio.Reader
	first  sock.FirstRead // zero if the connection is no socket
	client proxy.Client   // of all exchanges
	bond   proxy.Bond
	cancel proxy.Cancel

	// state says whether Front may interrupt the wait for a request.
	state atomic.Uint32
	// paused makes reads of the request's body end with body.ErrPaused.
	paused atomic.Bool
	// served says that there was an exchange.
	served bool
	mode   mode
	// over says that serveInside has served the connection's last request, linger that the client may
	// still be sending when the connection is to end.
	over, linger bool
	reader
	// since is when the last exchange ended, or the connection began.
	since time.Time
	// spare is the time from which the connection may be ended to make room for others, if it
	// still waits for a request then.
	spare atomic.Int64
	// seen is what spare was when lookOnce last looked.
	seen int64
	writer

	peer  forward.Peer
	c     *listener.Conn
	nc    net.Conn
	probe *sock.Probe // used by look only
	// probing makes look safe for several goroutines.
	probing sync.Mutex
	// early is what was read of a connection that speaks HTTP/2; nil for all others.
	early []byte
}

func newConn(f *Front, c *listener.Conn, l func() *proxy.Listener) *conn {
	cn := &conn{
		front:    f,
		c:        c,
		from:     c.Listener(),
		nc:       c.NetConn(),
		listener: l,
		probe:    sock.NewProbe(c.Raw()),
		since:    time.Now(),
	}
	cn.peer = forward.NewPeer(c.RemoteAddr(), c.TLS() != nil)
	cn.peer.Identify(c.TLS(), c.Verified())
	cn.cancel.Gone = cn.gone
	cn.client = proxy.Client{
		Front: cn, Cancel: &cn.cancel, Bond: &cn.bond, Peer: &cn.peer, Remote: c.RemoteAddr(), TLS: c.TLS() != nil, Handshake: c.TLS(),
		Memory: [2]prefetch.Region{prefetch.Of(cn)},
	}
	if cn.stream = sock.NewStream(cn.nc); cn.stream != nil {
		cn.nc = cn.stream
		cn.client.Memory[1] = prefetch.Of(cn.stream)
		cn.readFirst(cn.stream)
	} else if secure, ok := cn.nc.(*tls.Conn); ok {
		if cn.under, _ = secure.NetConn().(*sock.PacedStream); cn.under != nil {
			cn.readFirst(cn.under.Stream)
			cn.under.ReadBy(&cn.first)
		}
	}
	if !cn.onSocket() {
		cn.br = bufio.NewReaderSize(cn, readBuffer)
	}
	return cn
}

// readFirst makes c wait for requests on s.
func (c *conn) readFirst(s *sock.Stream) {
	c.first.Init(s, c, &c.br, inputs)
	c.first.Near(prefetch.Of(c))
	c.first.Served = c.serveInside
}

// onSocket says that the connection is a socket, with or without TLS.
func (c *conn) onSocket() bool { return c.stream != nil || c.under != nil }

// serve reads and serves requests until the connection ends.
func (c *conn) serve() {
	for c.next() {
	}
	switch {
	case c.early != nil:
	case c.linger:
		c.c.Linger()
	case c.aborted:
		c.c.Reset()
	default:
		c.c.Close()
	}
}

// The states of a connection as to interrupting it.
const (
	busy   uint32 = iota // an exchange runs
	idle                 // no exchange runs
	waking               // wakeIdle is about to interrupt the wait
	woken                // wakeIdle has interrupted the wait
)

// wakeIdle ends the connection if no exchange runs. Any goroutine may call it,
// after what makes draining true.
func (c *conn) wakeIdle() {
	if c.state.CompareAndSwap(idle, waking) {
		c.nc.SetReadDeadline(sock.LongAgo)
		c.state.Store(woken)
	}
}

// draining says that the connection is to end after the running exchange.
func (c *conn) draining() bool {
	return c.front.draining.Load() || c.front.parting.Load() || c.from.Closed() || (c.client.TLS || c.from.AsksForCertificates()) && c.c.Outdated()
}

// leaving says that the connection is to end even if a request is under way to it.
func (c *conn) leaving() bool {
	return c.draining() && (c.front.draining.Load() || !c.front.parting.Load())
}

// next waits for a request and serves it, unless serveInside has. It says whether another one may
// follow on this connection.
func (c *conn) next() (again bool) {
	if !c.await() {
		return false
	}
	cfg := c.from.Config() // now: the wait may have been long
	e := c.begin()
	status, cause, err := c.readHead(e, cfg)
	switch {
	case err == nil:
		c.front.Handler.Serve(e.Exchange)
	case err == errPreface:
		e.free()
		return false
	default:
		c.front.Handler.Refuse(e.Exchange, status, cause, err)
	}
	return c.end(e)
}

var (
	methodGet  = []byte("GET ")
	methodHead = []byte("HEAD ")
	upgrade    = head.SetOf(head.Upgrade)
)

// serveInside serves the request that has begun to come inside the wait for it, and says whether c waits
// for another one then: see sock.FirstRead. It leaves all to next but plain requests that are whole and
// that no other follows yet, because nothing can be read meanwhile. It also leaves the first request to next:
// clients that send no second one often end their side together with it, and are to be let go at once.
func (c *conn) serveInside() (again bool) {
	buf, _ := c.br.Peek(c.br.Buffered())
	if c.under != nil && !c.under.OneRecord() {
		return false // perhaps TLS has read more than it has returned
	}
	if !c.served || len(buf) == c.br.Size() || !bytes.HasPrefix(buf, methodGet) && !bytes.HasPrefix(buf, methodHead) {
		return false
	}
	cfg := c.from.Config()
	e := c.begin()
	h := &e.Request
	whole := h.ScanRequest(buf) == nil && h.Size == len(buf) && h.Size <= int(cfg.Limits.HeaderBytes)
	if !whole || h.Length > 0 || h.Length == head.LengthChunked || h.Has(upgrade) || !c.state.CompareAndSwap(idle, busy) {
		e.free()
		return false
	}
	c.accept(e, cfg)
	c.mode = modeNone
	c.front.Handler.Serve(e.Exchange)
	if !c.end(e) {
		c.over = true
		return false
	}
	return c.rest(c.from.Config())
}

// begin makes an exchange of a request that has begun to come.
func (c *conn) begin() *exchange {
	e := exchanges.Get().(*exchange)
	prefetch.Of(e.Exchange).Fetch() // another connection may have had it
	e.Start = time.Now()
	c.writer.reset()
	c.reader.behind = 0
	c.cancel.Reset()
	c.client.Listener = c.listener()
	e.Client = &c.client
	return e
}

// end is called when e was served. It says whether another request may follow, and if none may, notes
// whether to linger.
func (c *conn) end(e *exchange) (again bool) {
	again = c.finished && !c.closing && !c.aborted
	c.linger = !again && !c.aborted && c.finished && !c.tunnel
	// A body that was not read must not be taken for the next request.
	if again && !e.Body.Done() {
		again, c.linger = false, true
	}
	c.since, c.served = e.Result.End, true
	e.free()
	c.releaseOut()
	return again
}

// firstRequest is how long after its begin a connection may wait for its first request, even if it is to end: a client
// that has just connected is about to send one, and would not send it again.
const firstRequest = time.Second

// await waits for the first byte of a request, and returns false when the connection is to end instead.
func (c *conn) await() bool {
	c.mode = modePlain // for a head that is there in part, too
	if c.br != nil && c.br.Buffered() > 0 {
		return true
	}
	waits := c.rest(c.from.Config())
	var err error
	if waits {
		err = c.arrive()
		// Without an error and a byte, serveInside found that the wait is not to go on.
		waits = err != nil || c.br != nil
	}
	if c.over {
		return false
	}
	if c.state.CompareAndSwap(idle, busy) && waits {
		return err == nil
	}
	// The connection is to end, but not over a request that is there already.
	for c.state.Load() == waking {
		runtime.Gosched()
	}
	c.state.Store(busy)
	end := time.Now().Add(c.from.Config().Timeouts.Header.D())
	if c.br == nil || c.br.Buffered() == 0 {
		if p := c.look(); p != sock.PendingBytes && p != sock.PendingEnd {
			if end = c.since.Add(firstRequest); c.served || time.Now().After(end) {
				return false
			}
		}
	}
	c.readArmed = time.Time{}
	c.nc.SetReadDeadline(end)
	return c.arrive() == nil
}

// rest makes c a connection that waits for a request. It says whether it is to wait: it is not if it is to
// end.
func (c *conn) rest(cfg *config.Listener) (waits bool) {
	c.mode = modePlain
	if d, set := sock.Rearm(c.readArmed, c.since, cfg.Timeouts.Idle.D()); set {
		c.readArmed = d
		c.nc.SetReadDeadline(d)
	}
	c.spare.Store(c.spareFrom(cfg))
	c.state.Store(idle)
	// A drain sets its flag and then wakes the connections that are idle: either this
	// connection sees the flag here, or the drain sees it idle.
	return !c.leaving()
}

// arrive returns when the first bytes of a request are in c.br.
func (c *conn) arrive() error {
	if !c.onSocket() {
		_, err := c.br.Peek(1)
		return err
	}
	return c.first.Await()
}

// readHead reads a request's head into e. On an error it says what to tell the
// client; status 0 means nothing.
func (c *conn) readHead(e *exchange, cfg *config.Listener) (status int, cause proxy.Cause, err error) {
	h := &e.Request
	limit := int(cfg.Limits.HeaderBytes)
	timed := false
	for {
		buf, _ := c.br.Peek(c.br.Buffered())
		err := h.ScanRequest(buf)
		if err == nil && h.Size > limit || err == head.ErrShort && len(buf) >= limit {
			err = head.DefectHeadSize
			if !h.LineWithin(limit) {
				err = head.DefectLineSize
			}
		}
		if err == nil {
			break
		}
		var d *head.Defect
		if errors.As(err, &d) {
			if d == head.DefectVersion && c.isPreface(cfg, buf) {
				return 0, proxy.CauseOK, errPreface
			}
			c.noteRefused(e, buf)
			return d.Status, proxy.CauseOf(d), c.otherProtocol(buf, err)
		}
		if !timed {
			timed = true
			c.nc.SetReadDeadline(e.Start.Add(cfg.Timeouts.Header.D()))
			c.readArmed = time.Time{}
		}
		if len(buf) == c.br.Size() {
			c.br = sock.Grow(c.br, c, limit+readBuffer)
		}
		if _, err := c.br.Peek(len(buf) + 1); err != nil {
			c.noteRefused(e, buf)
			if sock.TimedOut(err) {
				return 408, proxy.CauseHeadTimeout, proxy.SentNoHead(cfg.Timeouts.Header.D())
			}
			if errors.Is(err, net.ErrClosed) {
				return 0, proxy.CauseShutdown, err
			}
			return 0, proxy.CauseClientGone, err
		}
	}
	c.accept(e, cfg)
	return 0, proxy.CauseOK, nil
}

// accept is called when the request's head was read. It prepares what is to follow.
func (c *conn) accept(e *exchange, cfg *config.Listener) {
	h := &e.Request
	c.br.Discard(h.Size)
	switch {
	case h.Length == head.LengthChunked:
		e.body.Reset(c.br, body.FramingChunked, 0)
		e.Body = &e.body
	case h.Length >= 0:
		e.body.Reset(c.br, body.FramingLength, h.Length)
		e.Body = &e.body
	}
	if c.onSocket() && e.Body.Done() && c.br.Buffered() == 0 {
		// Nothing is read before the next request, so the buffer can serve others.
		inputs.Put(c.br)
		c.br = nil
	}
	c.mode = modeBody
	c.grace, c.rate = cfg.Timeouts.Grace.D(), int64(cfg.Timeouts.MinRate)
	c.pace.Reset(c.grace, c.rate)
	if h.Length < 0 {
		c.rate = 0 // perhaps the body is made while it is sent
	}
	c.version = h.Version
	c.head = string(h.Method()) == "HEAD"
	c.closing = !h.Persistent()
}

// errPreface says that the client speaks HTTP/2.
var errPreface = errors.New("the client speaks HTTP/2")

// isPreface says whether a connection begins as one of HTTP/2 does (RFC 9113 section 3.4), where
// that is allowed. Then early has what was read.
func (c *conn) isPreface(cfg *config.Listener, buf []byte) bool {
	if c.front.OnPreface == nil || c.served || !cfg.Speaks(config.ProtocolH2C) || !bytes.HasPrefix(buf, []byte("PRI * HTTP/2.0\r\n")) {
		return false
	}
	c.early = bytes.Clone(buf)
	return true
}

// otherProtocol returns an error that says which protocol the client speaks, if what it sent is the beginning of another one than
// the listener's, else err.
func (c *conn) otherProtocol(raw []byte, err error) error {
	switch {
	case !c.client.TLS && len(raw) > 2 && raw[0] == 0x16 && raw[1] == 3: // a record with a ClientHello (RFC 8446 section 5.1)
		return errSpeaksTLS
	case bytes.HasPrefix(raw, []byte("PROXY ")), bytes.HasPrefix(raw, []byte("\r\n\r\n\x00\r\nQUIT\n")):
		return errProxyHeader
	case bytes.HasPrefix(raw, []byte("PRI * HTTP/2.0\r\n")):
		return errSpeaksHTTP2
	}
	return err
}

var (
	errSpeaksTLS   = errors.New("the client speaks TLS, and the listener has no certificates")
	errProxyHeader = errors.New("the client sends a PROXY header, and its address is not one of the listener's proxy_protocol")
	errSpeaksHTTP2 = errors.New("the client speaks HTTP/2, which is not one of the listener's protocols")
)

// noteRefused is called when a head is not read to its end. It records method and
// target for the access log, if the first line is there, and clears what the scan left.
func (c *conn) noteRefused(e *exchange, raw []byte) {
	version := e.Request.Version
	line, _, whole := bytes.Cut(bytes.TrimLeft(raw, "\r\n"), []byte("\r\n"))
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, _, three := bytes.Cut(rest, []byte(" "))
	if !whole || !three {
		// A first line that names no version is at most HTTP/1.0.
		method, target, version = nil, nil, head.HTTP10
	}
	e.Request.StartRequest(version, method, nil)
	e.RequestTarget = append(e.RequestTarget[:0], target...)
	c.head = string(method) == "HEAD"
}

// reader is the reading half of a conn.
type reader struct {
	readArmed time.Time
	// grace and rate bound a body: it may be behind rate by grace, however much came before,
	// and so be silent for grace. Only waiting for the client counts, not what the target
	// takes. A rate of 0 is no bound.
	grace  time.Duration
	rate   int64
	behind time.Duration
}

// mode says what bounds the time of a read.
type mode uint8

const (
	// modePlain: a deadline was set before.
	modePlain mode = iota
	// modeBody: each read gets its own.
	modeBody
	// modeNone: nothing can be read, because serveInside runs.
	modeNone
)

// Read is what the buffered reader reads from.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case c.stream != nil && c.first.Active():
		return c.first.Read(p)
	case c.mode == modePlain:
		return c.nc.Read(p)
	case c.mode == modeNone:
		panic("BUG: a body is read of a request that has none")
	}
	began := time.Now()
	c.readArmed = time.Time{}
	c.nc.SetReadDeadline(began.Add(c.grace - c.behind))
	if c.paused.Load() {
		return 0, body.ErrPaused
	}
	n, err := c.nc.Read(p)
	switch {
	case err != nil && sock.TimedOut(err):
		if err = body.ErrPaused; !c.paused.Load() {
			err = c.slowBody()
		}
	case c.rate > 0:
		earned := time.Duration(n) * time.Second / time.Duration(c.rate)
		c.behind = max(0, c.behind+time.Since(began)-earned)
	}
	return n, err
}

// slowBody says which limit a client is below whose body did not go on in time.
func (c *conn) slowBody() error {
	if c.behind > 0 {
		return proxy.SentLess(c.rate)
	}
	return proxy.SentNothing(c.grace)
}

// Room implements proxy.Front.
func (c *conn) Room() int { return math.MaxInt }

// BePatient implements proxy.Front.
func (c *conn) BePatient(grace time.Duration, anyRate bool) {
	rate := c.pace.Rate()
	if grace > 0 {
		c.grace = grace
	}
	if anyRate {
		c.rate, rate = 0, 0
	}
	c.pace.Reset(c.grace, rate)
}

// PauseReading implements proxy.Front.
func (c *conn) PauseReading() {
	c.paused.Store(true)
	c.nc.SetReadDeadline(sock.LongAgo)
}

// ResumeReading implements proxy.Front. The next read has a deadline of its own.
func (c *conn) ResumeReading() {
	c.paused.Store(false)
	c.readArmed = time.Time{}
}

var _ io.Reader = (*conn)(nil)

// outBuffers pools what responses are gathered in.
var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outBuffer); return &b }}
