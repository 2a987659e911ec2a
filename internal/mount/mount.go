// Package mount lets handlers of this process be targets: it serves an http.Handler or a
// fasthttp.RequestHandler behind sockets that have no address, so that a handler is
// dialled, balanced, probed and cut like any other target. A handler's response goes out
// as the handler made it: no Date, Server or Content-Type is added.
//
// It sets no limit of time or size of its own, and knows nothing of the proxy. The server
// package mounts the handlers of embedding programs with it, package demo its pages.
package mount

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
)

// Options are what a Server needs besides its handler.
type Options struct {
	// OnPanic hears of a panic of the handler; nil means that it is not reported. The
	// stack is still there when it is called.
	OnPanic func(v any)
	// Log gets what the HTTP library has to say about the handler; nil means that it is
	// dropped.
	Log *slog.Logger
	// HeaderBytes is the size of the largest request head that FastHTTP takes, which
	// each of its connections has a buffer for; 0 means 4 KiB. HTTP takes any.
	HeaderBytes int
}

// Server serves one handler. HTTP and FastHTTP make it.
type Server struct {
	onPanic func(v any)
	// serve hands a new connection to the HTTP library, which closes it. It does not block.
	serve func(c *conn)
	// stop ends the HTTP library's server.
	stop func()

	// running counts what Close waits for: connections and calls of the handler.
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[*conn]struct{}
}

func newServer(o Options) *Server {
	s := &Server{onPanic: o.OnPanic, open: make(map[*conn]struct{})}
	if s.onPanic == nil {
		s.onPanic = func(any) {}
	}
	return s
}

// conn is the handler's end of a connection. It leaves the list of open connections when it
// is closed.
type conn struct {
	net.Conn
	server *Server
	// closed is called with the first Close; it may be nil.
	closed func()
}

func (c *conn) Close() error {
	s := c.server
	s.mu.Lock()
	_, first := s.open[c]
	delete(s.open, c)
	s.mu.Unlock()
	err := c.Conn.Close()
	if first && c.closed != nil {
		c.closed()
	}
	return err
}

// CloseWrite ends the handler's direction. net/http does so before it closes a connection of which it has not read everything: without
// that, the end of a response comes late and looks like a reset. A handler that has taken the connection over may call it, too.
func (c *conn) CloseWrite() error { return c.Conn.(*net.UnixConn).CloseWrite() }

// Dial returns a new connection to the handler, which the caller closes. It fails only
// after Close, or without free descriptors.
func (s *Server) Dial() (net.Conn, error) {
	near, far, err := socketPair()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: far, server: s}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.open[c] = struct{}{}
		s.running.Add(1)
	}
	s.mu.Unlock()
	if closed {
		near.Close()
		far.Close()
		return nil, net.ErrClosed
	}
	s.serve(c)
	return near, nil
}

// Close cuts all connections, those that a handler has taken over included, and returns when
// no call of the handler runs any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.mu.Lock()
	for c := range s.open {
		c.Conn.Close() // the library or the handler sees it and closes c
	}
	s.mu.Unlock()
	s.running.Wait()
}

// socketPair returns both ends of a new connection.
func socketPair() (near, far net.Conn, err error) {
	// The lock keeps the descriptors out of children that are started before
	// they are marked; not every system can make marked ones.
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	near, nearErr := fileConn(fds[0])
	far, farErr := fileConn(fds[1])
	if err := errors.Join(nearErr, farErr); err != nil {
		for _, c := range []net.Conn{near, far} {
			if c != nil {
				c.Close()
			}
		}
		return nil, nil, fmt.Errorf("cannot use a socket pair: %w", err)
	}
	return near, far, nil
}

// fileConn takes fd over as a connection.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "mount")
	defer f.Close() // FileConn has made its own copy
	return net.FileConn(f)
}
