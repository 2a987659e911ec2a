package transport_test

import (
	"io"
	"testing"
	"time"

	"weir/config"
	"weir/internal/sock"
	"weir/internal/testkit"
	"weir/internal/transport"
)

// unused waits until the connection is unused.
func unused(t *testing.T, pool *transport.HTTP1) {
	t.Helper()
	testkit.Eventually(t, "the connection is unused", func() bool { _, idle := pool.Conns(); return idle == 1 })
}

func closed(t *testing.T, pool *transport.HTTP1) {
	t.Helper()
	testkit.Eventually(t, "the connection is closed", func() bool { open, _ := pool.Conns(); return open == 0 })
}

// One connection, and the goroutine at it, serves one exchange after the other, whatever the pieces of the answers.
func TestAttendant(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for i := 0; ; i++ {
			c.Request()
			switch i % 3 {
			case 0:
				c.Send(transport.SmallAnswer)
			case 1:
				c.Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "\r\no")
				c.Wait(next)
				c.Send("k")
			case 2:
				c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
				c.Wait(next)
				c.Send("o\r\n1\r\nk\r\n0\r\n\r\n")
			}
		}
	})
	pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
	if s := pool.Attended(); s != nil {
		t.Fatal("an attendant waits that was not employed")
	}
	transport.Employ(t, pool, nil)
	for i := range 10 {
		s := transport.TakeAttended(t, pool)
		equal(t, "reused", s.Reused(), true)
		if other := pool.Attended(); other != nil {
			t.Fatal("two exchanges have one connection")
		}
		type result struct {
			text string
			err  error
		}
		results := make(chan result, 1)
		s.LimitRead(time.Now(), testkit.Limit)
		sent := s.SendAhead(transport.SmallRequest(0), transport.Then(func() {
			var r result
			r.text, r.err = transport.ReadAnswer(s)
			s.Release(r.err == nil)
			results <- r
		}))
		equal(t, "sent", sent, true)
		if (i+1)%3 != 0 {
			next <- struct{}{}
		}
		if r := <-results; r.text != "ok" || r.err != nil {
			t.Fatalf("answer %d: %q, %v", i, r.text, r.err)
		}
	}
	equal(t, "connections", len(origin.Conns()), 1)
}

// What a target sends without having been asked, and the end of a connection, are never taken for an answer.
func TestAttendantSpokenTo(t *testing.T) {
	t.Parallel()
	for name, stray := range map[string]func(c *testkit.Conn){
		"bytes": func(c *testkit.Conn) { c.Send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") },
		"end":   func(c *testkit.Conn) { c.CloseWrite() },
		"reset": func(c *testkit.Conn) { c.Reset() },
	} {
		for _, taken := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				now := make(chan struct{})
				origin := testkit.Listen(t, func(c *testkit.Conn) {
					c.Request()
					c.Send(transport.SmallAnswer)
					c.Wait(now)
					stray(c)
					c.Hold()
				})
				pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
				transport.Employ(t, pool, nil)
				unused(t, pool)
				if !taken {
					now <- struct{}{}
					closed(t, pool)
					return
				}
				s := transport.TakeAttended(t, pool)
				now <- struct{}{}
				testkit.Eventually(t, "the target has spoken", func() bool { return !s.(*transport.Conn).Quiet() })
				equal(t, "sent", s.SendAhead(transport.SmallRequest(0), transport.Then(func() { t.Error("the exchange goes on") })), false)
				s.Release(false)
				closed(t, pool)
				equal(t, "requests", origin.Requests(), 1)
			})
		}
	}
}

// An exchange whose request was sent ahead can be interrupted, has limits, and learns that the connection has ended.
func TestAttendantFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(s transport.Attended, c *testkit.Conn){
		"interrupted": func(s transport.Attended, _ *testkit.Conn) { s.Interrupt() },
		"late":        nil,
		"closed":      func(_ transport.Attended, c *testkit.Conn) { c.CloseWrite() },
		"reset":       func(_ transport.Attended, c *testkit.Conn) { c.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan *testkit.Conn, 1)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				c.Send(transport.SmallAnswer)
				c.Request()
				asked <- c
				c.Hold()
			})
			pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
			transport.Employ(t, pool, nil)
			s := transport.TakeAttended(t, pool)
			if fail == nil {
				s.ReadUntil(time.Now().Add(20 * time.Millisecond))
			} else {
				s.LimitRead(time.Now(), time.Hour)
			}
			failed := make(chan error, 1)
			equal(t, "sent", s.SendAhead(transport.SmallRequest(0), transport.Then(func() {
				_, err := transport.ReadAnswer(s)
				s.Release(false)
				failed <- err
			})), true)
			if c := <-asked; fail != nil {
				fail(s, c)
			}
			err := <-failed
			switch name {
			case "interrupted", "late":
				equal(t, "timed out", sock.TimedOut(err), true)
			case "closed":
				equal(t, "error", err, io.EOF)
			default:
				equal(t, "failed", err != nil, true)
			}
			closed(t, pool)
		})
	}
}

// Unused connections do not stay for ever, whatever limit the exchange before has left.
func TestAttendantEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limit time.Duration
		idle  time.Duration
		end   func(pool *transport.HTTP1)
	}{
		"unused for too long, no limit":            {0, 20 * time.Millisecond, nil},
		"unused for too long, a late limit":        {time.Hour, 20 * time.Millisecond, nil},
		"unused for too long, one that has passed": {time.Millisecond, 20 * time.Millisecond, nil},
		"idle ones are closed":                     {0, time.Hour, (*transport.HTTP1).CloseIdle},
		"the target is retired":                    {0, time.Hour, (*transport.HTTP1).Retire},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := testkit.Listen(t, testkit.Answer(transport.SmallAnswer))
			pool := transport.Connect(t, origin.URL, transport.Options{}, func(u *config.Upstream) { u.Connections.Idle = config.Duration(test.idle) })
			transport.Employ(t, pool, func(c *transport.Conn) {
				c.LimitRead(time.Now(), test.limit)
				if test.limit == time.Millisecond {
					testkit.Eventually(t, "the limit has passed", func() bool { _, err := c.Conn.Read(make([]byte, 1)); return err != nil })
				}
			})
			if test.end != nil {
				unused(t, pool)
				test.end(pool)
			}
			closed(t, pool)
		})
	}
}

// A target that is retired while an exchange runs leaves nothing.
func TestAttendantRetired(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(transport.SmallAnswer))
	pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
	transport.Employ(t, pool, nil)
	s := transport.TakeAttended(t, pool)
	done := make(chan struct{})
	s.SendAhead(transport.SmallRequest(0), transport.Then(func() {
		pool.Retire()
		if _, err := transport.ReadAnswer(s); err != nil {
			t.Error(err)
		}
		s.Release(true)
		close(done)
	}))
	<-done
	closed(t, pool)
}

// The limit that the exchange before had for its writes ends none that come later.
func TestAttendantAfterWriteLimit(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(transport.SmallAnswer))
	pool := transport.Connect(t, origin.URL, transport.Options{}, nil)
	transport.Employ(t, pool, func(c *transport.Conn) {
		c.LimitWrite(time.Now(), time.Millisecond)
		testkit.Eventually(t, "the limit has passed", func() bool { _, err := c.Conn.Write(nil); return err != nil })
	})
	s := transport.TakeAttended(t, pool)
	done := make(chan error, 1)
	if !s.SendAhead(transport.SmallRequest(0), transport.Then(func() {
		_, err := transport.ReadAnswer(s)
		s.Release(true)
		done <- err
	})) {
		t.Fatal("the request was not sent")
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// With a bound on connections those that wait for one must find all of them in the pool.
func TestAttendantBound(t *testing.T) {
	t.Parallel()
	origin := testkit.Listen(t, testkit.Answer(transport.SmallAnswer))
	pool := transport.Connect(t, origin.URL, transport.Options{}, func(u *config.Upstream) { u.Connections.Max = 1 })
	transport.Employ(t, pool, nil)
	unused(t, pool)
	if s := pool.Attended(); s != nil {
		t.Fatal("an attendant has the only connection")
	}
}
