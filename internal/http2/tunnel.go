package http2

import (
	"net"
	"os"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/head"
)

// Tunnel implements proxy.Front: what the target has agreed to becomes the answer to an extended
// CONNECT (RFC 8441 section 5).
func (s *stream) Tunnel(h *head.Head) (net.Conn, []byte, error) {
	err := s.enter()
	defer s.leave()
	switch {
	case err != nil:
		return nil, nil, err
	case !s.tunnel:
		return nil, nil, errNoTunnel
	}
	h.SetStatus(200)
	h.Del(websocketAccept)
	s.state, s.left = streamAnswering, -1
	s.begun, s.joined = true, true
	s.c.sendHead(s, h, 200, lengthUnsaid)
	s.code = h2.ErrCodeCancel
	s.flush()
	s.in.err, s.in.left, s.in.due = nil, -1, -1
	return &tunnel{s: s}, nil, nil
}

var websocketAccept = head.NewName("Sec-WebSocket-Accept")

// tunnel is the bytes of a stream as a connection. It is used as long as the exchange runs.
type tunnel struct {
	s *stream
	// read and write are the deadlines. conn.mu guards them.
	read, write deadline
	rest        []byte // of the piece that was read in part
}

// deadline wakes the goroutines that wait once its time has come.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// passed says whether the time has come.
func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// arm makes wake be called at the deadline.
func (d *deadline) arm(wake func()) {
	switch {
	case d.at.IsZero():
	case d.timer == nil:
		d.timer = time.AfterFunc(time.Until(d.at), wake)
	default:
		d.timer.Reset(time.Until(d.at))
	}
}

func (d *deadline) disarm() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// Read implements net.Conn.
func (t *tunnel) Read(p []byte) (int, error) {
	c, in := t.s.c, &t.s.in
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(t.rest) == 0 {
		t.read.arm(t.wakeRead)
		for in.err == nil && !in.here() {
			if t.read.passed() {
				return 0, os.ErrDeadlineExceeded
			}
			in.readable.Wait()
		}
		t.read.disarm()
		var err error
		if t.rest, err = in.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *tunnel) wakeRead() {
	t.s.c.mu.Lock()
	defer t.s.c.mu.Unlock()
	t.s.in.readable.Broadcast()
}

// Write implements net.Conn.
func (t *tunnel) Write(p []byte) (int, error) {
	s, c := t.s, t.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.state != streamAnswering {
		return 0, errEnded
	}
	if len(p) == 0 {
		return 0, nil
	}
	c.queue(s, p)
	c.Pump()
	c.Flush()
	t.write.arm(t.wakeWrite)
	for len(s.pending) > 0 && !t.write.passed() {
		s.writable.Wait()
	}
	t.write.disarm()
	n := len(p) - len(s.pending)
	switch {
	case s.lost != nil:
		return 0, s.lost
	case len(s.pending) > 0:
		c.unqueue(s)
		s.pending = nil
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func (t *tunnel) wakeWrite() {
	t.s.c.mu.Lock()
	defer t.s.c.mu.Unlock()
	t.s.writable.Broadcast()
}

// CloseWrite ends the direction to the client.
func (t *tunnel) CloseWrite() error {
	s := t.s
	err := s.enter()
	defer s.leave()
	if err != nil {
		return err
	}
	s.c.Frame(0, h2.FrameData, h2.FlagDataEndStream, s.id)
	s.state = streamHalf
	s.flush()
	return nil
}

// Close implements net.Conn.
func (t *tunnel) Close() error {
	t.s.Abort()
	return nil
}

// SetDeadline implements net.Conn.
func (t *tunnel) SetDeadline(at time.Time) error {
	t.SetReadDeadline(at)
	return t.SetWriteDeadline(at)
}

// SetReadDeadline implements net.Conn.
func (t *tunnel) SetReadDeadline(at time.Time) error {
	t.s.c.mu.Lock()
	defer t.s.c.mu.Unlock()
	t.read.at = at
	t.s.in.readable.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (t *tunnel) SetWriteDeadline(at time.Time) error {
	t.s.c.mu.Lock()
	defer t.s.c.mu.Unlock()
	t.write.at = at
	t.s.writable.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return t.s.c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return t.s.c.nc.RemoteAddr() }
