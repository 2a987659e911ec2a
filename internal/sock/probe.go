package sock

import (
	"net"
	"syscall"
	"unsafe"
)

// Probe tells without blocking what waits on a socket. It allocates nothing
// after NewProbe. A Probe is not safe for concurrent use.
type Probe struct {
	raw   syscall.RawConn
	check func(fd uintptr)
	b     [1]byte
	n     int
	errno syscall.Errno
}

// Pending is what a Probe found.
type Pending uint8

// The findings of a Probe.
const (
	// PendingNothing: the socket is open and quiet.
	PendingNothing Pending = iota
	// PendingBytes: bytes can be read.
	PendingBytes
	// PendingEnd: the peer closed its sending side, and perhaps more.
	PendingEnd
	// PendingBroken: the connection was reset or is closed on our side.
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
		// A raw call: with MSG_DONTWAIT it never blocks, so the scheduler need
		// not know of it.
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p.b[0])), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		p.n, p.errno = int(n), errno
	}
	return p
}

// Look peeks at the socket.
func (p *Probe) Look() Pending {
	if p == nil {
		return PendingNothing
	}
	if err := p.raw.Control(p.check); err != nil {
		return PendingBroken
	}
	switch {
	case p.errno == syscall.EAGAIN || p.errno == syscall.EINTR:
		return PendingNothing
	case p.errno != 0:
		return PendingBroken
	case p.n == 0:
		return PendingEnd
	}
	return PendingBytes
}
