package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// ErrSilent says that an accept loop takes no connections.
var ErrSilent = errors.New("a connection was not accepted in time")

// Visit connects to each TCP socket and calls ask with the connection, to find out whether the
// listener serves. The accept loop knows the visitor: it gives the other end to Options.OnVisit, and
// neither counts it nor expects a PROXY header or TLS. An error is ask's, or one of the connection
// after an earlier visit came through: a machine may be set up so that none can. A loop that
// waits because a limit is reached is as it should be, and so is a listener that was closed.
func (l *Listener) Visit(ctx context.Context, ask func(net.Conn) error) error {
	l.visiting.Lock()
	defer l.visiting.Unlock()
	for _, socket := range l.sockets {
		address, ok := socket.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		err := l.visit(ctx, address.AddrPort(), ask)
		switch {
		case err == nil:
			l.visited = true
		case l.visited && l.waits.Load() == 0 && !l.Closed():
			return err
		}
	}
	return nil
}

// visit visits the socket at one address.
func (l *Listener) visit(ctx context.Context, address netip.AddrPort, ask func(net.Conn) error) error {
	ip, network := address.Addr().Unmap(), "tcp4"
	if ip.IsUnspecified() { // also that of IPv6 serves IPv4
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if ip.Is6() {
		network = "tcp6"
	}
	defer l.visitor.Store(nil)
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if controlErr := raw.Control(func(fd uintptr) { err = l.expect(int(fd), ip) }); controlErr != nil {
			return controlErr
		}
		return err
	}}
	c, err := dialer.DialContext(ctx, network, net.JoinHostPort(ip.String(), strconv.Itoa(int(address.Port()))))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ErrSilent
	case errors.Is(err, syscall.ECONNREFUSED):
		return err
	default:
		return nil // this process lacks what it needs to connect, such as descriptors
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	return ask(c)
}

// expect gives the visitor's socket an address, by which the accept loop knows it.
func (l *Listener) expect(fd int, ip netip.Addr) error {
	var from syscall.Sockaddr = &syscall.SockaddrInet6{Addr: ip.As16()}
	if ip.Is4() {
		from = &syscall.SockaddrInet4{Addr: ip.As4()}
	}
	if err := syscall.Bind(fd, from); err != nil {
		return err
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return err
	}
	var visitor netip.AddrPort
	switch a := bound.(type) {
	case *syscall.SockaddrInet4:
		visitor = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		visitor = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	l.visitor.Store(&visitor)
	return nil
}

// receive serves raw if it is a visitor's.
func (l *Listener) receive(raw net.Conn) bool {
	visitor := l.visitor.Load()
	if visitor == nil || addrPort(raw.RemoteAddr()) != *visitor {
		return false
	}
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn() // of a listener that an embedding program opened
	}
	go func() {
		defer raw.Close()
		if l.options.OnVisit != nil {
			l.options.OnVisit(newConn(l, raw))
		}
	}()
	return true
}

// wait calls f, in which an accept loop waits for room.
func (l *Listener) wait(f func()) {
	l.waits.Add(1)
	defer l.waits.Add(-1)
	f()
}
