// Package floor is a bare forwarder: what any proxy with a goroutine for each
// client connection has to do, and nothing else. It reads a request, sends its
// head with the forwarding fields to the only target over a pooled connection,
// and sends the response back. Its CPU time is the bound that weir is measured
// against from below.
//
// It checks nothing, chooses nothing, counts nothing and limits nothing. It
// takes requests without a body and responses with a Content-Length that fit
// into one buffer (MaxResponse), over connections that are kept alive; it closes
// the connection of a client that wants something else. It must never serve
// anything but a benchmark. bench/cmd/peers runs it as a process.
package floor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"weir/bench"
)

// MaxResponse is the largest response, head included, that is forwarded.
const MaxResponse = 16 << 10

// headroom is the space before a response: the head that is sent may be longer
// than the one that came, and the body is not moved for it.
const headroom = 512

// buffer holds one message.
type buffer [headroom + MaxResponse]byte

// message returns the part that messages are read into.
func (b *buffer) message() []byte { return b[headroom:] }

var errNotSupported = errors.New("cannot forward: not a complete head, a request with a body, or a response that is too large or has no Content-Length")

// Options set a forwarder up.
type Options struct {
	// Target is the origin's "host:port".
	Target string
	// Forwarding adds the forwarding fields that weir sends by default.
	Forwarding bool
}

// forwarder is what all connections share.
type forwarder struct {
	opt     Options
	buffers sync.Pool // *buffer

	mu   sync.Mutex
	idle []*conn // connections to the target; the last one was used last
}

// Serve forwards the requests of all clients that ln accepts, until ln is
// closed. Connections that are open then stay open.
func Serve(ln net.Listener, opt Options) error {
	f := &forwarder{opt: opt, buffers: sync.Pool{New: func() any { return new(buffer) }}}
	for {
		client, err := ln.Accept()
		if err != nil {
			return fmt.Errorf("cannot accept: %w", err)
		}
		go f.serve(client)
	}
}

// serve forwards the requests of one client until the client leaves or a
// request cannot be forwarded.
func (f *forwarder) serve(client net.Conn) {
	defer client.Close()
	c, err := newConn(client, &f.buffers)
	if err != nil {
		return
	}
	fields := requestFields(client)
	var held *buffer
	var response []byte
	for {
		request, n, err := c.exchange(held, response)
		if err != nil {
			return
		}
		held, response, err = f.forward(request, n, fields)
		if err != nil {
			return
		}
	}
}

// requestFields returns the lines that are the same in all requests of a client,
// and the beginning of the next one.
func requestFields(client net.Conn) string {
	host, _, err := net.SplitHostPort(client.RemoteAddr().String())
	if err != nil {
		host = "unknown"
	}
	return "X-Forwarded-For: " + host + "\r\nX-Forwarded-Proto: http\r\nVia: 1.1 floor\r\nX-Forwarded-Host: "
}

// forward sends the request in the first n bytes of request's message to the
// target and returns the response as it is to be sent, with the buffer that holds
// it. It gives request back.
func (f *forwarder) forward(request *buffer, n int, fields string) (held *buffer, response []byte, err error) {
	edited := f.get()
	h := edit(edited[:0], request.message()[:n])
	if h.size != n || h.length >= 0 {
		return nil, nil, errNotSupported
	}
	out := h.out
	if f.opt.Forwarding {
		out = append(append(out, fields...), h.host...)
		out = append(out, "\r\nX-Request-Id: "...)
		out = append(bench.AppendRequestID(out), "\r\n"...)
	}
	out = append(out, "\r\n"...)
	f.buffers.Put(request)
	target, err := f.take()
	if err != nil {
		return nil, nil, err
	}
	held, n, err = target.exchange(edited, out)
	if err == nil {
		response, err = f.receive(target, held.message(), n, held)
	}
	if err != nil {
		_ = target.Close() // the first error tells
		return nil, nil, err
	}
	f.release(target)
	return held, response, nil
}

// receive reads the rest of a response whose first n bytes are in message, and
// puts the head that the client gets directly before the body.
func (f *forwarder) receive(target *conn, message []byte, n int, b *buffer) ([]byte, error) {
	edited := f.get()
	defer f.buffers.Put(edited)
	h := edit(edited[:0], message[:n])
	end := h.size + h.length
	if h.size == 0 || h.length < 0 || end > len(message) {
		return nil, errNotSupported
	}
	if n < end {
		if _, err := io.ReadFull(target.Conn, message[n:end]); err != nil {
			return nil, err
		}
	}
	head := h.out
	if f.opt.Forwarding {
		head = append(head, "Via: 1.1 floor\r\n"...)
	}
	head = append(head, "\r\n"...)
	start := headroom + h.size - len(head)
	if start < 0 {
		return nil, errNotSupported
	}
	copy(b[start:], head)
	return b[start : headroom+end], nil
}

func (f *forwarder) get() *buffer { return f.buffers.Get().(*buffer) }

// take returns an idle connection to the target, or a new one.
func (f *forwarder) take() (*conn, error) {
	f.mu.Lock()
	if last := len(f.idle) - 1; last >= 0 {
		c := f.idle[last]
		f.idle = f.idle[:last]
		f.mu.Unlock()
		return c, nil
	}
	f.mu.Unlock()
	c, err := net.Dial("tcp", f.opt.Target)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %q: %w", f.opt.Target, err)
	}
	return newConn(c, &f.buffers)
}

// release makes a connection idle.
func (f *forwarder) release(c *conn) {
	f.mu.Lock()
	f.idle = append(f.idle, c)
	f.mu.Unlock()
}
