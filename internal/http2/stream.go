package http2

import (
	"errors"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/frames"
	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/proxy"
)

// stream is one exchange. It is the Front of the core. What is not the exchange's own is guarded
// by conn.mu.
type stream struct {
	*proxy.Exchange
	c      *conn
	id     uint32
	client proxy.Client
	cancel proxy.Cancel
	rest   Rest
	// inline says that the reader serves the exchange.
	inline bool
	// isHead says that the request's method is HEAD, tunnel that it is an extended CONNECT.
	isHead, tunnel bool

	in    requestBody
	state streamState
	// lost is why the stream has ended early; nil as long as it has not.
	lost error
	// code is what the client is told if the exchange ends without an answer.
	code h2.ErrCode
	// served says that the core is done with the exchange, answered that the client has the whole answer.
	served, answered bool
	priority

	// unsent is the head of an answer that is not in out yet, nil if there is none; unsentLength is what its
	// content-length says, or lengthUnsaid.
	unsent       *head.Head
	unsentLength int64

	// pending are body bytes that wait for room, tail is what they lie in if the exchange does
	// not wait for them.
	pending, tail []byte
	// bulk says that what was queued last was large.
	bulk   bool
	window int64
	// lent is the buffer for bytes of the answer that the exchange holds.
	lent int
	// last is where in out, of that round, the last frame of the stream is with flags that may be changed;
	// -1 if there is none.
	last  int
	round uint64
	// bodyless says that the answer has no body. left is how much of it is to come, -1 if
	// that is not known.
	bodyless  bool
	left      int64
	delivered int64
	// begun says that the head of the answer was sent, joined that it was that of a tunnel, whose bytes are no body.
	begun, joined bool
	trailer       []byte // a trailer section that waits for tail
	writable      sync.Cond
	// grace and rate bound the client's silence. behind is how far it is behind rate in taking,
	// stalled when the wait for it began.
	grace   time.Duration
	rate    int64
	behind  time.Duration
	stalled time.Time
}

// streamState is how far the answer has come.
type streamState uint8

const (
	// streamBegun: no answer yet.
	streamBegun streamState = iota
	// streamAnswering: the head is sent.
	streamAnswering
	// streamAnswered: the end is given, which may wait behind tail.
	streamAnswered
	// streamHalf: the end is sent, and the client's direction goes on. Only tunnels have it.
	streamHalf
	// streamClosed: the end is sent, or the stream is reset.
	streamClosed
)

var streams = sync.Pool{New: func() any { return &stream{Exchange: proxy.NewExchange(), state: streamBegun} }}

var (
	errReset    = errors.New("the client has reset the stream")
	errEnded    = errors.New("the answer has ended")
	errNoTunnel = errors.New("the client has asked for no tunnel")
)

// begin makes a stream that the client has begun. c.mu is held.
func (c *conn) begin(id uint32, ends bool) *stream {
	s := streams.Get().(*stream)
	prefetch.Of(s).Fetch() // another processor may have had it
	prefetch.Of(s.Exchange).Fetch()
	s.c, s.id = c, id
	s.client = proxy.Client{
		Front: s, Memory: [2]prefetch.Region{prefetch.Of(s)}, Cancel: &s.cancel, Listener: c.listener(), Peer: &c.peer, Remote: c.c.RemoteAddr(), TLS: c.c.TLS() != nil, Handshake: c.c.TLS(),
		Crowded: &c.crowded,
	}
	s.cancel.Reset()
	s.Client, s.Exchange.Start = &s.client, c.read
	s.writable.L, s.in.readable.L = &c.mu, &c.mu
	s.window, s.left, s.last, s.code = c.initial, -1, -1, h2.ErrCodeInternal
	s.in.s, s.in.ended, s.in.window = s, ends, streamWindow
	if p, ok := c.advanced[id]; ok {
		s.priority = p
		delete(c.advanced, id)
	}
	t := &c.c.Config().Timeouts
	s.grace, s.rate = t.Grace.D(), int64(t.MinRate)
	c.streams[id] = s
	c.served = true
	return s
}

// run serves what is left of the exchange.
func (s *stream) run() {
	s.rest.ServeRest(s.Exchange)
	s.over()
}

// Continue implements proxy.Continuation: it serves what is left of an exchange that the connection counts as running.
func (s *stream) Continue() {
	running := &s.c.running
	s.run()
	running.Done()
}

// over is called when the core is done with the exchange.
func (s *stream) over() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	inline := s.inline
	s.served = true
	switch {
	case s.state == streamClosed:
		s.close(s.Result.End)
	case s.state == streamHalf && s.in.ended:
		s.state = streamClosed
		c.bounds.answered()
		s.close(s.Result.End)
	case s.state != streamAnswered:
		s.reset(s.code, errEnded)
	}
	if !inline && !c.gathering {
		c.Flush()
	}
}

// reset ends the stream early, because of why. c.mu is held.
func (s *stream) reset(code h2.ErrCode, why error) {
	if s.state == streamClosed {
		return
	}
	s.c.Reset(s.id, code)
	if !s.in.ended {
		s.c.recent.add(s.id, s.in.window)
	}
	s.lose(why)
}

// lose is called when the stream has ended early, by either side. c.mu is held.
func (s *stream) lose(why error) {
	if s.state == streamClosed {
		return
	}
	s.state, s.lost = streamClosed, why
	s.c.unqueue(s)
	s.c.refilled(s)
	s.pending, s.tail = nil, nil
	s.in.fail(why)
	s.writable.Broadcast()
	if s.served {
		s.close(time.Now())
		return
	}
	if _, slow := why.(*proxy.SlowClient); !slow { // which the exchange learns from what it waits for
		s.cancel.CancelFor(why)
	}
}

// taken is called when all that was pending is in out. c.mu is held.
func (s *stream) taken() {
	if s.state == streamAnswered {
		s.finish()
		return
	}
	s.tail = s.tail[:0]
	s.writable.Signal()
	if s.bulk && !s.inline && !s.tunnel {
		s.c.refills(s)
	}
}

// finish sends the end of the answer. c.mu is held.
func (s *stream) finish() {
	c := s.c
	switch {
	case s.trailer != nil:
		c.Block(s.id, c.Encoder.AfterSize(s.trailer), h2.FlagHeadersEndStream)
	case c.EndAt(s.last, s.round):
	default:
		c.Frame(0, h2.FrameData, h2.FlagDataEndStream, s.id)
	}
	s.state, s.answered = streamClosed, true
	c.answered++
	c.bounds.answered()
	if !s.in.ended {
		// The client need not send the rest (RFC 9113 section 8.1).
		if !s.in.complete() {
			c.Reset(s.id, h2.ErrCodeNo)
		}
		c.recent.add(s.id, s.in.window)
	}
	if s.served {
		s.close(time.Now())
	}
}

// close forgets a stream that has ended, and whose exchange has, the later of the two at that time. c.mu is held.
func (s *stream) close(at time.Time) {
	c := s.c
	c.giveBack(s.in.pieces.Drop())
	c.lend(s, 0)
	delete(c.streams, s.id)
	if s.answered {
		c.answered--
	}
	if c.since = at; len(c.streams) == 0 && c.parting == partingLast {
		c.stop()
	}
	s.Reset()
	x := s.Exchange
	*s = stream{Exchange: x, tail: s.tail[:0]}
	if cap(s.tail) > frames.MaxFrame {
		s.tail = nil
	}
	streams.Put(s)
}
