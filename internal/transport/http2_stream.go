package transport

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/prefetch"
	"weir/internal/sock"
)

// framedStream is a stream of an HTTP/2 connection. framedConn.mu guards it.
type framedStream struct {
	c  *framedConn
	id uint32 // 0 before Send
	// before says that the connection had carried another exchange, batch what had been read when
	// the request was sent.
	before bool
	batch  uint64
	isHead bool
	// lost is why the stream has ended early; nil as long as it has not. refused says that the
	// target has not looked at the request.
	lost    error
	refused bool
	// closed says that the target knows that the stream has ended.
	closed bool
	// heads are those of the response that were not read, size is what they take together; answered says
	// that the final one came.
	heads    []*head.Head
	size     int
	answered bool

	in                 framedBody
	out                framedUpload
	readable, writable sync.Cond
	readBy, writeBy    time.Time
	// memory is what the exchange uses when the response has begun to come.
	memory prefetch.Regions
	// writeEnded says that InterruptWrite was called since Unlimit.
	writeEnded bool
}

// lend returns a stream for an exchange that has a place; nil if the connection has ended.
func (c *framedConn) lend() *framedStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil || c.parting {
		return nil
	}
	// Not pooled, because the body is asked for its trailer section after Release.
	s := &framedStream{c: c, before: c.next > 1}
	s.readable.L, s.writable.L = &c.mu, &c.mu
	s.in.s, s.out.s = s, s
	return s
}

var (
	errNotWanted = errors.New("the target does not want the rest of the request")
	errCut       = &net.OpError{Op: "write", Err: net.ErrClosed}
)

// resetError is the end of a stream by the target.
type resetError struct{ code h2.ErrCode }

func (e *resetError) Error() string { return "the target has reset the stream: " + e.code.String() }

// refusedError is the end of a stream that the target did not look at.
type refusedError struct{ code h2.ErrCode }

// WantsHTTP1 says that err is a target's refusal of a request that it takes in HTTP/1.1 alone (RFC 9113 section 7).
func WantsHTTP1(err error) bool {
	var r *refusedError
	return errors.As(err, &r) && r.code == h2.ErrCodeHTTP11Required
}

func (e *refusedError) Error() string { return "the target has refused the stream: " + e.code.String() }

// lose ends the stream early, because of why.
func (s *framedStream) lose(why error) {
	if s.lost != nil {
		return
	}
	s.lost = why
	s.out.stop(why)
	s.readable.Broadcast()
}

// refuse ends a stream that the target did not look at, so that the request may be sent again.
func (s *framedStream) refuse(code h2.ErrCode) {
	if s.lost == nil && !s.answered {
		s.refused = true
	}
	s.lose(&refusedError{code})
}

// reset ends the stream because of what the target has sent.
func (s *framedStream) reset(code h2.ErrCode, why error) {
	s.end(code)
	s.lose(why)
}

// end tells the target that the stream has ended, if it does not know.
func (s *framedStream) end(code h2.ErrCode) {
	if s.id == 0 || s.closed || s.c.gone != nil {
		return
	}
	s.closed = true
	s.c.Reset(s.id, code)
	s.c.late += max(s.in.window, 0)
}

// takeBlock takes a head of the response, or its trailer section.
func (s *framedStream) takeBlock(b *framedBlock) {
	h := b.head
	switch {
	case b.defect == nil && !b.trailer && h.Status == 0, b.defect == nil && b.trailer && !b.ends,
		b.defect == nil && b.ends && !b.trailer && h.Status < 200:
		b.defect = defectFrames
	}
	if b.defect != nil {
		s.reset(h2.ErrCodeProtocol, b.defect)
		return
	}
	if b.trailer {
		if s.in.trailer = h; !s.in.take(nil, true) {
			s.reset(h2.ErrCodeProtocol, defectLength)
		}
		b.head = nil
		return
	}
	if h.Status >= 200 {
		s.answered = true
		s.in.begin(h, s.isHead)
	}
	if s.size += b.size; s.size > 2*s.c.t.head {
		s.reset(h2.ErrCodeEnhanceYourCalm, head.DefectHeadSize) // interim ones that are not read
		return
	}
	if b.ends && !s.in.take(nil, true) {
		s.reset(h2.ErrCodeProtocol, defectLength) // before anything of it has been passed on
		return
	}
	b.head = nil
	h.Size = b.size
	s.heads = append(s.heads, h)
	s.readable.Broadcast()
}

// Reused implements Stream. What a connection carries that does not answer at all may never have
// reached the target.
func (s *framedStream) Reused() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.refused || s.before && s.batch == s.c.batches
}

// Refuses implements Stream: by RST_STREAM or GOAWAY (RFC 9113 section 8.7).
func (s *framedStream) Refuses() bool { return true }

// Version implements Stream.
func (s *framedStream) Version() head.Version { return head.HTTP2 }

var hostField = head.SetOf(head.Host)

// Send implements Stream.
func (s *framedStream) Send(r *Request) (n int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone != nil || c.parting {
		s.refuse(h2.ErrCodeNo) // the connection has ended since it was lent
		return 0, s.lost
	}
	h := r.Head
	s.id, s.batch = c.next, c.batches
	if c.next += 2; c.next > lastStream {
		c.conn.old.Store(true)
	}
	if len(c.streams) == 0 || c.pulse.asks > 0 {
		c.pulse.expect(time.Now())
	}
	c.streams[s.id] = s
	s.in.window, s.in.limit = firstWindow, firstWindow
	s.isHead = string(h.Method()) == "HEAD"
	s.out.begin(r, c.initial)
	e := &c.Encoder
	e.Begin()
	e.Method(h.Method())
	e.Scheme(c.t.tls != nil)
	e.Indexed(":authority", h.Get(head.Host))
	e.Path(h.Target())
	if h.Has(teField) {
		e.Indexed("te", []byte("trailers")) // all that is left of it
	}
	if s.out.left >= 0 {
		e.Length(s.out.left)
	}
	e.Fields(h, hostField)
	s.out.last, s.out.round = c.Block(s.id, e.Block(), 0), c.Round
	if r.Call {
		s.out.last = -1
	}
	n = len(e.Block())
	e.End()
	s.out.held(r)
	if c.t.ping > 0 {
		c.wake(c.pulse.due(c.t.ping))
	}
	if !c.Writing() {
		// Other exchanges that can run now have something to add.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.Pump()
	c.Flush()
	if s.lost != nil {
		return n, s.lost
	}
	return n, nil
}

var teField = head.SetOf(head.TE)

// Expect implements Stream.
func (s *framedStream) Expect(memory prefetch.Regions) { s.memory = memory }

// Sent implements Stream.
func (s *framedStream) Sent() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.id != 0 && !s.refused
}

// Await implements Stream.
func (s *framedStream) Await() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.await()
}

func (s *framedStream) await() error {
	for len(s.heads) == 0 {
		if s.lost != nil {
			return s.lost
		}
		if err := s.wait(&s.readable, s.readBy); err != nil {
			return err
		}
		s.memory.Fetch()
	}
	return nil
}

// wait waits for a signal, or until at.
func (s *framedStream) wait(signal *sync.Cond, at time.Time) error {
	if !at.IsZero() {
		if !time.Now().Before(at) {
			return os.ErrDeadlineExceeded
		}
		s.c.wake(at)
	}
	signal.Wait()
	return nil
}

// ReadHead implements Stream.
func (s *framedStream) ReadHead(h *head.Head) (started bool, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.await(); err != nil {
		var d *head.Defect
		return errors.As(err, &d), err
	}
	next := s.heads[0]
	s.heads = s.heads[:copy(s.heads, s.heads[1:])]
	s.size -= next.Size
	next.Size = 0
	*h, *next = *next, *h
	next.Reset()
	heads.Put(next)
	return true, nil
}

// Response implements Stream.
func (s *framedStream) Response(_ *head.Head, bodyless bool, _ *body.Reader) (body.Source, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case bodyless:
		s.in.skip()
	case !s.in.ended:
		return &s.in, s.lost
	}
	return &s.in, nil
}

// BodyWriter implements Stream. How long the body is was said by Send.
func (s *framedStream) BodyWriter(_ bool, limit time.Duration) BodyWriter {
	s.out.limit = limit
	return &s.out
}

// Tunnel implements Stream.
func (s *framedStream) Tunnel() (net.Conn, []byte) { panic("BUG: a stream of HTTP/2 has no 101") }

// LimitRead implements Stream.
func (s *framedStream) LimitRead(now time.Time, limit time.Duration) {
	at := time.Time{}
	if limit > 0 {
		at = now.Add(limit)
	}
	s.ReadUntil(at)
}

// ReadUntil implements Stream.
func (s *framedStream) ReadUntil(t time.Time) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.readBy = t
	s.readable.Broadcast()
}

// LimitWrite implements Stream. Only a BodyWriter waits, which has a limit of its own.
func (s *framedStream) LimitWrite(time.Time, time.Duration) {}

// Unlimit implements Stream.
func (s *framedStream) Unlimit() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.readBy, s.writeBy, s.writeEnded = time.Time{}, time.Time{}, false
}

// Interrupt implements Stream.
func (s *framedStream) Interrupt() {
	s.InterruptRead()
	s.InterruptWrite()
}

// InterruptRead implements Stream.
func (s *framedStream) InterruptRead() { s.ReadUntil(sock.LongAgo) }

// InterruptWrite implements Stream.
func (s *framedStream) InterruptWrite() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.writeEnded = true
	s.writable.Broadcast()
}

// InterruptFrom implements Stream.
func (s *framedStream) InterruptFrom(t time.Time) { s.ReadUntil(t) }

// Cut implements Stream.
func (s *framedStream) Cut() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.reset(h2.ErrCodeCancel, errCut)
	s.c.Flush()
}

// Release implements Stream. A stream that has not ended on both sides is reset.
func (s *framedStream) Release(bool) {
	c := s.c
	c.mu.Lock()
	if s.id != 0 {
		if !s.in.ended || !s.out.ended {
			s.end(h2.ErrCodeCancel)
		}
		delete(c.streams, s.id)
		c.grown -= max(s.in.limit-firstWindow, 0)
	}
	s.lose(errCut) // what waits for it ends
	s.in.pieces.Drop()
	for _, h := range s.heads {
		h.Reset()
		heads.Put(h)
	}
	s.heads = nil
	c.Flush()
	c.mu.Unlock()
	c.t.giveBack(c)
}
