package http2

import (
	"encoding/binary"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/sock"
)

const (
	// gathered is how much is gathered before body bytes have to wait.
	gathered = 64 << 10
	// maxBacklog is how much may be gathered for a client that does not read, before it is not
	// read from either.
	maxBacklog = 256 << 10
	// pooledOutput is the largest buffer that is pooled.
	pooledOutput = 128 << 10
	// record is the payload of a TLS record.
	record = 16 << 10
)

var outputs = sync.Pool{New: func() any { return new([]byte) }}

// output is the writing half of a conn. conn.mu guards it.
type output struct {
	// out are the frames to be written, pooled is what out was taken from.
	out    []byte
	pooled *[]byte
	// writing says that a goroutine writes, which also writes what is gathered meanwhile.
	writing bool
	// stuck says that the socket took less than it was given: what comes by priority is chosen
	// only when there is room again.
	stuck bool
	// broken is why nothing can be written any more.
	broken error
	// drained is signalled when something was written, or gone has been set.
	drained sync.Cond
	spool   sock.Spool
	pace    sock.Pace
	// round counts the buffers, so that a frame can be known to be still in out.
	round uint64
	// acks are how many answers to SETTINGS and PING are in out or in spool.
	acks int

	// window is how much the client takes of bodies, of all streams together; initial is what
	// a new stream gets.
	window, initial int64
	// sending are the streams with body bytes that wait, in the order of their turns.
	sending []*stream
	// refilling are streams that had body bytes, and whose next ones are on their way to sending.
	refilling []*stream
	// release ends refilling; nil until it is needed.
	release *time.Timer
	// stalled is when window became 0 with something to send; zero while it is not.
	stalled time.Time
	encoder encoder
}

const initialWindow = 64<<10 - 1 // RFC 9113 section 6.9.2

func (o *output) init() { o.window, o.initial = initialWindow, initialWindow }

// room makes sure that out has a buffer.
func (o *output) room() {
	if o.pooled == nil {
		o.pooled = outputs.Get().(*[]byte)
		o.out = (*o.pooled)[:0]
	}
}

// frame appends the header of a frame.
func (o *output) frame(size int, kind h2.FrameType, flags h2.Flags, stream uint32) {
	o.room()
	o.out = append(o.out, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// frame32 appends a frame with a payload of numbers.
func (o *output) frame32(kind h2.FrameType, stream uint32, payload ...uint32) {
	o.frame(4*len(payload), kind, 0, stream)
	for _, v := range payload {
		o.out = binary.BigEndian.AppendUint32(o.out, v)
	}
}

func (o *output) sendReset(stream uint32, code h2.ErrCode) {
	o.frame32(h2.FrameRSTStream, stream, uint32(code))
}

func (o *output) sendWindow(stream uint32, n int64) {
	o.frame32(h2.FrameWindowUpdate, stream, uint32(n))
}

func (o *output) sendGoAway(last uint32, code h2.ErrCode, text string) {
	o.frame(8+len(text), h2.FrameGoAway, 0, 0)
	o.out = binary.BigEndian.AppendUint32(o.out, last)
	o.out = append(binary.BigEndian.AppendUint32(o.out, uint32(code)), text...)
}

func (o *output) sendPing(ack bool, data [8]byte) {
	flags := h2.Flags(0)
	if ack {
		flags = h2.FlagPingAck
		o.acks++
	}
	o.frame(len(data), h2.FramePing, flags, 0)
	o.out = append(o.out, data[:]...)
}

// sendSettings sends what weir asks of the client (RFC 9113 section 6.5, RFC 8441, RFC 9218).
func (c *conn) sendSettings() {
	settings := [...]h2.Setting{
		{ID: h2.SettingMaxConcurrentStreams, Val: maxStreams},
		{ID: h2.SettingInitialWindowSize, Val: streamWindow},
		{ID: h2.SettingMaxHeaderListSize, Val: uint32(c.list)},
		{ID: h2.SettingEnableConnectProtocol, Val: 1},
		{ID: h2.SettingNoRFC7540Priorities, Val: 1},
	}
	c.frame(6*len(settings), h2.FrameSettings, 0, 0)
	for _, s := range settings {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, s.Val)
	}
	c.sendWindow(0, connWindow-initialWindow)
}

// flush writes what is gathered, unless another goroutine does. c.mu is held, but not while
// bytes are written, which never waits.
func (c *conn) flush() {
	if c.writing || c.broken != nil {
		return
	}
	c.writing = true
	for len(c.out) > 0 && c.broken == nil {
		out, pooled := c.out, c.pooled
		c.out, c.pooled = nil, nil
		c.round++
		c.mu.Unlock()
		kept, err := c.put(out)
		if cap(out) <= pooledOutput {
			*pooled = out[:0]
			outputs.Put(pooled)
		}
		c.mu.Lock()
		if err != nil {
			c.fail(err)
			break
		}
		if kept > 0 {
			c.stuck = true
			go c.drain() // which goes on with writing
			return
		}
		c.acks = 0
		c.pump()
	}
	c.writing = false
	c.drained.Broadcast()
}

// put writes p, and says how many bytes the socket did not take.
func (c *conn) put(p []byte) (kept int, err error) {
	corked := c.nc != c.under && len(p) > record
	if corked {
		c.spool.Cork()
	}
	_, err = c.nc.Write(p)
	if corked {
		if e := c.spool.Uncork(); err == nil {
			err = e
		}
	}
	return c.spool.Kept(), err
}

// drain writes what the socket did not take, and what is gathered meanwhile.
func (c *conn) drain() {
	err := c.spool.Drain(&c.pace)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing, c.stuck = false, false
	if err != nil {
		c.fail(err)
		c.drained.Broadcast()
		return
	}
	c.acks = 0
	c.pump()
	c.drained.Broadcast()
	c.flush()
}

// fail notes that the client cannot be written to: all streams end, and the reader too.
func (c *conn) fail(err error) {
	c.broken = slow(err, c.pace.Grace())
	if c.gone == nil {
		c.gone = c.broken
	}
	for _, s := range c.streams {
		s.lose(c.broken)
	}
	c.stop()
}

// pump moves body bytes into out, as far as there is room, those of the most urgent streams
// first. c.mu is held.
func (c *conn) pump() {
	for !c.stuck && len(c.out) < gathered && c.broken == nil {
		s := c.choose()
		if s == nil {
			return
		}
		n := int(min(int64(len(s.pending)), s.window, c.window, maxFrame))
		s.sendData(s.pending[:n])
		s.pending = s.pending[n:]
		s.stalled, c.stalled = time.Time{}, time.Time{}
		if len(s.pending) == 0 {
			c.unqueue(s)
			s.taken()
		}
	}
}
