package http2

import (
	"math"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/frames"
	"weir/proxy"
)

// take deals with one frame. It returns why the connection is to end.
func (c *conn) take(f h2.Frame) error {
	if !c.settled {
		s, ok := f.(*h2.SettingsFrame)
		if !ok || s.IsAck() {
			return protocolFault("the first frame is not SETTINGS")
		}
		c.settled = true
	}
	switch f := f.(type) {
	case *h2.HeadersFrame:
		return c.takeHeaders(frames.HeadersOf(f))
	case *h2.ContinuationFrame:
		return c.takeContinuation(f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f := f.(type) {
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
	case *h2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return c.resetFor(f.StreamID, h2.ErrCodeProtocol, defectDepends)
		}
	case *h2.PriorityUpdateFrame:
		c.prioritize(f.PrioritizedStreamID, f.Priority)
	case *h2.PushPromiseFrame:
		return protocolFault("PUSH_PROMISE of a client")
	}
	// After GOAWAY the client begins no more streams, and closes.
	return c.bounds.idleFrame(c.read)
}

// resetFor resets a stream because of what the client has sent. c.mu is held.
func (c *conn) resetFor(id uint32, code h2.ErrCode, why error) error {
	if s := c.streams[id]; s != nil && s.state != streamClosed {
		s.reset(code, why)
	} else {
		c.Reset(id, code)
	}
	return c.bounds.reset(time.Now())
}

// takeData takes a part of a request's body. c.mu is held.
func (c *conn) takeData(f *h2.DataFrame) error {
	id, size, data := f.StreamID, int(f.Length), f.Data()
	if id > c.last {
		return protocolFault("DATA of a stream that was not begun")
	}
	if !c.arrived(int64(size)) {
		return &fault{h2.ErrCodeFlowControl, proxy.EndProtocol, "more DATA than the connection's window"}
	}
	if len(data) > 0 {
		c.bounds.moved()
	} else if !f.StreamEnded() {
		if err := c.bounds.idleFrame(c.read); err != nil {
			return err
		}
	}
	s := c.streams[id]
	switch {
	case s == nil || s.state == streamClosed:
		c.giveBack(size)
		e := c.recent.find(id)
		if e != nil {
			if e.window -= int64(size); e.window < 0 {
				return &fault{h2.ErrCodeFlowControl, proxy.EndProtocol, "more DATA than the window of a stream that has ended"}
			}
		}
		if s != nil && !s.in.ended || e != nil {
			if s != nil {
				s.in.ended = f.StreamEnded()
			}
			return nil // sent before the client knew
		}
		return c.resetFor(id, h2.ErrCodeStreamClosed, defectClosed)
	case s.in.ended:
		c.giveBack(size)
		return c.resetFor(id, h2.ErrCodeStreamClosed, defectClosed)
	}
	if s.in.window -= int64(size); s.in.window < 0 {
		c.giveBack(size)
		return c.resetFor(id, h2.ErrCodeFlowControl, defectWindow)
	}
	if !s.in.take(data, f.StreamEnded()) {
		c.giveBack(size)
		s.in.fail(defectLength)
		return c.resetFor(id, h2.ErrCodeProtocol, defectLength)
	}
	if padding := size - len(data); padding > 0 {
		s.in.giveBack(int64(padding)) // no one reads it: only here the client gets its room again (RFC 9113 section 6.1)
	}
	return nil
}

// takeWindow lets more of bodies leave. c.mu is held.
func (c *conn) takeWindow(f *h2.WindowUpdateFrame) error {
	if err := c.bounds.updated(c.read); err != nil {
		return err
	}
	n := int64(f.Increment)
	if f.StreamID == 0 {
		if c.window += n; c.window > math.MaxInt32 {
			return &fault{h2.ErrCodeFlowControl, proxy.EndProtocol, "window of the connection is too large"}
		}
		return nil
	}
	if f.StreamID > c.last {
		return protocolFault("WINDOW_UPDATE of a stream that was not begun")
	}
	s := c.streams[f.StreamID]
	if s == nil || s.state == streamClosed {
		return nil
	}
	if s.window += n; s.window > math.MaxInt32 {
		return c.resetFor(s.id, h2.ErrCodeFlowControl, defectWide)
	}
	return nil
}

// takeReset ends a stream. c.mu is held.
func (c *conn) takeReset(f *h2.RSTStreamFrame) error {
	if f.StreamID > c.last {
		return protocolFault("RST_STREAM of a stream that was not begun")
	}
	c.recent.forget(f.StreamID)
	s := c.streams[f.StreamID]
	if s == nil || s.state == streamClosed {
		return c.bounds.idleFrame(c.read)
	}
	s.in.ended = true // nothing may follow
	s.lose(errReset)
	return c.bounds.reset(time.Now())
}

// takeSettings takes what the client asks for. c.mu is held.
func (c *conn) takeSettings(f *h2.SettingsFrame) error {
	if err := c.bounds.idleFrame(c.read); err != nil {
		return err
	}
	if f.IsAck() {
		return nil
	}
	if code := c.settings.Take(f); code != h2.ErrCodeNo {
		return &fault{code, proxy.EndProtocol, "invalid SETTINGS"}
	}
	for i := range f.NumSettings() {
		s := f.Setting(i)
		switch s.ID {
		case h2.SettingHeaderTableSize:
			c.Encoder.TableSize(s.Val)
		case h2.SettingInitialWindowSize:
			more := int64(s.Val) - c.initial
			c.initial += more
			for _, s := range c.streams {
				if s.window += more; s.window > math.MaxInt32 {
					return &fault{h2.ErrCodeFlowControl, proxy.EndProtocol, "window of a stream is too large"}
				}
			}
		}
	}
	c.AckSettings()
	return c.boundAcks()
}

// takePing answers a PING. c.mu is held.
func (c *conn) takePing(f *h2.PingFrame) error {
	if f.IsAck() {
		if f.Data == partingPing && c.parting == partingFirst {
			c.partLast()
			return nil
		}
		return c.bounds.idleFrame(c.read)
	}
	c.Ping(true, f.Data)
	if err := c.boundAcks(); err != nil {
		return err
	}
	return c.bounds.idleFrame(c.read)
}

// boundAcks ends a client that asks for answers and does not read them.
func (c *conn) boundAcks() error {
	if c.Acks > maxAcks && c.Writing() {
		return &fault{h2.ErrCodeEnhanceYourCalm, proxy.EndAcks, "too many SETTINGS and PING whose answers are not read"}
	}
	return nil
}
