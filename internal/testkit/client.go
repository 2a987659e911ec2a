package testkit

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// Client is a client that sends what a test says, byte for byte. Its methods end
// the test where something else happens than asked for, and so belong to the
// test's goroutine; those that return an error may be called from any.
type Client struct {
	net.Conn
	// Reader holds what has been read but not looked at.
	Reader *bufio.Reader
	t      testing.TB
}

// Dial connects to a TCP or unix socket address.
func Dial(t testing.TB, addr net.Addr) *Client {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

// DialTLS connects with TLS.
func DialTLS(t testing.TB, addr net.Addr, cfg *tls.Config) *Client {
	t.Helper()
	c, err := tls.Dial(addr.Network(), addr.String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

// NewClient makes a client of a connection, which ends with the test.
func NewClient(t testing.TB, c net.Conn) *Client { return newClient(t, c) }

func newClient(t testing.TB, c net.Conn) *Client {
	t.Cleanup(func() { c.Close() })
	return &Client{Conn: c, Reader: bufio.NewReaderSize(bounded{c}, 64<<10), t: t}
}

// bounded is a connection whose reads and writes wait for Limit each, however
// long all of them take on a busy machine.
type bounded struct{ net.Conn }

func (b bounded) Read(p []byte) (int, error) {
	b.SetReadDeadline(time.Now().Add(Limit))
	defer b.SetReadDeadline(time.Time{})
	return b.Conn.Read(p)
}

func (b bounded) Write(p []byte) (int, error) {
	b.SetWriteDeadline(time.Now().Add(Limit))
	defer b.SetWriteDeadline(time.Time{})
	return b.Conn.Write(p)
}

// Send writes s.
func (c *Client) Send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(bounded{c.Conn}, s); err != nil {
		c.t.Fatalf("cannot send %.60q: %v", s, err)
	}
}

// Response reads a whole response to a request with this method.
func (c *Client) Response(method string) *Message {
	c.t.Helper()
	m, err := ReadResponse(c.Reader, method)
	if err != nil {
		c.t.Fatalf("no whole response: %v; so far %+v", err, m)
	}
	return m
}

// Head reads the head of the final response to a request with this method.
func (c *Client) Head(method string) *Message {
	c.t.Helper()
	m, err := ReadResponseHead(c.Reader, method)
	if err != nil {
		c.t.Fatalf("no response head: %v", err)
	}
	return m
}

// Get sends a GET request for a target and reads the response.
func (c *Client) Get(target string) *Message {
	c.t.Helper()
	c.Send("GET " + target + " HTTP/1.1\r\nHost: weir.test\r\n\r\n")
	return c.Response("GET")
}

// Chunk reads one chunk of m's body.
func (c *Client) Chunk(m *Message) string {
	c.t.Helper()
	s, err := m.ReadChunk(c.Reader)
	if err != nil {
		c.t.Fatalf("no chunk: %v", err)
	}
	return s
}

// Take reads n bytes.
func (c *Client) Take(n int) string {
	c.t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(c.Reader, b); err != nil {
		c.t.Fatalf("%v after %q, want %d bytes", err, b[:got], n)
	}
	return string(b)
}

// CloseWrite ends the sending side only.
func (c *Client) CloseWrite() {
	c.t.Helper()
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// Reset closes the connection with a reset.
func (c *Client) Reset() { reset(c.Conn) }

func reset(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// End is how a connection ended.
type End string

// The ends of a connection.
const (
	// Closed is an ordinary end.
	Closed End = "closed"
	// WasReset is a reset.
	WasReset End = "reset"
	// Cut is TLS that ended without saying so.
	Cut End = "cut"
)

// Rest reads until the connection ends, and says how.
func (c *Client) Rest() (string, End) {
	c.t.Helper()
	b, err := io.ReadAll(c.Reader)
	switch {
	case err == nil:
		return string(b), Closed
	case errors.Is(err, syscall.ECONNRESET):
		return string(b), WasReset
	case errors.Is(err, io.ErrUnexpectedEOF):
		return string(b), Cut
	}
	c.t.Fatalf("connection does not end: %v after %.200q", err, b)
	return "", ""
}
