package sock

import (
	"net"
	"syscall"
)

// Probe tells without blocking what waits on a socket. It allocates nothing
// after NewProbe. A Probe is not safe for concurrent use.
type Probe struct {
	raw   syscall.RawConn
	check func(fd uintptr)
	found Pending
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
	p.check = func(fd uintptr) { p.found = pending(fd) }
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
	return p.found
}
