package transport

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/testkit"
)

var nameForTest = address{network: "tcp", addr: "name.test:80", name: "name.test"}

// SendForTest sends bytes that need not be a request, as Send does a whole request.
func SendForTest(c *Conn, p []byte) error { return c.sendLater(p) }

// DialerForTest returns what dials port 80 of the addresses that lookup finds.
func DialerForTest(lookup func(context.Context, string) ([]netip.Addr, error), dial func(context.Context, netip.AddrPort) (net.Conn, error)) func(context.Context) (net.Conn, error) {
	n := newNames(nameForTest, lookup)
	return func(ctx context.Context) (net.Conn, error) { return n.dial(ctx, dial) }
}

// ConnForTest returns nc as a connection to a name that is looked up from time to time.
func ConnForTest(nc net.Conn, resolve time.Duration, lookup func(context.Context, string) ([]netip.Addr, error)) *Conn {
	c := newConn(nc, nc, nil)
	newRenewal(0, resolve, newNames(nameForTest, lookup), func() {}).enter(c, 0)
	return c
}

// NewHTTP1 makes the pool of HTTP/1.1 connections to one target URL.
func NewHTTP1(rawURL string, cfg *config.Upstream, o Options) (*HTTP1, error) {
	addr, err := parseTargetURL(rawURL)
	if err != nil {
		return nil, err
	}
	d, err := newDialer(addr, cfg, o)
	if err != nil {
		return nil, err
	}
	return newHTTP1(d, cfg, o), nil
}

// Then is a Continuation.
type Then func()

// Continue implements Continuation.
func (f Then) Continue() { f() }

// SmallAnswer is an answer with the body "ok".
const SmallAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// SmallRequest is a request with a body of n bytes.
func SmallRequest(n int) *Request {
	h := new(head.Head)
	h.StartRequest(head.HTTP11, []byte("GET"), []byte("/"))
	h.Add(head.Host, []byte("a.test"))
	if n > 0 {
		h.SetFraming(int64(n))
	}
	return &Request{Head: h, Held: []byte(strings.Repeat("x", n))}
}

// ReadAnswer reads a response and returns its body.
func ReadAnswer(s Stream) (text string, err error) {
	if err := s.Await(); err != nil {
		return "", err
	}
	var h head.Head
	if _, err := s.ReadHead(&h); err != nil {
		return "", err
	}
	var reader body.Reader
	src, _ := s.Response(&h, false, &reader)
	for buf := make([]byte, 100); ; {
		p, err := src.Next(buf)
		if err == io.EOF {
			return text, nil
		}
		if text += string(p); err != nil {
			return text, err
		}
	}
}

// Connect returns the connections to a target, with settings that change may change.
func Connect(t testing.TB, url string, o Options, change func(*config.Upstream)) *HTTP1 {
	t.Helper()
	cfg := config.DefaultUpstream()
	if change != nil {
		change(&cfg)
	}
	pool, err := NewHTTP1(url, &cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Retire)
	return pool
}

// Employ makes an attendant wait at a connection, after an exchange that leaves the connection as leave does.
func Employ(t testing.TB, pool *HTTP1, leave func(c *Conn)) {
	t.Helper()
	c, err := pool.Acquire(testkit.Limit)
	if err != nil {
		t.Fatal(err)
	}
	Attend(c)
	if _, err := c.Send(SmallRequest(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAnswer(c); err != nil {
		t.Fatal(err)
	}
	if leave != nil {
		leave(c)
	}
	c.Release(true)
}

// TakeAttended takes the connection at which an attendant waits, once it does.
func TakeAttended(t testing.TB, pool *HTTP1) Attended {
	t.Helper()
	testkit.Eventually(t, "an attendant waits", func() bool { return pool.attendants.count() == 1 })
	s := pool.Attended()
	if s == nil {
		t.Fatal("no attendant waits")
	}
	return s
}
