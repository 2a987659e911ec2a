package http2

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/config"
	"weir/internal/forward"
	"weir/internal/frames"
	"weir/internal/listener"
	"weir/internal/sock"
	"weir/proxy"
)

const (
	// streamWindow and connWindow are how many bytes of request bodies may arrive before they
	// are wanted, of one stream and of all of a connection.
	streamWindow = 64 << 10
	connWindow   = 1 << 20
)

// conn is one client's connection. Its reader's goroutine owns what mu does not guard.
type conn struct {
	front    *Front
	c        *listener.Conn
	nc       net.Conn // TLS over under, or under
	under    *sock.PacedStream
	listener func() *proxy.Listener
	peer     forward.Peer
	early    []byte

	// br and in are nil while the connection waits.
	br      *bufio.Reader
	in      *frames.Reader
	first   sock.FirstRead
	decoder *hpack.Decoder
	block   block
	// later are the streams that get a goroutine when the batch ends.
	later     []*stream
	readArmed time.Time
	// read is when the frames of this batch came.
	read     time.Time
	settings frames.PeerSettings
	// settled says that the client's first SETTINGS have come.
	settled bool
	// list is the limit of the header list that was announced, plain that of its bytes alone.
	list, plain int
	running     sync.WaitGroup
	// stopping makes the reader end.
	stopping atomic.Bool

	mu      sync.Mutex
	streams map[uint32]*stream
	// answered are those of streams that the client takes for ended, because it has the whole answer, while
	// their exchanges are on the last steps.
	answered int
	// last is the highest stream that the client has begun.
	last uint32
	// gone is why the connection can carry no more; nil as long as it can.
	gone error
	// since is when the last stream ended, or the connection began.
	since  time.Time
	served bool
	output
	credit  credit
	bounds  bounds
	parting parting
	// partingSince is when the client was told, looked when the last look was.
	partingSince, looked time.Time
	recent               recent
	advanced             map[uint32]priority // for streams to come
}

// newConn returns nil for a connection that is no socket.
func newConn(f *Front, c *listener.Conn, l func() *proxy.Listener, early []byte) *conn {
	now := time.Now()
	cn := &conn{
		front: f, c: c, nc: c.NetConn(), listener: l, early: early,
		peer:    forward.NewPeer(c.RemoteAddr(), c.TLS() != nil),
		streams: make(map[uint32]*stream), since: now, looked: now,
	}
	cn.peer.Identify(c.TLS(), c.Verified())
	if secure, ok := cn.nc.(*tls.Conn); ok {
		cn.under, _ = secure.NetConn().(*sock.PacedStream)
	} else if s := sock.NewStream(cn.nc); s != nil {
		cn.under = &sock.PacedStream{Stream: s}
		cn.nc = cn.under
	}
	if cn.under == nil {
		return nil
	}
	cfg := c.Config()
	cn.first.Init(cn.under.Stream, cn, &cn.br, frames.Inputs)
	cn.under.ReadBy(&cn.first)
	var pace sock.Pace
	pace.Reset(cfg.Timeouts.Grace.D(), 0)
	cn.Start(cn, &cn.mu, cn.nc, cn.under, pace)
	cn.plain = int(cfg.Limits.HeaderBytes)
	cn.list = 2 * cn.plain
	cn.decoder = hpack.NewDecoder(frames.HeaderTable, cn.takeField)
	cn.output.init()
	cn.credit.held = connWindow
	cn.bounds.init(now)
	return cn
}

// Read is what the frames are read from.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.nc.Read(p)
}

// serve serves the connection to its end.
func (c *conn) serve() {
	c.mu.Lock()
	c.sendSettings()
	c.Flush()
	c.mu.Unlock()
	if c.ought() {
		c.leave() // a drain that came before the connection was known
	}
	err := c.readPreface()
	for err == nil {
		err = c.next()
	}
	c.end(err)
}

// fault is an error of the client's that ends the connection.
type fault struct {
	code h2.ErrCode
	end  proxy.End
	text string
}

func (f *fault) Error() string { return f.text }

func protocolFault(text string) error { return &fault{h2.ErrCodeProtocol, proxy.EndProtocol, text} }

var (
	errStopped = errors.New("the connection was drained")
	errIdle    = errors.New("the connection was idle for too long")
	errPanic   = errors.New("panic in the front end")
	errGone    = errors.New("the client has closed the connection")
)

func (c *conn) readPreface() error {
	if err := c.await(); err != nil {
		return err
	}
	c.limitFrame(c.c.Config())
	got, err := c.br.Peek(len(Preface))
	switch {
	case string(got) != Preface[:len(got)]:
		return protocolFault("the connection does not begin as HTTP/2 does")
	case err != nil:
		return c.readError(err)
	}
	c.br.Discard(len(Preface))
	return nil
}

// next reads one frame and deals with it. It returns why the connection is to end.
func (c *conn) next() error {
	whole := frames.Here(c.br)
	if !whole {
		if err := c.beginBatch(); err != nil {
			return err
		}
		if whole = frames.Here(c.br); !whole {
			c.limitFrame(c.c.Config())
		}
	}
	if whole && c.settled && !c.block.open() {
		if h, ok := frames.PlainHeaders(c.br); ok {
			return c.takeHeaders(h)
		}
	}
	if c.in == nil {
		c.in = frames.NewReader(c.br)
	}
	h, err := c.in.ReadFrameHeader()
	var f h2.Frame
	if err == nil {
		f, err = c.in.ReadFrameForHeader(h)
	}
	if !whole {
		c.read = time.Now()
	}
	if err != nil {
		return c.frameError(h, err)
	}
	return c.take(f)
}

// beginBatch ends a batch and waits for the next one.
func (c *conn) beginBatch() error {
	c.endBatch()
	if c.br == nil || c.br.Buffered() == 0 {
		if err := c.await(); err != nil {
			return err
		}
	}
	if c.stopping.Load() {
		return errStopped
	}
	return nil
}

// frameError says what follows from a frame that could not be read.
func (c *conn) frameError(h h2.FrameHeader, err error) error {
	var of h2.StreamError
	var all h2.ConnectionError
	switch {
	case errors.As(err, &of) && h.Type != h2.FrameHeaders && h.Type != h2.FrameContinuation:
		// Of a header block the decoder would miss a part.
		c.mu.Lock()
		defer c.mu.Unlock()
		if h.StreamID > c.last {
			return protocolFault("frame of a stream that was not begun")
		}
		return c.resetFor(h.StreamID, of.Code, defectFrame)
	case errors.As(err, &of):
		return &fault{of.Code, proxy.EndProtocol, "malformed header frame"}
	case errors.As(err, &all):
		text := "malformed frame"
		if detail := c.in.ErrorDetail(); detail != nil {
			text = detail.Error()
		}
		return &fault{h2.ErrCode(all), proxy.EndProtocol, text}
	case errors.Is(err, h2.ErrFrameTooLarge):
		return &fault{h2.ErrCodeFrameSize, proxy.EndProtocol, "frame is larger than was announced"}
	}
	return c.readError(err)
}

// readError says what an error of the socket means.
func (c *conn) readError(err error) error {
	switch {
	case c.stopping.Load():
		return errStopped
	case sock.TimedOut(err):
		return &fault{h2.ErrCodeNo, proxy.EndFrameTimeout, "a frame did not come to its end in time"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errGone
	}
	return err
}

// limitFrame bounds the time for the rest of a frame that has come in part.
func (c *conn) limitFrame(cfg *config.Listener) {
	limit, since := cfg.Timeouts.Header.D(), time.Now()
	switch {
	case c.block.open():
		since = c.block.since
	case c.open() > 0:
		limit = max(limit, cfg.Timeouts.Grace.D()) // perhaps it is a body's
	}
	if d, set := sock.Rearm(c.readArmed, since, limit); set {
		c.readArmed = d
		c.nc.SetReadDeadline(d)
	}
}

// open is the number of streams that have not ended.
func (c *conn) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// await waits for the first bytes of a frame. As long as there are streams it waits for any
// time: each of them has limits of its own.
func (c *conn) await() error {
	if c.in != nil && !c.block.open() {
		c.in.Release()
		c.in = nil
	}
	for {
		cfg := c.c.Config()
		c.armIdle(cfg)
		if c.stopping.Load() {
			return errStopped
		}
		err := c.first.Await()
		switch {
		case err == nil:
			c.read = time.Now()
			if c.in != nil {
				c.in.From(c.br)
			}
			return nil
		case c.stopping.Load():
			return errStopped
		case !sock.TimedOut(err):
			return c.readError(err)
		}
		// A deadline that has passed would end every further wait at once.
		c.readArmed = time.Time{}
		c.nc.SetReadDeadline(time.Time{})
		if limit, since := c.silence(cfg); limit > 0 && time.Since(since) >= limit {
			if c.block.open() || !c.settled {
				return &fault{h2.ErrCodeNo, proxy.EndFrameTimeout, "a frame did not come to its end in time"}
			}
			return errIdle
		}
	}
}

// silence is how long the client may be silent, since when; 0 is no bound.
func (c *conn) silence(cfg *config.Listener) (limit time.Duration, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.block.open():
		return cfg.Timeouts.Header.D(), c.block.since
	case len(c.streams) > 0:
		return 0, c.since
	case !c.settled:
		return cfg.Timeouts.Header.D(), c.since
	}
	return cfg.Timeouts.Idle.D(), c.since
}

// armIdle sets the deadline of the wait for the next frame.
func (c *conn) armIdle(cfg *config.Listener) {
	limit, since := c.silence(cfg)
	if limit == 0 {
		return // a deadline that is set wakes the reader once, and is gone then
	}
	if d, set := sock.Rearm(c.readArmed, since, limit); set {
		c.readArmed = d
		c.nc.SetReadDeadline(d)
	}
}

// endBatch begins what has to wait, and writes what was gathered.
func (c *conn) endBatch() {
	later := c.later
	c.later = c.later[:0]
	for i, s := range later {
		later[i] = nil
		if s.cancel.Canceled() {
			s.run() // which ends at once
			continue
		}
		c.running.Add(1)
		if !s.rest.ServeAhead(s.Exchange, s) {
			c.front.workers.serve(s)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Pump()
	c.Flush()
	for len(c.Out) > frames.MaxBacklog && c.gone == nil {
		c.Drained.Wait() // a client that reads nothing is not read either
	}
}

// stop makes the reader end. c.mu is held.
func (c *conn) stop() {
	if !c.stopping.Swap(true) {
		c.nc.SetReadDeadline(sock.LongAgo)
	}
}

// end ends the connection: why says how.
func (c *conn) end(why error) {
	f := (*fault)(nil)
	lingers := true
	switch {
	case errors.As(why, &f):
		c.listener().CountEnd(f.end)
	case why == errStopped, why == errIdle:
	default:
		lingers = false
	}
	lost := why
	if f == nil && why != errStopped && why != errIdle {
		lost = errGone
		if errors.Is(why, net.ErrClosed) {
			lost = why
		}
	}
	c.mu.Lock()
	switch {
	case f != nil:
		c.GoAway(c.last, f.code, f.text)
	case why == errIdle:
		c.GoAway(c.last, h2.ErrCodeNo, "")
	}
	c.Pump()
	c.Flush()
	c.mu.Unlock()
	c.lose(lost)
	for _, s := range c.later {
		s.run() // which ends at once
	}
	c.later = nil
	c.running.Wait()
	if c.br != nil {
		frames.Inputs.Put(c.br)
		c.br = nil
	}
	if !lingers {
		c.c.Close()
		return
	}
	c.mu.Lock()
	if f != nil && c.Stuck() {
		c.mu.Unlock()
		c.c.Reset() // a client that does not read learns nothing
		return
	}
	for c.Writing() && c.Broken == nil {
		c.Drained.Wait()
	}
	broken := c.Broken
	c.mu.Unlock()
	if broken != nil {
		c.c.Close()
		return
	}
	c.c.Linger()
}

// lose ends all streams.
func (c *conn) lose(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone == nil {
		c.gone = why
	}
	for _, s := range c.streams {
		s.lose(why)
	}
	c.Drained.Broadcast()
}
