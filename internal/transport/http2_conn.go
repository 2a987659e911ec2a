package transport

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/frames"
	"weir/internal/sock"
)

const (
	// firstWindow is how many bytes of a response may arrive before they are wanted, and maxWindow
	// how many of one whose client takes them as fast as they come.
	firstWindow = 64 << 10
	maxWindow   = 1 << 20
	// maxGrown bounds what the windows of a connection may grow by, all together.
	maxGrown = 4 << 20
	// connWindow is the window of a connection. What arrives is given back at once, so that a client that
	// takes nothing stalls no other: the windows of the streams bound what is kept.
	connWindow = 16 << 20
	// expected is how many streams a target allows that does not say.
	expected = 100
	// lastStream is from where on a connection is replaced: numbers of streams end at 1<<31.
	lastStream = 1 << 30
)

// framedConn is an HTTP/2 connection to a target. Its reader's goroutine owns what mu does not
// guard.
type framedConn struct {
	t     *HTTP2
	conn  *Conn // for its age
	nc    net.Conn
	under *sock.PacedStream

	// br and in are nil while the reader waits.
	br       *bufio.Reader
	in       *frames.Reader
	first    sock.FirstRead
	decoder  *hpack.Decoder
	block    framedBlock
	settings frames.PeerSettings
	// settled is closed when the target's first SETTINGS have come, or will not.
	settled chan struct{}
	agreed  bool // they have come

	// used are the places that exchanges have, given those that they have had, limit is how many there are at
	// once, idleSince when the last one was given back. left says that there will be no more, doubted that it is not known
	// whether the target is still there. t.mu guards them; it is taken after mu.
	used, given   int
	limit         int
	idleSince     time.Time
	left, doubted bool

	mu      sync.Mutex
	streams map[uint32]*framedStream
	// next is the number of the next stream.
	next uint32
	// gone is why the connection can carry no more; nil as long as it can. parting says that the
	// target takes no more streams.
	gone    error
	parting bool
	frames.Output
	// window is how much of bodies the target takes, of all streams together; initial is what a
	// new stream gets.
	window, initial int64
	// sending are the streams with body bytes that wait, in the order of their turns.
	sending []*framedStream
	// held is how many bytes of bodies may come, taken what the target has not been told of.
	held, taken int64
	// late is how many bytes may come of streams that were reset.
	late int64
	// grown is what windows of streams have grown by.
	grown int64
	idle  frames.Idle
	// sent are the bytes of bodies for which the target may still update windows: Go's server updates two for
	// each 4 KiB that it reads.
	sent  int
	pulse pulse
	// batches counts the reads.
	batches uint64
	// alarm calls look, at rings; zero if it is not set.
	alarm *time.Timer
	rings time.Time
}

var (
	// errChoseHTTP1 says that the target has chosen another protocol.
	errChoseHTTP1 = errors.New("the target does not choose HTTP/2 (ALPN)")
	// errNotFrames says that what came first is not what HTTP/2 begins with.
	errNotFrames = errors.New("the target does not speak HTTP/2")
	// errUnsettled says that nothing came that HTTP/2 begins with.
	errUnsettled = errors.New("the target sent no SETTINGS in time")
)

// connectFrames makes a connection, which may be used once the target has said what it allows.
func (t *HTTP2) connectFrames() (*framedConn, error) {
	var under *sock.PacedStream
	era := t.renewal.current()
	nc, raw, err := t.dialer.open(0, protocolsBoth, func(raw net.Conn) net.Conn {
		under = &sock.PacedStream{Stream: sock.NewStream(raw)}
		return under
	})
	if err != nil {
		return nil, err
	}
	if secure, ok := nc.(*tls.Conn); ok {
		if secure.ConnectionState().NegotiatedProtocol != "h2" {
			nc.Close()
			return nil, &DialError{Phase: "tls", Err: errChoseHTTP1}
		}
	} else {
		under = &sock.PacedStream{Stream: sock.NewStream(raw)}
		nc = under
	}
	c := newFramedConn(t, nc, under, era)
	go c.serve()
	limit := t.handshake
	if limit <= 0 {
		limit = time.Minute
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.settled:
	case <-timer.C:
		c.fail(errUnsettled)
		<-c.settled
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil && !c.agreed {
		return nil, &DialError{Phase: "http2", Timeout: c.gone == errUnsettled, Err: c.gone}
	}
	t.spoke.Store(true)
	c.wake(time.Now().Add(t.idle))
	return c, nil
}

func newFramedConn(t *HTTP2, nc net.Conn, under *sock.PacedStream, era int) *framedConn {
	now := time.Now()
	c := &framedConn{
		settings: frames.PeerSettings{Server: true},
		t:        t, conn: &Conn{Conn: nc}, nc: nc, under: under, settled: make(chan struct{}), limit: min(t.streams, expected), idleSince: now,
		streams: make(map[uint32]*framedStream), next: 1, window: frames.InitialWindow, initial: frames.InitialWindow, held: connWindow,
		idle: frames.NewIdle(now),
	}
	c.pulse.heard = now
	var pace sock.Pace
	grace := t.write
	if grace <= 0 {
		grace = 24 * time.Hour
	}
	pace.Reset(grace, 0)
	c.Start(c, &c.mu, nc, under, pace)
	c.first.Init(under.Stream, c, &c.br, frames.Inputs)
	under.ReadBy(&c.first)
	c.decoder = hpack.NewDecoder(frames.HeaderTable, c.takeField)
	t.renewal.enter(c.conn, era)
	return c
}

// Read is what the frames are read from.
func (c *framedConn) Read(p []byte) (int, error) { return c.nc.Read(p) }

// serve reads the connection to its end.
func (c *framedConn) serve() {
	defer func() {
		if v := recover(); v != nil {
			if c.t.onPanic != nil {
				c.t.onPanic(v)
			}
			c.fail(fmt.Errorf("panic: %v", v))
			c.end()
		}
	}()
	c.mu.Lock()
	c.Preface()
	c.Settings(
		h2.Setting{ID: h2.SettingEnablePush, Val: 0},
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: firstWindow},
		h2.Setting{ID: h2.SettingMaxHeaderListSize, Val: uint32(c.maxList())},
	)
	c.Window(0, connWindow-frames.InitialWindow)
	c.Flush()
	c.mu.Unlock()
	var err error
	for err == nil {
		err = c.step()
	}
	c.fail(c.readFault(err))
	c.end()
}

// end gives back what the connection has, after its reader has ended.
func (c *framedConn) end() {
	if !c.agreed {
		close(c.settled)
	}
	c.in = nil // not given back: it may be in the middle of a header block
	if c.br != nil {
		frames.Inputs.Put(c.br)
		c.br = nil
	}
	c.mu.Lock()
	for c.Writing() && c.Broken == nil {
		c.Drained.Wait() // the last words
	}
	if c.alarm != nil {
		c.alarm.Stop()
	}
	c.mu.Unlock()
	c.conn.Close()
	if c.agreed {
		c.t.closed()
	}
}

// step reads one frame and deals with it. It returns why the connection is to end.
func (c *framedConn) step() error {
	if !frames.Here(c.br) {
		c.endBatch()
		if c.br == nil || c.br.Buffered() == 0 {
			if err := c.await(); err != nil {
				return err
			}
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
	if err != nil {
		return c.frameError(h, err)
	}
	return c.take(f)
}

// await waits for the first bytes of a frame.
func (c *framedConn) await() error {
	if c.in != nil && !c.block.open {
		c.in.Release()
		c.in = nil
	}
	err := c.first.Await()
	if err != nil {
		return err
	}
	if c.in != nil {
		c.in.From(c.br)
	}
	c.mu.Lock()
	c.batches++
	doubted := !c.pulse.asked.IsZero()
	c.pulse.hear(time.Now())
	c.mu.Unlock()
	if doubted {
		c.t.doubt(c, false)
	}
	return nil
}

// endBatch writes what was gathered.
func (c *framedConn) endBatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Pump()
	c.Flush()
}

// fault is an error of the target's that ends the connection.
type fault struct {
	code h2.ErrCode
	text string
}

func (f *fault) Error() string { return "HTTP/2: " + f.text }

func protocolFault(text string) error { return &fault{h2.ErrCodeProtocol, text} }

// frameError says what follows from a frame that could not be read.
func (c *framedConn) frameError(h h2.FrameHeader, err error) error {
	var of h2.StreamError
	var all h2.ConnectionError
	switch {
	case errors.As(err, &of) && h.Type != h2.FrameHeaders && h.Type != h2.FrameContinuation:
		c.mu.Lock()
		defer c.mu.Unlock()
		if h.StreamID >= c.next {
			return protocolFault("frame of a stream that was not begun")
		}
		if s := c.streams[h.StreamID]; s != nil {
			s.reset(of.Code, defectFrames)
			return nil
		}
		return c.idleFrame()
	case errors.As(err, &of):
		return &fault{of.Code, "malformed header frame"}
	case errors.As(err, &all):
		text := "malformed frame"
		if detail := c.in.ErrorDetail(); detail != nil {
			text = detail.Error()
		}
		return &fault{h2.ErrCode(all), text}
	case errors.Is(err, h2.ErrFrameTooLarge):
		return &fault{h2.ErrCodeFrameSize, "frame is larger than was announced"}
	}
	return err
}

// readFault says what an error of the reader means to the streams.
func (c *framedConn) readFault(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil {
		return c.gone
	}
	var f *fault
	isFault := errors.As(err, &f)
	switch {
	case !c.agreed && (isFault || errors.Is(err, io.ErrUnexpectedEOF)):
		return errNotFrames
	case isFault:
		c.GoAway(0, f.code, f.text)
		c.Flush()
	case err == io.EOF:
		return io.ErrUnexpectedEOF // no body ends with it
	}
	return err
}

// fail ends all streams because of why, and the reader.
func (c *framedConn) fail(why error) {
	c.t.leave(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose(why)
}

// lose is fail for callers that hold mu.
func (c *framedConn) lose(why error) {
	if c.gone == nil {
		c.gone = why
	}
	for _, s := range c.streams {
		s.lose(c.gone)
	}
	c.Drained.Broadcast()
	c.nc.SetReadDeadline(sock.LongAgo) // wakes the reader
}

// Failed implements frames.Owner.
func (c *framedConn) Failed() {
	c.t.leave(c)
	c.lose(c.Broken)
}

// errUnused says that a connection ends that no exchange uses.
var errUnused = errors.New("the connection was not used any more")

// closeIfUnused closes the connection if no exchange uses it.
func (c *framedConn) closeIfUnused() { c.closeUnused(0) }

// closeUnused closes the connection if no exchange has used it for that long. It returns how long
// that takes otherwise, 0 if it is not known.
func (c *framedConn) closeUnused(since time.Duration) time.Duration {
	unused, left := c.t.retireUnused(c, since)
	if !unused {
		return left
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone == nil {
		c.GoAway(0, h2.ErrCodeNo, "")
		c.Flush()
		c.lose(errUnused)
	}
	return 0
}

// Pump implements frames.Owner: streams with body bytes take turns.
func (c *framedConn) Pump() {
	for c.Room() && c.window > 0 {
		at := -1
		for i, s := range c.sending {
			if s.out.window > 0 {
				at = i
				break
			}
		}
		if at < 0 {
			return
		}
		s := c.sending[at]
		copy(c.sending[at:], c.sending[at+1:])
		c.sending[len(c.sending)-1] = s
		s.out.send(int(c.Fit(min(int64(len(s.out.pending)), s.out.window, c.window))))
	}
}
