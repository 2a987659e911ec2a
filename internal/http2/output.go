package http2

import (
	"sync/atomic"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/frames"
	"weir/internal/head"
	"weir/proxy"
)

// output is the writing half of a conn. conn.mu guards it.
type output struct {
	frames.Output
	// window is how much the client takes of bodies, of all streams together; initial is what
	// a new stream gets.
	window, initial int64
	// sending are the streams with body bytes that wait, in the order of their turns.
	sending []*stream
	// crowded says that sending has crowd streams or more.
	crowded atomic.Bool
	// refilling are streams that had body bytes, and whose next ones are on their way to sending.
	refilling []*stream
	// release ends refilling; nil until it is needed.
	release *time.Timer
	// lent are the buffers for answers that the exchanges of all streams hold.
	lent int
	// gathering says that a stream that has its whole answer lets others add theirs, and writes all then.
	gathering bool
	// stalled is when window became 0 with something to send; zero while it is not.
	stalled time.Time
}

func (o *output) init() { o.window, o.initial = frames.InitialWindow, frames.InitialWindow }

// sendSettings sends what weir asks of the client (RFC 9113 section 6.5, RFC 8441, RFC 9218).
func (c *conn) sendSettings() {
	c.Settings(
		h2.Setting{ID: h2.SettingMaxConcurrentStreams, Val: maxStreams},
		h2.Setting{ID: h2.SettingInitialWindowSize, Val: streamWindow},
		h2.Setting{ID: h2.SettingMaxHeaderListSize, Val: uint32(c.list)},
		h2.Setting{ID: h2.SettingEnableConnectProtocol, Val: 1},
		h2.Setting{ID: h2.SettingNoRFC7540Priorities, Val: 1},
	)
	c.Window(0, connWindow-frames.InitialWindow)
}

// sendHead appends the head of an answer. length is what content-length says, or lengthUnsaid.
// c.mu is held.
func (c *conn) sendHead(s *stream, h *head.Head, status int, length int64) {
	e := &c.Encoder
	e.Begin()
	e.Status(status)
	if length >= 0 {
		e.Length(length)
	}
	e.Fields(h, 0)
	s.last, s.round = c.Block(s.id, e.Block(), 0), c.Round
	e.End()
}

// Failed implements frames.Owner: all streams end, and the reader too.
func (c *conn) Failed() {
	if err := proxy.Slow(c.Broken, c.c.Config().Timeouts.Grace.D(), 0); err != c.Broken {
		c.Broken = err
		c.listener().CountEnd(proxy.EndStalled)
	}
	if c.gone == nil {
		c.gone = c.Broken
	}
	for _, s := range c.streams {
		s.lose(c.Broken)
	}
	c.stop()
}

// Pump implements frames.Owner. The body bytes of the most urgent streams come first.
func (c *conn) Pump() {
	for c.Room() {
		s := c.choose()
		if s == nil {
			return
		}
		n := c.Fit(min(int64(len(s.pending)), s.window, c.window))
		s.sendData(s.pending[:n])
		s.pending = s.pending[n:]
		s.stalled, c.stalled = time.Time{}, time.Time{}
		if len(s.pending) == 0 {
			c.unqueue(s)
			s.taken()
		}
	}
}
