package transport

import (
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/config"
	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/sock"
	"weir/internal/testkit"
)

// then is a Continuation.
type then func()

func (f then) Continue() { f() }

const shortAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// shortRequest is a request with a body of n bytes.
func shortRequest(n int) *Request {
	h := new(head.Head)
	h.StartRequest(head.HTTP11, []byte("GET"), []byte("/"))
	h.Add(head.Host, []byte("a.test"))
	if n > 0 {
		h.SetFraming(int64(n))
	}
	return &Request{Head: h, Held: []byte(strings.Repeat("x", n))}
}

// takeAnswer reads a response to its end.
func takeAnswer(s Stream) error {
	var h head.Head
	if err := s.Await(); err != nil {
		return err
	}
	if _, err := s.ReadHead(&h); err != nil {
		return err
	}
	var reader body.Reader
	src := s.Response(&h, false, &reader)
	for buf := make([]byte, 100); ; {
		if _, err := src.Next(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// attendedConn makes an attendant wait at a connection, after an exchange that leaves the connection as leave does, and takes it.
func attendedConn(t *testing.T, pool *HTTP1, leave func(c *Conn)) Attended {
	t.Helper()
	c, err := pool.Acquire(testkit.Limit)
	if err != nil {
		t.Fatal(err)
	}
	Attend(c)
	if _, err := c.Send(shortRequest(0)); err != nil {
		t.Fatal(err)
	}
	if err := takeAnswer(c); err != nil {
		t.Fatal(err)
	}
	if leave != nil {
		leave(c)
	}
	c.Release(true)
	return unusedConn(t, pool)
}

// unusedConn takes the connection at which an attendant waits, once it does.
func unusedConn(t *testing.T, pool *HTTP1) Attended {
	t.Helper()
	testkit.Eventually(t, "an attendant waits", func() bool { return pool.attendants.count() == 1 })
	return pool.Attended()
}

func poolTo(t *testing.T, url string) *HTTP1 {
	t.Helper()
	cfg := config.DefaultUpstream()
	pool, err := NewHTTP1(url, &cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Retire)
	return pool
}

// The limits of an exchange say nothing about the next one on the same connection, even if they have passed when the exchange ends.
func TestAttendantOldLimits(t *testing.T) {
	t.Parallel()
	pool := poolTo(t, testkit.Listen(t, testkit.Answer(shortAnswer)).URL)
	pass := func(s Stream) {
		s.ReadUntil(sock.LongAgo)
		s.LimitWrite(sock.LongAgo, time.Second)
	}
	s := attendedConn(t, pool, func(c *Conn) { pass(c) })
	for range 3 {
		done := make(chan error, 1)
		s.LimitRead(time.Now(), time.Hour)
		if !s.SendAhead(shortRequest(0), then(func() {
			err := takeAnswer(s)
			s.ReadUntil(sock.LongAgo)
			s.Release(true)
			done <- err
		})) {
			t.Fatal("the request was not sent")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s = unusedConn(t, pool)
	}
	s.Release(false)
}

// The answer may come before the request was written. The exchange goes on only then, because it has the buffers. A target that has answered
// a part gets no other request on the connection: it would take that for the rest.
func TestAttendantAnsweredBeforeAsked(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int{"whole": 0, "a part": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := make(chan struct{})
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				c.Request()
				c.Send(shortAnswer)
				c.Wait(answer)
				c.Send(shortAnswer)
				c.Hold()
			})
			pool := poolTo(t, origin.URL)
			s := attendedConn(t, pool, nil)
			c := s.(*Conn)
			a := c.attendant
			c.stream.Conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
			written := false
			a.claim = func() bool {
				if !a.ask() {
					return false
				}
				close(answer)
				testkit.Eventually(t, "the attendant has the answer", func() bool { return a.state.Load() != attendantAsked })
				runtime.Gosched()
				written = true // nearly
				return true
			}
			done := make(chan error, 1)
			if !s.SendAhead(shortRequest(length), then(func() {
				if !written {
					t.Error("the exchange goes on before its request was written")
				}
				err := takeAnswer(s)
				s.Release(err == nil)
				done <- err
			})) {
				t.Fatal("the exchange does not go on")
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if length == 0 {
				unusedConn(t, pool).Release(false)
			}
			testkit.Eventually(t, "the connection is closed", func() bool { open, _ := pool.Conns(); return open == 0 })
		})
	}
}

// Once an attendant has found that it was unused for too long, nobody takes its connection.
func TestAttendantUnusedForTooLong(t *testing.T) {
	t.Parallel()
	pool := poolTo(t, testkit.Listen(t, testkit.Answer(shortAnswer)).URL)
	a := &attendant{t: pool, offered: true, used: time.Now().Add(-time.Hour)}
	pool.attendants.offer(a)
	if pool.attendants.rest(a) {
		t.Error("the attendant waits on")
	}
	if pool.attendants.take() != nil {
		t.Error("the connection was taken")
	}
}

// Unused connections are closed when CloseIdle returns: it is called for want of descriptors.
func TestAttendantsCloseAtOnce(t *testing.T) {
	t.Parallel()
	pool := poolTo(t, testkit.Listen(t, testkit.Answer(shortAnswer)).URL)
	const all = 20
	var conns []*Conn
	for range all {
		c, err := pool.Acquire(testkit.Limit)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	var descriptors, sockets []uint64
	for _, c := range conns {
		Attend(c)
		if _, err := c.Send(shortRequest(0)); err != nil {
			t.Fatal(err)
		}
		if err := takeAnswer(c); err != nil {
			t.Fatal(err)
		}
		c.stream.Raw().Control(func(fd uintptr) {
			descriptors, sockets = append(descriptors, uint64(fd)), append(sockets, socketOf(uint64(fd)))
		})
		c.Release(true)
	}
	testkit.Eventually(t, "all attendants wait", func() bool { return pool.attendants.count() == all })
	pool.CloseIdle()
	for i, fd := range descriptors {
		if socketOf(fd) == sockets[i] {
			t.Error("a connection is open")
		}
	}
	testkit.Eventually(t, "none is counted", func() bool { open, _ := pool.Conns(); return open == 0 })
}

// socketOf identifies what a descriptor stands for; 0 if that is nothing.
func socketOf(fd uint64) uint64 {
	var s syscall.Stat_t
	if syscall.Fstat(int(fd), &s) != nil {
		return 0
	}
	return s.Ino
}
