package testkit

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Origin is a server that follows a script: a function that is called for each
// connection and says what to read and what to write.
type Origin struct {
	// URL names it as a target.
	URL string

	t        testing.TB
	ln       net.Listener
	tls      *tls.Config
	script   func(*Conn)
	requests atomic.Int64
	closing  chan struct{}
	once     sync.Once
	scripts  sync.WaitGroup

	mu    sync.Mutex
	conns []*Conn
}

// Listen starts an origin on a TCP port of the loopback interface. The test's
// end stops it and waits for its scripts.
func Listen(t testing.TB, script func(*Conn)) *Origin {
	t.Helper()
	return serve(t, "http", Reserve(t), nil, script)
}

// ListenTLS starts one that speaks TLS.
func ListenTLS(t testing.TB, cfg *tls.Config, script func(*Conn)) *Origin {
	t.Helper()
	return serve(t, "https", Reserve(t), cfg, script)
}

// ListenUnix starts one on a unix socket.
func ListenUnix(t testing.TB, script func(*Conn)) *Origin {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir") // a path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return serve(t, "unix", filepath.Join(dir, "origin"), nil, script)
}

// Answer is a script that gives the same answer to every request.
func Answer(response string) func(*Conn) {
	return func(c *Conn) {
		for {
			c.Request()
			c.Send(response)
		}
	}
}

func serve(t testing.TB, scheme, address string, cfg *tls.Config, script func(*Conn)) *Origin {
	t.Helper()
	network := "tcp"
	if scheme == "unix" {
		network = "unix"
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	o := &Origin{t: t, ln: ln, tls: cfg, script: script, closing: make(chan struct{})}
	o.URL = scheme + "://" + ln.Addr().String()
	if scheme == "unix" {
		o.URL = "unix:" + address
	}
	o.scripts.Go(o.accept)
	t.Cleanup(o.Close)
	return o
}

// Close stops accepting, cuts all connections and waits for the scripts.
func (o *Origin) Close() {
	o.once.Do(func() {
		o.ln.Close() // first: a client that notices the end of a connection must not get another one
		close(o.closing)
		o.mu.Lock()
		for _, c := range o.conns {
			c.Conn.Close()
		}
		o.mu.Unlock()
	})
	o.scripts.Wait()
}

// Requests counts the requests whose head was read whole.
func (o *Origin) Requests() int { return int(o.requests.Load()) }

// Conns returns the connections so far.
func (o *Origin) Conns() []*Conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*Conn(nil), o.conns...)
}

func (o *Origin) accept() {
	for {
		nc, err := o.ln.Accept()
		if err != nil {
			return
		}
		c := &Conn{Conn: nc, origin: o}
		o.mu.Lock()
		c.Index = len(o.conns)
		o.conns = append(o.conns, c)
		o.mu.Unlock()
		o.scripts.Go(func() { o.run(c) })
	}
}

func (o *Origin) run(c *Conn) {
	defer c.Conn.Close()
	if o.tls != nil {
		secure := tls.Server(c.Conn, o.tls)
		secure.SetDeadline(time.Now().Add(Limit))
		if secure.Handshake() != nil {
			return // what the client makes of it is the test's affair
		}
		secure.SetDeadline(time.Time{})
		o.mu.Lock()
		c.Conn = secure
		o.mu.Unlock()
	}
	c.Reader = bufio.NewReaderSize(io.TeeReader(bounded{c.Conn}, &c.seen), 64<<10)
	o.script(c)
}

// Conn is a connection to an origin. Its methods end the script, but not the
// others' ones, when something else happens than asked for; unless the test is
// over, that is an error of the test.
type Conn struct {
	net.Conn
	// Index counts the connections from 0.
	Index int
	// Reader holds what was read but not looked at.
	Reader *bufio.Reader
	origin *Origin
	seen   recorder
}

// recorder keeps what was read.
type recorder struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Write(p)
}

// Seen returns every byte that was read so far. Any goroutine may call it.
func (c *Conn) Seen() string {
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	return c.seen.all.String()
}

// fail ends the script.
func (c *Conn) fail(what string, err error) {
	select {
	case <-c.origin.closing:
	default:
		c.origin.t.Errorf("origin's connection %d: %s: %v", c.Index, what, err)
	}
	runtime.Goexit()
}

// TryHead reads the head of a request, for which it waits as long as the test takes.
func (c *Conn) TryHead() (*Message, error) {
	for {
		if _, err := c.Reader.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	m, err := ReadHead(c.Reader)
	if err == nil {
		c.origin.requests.Add(1)
	}
	return m, err
}

// Head reads the head of a request. The script ends if the connection does.
func (c *Conn) Head() *Message {
	m, err := c.TryHead()
	if errors.Is(err, ErrNothing) {
		runtime.Goexit()
	}
	if err != nil {
		c.fail("no request head", err)
	}
	return m
}

// Request reads a whole request. The script ends if the connection does before
// the request's first byte.
func (c *Conn) Request() *Message {
	m := c.Head()
	if err := m.ReadBody(c.Reader); err != nil {
		c.fail("no whole request body", err)
	}
	return m
}

// Take reads n bytes.
func (c *Conn) Take(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.Reader, b); err != nil {
		c.fail("cannot read", err)
	}
	return string(b)
}

// Send writes pieces one after the other, each in a write of its own.
func (c *Conn) Send(pieces ...string) {
	for _, p := range pieces {
		if err := c.TrySend(p); err != nil {
			c.fail("cannot write", err)
		}
	}
}

// TrySend writes s; the other side may be gone.
func (c *Conn) TrySend(s string) error {
	_, err := io.WriteString(bounded{c.Conn}, s)
	return err
}

// Wait waits until ch is closed or has a value.
func (c *Conn) Wait(ch <-chan struct{}) {
	select {
	case <-ch:
	case <-c.origin.closing:
		runtime.Goexit()
	}
}

// Hold waits until the test is over.
func (c *Conn) Hold() { c.Wait(nil) }

// Rest reads until the connection ends and returns what came, and the error if
// the end was not an ordinary one.
func (c *Conn) Rest() (string, error) {
	b, err := io.ReadAll(c.Reader)
	return string(b), err
}

// CloseWrite ends the sending side only.
func (c *Conn) CloseWrite() {
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		c.fail("cannot half-close", err)
	}
}

// Reset closes the connection with a reset.
func (c *Conn) Reset() { reset(c.Conn) }
