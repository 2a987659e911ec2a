package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"weir/config"
)

// socket is what *net.TCPListener and *net.UnixListener have in common.
type socket interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// ofKernel returns s as a socket of the kernel, and nil for any other listener of an embedding program: there Accept may do more than the
// kernel's, such as count or encrypt, even if the listener has the methods of a socket.
func ofKernel(s net.Listener) socket {
	switch s := s.(type) {
	case *net.TCPListener:
		return s
	case *net.UnixListener:
		return s
	}
	return nil
}

// passes says whether Accept may succeed again after err. A socket of the kernel fails for good only when it is closed; other
// listeners say it by the method that net/http looks for, too.
func passes(s net.Listener, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	var temporary interface{ Temporary() bool }
	return ofKernel(s) != nil || errors.As(err, &temporary) && temporary.Temporary()
}

// keepAlive finds clients that vanished without a word (a cut cable, a lost NAT
// entry) within some two minutes, at a cost of one probe a minute.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}
}

// openSockets returns the sockets of an address: one, or for "systemd:NAME" all
// that were passed by that name.
func openSockets(address config.Address, inherited *Inherited) ([]net.Listener, error) {
	network, text := address.Split()
	if network == "systemd" {
		return inherited.listeners(text)
	}
	if s, err := inherited.take(string(address)); s != nil || err != nil {
		return []net.Listener{s}, err
	}
	return openNew(network, text)
}

// openNew opens the socket of an address.
func openNew(network, text string) ([]net.Listener, error) {
	switch network {
	case "unix":
		s, err := listenUnix(text)
		if err != nil {
			return nil, err
		}
		return []net.Listener{s}, nil
	case "tcp":
		lc := net.ListenConfig{KeepAliveConfig: keepAlive()}
		s, err := lc.Listen(context.Background(), "tcp", text)
		if err != nil {
			return nil, err
		}
		return []net.Listener{s}, nil
	}
	return nil, errors.New(`it is empty, allowed are "host:port", ":port", "unix:/path" and "systemd:NAME"`)
}

// Listen opens the socket of an address of the forms "host:port" and
// "unix:/path", for what is no listener: the pages of operators. A process that this
// one replaces may have left it in inherited, which may be nil, for the same use: see PageUse.
func Listen(page string, address config.Address, inherited *Inherited) (net.Listener, error) {
	network, text := address.Split()
	if network == "systemd" {
		return nil, fmt.Errorf("cannot listen on %q: want \"host:port\", \":port\" or \"unix:/path\"", address)
	}
	if s, err := inherited.take(PageUse(page, address)); s != nil || err != nil {
		return s, err
	}
	sockets, err := openNew(network, text)
	if err != nil {
		return nil, err
	}
	return sockets[0], nil
}

// PageUse is what the socket of an operators' page is used for, as Inherited.Add has it.
func PageUse(page string, address config.Address) string { return page + "=" + string(address) }

// OwnFile says whether closing a listening socket removes its file, if it has one.
func OwnFile(socket net.Listener, own bool) {
	if u, ok := socket.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(own)
	}
}

// listenUnix listens on a socket file, in place of one that a process left
// behind when it was killed.
func listenUnix(path string) (net.Listener, error) {
	s, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return s, err
	}
	info, statErr := os.Lstat(path)
	if statErr != nil {
		return nil, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("the file exists and is no socket: %w", err)
	}
	conn, dialErr := net.DialTimeout("unix", path, time.Second)
	if dialErr == nil {
		conn.Close()
		return nil, fmt.Errorf("a running process answers on it: %w", err)
	}
	if !errors.Is(dialErr, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("it cannot be said whether a process uses it (%v): %w", dialErr, err)
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("cannot remove stale socket file: %w", err)
	}
	return net.Listen("unix", path)
}

// maxQueued bounds takeQueued. It is the usual length of the kernel's queue
// (net.core.somaxconn), so under a flood Close still ends.
const maxQueued = 4096

// takeQueued accepts the connections that the kernel holds in its queue, which
// closing the socket would reset, and does not wait for more. It is called
// after the accept loop has ended.
func (l *Listener) takeQueued(s socket) {
	control, err := s.SyscallConn()
	if err != nil {
		return
	}
	for range maxQueued {
		fd := -1
		err := control.Control(func(listening uintptr) {
			if n, _, err := syscall.Accept(int(listening)); err == nil {
				syscall.CloseOnExec(n)
				fd = n
			}
		})
		if err != nil || fd < 0 {
			return
		}
		f := os.NewFile(uintptr(fd), "accepted")
		conn, err := net.FileConn(f) // a copy that never blocks
		f.Close()
		if err == nil {
			l.take(conn)
		}
	}
}
