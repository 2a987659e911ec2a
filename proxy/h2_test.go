package proxy_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/body"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/proxy"
)

// h2conn is a sketch of a front end for HTTP/2, from the outside of package proxy: one
// goroutine reads frames, serves what cannot wait, and leaves the rest to goroutines. It
// leaves out what has nothing to do with the core: settings, priorities, the dynamic
// table, windows of connections, limits.
type h2conn struct {
	proxy    *proxy.Proxy
	listener *proxy.Listener
	peer     forward.Peer
	nc       net.Conn
	writing  sync.Mutex
	running  sync.WaitGroup
	// now counts the exchanges that the reader has ended itself. Only the reader uses it.
	now int

	mu      sync.Mutex
	streams map[uint32]*h2stream
	free    []*proxy.Exchange
}

// h2stream is one exchange. It is the Front of the core.
type h2stream struct {
	c      *h2conn
	id     uint32
	x      *proxy.Exchange
	cancel proxy.Cancel
	body   *h2body

	mu      sync.Mutex
	changed *sync.Cond
	window  int64
	reset   bool // by one of the sides, or with the connection
	ended   bool // the answer is whole
	inline  bool // the reader serves it

	delivered int64 // how many bytes of the body have left
}

var errReset = errors.New("the client has reset the stream")

var remote = netip.MustParseAddrPort("192.0.2.7:4000")

// serve reads frames until the connection ends, and waits for the exchanges.
func (c *h2conn) serve() {
	defer c.running.Wait()
	for {
		f, err := readFrame(c.nc)
		if err != nil {
			break
		}
		c.mu.Lock()
		s := c.streams[f.stream]
		c.mu.Unlock()
		switch {
		case s == nil && f.kind == frameHeaders:
			c.begin(f)
		case s == nil: // a stream that has ended
		case f.kind == frameHeaders:
			s.body.trail(f.payload)
		case f.kind == frameData:
			s.body.take(f.payload, f.ends())
		case f.kind == frameWindowUpdate:
			s.grant(int64(binary.BigEndian.Uint32(f.payload)))
		case f.kind == frameReset:
			s.lose()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		s.lose()
	}
}

func (c *h2conn) write(kind, flags byte, stream uint32, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return writeFrame(c.nc, frame{kind, flags, stream, payload})
}

// exchange returns an exchange that is ready for use.
func (c *h2conn) exchange() *proxy.Exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		x := c.free[n-1]
		c.free = c.free[:n-1]
		return x
	}
	return proxy.NewExchange()
}

// begin begins an exchange.
func (c *h2conn) begin(f frame) {
	x := c.exchange()
	s := &h2stream{c: c, id: f.stream, x: x, window: window, inline: true}
	s.changed = sync.NewCond(&s.mu)
	x.Start = time.Now()
	x.Client = &proxy.Client{
		Front: s, Cancel: &s.cancel, Listener: c.listener, Peer: &c.peer, Remote: remote, TLS: true, Room: s.window,
	}
	c.mu.Lock()
	c.streams[s.id] = s
	c.mu.Unlock()
	err := fillRequest(&x.Request, f.payload)
	s.body = newH2Body(s, x.Request.Length, f.ends())
	x.Body = s.body
	if err == nil && f.ends() && x.Request.Length > 0 {
		err = defectLength
	}
	switch d := (*head.Defect)(nil); {
	case err == nil:
	case errors.As(err, &d):
		c.proxy.Refuse(x, d.Status, proxy.CauseBadRequest, err)
		s.over()
		return
	default:
		c.proxy.Refuse(x, 0, proxy.CauseBadRequest, err)
		s.over()
		return
	}
	if x.Request.Length == head.LengthNone && !f.ends() {
		x.Request.Length = head.LengthChunked // the end of the stream says how long it is
	}
	if c.proxy.ServeNow(x) {
		c.now++
		s.over()
		return
	}
	s.mu.Lock()
	s.inline = false
	s.mu.Unlock()
	c.running.Go(func() {
		c.proxy.ServeRest(x)
		s.over()
	})
}

var errMalformed = errors.New("malformed request") // RFC 9113 section 8.1.1

// fillRequest makes a head of a header block.
func fillRequest(h *head.Head, block []byte) error {
	fields, err := parseFields(block)
	if err != nil {
		return err
	}
	pseudo := map[string]string{}
	for len(fields) > 0 && strings.HasPrefix(fields[0].name, ":") {
		pseudo[fields[0].name] = fields[0].value
		fields = fields[1:]
	}
	h.StartRequest(head.HTTP2, []byte(pseudo[":method"]), []byte(pseudo[":path"]))
	if authority := pseudo[":authority"]; authority != "" {
		if err := h.Fill([]byte("host"), []byte(authority)); err != nil {
			return err
		}
	}
	var crumbs []string
	for _, f := range fields {
		switch f.name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
			return errMalformed
		case "te":
			if f.value != "trailers" {
				return errMalformed
			}
		case "cookie":
			crumbs = append(crumbs, f.value) // RFC 9113 section 8.2.3
			continue
		case "host":
			if f.value == pseudo[":authority"] {
				continue
			}
		}
		if f.name != strings.ToLower(f.name) {
			return errMalformed
		}
		if err := h.Fill([]byte(f.name), []byte(f.value)); err != nil {
			return err
		}
	}
	if crumbs != nil {
		if err := h.Fill([]byte("cookie"), []byte(strings.Join(crumbs, "; "))); err != nil {
			return err
		}
	}
	return h.FinishRequest()
}

// over is called when the core is done with the exchange.
func (s *h2stream) over() {
	s.mu.Lock()
	reset, ended := s.reset, s.ended
	s.mu.Unlock()
	switch {
	case reset:
	case !ended:
		s.send(frameReset, 0, binary.BigEndian.AppendUint32(nil, codeProtocol)) // refused without an answer
	case !s.body.Done():
		s.send(frameReset, 0, binary.BigEndian.AppendUint32(nil, codeNone)) // RFC 9113 section 8.1
	}
	s.x.Reset()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	delete(s.c.streams, s.id)
	s.c.free = append(s.c.free, s.x)
}

// lose is called when the client has reset the stream, or is gone.
func (s *h2stream) lose() {
	s.cancel.Cancel()
	s.body.stop(errReset)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset = true
	s.changed.Broadcast()
}

// grant lets more of the body leave.
func (s *h2stream) grant(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window += n
	s.changed.Broadcast()
}

func (s *h2stream) send(kind, flags byte, payload []byte) error {
	return s.c.write(kind, flags, s.id, payload)
}

// block makes a header block of a head.
func block(h *head.Head, status int) []byte {
	var b []byte
	if status > 0 {
		b = appendField(b, ":status", strconv.Itoa(status))
	}
	for f := range h.All() {
		if !f.Is(head.TransferEncoding) && !f.Is(head.Connection) && !f.Is(head.KeepAlive) {
			b = appendField(b, strings.ToLower(string(f.Name)), string(f.Value))
		}
	}
	return b
}

// Inform implements proxy.Front.
func (s *h2stream) Inform(h *head.Head) error {
	if err := s.lost(); err != nil {
		return err
	}
	return s.send(frameHeaders, flagEndHeaders, block(h, h.Status))
}

func (s *h2stream) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reset {
		return errReset
	}
	return nil
}

// Start implements proxy.Front.
func (s *h2stream) Start(h *head.Head, length int64, bodyless bool) error {
	if err := s.lost(); err != nil {
		return err
	}
	if !bodyless {
		if length < 0 {
			length = head.LengthNone // the end of the stream says how long it is
		}
		h.SetFraming(length)
	}
	return s.send(frameHeaders, flagEndHeaders, block(h, h.Status))
}

// Write implements proxy.Front.
func (s *h2stream) Write(p []byte) error {
	for len(p) > 0 {
		s.mu.Lock()
		for s.window <= 0 && !s.reset && !s.inline {
			s.changed.Wait()
		}
		if s.window <= 0 && !s.reset {
			panic("the reader must not wait for its own frames")
		}
		n := int(min(int64(len(p)), s.window, 16<<10))
		s.window -= int64(n)
		reset := s.reset
		s.mu.Unlock()
		if reset {
			return errReset
		}
		if err := s.send(frameData, 0, p[:n]); err != nil {
			return err
		}
		s.delivered += int64(n)
		p = p[n:]
	}
	return nil
}

// Delivered implements proxy.Front.
func (s *h2stream) Delivered() (int64, bool) { return s.delivered, true }

// Move implements proxy.Front.
func (s *h2stream) Move(body.Kernel, int64) (int64, error, error) {
	return 0, nil, errors.ErrUnsupported
}

// Flush implements proxy.Front.
func (s *h2stream) Flush() error { return s.lost() }

// Finish implements proxy.Front.
func (s *h2stream) Finish(trailer *head.Head) error {
	if err := s.lost(); err != nil {
		return err
	}
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	if trailer != nil {
		trailer.DelFunc(func(f head.Field) bool { return !head.MayTrail(f.Name) })
		return s.send(frameHeaders, flagEndHeaders|flagEndStream, block(trailer, 0))
	}
	return s.send(frameData, flagEndStream, nil)
}

// Abort implements proxy.Front.
func (s *h2stream) Abort() {
	s.mu.Lock()
	reset := s.reset
	s.reset = true
	s.mu.Unlock()
	if !reset {
		s.send(frameReset, 0, binary.BigEndian.AppendUint32(nil, codeInternal))
	}
}

// CloseAfter implements proxy.Front: other streams go on, and over sees to this one.
func (s *h2stream) CloseAfter() {}

// PauseReading implements proxy.Front.
func (s *h2stream) PauseReading() { s.body.pause(true) }

// ResumeReading implements proxy.Front.
func (s *h2stream) ResumeReading() { s.body.pause(false) }

// Room implements proxy.Front.
func (s *h2stream) Room() int { return math.MaxInt }

// BePatient implements proxy.Front: the sketch bounds no silence.
func (s *h2stream) BePatient(time.Duration, bool) {}

// Tunnel implements proxy.Front. Only requests of HTTP/1.1 can ask for one.
func (s *h2stream) Tunnel(*head.Head) (net.Conn, []byte, error) {
	return nil, nil, errors.ErrUnsupported
}

// h2body is the Source of a body that comes in DATA frames.
type h2body struct {
	s       *h2stream
	mu      sync.Mutex
	changed *sync.Cond
	arrived []byte
	lent    []byte
	ends    bool // all of it has arrived
	left    int64
	seen    int64
	err     error // final; io.EOF after the end
	failure error // what comes after what has arrived
	paused  bool
	trailer *head.Head
}

func newH2Body(s *h2stream, length int64, ends bool) *h2body {
	b := &h2body{s: s, left: max(length, -1), ends: ends}
	b.changed = sync.NewCond(&b.mu)
	if ends || length == 0 {
		b.left, b.err = 0, io.EOF
	}
	return b
}

// take takes a frame.
func (b *h2body) take(p []byte, end bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arrived = append(b.arrived, p...)
	b.ends = b.ends || end
	b.changed.Broadcast()
}

// trail takes the trailer section.
func (b *h2body) trail(block []byte) {
	fields, err := parseFields(block)
	t := new(head.Head)
	for _, f := range fields {
		if err == nil {
			err = t.Fill([]byte(f.name), []byte(f.value))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trailer, b.ends = t, true; err != nil {
		b.failure = head.DefectTrailer
	}
	b.changed.Broadcast()
}

// stop makes every read fail that would wait.
func (b *h2body) stop(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == nil {
		b.failure = err
	}
	b.changed.Broadcast()
}

// pause makes every read fail, or not any more.
func (b *h2body) pause(paused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = paused
	b.changed.Broadcast()
}

var defectLength = &head.Defect{Status: 400, Name: "content-length does not agree with the frames"}

// Next implements body.Source.
func (b *h2body) Next([]byte) ([]byte, error) {
	p, err := b.next()
	if len(p) > 0 && !b.locked(func() bool { return b.ends }) {
		b.s.send(frameWindowUpdate, 0, binary.BigEndian.AppendUint32(nil, uint32(len(p))))
	}
	return p, err
}

func (b *h2body) next() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && len(b.arrived) == 0 && !b.ends && b.failure == nil && !b.paused {
		b.changed.Wait()
	}
	if b.paused {
		return nil, body.ErrPaused
	}
	switch n := int64(len(b.arrived)); {
	case b.err != nil:
	case b.left >= 0 && (n > b.left || b.ends && n < b.left):
		b.err = defectLength
	case n > 0:
		b.lent, b.arrived = b.arrived, b.lent[:0]
		b.seen += n
		if b.left > 0 {
			b.left -= n
		}
		if b.ends && b.trailer == nil || b.left == 0 {
			b.err = io.EOF // nothing can follow
		}
		return b.lent, nil
	case b.failure != nil:
		b.err = b.failure
	default:
		b.err = io.EOF
	}
	return nil, b.err
}

func (b *h2body) locked(what func() bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return what()
}

// Ready implements body.Source.
func (b *h2body) Ready() bool {
	return b.locked(func() bool { return b.err != nil || b.ends || len(b.arrived) > 0 || b.failure != nil })
}

// Whole implements body.Source.
func (b *h2body) Whole() bool {
	return b.locked(func() bool { return b.err == io.EOF || b.ends && b.failure == nil && int64(len(b.arrived)) == b.left })
}

// Done implements body.Source.
func (b *h2body) Done() bool { return b.locked(func() bool { return b.err == io.EOF }) }

// Proven implements body.Source.
func (b *h2body) Proven() bool { return b.Done() }

// Left implements body.Source.
func (b *h2body) Left() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left
}

// Seen implements body.Source.
func (b *h2body) Seen() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// Trailer implements body.Source.
func (b *h2body) Trailer() *head.Head {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != io.EOF {
		return nil
	}
	return b.trailer
}

// Kernel implements body.Source.
func (b *h2body) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (b *h2body) Moved(int64) { panic("BUG: bytes of frames cannot be moved inside the kernel") }
