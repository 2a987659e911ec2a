package http1

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"weir/internal/wire"
)

// pipeSize is what the kernel is asked to let a pipe hold. The system may allow
// less.
const pipeSize = 1 << 20

// pipe carries bytes from socket to socket inside the kernel.
// One that is dropped with its splicer is closed when it is collected.
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

// splicer moves bytes from one connection to another. It is pooled with its pipe,
// and with its callbacks, which would else be allocated for every move.
type splicer struct {
	pipe    *pipe
	want    int // for the next fill
	held    int // bytes in the pipe
	n       int
	err     error
	fillFn  func(fd uintptr) bool
	drainFn func(fd uintptr) bool
}

// splicers pools splicers whose pipe is empty.
var splicers sync.Pool

func acquireSplicer() (*splicer, error) {
	if s, _ := splicers.Get().(*splicer); s != nil {
		return s, nil
	}
	p, err := newPipe()
	if err != nil {
		return nil, err
	}
	s := &splicer{pipe: p}
	s.fillFn, s.drainFn = s.fill, s.drain
	return s, nil
}

// release gives s back, or closes its pipe if bytes are left in it.
func (s *splicer) release() {
	if s.held == 0 {
		splicers.Put(s)
		return
	}
	s.pipe.cleanup.Stop()
	s.pipe.ends.close()
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

// fill moves bytes into the pipe, once some are there.
func (s *splicer) fill(fd uintptr) bool {
	for {
		n, err := unix.Splice(int(fd), nil, s.pipe.w, nil, s.want, spliceFlags)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.n, s.err = int(n), err
			return true
		}
	}
}

// drain moves the pipe's bytes out, all that the socket takes.
func (s *splicer) drain(fd uintptr) bool {
	for s.held > 0 {
		n, err := unix.Splice(s.pipe.r, nil, int(fd), nil, s.held, spliceFlags)
		switch err {
		case nil:
			s.held -= int(n)
		case unix.EINTR:
		case unix.EAGAIN:
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
func (c *conn) splice(src *wire.Stream, n int64, idle time.Duration) (moved int64, srcErr, err error) {
	s, err := acquireSplicer()
	if err != nil {
		return 0, nil, errors.ErrUnsupported
	}
	defer s.release()
	for moved < n {
		s.want, s.err = int(min(n-moved, int64(s.pipe.size))), nil
		if idle > 0 {
			src.SetReadDeadline(time.Now().Add(idle))
		}
		err := src.Raw().Read(s.fillFn)
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
			err := c.stream.Raw().Write(s.drainFn)
			if err == nil {
				err = s.err
			}
			if err == nil {
				continue
			}
			if !wire.TimedOut(err) || int64(before-s.held) < c.leastProgress() {
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
