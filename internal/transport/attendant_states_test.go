package transport

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"weir/internal/sock"
	"weir/internal/testkit"
)

// The limits of an exchange say nothing about the next one on the same connection, even if they have passed when the exchange ends.
func TestAttendantOldLimits(t *testing.T) {
	t.Parallel()
	pool := Connect(t, testkit.Listen(t, testkit.Answer(SmallAnswer)).URL, Options{}, nil)
	pass := func(s Stream) {
		s.ReadUntil(sock.LongAgo)
		s.LimitWrite(sock.LongAgo, time.Second)
	}
	Employ(t, pool, func(c *Conn) { pass(c) })
	s := TakeAttended(t, pool)
	for range 3 {
		done := make(chan error, 1)
		s.LimitRead(time.Now(), time.Hour)
		if !s.SendAhead(SmallRequest(0), Then(func() {
			_, err := ReadAnswer(s)
			s.ReadUntil(sock.LongAgo)
			s.Release(true)
			done <- err
		})) {
			t.Fatal("the request was not sent")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s = TakeAttended(t, pool)
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
				c.Send(SmallAnswer)
				c.Wait(answer)
				c.Send(SmallAnswer)
				c.Hold()
			})
			pool := Connect(t, origin.URL, Options{}, nil)
			Employ(t, pool, nil)
			s := TakeAttended(t, pool)
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
			if !s.SendAhead(SmallRequest(length), Then(func() {
				if !written {
					t.Error("the exchange goes on before its request was written")
				}
				_, err := ReadAnswer(s)
				s.Release(err == nil)
				done <- err
			})) {
				t.Fatal("the exchange does not go on")
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if length == 0 {
				TakeAttended(t, pool).Release(false)
			}
			testkit.Eventually(t, "the connection is closed", func() bool { open, _ := pool.Conns(); return open == 0 })
		})
	}
}

// Once an attendant has found that it was unused for too long, no exchange takes its connection.
func TestAttendantUnusedForTooLong(t *testing.T) {
	t.Parallel()
	pool := Connect(t, testkit.Listen(t, testkit.Answer(SmallAnswer)).URL, Options{}, nil)
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
	pool := Connect(t, testkit.Listen(t, testkit.Answer(SmallAnswer)).URL, Options{}, nil)
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
		if _, err := c.Send(SmallRequest(0)); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadAnswer(c); err != nil {
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
