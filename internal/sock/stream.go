package sock

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Stream is a TCP or unix connection whose reads and writes do not tell the
// scheduler that a system call is under way. On a socket that never blocks the
// call is shorter than the telling, and the runtime's monitor, which would
// otherwise take a processor away from a call of 20 us, stays asleep. The calls are
// those of sockets (recv, send): read and write, which know any file, cost the kernel
// more. One goroutine may read while another writes. Everything else is the
// connection's.
type Stream struct {
	// What every exchange uses lies together, out at its end: of 512 connections, the processor's cache has lost most
	// before it is used again.
	raw     syscall.RawConn
	readFn  func(fd uintptr) bool
	writeFn func(fd uintptr) bool
	askFn   func(fd uintptr) bool
	aheadFn func(fd uintptr) bool
	answer  func(fd uintptr) bool
	claim   func() bool
	claimed bool
	asking  question
	fresh   bool  // nothing was asked before
	held    int32 // what heldFn found
	in      reading
	out     transfer

	net.Conn
	fileFn func(fd uintptr) bool
	heldFn func(fd uintptr)
}

// maxCall bounds what one system call moves, because the scheduler cannot take
// the processor away from it.
const maxCall = 256 << 10

// reading is a read under way.
type reading struct {
	p     []byte
	n     int
	errno syscall.Errno
	hasty bool // rather stop than wait
}

// transfer is a write under way.
type transfer struct {
	p     []byte
	more  []byte // written after p
	n     int
	errno syscall.Errno
	hasty bool // rather stop than wait
	// vec is used where there is more.
	vec [2]syscall.Iovec
	msg syscall.Msghdr // of vec
	// file is where size bytes are read from, at offset, after p and more.
	file         int
	offset, size int64
}

// NewStream returns a Stream over c, or nil if c is no socket.
func NewStream(c net.Conn) *Stream {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	s := &Stream{Conn: c, raw: raw}
	s.readFn, s.writeFn, s.fileFn, s.askFn, s.heldFn, s.aheadFn = s.read, s.write, s.sendFile, s.ask, s.lookHeld, s.writeAhead
	return s
}

// Raw gives access to the descriptor.
func (s *Stream) Raw() syscall.RawConn { return s.raw }

func (s *Stream) read(fd uintptr) bool {
	t := &s.in
	for {
		n, errno := receive(fd, t.p, 0)
		switch errno {
		case 0:
			t.n = int(n)
			return true
		case syscall.EAGAIN:
			if t.hasty {
				t.errno = errno
			}
			return t.hasty
		case syscall.EINTR:
		default:
			t.errno = errno
			return true
		}
	}
}

// Read reads from the connection.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := &s.in
	t.p, t.n, t.errno = p, 0, 0
	err := s.raw.Read(s.readFn)
	t.p = nil
	if err != nil {
		return 0, err
	}
	return s.came()
}

// ReadHere reads what is there, or returns ErrAgain.
func (s *Stream) ReadHere(p []byte) (int, error) {
	s.Hasten(true)
	defer s.Hasten(false)
	return s.Read(p)
}

// Hasten makes Read do what ReadHere does, until Hasten(false).
func (s *Stream) Hasten(on bool) { s.in.hasty = on }

// ErrAgain says that nothing is there to be read yet. It is a net.Error: TLS goes on after it, because it is temporary.
var ErrAgain error = again{}

var _ net.Error = again{}

type again struct{}

func (again) Error() string   { return "nothing to read yet" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// ReadNow reads what is there, or returns ErrAgain. It is for functions that
// Raw's Read calls, with the descriptor that they are called with.
func (s *Stream) ReadNow(fd uintptr, p []byte) (int, error) {
	t := &s.in
	t.p, t.n, t.errno = p, 0, 0
	done := s.read(fd)
	t.p = nil
	if !done {
		return 0, ErrAgain
	}
	return s.came()
}

// came is what the last read brought.
func (s *Stream) came() (int, error) {
	t := &s.in
	switch {
	case t.errno == syscall.EAGAIN:
		return 0, ErrAgain
	case t.errno != 0:
		return 0, s.fault("read", t.errno)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

func (s *Stream) write(fd uintptr) bool {
	t := &s.out
	for len(t.p)+len(t.more) > 0 {
		n, errno := t.send(fd)
		switch errno {
		case 0:
			t.advance(int(n))
		case syscall.EAGAIN:
			return t.hasty
		case syscall.EINTR:
		default:
			t.errno = errno
			return true
		}
	}
	return true
}

// advance notes that n bytes were written.
func (t *transfer) advance(n int) {
	t.n += n
	if n < len(t.p) {
		t.p = t.p[n:]
		return
	}
	n -= len(t.p)
	t.p, t.more = t.more[n:], nil
}

// Write writes to the connection.
func (s *Stream) Write(p []byte) (int, error) { return s.WriteBoth(p, nil) }

// WriteNow writes of p and then more what the socket takes at once, in one
// system call if it takes all.
func (s *Stream) WriteNow(p, more []byte) (int, error) {
	s.out.hasty = true
	n, err := s.WriteBoth(p, more)
	s.out.hasty = false
	return n, err
}

// WriteBoth writes p and then more, in one system call if the socket takes them.
func (s *Stream) WriteBoth(p, more []byte) (int, error) {
	t := &s.out
	t.p, t.more, t.n, t.errno = p, more, 0, 0
	err := s.raw.Write(s.writeFn)
	t.p, t.more = nil, nil
	if err == nil && t.errno != 0 {
		err = s.fault("write", t.errno)
	}
	return t.n, err
}

// SendFile writes head and then size bytes of the file from offset on, which the
// kernel takes from there without a copy. The file must be in memory, as body.File
// says. If hasty it only writes what the socket takes at once.
func (s *Stream) SendFile(head []byte, file int, offset, size int64, hasty bool) (int64, error) {
	t := &s.out
	t.p, t.more, t.n, t.errno = head, nil, 0, 0
	t.file, t.offset, t.size, t.hasty = file, offset, size, hasty
	err := s.raw.Write(s.fileFn)
	t.p, t.hasty = nil, false
	if err == nil && t.errno != 0 {
		err = s.fault("sendfile", t.errno)
	}
	return int64(t.n) + size - t.size, err
}

func (s *Stream) sendFile(fd uintptr) bool {
	t := &s.out
	for len(t.p) > 0 || t.size > 0 {
		var n uintptr
		var errno syscall.Errno
		if len(t.p) > 0 {
			// The head leaves together with the first bytes of the file.
			n, errno = sendBefore(fd, t.p)
		} else {
			n, errno = t.sendFile(fd)
		}
		switch {
		case errno == syscall.EAGAIN:
			return t.hasty
		case errno == syscall.EINTR:
		case errno != 0:
			t.errno = errno
			return true
		case len(t.p) > 0:
			t.advance(int(n))
		case n == 0:
			t.errno = syscall.EIO // the file is shorter than it should be
			return true
		default:
			t.size -= int64(n)
		}
	}
	return true
}

// ErrNotQuiet says that a connection that should have been silent was closed, or
// held bytes that no request had asked for. Nothing was written.
var ErrNotQuiet = errors.New("unused connection was closed or spoken to")

// question is where Ask has got to.
type question uint8

const (
	questionLook question = iota
	questionWrite
	questionAnswer
)

// Ask writes out, and then calls answer, with the descriptor for ReadNow,
// whenever something may have come back, until answer returns true. If fresh is false,
// the connection is looked at first and must be open and silent, else the error is
// ErrNotQuiet; that saves the read after the write, which would return EAGAIN, because the
// goroutine is registered with the poller before. sent is how much was written: a
// peer that refuses a request may answer before all of it is.
func (s *Stream) Ask(out []byte, fresh bool, answer func(fd uintptr) bool) (sent int, err error) {
	t := &s.out
	t.p, t.more, t.n, t.errno = out, nil, 0, 0
	s.answer, s.asking, s.fresh = answer, questionLook, fresh
	if fresh {
		s.asking = questionWrite
	}
	err = s.raw.Read(s.askFn)
	sent, rest := t.n, t.p
	t.p, s.answer = nil, nil
	switch {
	case err != nil:
		return sent, err
	case s.asking == questionLook:
		return 0, ErrNotQuiet
	case s.asking == questionAnswer:
		return sent, nil
	case t.errno != 0:
		return 0, s.fault("write", t.errno)
	}
	// More than the socket takes at once.
	k, err := s.Write(rest)
	if sent += k; err != nil && sent == 0 {
		return 0, err
	}
	return sent, s.raw.Read(answer)
}

func (s *Stream) ask(fd uintptr) bool {
	if s.asking == questionLook {
		if !Silent(fd) {
			return true
		}
		s.asking = questionWrite
	}
	if s.asking == questionWrite {
		if !s.write(fd) {
			return true
		}
		if s.out.errno != 0 && s.out.n == 0 {
			return true
		}
		s.asking = questionAnswer
		if s.out.errno == 0 && !s.fresh {
			return false // what comes from now on wakes the goroutine
		}
		// A peer may have answered before it was asked (a server that is overloaded says so
		// as it accepts): that came before the goroutine was registered with the poller.
	}
	return s.answer(fd)
}

// WriteAhead writes what the socket takes of p at once, for a goroutine that waits for the answer. The connection must be open and
// silent, and then claim must return true; else the error is ErrNotQuiet and nothing was written. Once claim was called the
// answer may come, but the caller alone must write until WriteAhead has returned.
func (s *Stream) WriteAhead(p []byte, claim func() bool) (int, error) {
	t := &s.out
	t.p, t.more, t.n, t.errno, t.hasty = p, nil, 0, 0, true
	s.claim, s.claimed = claim, false
	err := s.raw.Write(s.aheadFn)
	t.p, t.hasty, s.claim = nil, false, nil
	switch {
	case !s.claimed:
		return 0, ErrNotQuiet // or closed on our side
	case err != nil:
		return t.n, err
	case t.errno != 0:
		return t.n, s.fault("write", t.errno)
	}
	return t.n, nil
}

func (s *Stream) writeAhead(fd uintptr) bool {
	s.claimed = Silent(fd) && s.claim()
	return !s.claimed || s.write(fd)
}

// Silent says that the socket is open and holds no byte. It is for functions that Raw's Read and Write call.
func Silent(fd uintptr) bool {
	var b [1]byte
	_, errno := receive(fd, b[:], syscall.MSG_PEEK)
	return errno == syscall.EAGAIN
}

// CloseWrite ends the sending side.
func (s *Stream) CloseWrite() error {
	return s.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (s *Stream) fault(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: s.LocalAddr().Network(), Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}
