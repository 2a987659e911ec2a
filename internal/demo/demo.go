// Package demo is the built-in origin behind targets of the form "demo:NAME":
// it says who answers and what it got, echoes, streams, and is slow or fails on
// request, so that weir can be tried on a bare machine.
//
// It is an ordinary HTTP/1.1 server behind real sockets without an address:
// Dial makes a pair and serves its other end. It knows nothing of the proxy; the
// server package dials it for demo targets.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// Origin serves any number of names. Make it with New; Close it.
type Origin struct {
	server *http.Server
	conns  chan net.Conn
	stop   context.CancelFunc // of every request's context
	closed <-chan struct{}    // by stop

	// running counts the goroutines: the accepting one, and one for each
	// connection, which the accepting one adds.
	running sync.WaitGroup

	mu    sync.Mutex
	names map[string]*instance
	open  map[*conn]struct{}
}

// instance is what is known of one name.
type instance struct {
	name     string
	requests atomic.Int64
}

// conn is the served end of a connection. It knows whom the client dialled, and
// leaves the list of open ones when it is closed.
type conn struct {
	net.Conn
	origin   *Origin
	instance *instance
}

func (c *conn) Close() error {
	c.origin.mu.Lock()
	delete(c.origin.open, c)
	c.origin.mu.Unlock()
	return c.Conn.Close()
}

// instanceKey is the key of the *instance in a request's context.
type instanceKey struct{}

// New starts an origin.
func New() *Origin {
	ctx, stop := context.WithCancel(context.Background())
	o := &Origin{
		conns:  make(chan net.Conn),
		stop:   stop,
		closed: ctx.Done(),
		names:  map[string]*instance{},
		open:   map[*conn]struct{}{},
	}
	o.server = &http.Server{
		Handler:     o.handler(),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, instanceKey{}, c.(*conn).instance)
		},
		ConnState: o.connState,
		// Clients that go away in mid answer are none of the operator's business.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	o.running.Go(func() { _ = o.server.Serve(listener{o}) }) // always http.ErrServerClosed
	return o
}

// Dial returns a new connection to the instance of that name. The caller closes
// it. It fails only after Close, or without free descriptors.
func (o *Origin) Dial(name string) (net.Conn, error) {
	near, far, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("cannot connect to demo target %q: %w", name, err)
	}
	c := &conn{Conn: far, origin: o}
	o.mu.Lock()
	c.instance = o.instanceLocked(name)
	o.open[c] = struct{}{}
	o.mu.Unlock()
	select {
	case o.conns <- c:
		return near, nil
	case <-o.closed:
		near.Close()
		c.Close()
		return nil, fmt.Errorf("cannot connect to demo target %q: %w", name, net.ErrClosed)
	}
}

// Close cuts all connections and returns when nothing of the origin runs any more.
func (o *Origin) Close() error {
	o.stop()
	err := o.server.Close()
	// The server does not know of connections that were upgraded, nor of one
	// that it is just accepting.
	o.mu.Lock()
	for c := range o.open {
		c.Conn.Close()
	}
	o.mu.Unlock()
	o.running.Wait()
	return err
}

// instanceLocked returns the instance of a name, a new one for a new name.
func (o *Origin) instanceLocked(name string) *instance {
	i := o.names[name]
	if i == nil {
		i = &instance{name: name}
		o.names[name] = i
	}
	return i
}

// connState counts the server's goroutines: it is told of StateNew by the
// accepting goroutine, and of StateClosed as the last thing a connection's
// goroutine does. One that took its connection over counts itself out.
func (o *Origin) connState(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		o.running.Add(1)
	case http.StateClosed:
		o.running.Done()
	}
}

// listener hands the connections that Dial makes to the server.
type listener struct{ o *Origin }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.o.conns:
		return c, nil
	case <-l.o.closed:
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.UnixAddr{Name: "demo", Net: "unix"} }

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
		return nil, nil, err
	}
	return near, far, nil
}

// fileConn takes fd over as a connection.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "demo")
	defer f.Close() // FileConn has made its own copy
	return net.FileConn(f)
}
