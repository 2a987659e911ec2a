package floor

import (
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// conn is a connection that writes and then waits for what comes back.
type conn struct {
	net.Conn
	raw     syscall.RawConn
	buffers *sync.Pool

	// What one exchange has left to do, and its result.
	out  []byte
	held *buffer // holds out
	in   *buffer
	n    int
	err  error
	// step is writeThenRead, bound once so that an exchange allocates nothing.
	step func(fd uintptr) bool
}

func newConn(c net.Conn, buffers *sync.Pool) (*conn, error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("cannot forward over a %T: it is no socket", c)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot use a socket: %w", err)
	}
	made := &conn{Conn: c, raw: raw, buffers: buffers}
	made.step = made.writeThenRead
	return made, nil
}

// exchange writes out, which held holds, and returns the buffer that the bytes
// coming back were read into, and their number. It gives held back as soon as out
// is written and takes the other buffer once there is something to read, so a
// waiting connection has none. held and out may be nil.
func (c *conn) exchange(held *buffer, out []byte) (in *buffer, n int, err error) {
	c.held, c.out = held, out
	if err := c.raw.Read(c.step); err != nil {
		return nil, 0, err
	}
	if len(c.out) > 0 && c.err == nil {
		// The socket did not take everything: write the rest in the ordinary way.
		if _, err := c.Conn.Write(c.out); err != nil {
			return nil, 0, err
		}
		c.out = nil
		c.giveBack()
		if err := c.raw.Read(c.step); err != nil {
			return nil, 0, err
		}
	}
	if c.err == nil && c.n == 0 {
		c.err = io.EOF
	}
	in, c.in = c.in, nil
	return in, c.n, c.err
}

// writeThenRead is called with the socket at once, and again whenever the socket
// may be readable until it returns true. The first call writes without reading: a
// read directly after a write would find nothing.
func (c *conn) writeThenRead(fd uintptr) bool {
	if len(c.out) > 0 {
		var n int
		n, c.err = syscall.Write(int(fd), c.out)
		if c.err == syscall.EAGAIN {
			n, c.err = 0, nil
		}
		if c.err != nil {
			return true
		}
		if c.out = c.out[n:]; len(c.out) > 0 {
			return true // exchange writes the rest
		}
		c.giveBack()
		return false
	}
	c.in = c.buffers.Get().(*buffer)
	c.n, c.err = syscall.Read(int(fd), c.in.message())
	if c.err == syscall.EAGAIN {
		c.buffers.Put(c.in)
		c.in = nil
		return false
	}
	return true
}

func (c *conn) giveBack() {
	if c.held != nil {
		c.buffers.Put(c.held)
		c.held = nil
	}
}
