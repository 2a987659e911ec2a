package transport_test

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"weir/config"
	"weir/internal/head"
	"weir/internal/sock"
	"weir/internal/testkit"
	"weir/internal/transport"
)

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// A connection goes back to the pool only with nothing left to read from it, be
// it in the reader, inside the TLS layer or on the wire.
func TestReleaseLeavesNothingBehind(t *testing.T) {
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	check := func(name string, secure bool, answer string, take int, reused bool) {
		t.Run(name, func(t *testing.T) {
			script := func(c *testkit.Conn) {
				for {
					if _, err := c.Reader.ReadByte(); err != nil || c.TrySend(answer) != nil {
						return
					}
				}
			}
			var origin *testkit.Origin
			if secure {
				origin = testkit.ListenTLS(t, &tls.Config{Certificates: []tls.Certificate{pair.Certificate}}, script)
			} else {
				origin = testkit.Listen(t, script)
			}
			pool := transport.Connect(t, origin.URL, transport.Options{}, func(u *config.Upstream) { u.TLS.CA = authority.File })
			for range 2 {
				c, err := pool.Acquire(time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write([]byte("?")); err != nil {
					t.Fatal(err)
				}
				if err := c.Await(); err != nil {
					t.Fatal(err)
				}
				for left := take; left > 0; {
					n, err := c.Reader.Discard(min(left, 1000))
					if err != nil {
						t.Fatal(err)
					}
					left -= n
				}
				pool.Release(c, true)
			}
			conns := 2
			if reused {
				conns = 1
			}
			equal(t, "connections", len(origin.Conns()), conns)
		})
	}
	large := string(make([]byte, 40_000)) // more than a reader or a TLS record holds
	check("all is read", false, "answer", 6, true)
	check("all is read, tls", true, "answer", 6, true)
	check("much is read", false, large, len(large), true)
	check("much is read, tls", true, large, len(large), true)
	check("left in the reader", false, "answer+", 6, false)
	check("left in the reader, tls", true, "answer+", 6, false)
	check("left on the wire", false, large, 20_000, false)
	check("left in the TLS layer or on the wire", true, large, 20_000, false)
}

// A connection that is not reusable is closed.
func TestReleaseCloses(t *testing.T) {
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
	for range 3 {
		c, err := pool.Acquire(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "reused", c.Reused(), false)
		pool.Release(c, false)
	}
	open, idle := pool.Conns()
	equal(t, "open connections", open, 0)
	equal(t, "unused connections", idle, 0)
}

// Why no connection came about.
func TestDialErrors(t *testing.T) {
	plain := testkit.Listen(t, func(c *testkit.Conn) { c.TrySend("not TLS at all\r\n"); c.Rest() })
	silent := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	check := func(name, url, phase string, timeout, refused bool) {
		t.Run(name, func(t *testing.T) {
			pool := transport.Connect(t, url, transport.Options{}, func(u *config.Upstream) {
				if timeout {
					u.Timeouts.TLS = config.Duration(100 * time.Millisecond)
				}
			})
			_, err := pool.Acquire(time.Minute)
			var d *transport.DialError
			if !errors.As(err, &d) {
				t.Fatalf("error is %v", err)
			}
			equal(t, "phase", d.Phase, phase)
			equal(t, "timeout", d.Timeout, timeout)
			equal(t, "refused", d.Refused, refused)
		})
	}
	secure := func(o *testkit.Origin) string { return "https" + o.URL[len("http"):] }
	check("refused", "http://"+testkit.Reserve(t), "connect", false, true)
	check("no socket", "unix:/nowhere/at/all", "connect", false, false)
	check("not TLS", secure(plain), "tls", false, false)
	check("silent handshake", secure(silent), "tls", true, false)
}

// A target's connections are bounded, and an exchange that waits too long is told so.
func TestMaxConnections(t *testing.T) {
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Rest() })
	pool := transport.Connect(t, origin.URL, transport.Options{}, func(u *config.Upstream) {
		u.Connections.Max, u.Connections.Wait = 1, config.Duration(50*time.Millisecond)
	})
	c, err := pool.Acquire(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Acquire(time.Minute); !errors.Is(err, transport.ErrNoConn) {
		t.Errorf("error is %v", err)
	}
	pool.Release(c, true)
	if c, err = pool.Acquire(time.Minute); err != nil {
		t.Fatal(err)
	}
	equal(t, "reused", c.Reused(), true)
	pool.Release(c, false)
}

// A deadline that passes before a request was written, while the connection was made, says
// nothing about the target: the request is sent by the next wait.
func TestRequestSurvivesEarlyDeadline(t *testing.T) {
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if _, err := c.TryHead(); err != nil || c.TrySend("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") != nil {
				return
			}
		}
	})
	pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
	for _, state := range []string{"fresh", "used before"} {
		s, err := pool.Open(time.Minute, transport.AnyVersion)
		if err != nil {
			t.Fatal(err)
		}
		var request, response head.Head
		request.StartRequest(head.HTTP11, []byte("GET"), []byte("/"))
		request.Add(head.Host, []byte("a"))
		if _, err := s.Send(&transport.Request{Head: &request}); err != nil {
			t.Fatal(err)
		}
		s.ReadUntil(time.Unix(1, 0))
		if err := s.Await(); !sock.TimedOut(err) || s.Sent() {
			t.Errorf("%s: %v, sent %v; want a time-out before anything is sent", state, err, s.Sent())
		}
		s.ReadUntil(time.Now().Add(time.Minute))
		if _, err := s.ReadHead(&response); err != nil || response.Status != 200 {
			t.Errorf("%s: status %d, %v", state, response.Status, err)
		}
		s.Release(true)
	}
}

// A write of a body that was interrupted before it began does not wait, although its own
// limit begins with it.
func TestInterruptWrite(t *testing.T) {
	origin := testkit.Listen(t, func(c *testkit.Conn) { c.Hold() })
	c, err := transport.Connect(t, origin.URL, transport.Options{}, nil).Open(time.Minute, transport.AnyVersion)
	if err != nil {
		t.Fatal(err)
	}
	w := c.BodyWriter(false, time.Hour)
	c.InterruptWrite()
	if err := w.Write(make([]byte, 64<<20)); !sock.TimedOut(err) {
		t.Errorf("the write ended with %v", err)
	}
	c.Unlimit()
	if err := w.Write(make([]byte, 16<<10)); err != nil {
		t.Errorf("after Unlimit: %v", err)
	}
	c.Release(false)
}

// The zone of a target's address is for dialling alone.
func TestHostWithoutZone(t *testing.T) {
	check := func(url, want string) {
		t.Helper()
		target, err := transport.NewHTTP1(url, new(config.Upstream), transport.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := target.Host(); got != want {
			t.Errorf("Host of %q is %q, want %q", url, got, want)
		}
	}
	check("http://[fe80::1%25lo]:8080", "[fe80::1]:8080")
	check("http://[fe80::1%25lo]", "[fe80::1]")
	check("http://[::1]:80", "[::1]:80")
	check("http://a.example:80", "a.example:80")
}
