package http1

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize is what the kernel is asked to let a pipe hold. The system may allow
// less.
const pipeSize = 1 << 20

// pipe carries bytes from socket to socket inside the kernel.
type pipe struct {
	ends
	size    int
	cleanup runtime.Cleanup
}

// ends are the descriptors of a pipe.
type ends struct{ r, w int }

func (e ends) close() {
	unix.Close(e.r)
	unix.Close(e.w)
}

// pipes pools empty pipes. One that the pool drops is closed when it is
// collected.
var pipes sync.Pool

// splicer moves bytes from one connection to another. The callbacks are made
// once, because they would be allocated for every move.
type splicer struct {
	pipe     *pipe
	src, dst syscall.RawConn
	want     int // for the next fill
	held     int // bytes in the pipe
	n        int
	err      error
	fillFn   func(fd uintptr) bool
	drainFn  func(fd uintptr) bool
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

// fill moves bytes into the pipe, once some are there.
func (s *splicer) fill(fd uintptr) bool {
	n, err := unix.Splice(int(fd), nil, s.pipe.w, nil, s.want, spliceFlags)
	if err == unix.EAGAIN || err == unix.EINTR {
		return false
	}
	s.n, s.err = int(n), err
	return true
}

// drain moves the pipe's bytes out, all that the socket takes.
func (s *splicer) drain(fd uintptr) bool {
	for s.held > 0 {
		n, err := unix.Splice(s.pipe.r, nil, int(fd), nil, s.held, spliceFlags)
		switch err {
		case nil:
			s.held -= int(n)
		case unix.EAGAIN, unix.EINTR:
			return false
		default:
			s.err = err
			return true
		}
	}
	return true
}

// splice moves n bytes from src to the client. Every wait for src is bounded by
// idle, every wait for the client as any write is.
func (c *conn) splice(src *net.TCPConn, n int64, idle time.Duration) (moved int64, srcErr, err error) {
	s, err := c.newSplicer(src)
	if err != nil {
		return 0, nil, errors.ErrUnsupported
	}
	defer s.done()
	for moved < n {
		s.want = int(min(n-moved, int64(s.pipe.size)))
		if idle > 0 {
			src.SetReadDeadline(time.Now().Add(idle))
		}
		err := s.src.Read(s.fillFn)
		if err == nil {
			err = s.err
		}
		if err == nil && s.n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return moved, err, nil
		}
		s.held = s.n
		for s.held > 0 {
			before := s.held
			c.armWrite(s.held)
			err := s.dst.Write(s.drainFn)
			if err == nil {
				err = s.err
			}
			if err == nil {
				continue
			}
			if !isTimeout(err) || int64(before-s.held) < c.leastProgress() {
				c.err = err
				return moved, nil, err
			}
			c.writeArmed = time.Time{}
		}
		moved += int64(s.n)
		c.left -= int64(s.n)
	}
	return moved, nil, nil
}

func (c *conn) newSplicer(src *net.TCPConn) (*splicer, error) {
	s := new(splicer)
	s.fillFn, s.drainFn = s.fill, s.drain
	var err error
	if s.src, err = src.SyscallConn(); err != nil {
		return nil, err
	}
	if s.dst, err = c.tcp.SyscallConn(); err != nil {
		return nil, err
	}
	if p, _ := pipes.Get().(*pipe); p != nil {
		s.pipe = p
		return s, nil
	}
	s.pipe, err = newPipe()
	return s, err
}

// done gives the pipe back, or closes it if bytes are left in it.
func (s *splicer) done() {
	if s.held == 0 {
		pipes.Put(s.pipe)
		return
	}
	s.pipe.cleanup.Stop()
	s.pipe.ends.close()
}

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	p := &pipe{ends: ends{r: fds[0], w: fds[1]}}
	size, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil {
		if size, err = unix.FcntlInt(uintptr(p.w), unix.F_GETPIPE_SZ, 0); err != nil {
			p.ends.close()
			return nil, err
		}
	}
	p.size = size
	p.cleanup = runtime.AddCleanup(p, ends.close, p.ends)
	return p, nil
}
