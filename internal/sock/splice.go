package sock

import (
	"io"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Pipe carries bytes from one Stream to another inside the kernel. It is pooled
// with its callbacks, which would otherwise be allocated for every move. A Pipe
// is not safe for concurrent use.
type Pipe struct {
	ends    ends
	size    int
	cleanup runtime.Cleanup

	want    int // for the next Fill
	held    int // bytes in the pipe
	n       int
	err     error
	fillFn  func(fd uintptr) bool
	drainFn func(fd uintptr) bool
}

// ends are the descriptors of a pipe.
type ends struct{ r, w int }

func (e ends) close() {
	unix.Close(e.r)
	unix.Close(e.w)
}

// pipes pools empty pipes. A Pipe that the pool drops is closed when it is
// collected.
var pipes sync.Pool

// AcquirePipe returns an empty pipe, or the error of making one. Release gives
// the pipe back.
func AcquirePipe() (*Pipe, error) {
	if p, _ := pipes.Get().(*Pipe); p != nil {
		return p, nil
	}
	return newPipe()
}

// Release gives p back to the pool, or closes it if bytes are left in it.
func (p *Pipe) Release() {
	if p.held == 0 {
		pipes.Put(p)
		return
	}
	p.cleanup.Stop()
	p.ends.close()
}

// Held returns how many bytes are in the pipe.
func (p *Pipe) Held() int { return p.held }

// Fill waits until src has bytes and moves at most most of them into the pipe,
// which must be empty. The end of src is io.ErrUnexpectedEOF.
func (p *Pipe) Fill(src *Stream, most int64) error {
	p.want, p.n, p.err = int(min(most, int64(p.size))), 0, nil
	err := src.Raw().Read(p.fillFn)
	switch {
	case err != nil:
		return err
	case p.err != nil:
		return p.err
	case p.n == 0:
		return io.ErrUnexpectedEOF
	}
	p.held = p.n
	return nil
}

// Drain moves the bytes of the pipe to dst. After an error Held tells how many
// are left.
func (p *Pipe) Drain(dst *Stream) error {
	p.err = nil
	if err := dst.Raw().Write(p.drainFn); err != nil {
		return err
	}
	return p.err
}
