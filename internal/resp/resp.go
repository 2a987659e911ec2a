// Package resp bounds what a server of RESP, the protocol of Redis, can say. The client library
// makes room for whatever length a reply announces, has a stack as deep as replies are nested, and
// panics if a reply comes to no command: a server that is broken, or is no Redis at all, would
// end the process.
//
// It knows the frames of the protocol and no commands. The far cache and the storage of
// certificates use it for their connections.
package resp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"sync/atomic"
)

const (
	// maxElements bounds what one reply consists of, texts and lists.
	maxElements = 1 << 20
	// maxDepth bounds how deep lists lie in lists.
	maxDepth = 16
	// maxLine bounds errors and other texts without a length.
	maxLine = 64 << 10
	// maxNumber bounds the line of a length.
	maxNumber = 21
)

// LeastText is the longest text that is always let through, in bytes.
const LeastText = 64 << 20

// Dial makes a connection as the client library wants it.
type Dial func(ctx context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error)

// Bounded returns a Dial whose connections are bound. With nil it dials as the client library does by
// itself. Texts may have longest bytes, or LeastText if that is more.
func Bounded(with Dial, longest int64) Dial {
	if with == nil {
		with = func(ctx context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
			if secure == nil {
				return d.DialContext(ctx, "tcp", address)
			}
			return (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", address)
		}
	}
	return func(ctx context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
		c, err := with(ctx, address, d, secure)
		if err != nil {
			return nil, err
		}
		return Bound(c, max(longest, LeastText)), nil
	}
}

// Bound returns c, of which Read fails once a reply has a text longer than longest bytes, or is
// otherwise more than a server has reason to say, or no reply to what was written. What is wrong is not
// passed on.
func Bound(c net.Conn, longest int64) net.Conn {
	return &conn{Conn: c, commands: replies{longest: math.MaxInt64 - maxLine}, replies: replies{longest: longest}}
}

type conn struct {
	net.Conn
	// commands are what was written, which has the form of replies; sent is how many.
	commands replies
	sent     atomic.Int64
	// subscribed says that messages come that are no replies.
	subscribed atomic.Bool
	replies    replies
	bad        error
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("SUBSCRIBE\r\n")) {
		c.subscribed.Store(true)
	}
	if err := c.commands.add(p); err != nil {
		return 0, err
	}
	c.sent.Store(c.commands.whole)
	return c.Conn.Write(p)
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.bad != nil {
		return 0, c.bad
	}
	n, err := c.Conn.Read(p)
	if c.bad = c.replies.add(p[:n]); c.bad == nil && !c.subscribed.Load() {
		switch {
		case c.replies.pushed:
			c.bad = errors.New("found a message that is no reply")
		case c.replies.whole > c.sent.Load():
			c.bad = errors.New("found a reply to no command")
		}
	}
	if c.bad != nil {
		return 0, c.bad
	}
	return n, err
}

// replies is how far replies have come.
type replies struct {
	longest int64
	// kind is the first byte of the line that has begun; 0 if none has. line is the rest of it, of
	// kinds with a number, and length how much that is.
	kind   byte
	line   []byte
	length int
	// skip is how much of a text is to come, with the end of its line.
	skip int64
	// left are the elements to come of the lists that have begun, the outermost first.
	left []int64
	// elements are those of the reply so far.
	elements int
	// whole counts the replies that are whole; pushed says that a message came that is no reply.
	whole  int64
	pushed bool
}

// add takes the next bytes and returns what is wrong with them.
func (r *replies) add(p []byte) error {
	for len(p) > 0 {
		if r.skip > 0 {
			n := min(r.skip, int64(len(p)))
			p = p[n:]
			if r.skip -= n; r.skip == 0 {
				r.end()
			}
			continue
		}
		if r.kind == 0 {
			r.kind, r.line, r.length = p[0], r.line[:0], 0
			p = p[1:]
			if r.elements++; r.elements > maxElements {
				return fmt.Errorf("found a reply of more than %d elements", maxElements)
			}
			continue
		}
		part, rest, whole := bytes.Cut(p, []byte("\n"))
		p = rest
		if err := r.addLine(part, whole); err != nil {
			return err
		}
	}
	return nil
}

// addLine takes a part of a line, the last one if whole.
func (r *replies) addLine(part []byte, whole bool) error {
	r.length += len(part)
	switch r.kind {
	case '+', '-', ':', '_', ',', '#', '(':
		if r.length > maxLine {
			return fmt.Errorf("found a line of more than %d bytes", maxLine)
		}
		if whole {
			r.end()
		}
		return nil
	case '$', '!', '=', '*', '~', '>', '%':
		if r.length > maxNumber {
			return fmt.Errorf("found a length of more than %d bytes", maxNumber)
		}
		r.line = append(r.line, part...)
		if whole {
			return r.begin()
		}
		return nil
	}
	return fmt.Errorf("found %q where a reply begins", r.kind)
}

// begin begins what the line tells the length of.
func (r *replies) begin() error {
	text := string(bytes.TrimSuffix(r.line, []byte("\r")))
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < -1 {
		return fmt.Errorf("found the length %q", text)
	}
	switch r.kind {
	case '$', '!', '=':
		if n > r.longest {
			return fmt.Errorf("found a text of %d bytes: want %d at most", n, r.longest)
		}
		if n >= 0 {
			r.skip = n + int64(len("\r\n"))
			return nil
		}
	default:
		if n > maxElements {
			return fmt.Errorf("found a list of %d elements: want %d at most", n, maxElements)
		}
		switch r.kind {
		case '%':
			n *= 2 // a name and a value each
		case '>':
			r.pushed = true
		}
		if n > 0 {
			if len(r.left) == maxDepth {
				return fmt.Errorf("found lists in lists, more than %d deep", maxDepth)
			}
			r.left, r.kind = append(r.left, n), 0
			return nil
		}
	}
	r.end()
	return nil
}

// end ends an element, and the lists of which it is the last one.
func (r *replies) end() {
	r.kind = 0
	for n := len(r.left); n > 0; n-- {
		if r.left[n-1]--; r.left[n-1] > 0 {
			return
		}
		r.left = r.left[:n-1]
	}
	r.elements = 0
	r.whole++
}
