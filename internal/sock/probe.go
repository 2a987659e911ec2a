package sock

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Probe tells without blocking what waits on a socket. It allocates nothing
// after NewProbe. A Probe is not safe for concurrent use.
type Probe struct {
	raw   syscall.RawConn
	check func(fd uintptr)
	poll  unix.PollFd
	now   unix.Timespec // zero: the poll does not wait
	errno syscall.Errno
}

// Pending is what a Probe found.
type Pending uint8

// The findings of a Probe.
const (
	// PendingNothing: the socket is open and quiet.
	PendingNothing Pending = iota
	// PendingBytes: bytes can be read, and more may come.
	PendingBytes
	// PendingEnd: the peer closed its sending side, and perhaps more. Bytes that it sent
	// before may still have to be read.
	PendingEnd
	// PendingBroken: the connection was reset, is closed on our side, or is one of a unix
	// socket that the peer has closed.
	PendingBroken
)

// NewProbe returns a Probe for a TCP or unix socket, nil for anything else: a
// nil Probe always finds nothing.
func NewProbe(c net.Conn) *Probe {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &Probe{raw: raw}
	p.check = func(fd uintptr) {
		// A poll, because a peek cannot see an end that has bytes before it. A raw call,
		// because a poll without time to wait never blocks.
		p.poll = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		_, _, p.errno = syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p.poll)), 1, uintptr(unsafe.Pointer(&p.now)), 0, 0, 0)
	}
	return p
}

// Look looks at the socket.
func (p *Probe) Look() Pending {
	if p == nil {
		return PendingNothing
	}
	if err := p.raw.Control(p.check); err != nil {
		return PendingBroken
	}
	switch found := p.poll.Revents; {
	case p.errno != 0:
		return PendingNothing // the kernel could not look
	case found&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return PendingBroken
	case found&unix.POLLRDHUP != 0:
		return PendingEnd
	case found&unix.POLLIN != 0:
		return PendingBytes
	}
	return PendingNothing
}
