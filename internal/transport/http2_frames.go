package transport

import (
	"math"
	"strconv"
	"sync"
	"unsafe"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/frames"
	"weir/internal/head"
)

const (
	// idleForData is what a frame of a body in either direction gives back of the frames that may move nothing,
	// idleForHead the head of a response.
	idleForData, idleForHead = 4, 16
	// updatedFor is how many bytes of a body that was sent allow the target one update of a window, maxUpdatedFor
	// how many of them may count at once.
	updatedFor, maxUpdatedFor = 1 << 10, 16 << 20
	// maxAcks is how many answers to SETTINGS and PING may wait to be written.
	maxAcks = 100
	// moreFrames is how many frames of a header list may come beyond those that a list of the
	// largest size takes.
	moreFrames = 8
)

// take deals with one frame. It returns why the connection is to end.
func (c *framedConn) take(f h2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.agreed {
		s, ok := f.(*h2.SettingsFrame)
		if !ok || s.IsAck() {
			return protocolFault("the first frame is not SETTINGS")
		}
		if err := c.takeSettings(s); err != nil {
			return err
		}
		c.agreed = true
		close(c.settled)
		return nil
	}
	switch f := f.(type) {
	case *h2.HeadersFrame:
		return c.takeHeaders(f)
	case *h2.ContinuationFrame:
		c.block.frames++
		return c.takeFragment(f.HeaderBlockFragment(), f.HeadersEnded())
	case *h2.DataFrame:
		return c.takeData(f)
	case *h2.WindowUpdateFrame:
		return c.takeWindow(f)
	case *h2.RSTStreamFrame:
		return c.takeReset(f)
	case *h2.SettingsFrame:
		return c.takeSettings(f)
	case *h2.PingFrame:
		return c.takePing(f)
	case *h2.GoAwayFrame:
		return c.takeGoAway(f)
	case *h2.PushPromiseFrame:
		return protocolFault("PUSH_PROMISE, which was not allowed")
	}
	return c.idleFrame()
}

// idleFrame notes a frame that moves nothing.
func (c *framedConn) idleFrame() error {
	if !c.idle.Take(c.pulse.heard) {
		return &fault{h2.ErrCodeEnhanceYourCalm, "too many frames that move nothing"}
	}
	return nil
}

// moved notes that a frame moved something.
func (c *framedConn) moved(gives int) {
	c.idle.GiveBack(gives)
	c.pulse.moved()
}

// takeSettings takes what the target asks for. c.mu is held.
func (c *framedConn) takeSettings(f *h2.SettingsFrame) error {
	if err := c.idleFrame(); err != nil || f.IsAck() {
		return err
	}
	if code := c.settings.Take(f); code != h2.ErrCodeNo {
		return &fault{code, "invalid SETTINGS"}
	}
	streams := int64(-1)
	for i := range f.NumSettings() {
		s := f.Setting(i)
		switch s.ID {
		case h2.SettingMaxConcurrentStreams:
			streams = int64(s.Val)
		case h2.SettingHeaderTableSize:
			c.Encoder.TableSize(s.Val)
		case h2.SettingInitialWindowSize:
			more := int64(s.Val) - c.initial
			c.initial += more
			for _, s := range c.streams {
				if s.out.window += more; s.out.window > math.MaxInt32 {
					return &fault{h2.ErrCodeFlowControl, "window of a stream is too large"}
				}
			}
		}
	}
	if streams >= 0 {
		c.t.allow(c, uint32(streams))
	} else if !c.agreed {
		c.t.allow(c, math.MaxInt32)
	}
	c.AckSettings()
	return c.boundAcks()
}

// boundAcks ends a target that asks for answers and does not read them. c.mu is held.
func (c *framedConn) boundAcks() error {
	if c.Acks > maxAcks && c.Writing() {
		return &fault{h2.ErrCodeEnhanceYourCalm, "too many SETTINGS and PING whose answers are not read"}
	}
	return nil
}

// takePing answers a PING. c.mu is held.
func (c *framedConn) takePing(f *h2.PingFrame) error {
	if !f.IsAck() {
		c.Ping(true, f.Data)
		if err := c.boundAcks(); err != nil {
			return err
		}
	}
	return c.idleFrame()
}

// takeGoAway makes the connection get no more exchanges. Those that the target has not
// looked at may be repeated. c.mu is held.
func (c *framedConn) takeGoAway(f *h2.GoAwayFrame) error {
	c.t.leave(c)
	c.parting = true
	refused := false
	for id, s := range c.streams {
		if id > f.LastStreamID {
			s.refuse(f.ErrCode)
			refused = true
		}
	}
	if refused {
		c.t.lastsFor(int(f.LastStreamID+1) / 2)
	}
	if len(c.streams) == 0 {
		return errUnused
	}
	return c.idleFrame()
}

// takeWindow lets more of bodies leave. c.mu is held.
func (c *framedConn) takeWindow(f *h2.WindowUpdateFrame) error {
	if c.sent >= updatedFor {
		c.sent -= updatedFor
	} else if err := c.idleFrame(); err != nil {
		return err
	}
	n := int64(f.Increment)
	if f.StreamID == 0 {
		if c.window += n; c.window > math.MaxInt32 {
			return &fault{h2.ErrCodeFlowControl, "window of the connection is too large"}
		}
		return nil
	}
	if f.StreamID >= c.next {
		return protocolFault("WINDOW_UPDATE of a stream that was not begun")
	}
	if s := c.streams[f.StreamID]; s != nil {
		if s.out.window += n; s.out.window > math.MaxInt32 {
			s.reset(h2.ErrCodeFlowControl, defectFrames)
		}
	}
	return nil
}

// takeReset ends a stream, or only what is sent of it. c.mu is held.
func (c *framedConn) takeReset(f *h2.RSTStreamFrame) error {
	if f.StreamID >= c.next {
		return protocolFault("RST_STREAM of a stream that was not begun")
	}
	s := c.streams[f.StreamID]
	switch {
	case s == nil || s.lost != nil:
		return c.idleFrame()
	case s.in.ended:
		s.closed = true
		s.out.stop(errNotWanted) // the answer is whole (RFC 9113 section 8.1)
	case f.ErrCode == h2.ErrCodeRefusedStream || f.ErrCode == h2.ErrCodeHTTP11Required:
		s.closed = true
		s.refuse(f.ErrCode)
	default:
		s.closed = true
		s.lose(&resetError{f.ErrCode})
	}
	return nil
}

// takeData takes a part of a response's body. c.mu is held.
func (c *framedConn) takeData(f *h2.DataFrame) error {
	id, size, data := f.StreamID, int64(f.Length), f.Data()
	if id >= c.next {
		return protocolFault("DATA of a stream that was not begun")
	}
	if c.held -= size; c.held < 0 {
		return &fault{h2.ErrCodeFlowControl, "more DATA than the connection's window"}
	}
	if c.taken += size; c.taken >= connWindow/4 {
		c.Window(0, c.taken)
		c.held += c.taken
		c.taken = 0
	}
	if len(data) > 0 {
		c.moved(idleForData)
	} else if err := c.idleFrame(); err != nil {
		return err
	}
	s := c.streams[id]
	if s == nil || s.lost != nil {
		if c.late -= size; c.late < 0 {
			return &fault{h2.ErrCodeStreamClosed, "DATA of a stream that was reset"}
		}
		return nil
	}
	in := &s.in
	in.window -= size
	in.taken += size - int64(len(data))
	switch {
	case in.ended:
		s.reset(h2.ErrCodeStreamClosed, defectFrames)
	case in.window < 0:
		s.reset(h2.ErrCodeFlowControl, defectFrames)
	case !s.answered:
		s.reset(h2.ErrCodeProtocol, defectFrames) // no head came before
	case !in.take(data, f.StreamEnded()):
		s.reset(h2.ErrCodeProtocol, defectLength)
	case in.owes():
		in.pay() // for padding, which no one reads (RFC 9113 section 6.1)
	}
	return nil
}

// framedBlock is a header block that is being read.
type framedBlock struct {
	open    bool
	s       *framedStream // nil if no exchange wants it
	trailer bool
	ends    bool
	frames  int
	// head is what the block becomes, nil before it has begun; size is that of its fields, as
	// HTTP/1.1 counts.
	head *head.Head
	size int
	// defect is what is wrong with it.
	defect *head.Defect
}

var (
	defectFrames = &head.Defect{Status: 502, Name: "malformed HTTP/2 response"}
	defectLength = &head.Defect{Status: 502, Name: "Content-Length does not agree with the frames"}
)

// heads pools the heads of responses until they are read.
var heads = sync.Pool{New: func() any { return new(head.Head) }}

// maxList is the size of header lists that is announced, which counts 32 bytes more for each field
// than HTTP/1.1 does.
func (c *framedConn) maxList() int { return 2 * c.t.head }

// takeHeaders takes the first frame of a header block. c.mu is held.
func (c *framedConn) takeHeaders(f *h2.HeadersFrame) error {
	id := f.StreamID
	if id%2 == 0 || id >= c.next {
		return protocolFault("HEADERS of a stream that was not begun")
	}
	s := c.streams[id]
	b := &c.block
	*b = framedBlock{open: true, ends: f.StreamEnded()}
	switch {
	case s == nil || s.lost != nil:
		if err := c.idleFrame(); err != nil {
			return err
		}
	case s.in.ended:
		return &fault{h2.ErrCodeStreamClosed, "HEADERS after the end of the stream"}
	default:
		c.moved(idleForHead)
		b.s, b.trailer = s, s.answered
		b.head = heads.Get().(*head.Head)
		if b.trailer {
			b.head.Reset()
		}
	}
	c.decoder.SetEmitEnabled(b.s != nil)
	return c.takeFragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

// takeFragment takes a part of a header block. c.mu is held.
func (c *framedConn) takeFragment(p []byte, last bool) error {
	b := &c.block
	if b.frames > c.maxList()/frames.MaxFrame+moreFrames {
		return &fault{h2.ErrCodeEnhanceYourCalm, "header list in too many frames"}
	}
	_, err := c.decoder.Write(p)
	if err == nil && last {
		err = c.decoder.Close()
	}
	switch {
	case err != nil:
		return &fault{h2.ErrCodeCompression, "malformed header block"}
	case !last:
		return nil
	}
	b.open = false
	if b.s != nil && b.s.lost == nil {
		b.s.takeBlock(b)
	}
	if b.head != nil {
		b.head.Reset()
		heads.Put(b.head)
	}
	*b = framedBlock{}
	return nil
}

// takeField takes a field that was decoded. c.mu is held.
func (c *framedConn) takeField(f hpack.HeaderField) {
	b := &c.block
	b.size += len(f.Name) + len(f.Value) + len(": \r\n")
	if b.size > c.t.head {
		// What follows is decoded, so that the table stays what the target takes it for, but not
		// looked at.
		b.defect = head.DefectHeadSize
		c.decoder.SetEmitEnabled(false)
		return
	}
	if b.defect == nil && !b.add(f) {
		b.defect = defectFrames
	}
}

// add adds a field, and says whether it may be there.
func (b *framedBlock) add(f hpack.HeaderField) bool {
	begun := b.trailer || b.head.Status != 0
	switch {
	case f.Name == "":
		return false
	case f.Name[0] == ':':
		status, err := strconv.Atoi(f.Value)
		if begun || f.Name != ":status" || err != nil || len(f.Value) != 3 || status < 100 || status == 101 {
			return false
		}
		b.head.StartResponse(status)
		b.head.Version = head.HTTP2
		return true
	case !begun:
		return false
	}
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return false
	}
	for i := range len(f.Name) {
		if c := f.Name[i]; 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return b.head.Fill(bytesOf(f.Name), bytesOf(f.Value)) == nil
}

// bytesOf returns the bytes of s, which are only read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
