package sock

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// pipeSize is what the kernel is asked to let a pipe hold. The system may allow
// less.
const pipeSize = 1 << 20

func newPipe() (*Pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	p := &Pipe{ends: ends{r: fds[0], w: fds[1]}}
	size, err := unix.FcntlInt(uintptr(p.ends.w), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil {
		if size, err = unix.FcntlInt(uintptr(p.ends.w), unix.F_GETPIPE_SZ, 0); err != nil {
			p.ends.close()
			return nil, err
		}
	}
	p.size = size
	p.fillFn, p.drainFn = p.fill, p.drain
	p.cleanup = runtime.AddCleanup(p, ends.close, p.ends)
	return p, nil
}

const spliceFlags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK

func (p *Pipe) fill(fd uintptr) bool {
	for {
		n, err := unix.Splice(int(fd), nil, p.ends.w, nil, p.want, spliceFlags)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			p.n, p.err = int(n), err
			return true
		}
	}
}

// drain moves out all that the socket takes.
func (p *Pipe) drain(fd uintptr) bool {
	for p.held > 0 {
		n, err := unix.Splice(p.ends.r, nil, int(fd), nil, p.held, spliceFlags)
		switch err {
		case nil:
			p.held -= int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			p.err = err
			return true
		}
	}
	return true
}
