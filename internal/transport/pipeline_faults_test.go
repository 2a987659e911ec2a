package transport_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/internal/transport"
	"weir/lb"
	"weir/lb/balance"
)

// fused is a connection that panics.
type fused struct {
	net.Conn
	onRead, onWrite *atomic.Bool
}

func (c *fused) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.onRead.Swap(false) {
		panic("as the test wants")
	}
	return n, err
}

func (c *fused) Write(p []byte) (int, error) {
	if c.onWrite.Swap(false) {
		panic("as the test wants")
	}
	return c.Conn.Write(p)
}

// A panic while a shared connection is read, written or made costs no
// exchange its answer but the one on whose goroutine it was, and leaves nothing lent.
func TestPipelinePanic(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	check := func(name string, arm func(read, write, dial *atomic.Bool), told int32, thrown int32) {
		t.Run(name, func(t *testing.T) {
			held := make(chan struct{})
			var odd atomic.Bool
			odd.Store(true)
			origin := testkit.Listen(t, func(c *testkit.Conn) {
				for {
					if _, err := c.Reader.ReadByte(); err != nil {
						return
					}
					if odd.Load() {
						c.Wait(held)
					}
					if c.TrySend(answer) != nil {
						return
					}
				}
			})
			var read, write, dial atomic.Bool
			var panics, failed atomic.Int32
			var once sync.Once
			dialing, dialed := make(chan struct{}), make(chan struct{})
			pool := transport.Connect(t, "demo:a", transport.Options{
				SlowTurn: time.Hour,
				OnPanic: func(v any) {
					if v != "as the test wants" {
						t.Errorf("panic is %v", v)
					}
					panics.Add(1)
				},
				DialLocal: func(_, _ string) (net.Conn, error) {
					once.Do(func() { close(dialing) })
					<-dialed
					if dial.Swap(false) {
						panic("as the test wants")
					}
					c, err := net.Dial("tcp", strings.TrimPrefix(origin.URL, "http://"))
					return &fused{c, &read, &write}, err
				},
			}, func(u *config.Upstream) { u.Connections.Pipeline = 8 })
			exchange := func() {
				defer func() {
					if recover() != nil {
						failed.Add(1)
					}
				}()
				c := pool.Join(0, 0)
				defer pool.Release(c, true)
				transport.SendForTest(c, []byte("?"))
				b, err := c.Reader.Peek(len(answer))
				if err != transport.ErrAlone && string(b) != answer {
					t.Errorf("answer is %q, %v", b, err)
				}
			}
			arm(&read, &write, &dial)
			var all sync.WaitGroup
			all.Go(exchange)
			<-dialing
			for range 3 {
				all.Go(exchange)
			}
			close(dialed)
			close(held)
			all.Wait()
			equal(t, "panics that were told", panics.Load(), told)
			equal(t, "exchanges that panicked", failed.Load(), thrown)
			odd.Store(false)
			testkit.Eventually(t, "no connection is lent", func() bool {
				open, idle := pool.Conns()
				return open == idle
			})
			for range 20 {
				all.Go(exchange)
			}
			all.Wait()
			equal(t, "panics in all", panics.Load()+failed.Load(), told+thrown)
		})
	}
	check("none", func(_, _, _ *atomic.Bool) {}, 0, 0)
	check("read", func(read, _, _ *atomic.Bool) { read.Store(true) }, 1, 0)
	check("write", func(_, write, _ *atomic.Bool) { write.Store(true) }, 0, 1)
}

// What gathers does not fill the buffers of a socket: a target that does not read
// while it writes would wait for ever.
func TestPipelineLargeRequests(t *testing.T) {
	request := bytes.Repeat([]byte("?"), 4<<10)
	small := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	large := "HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + strings.Repeat("x", 4_000_000)
	origin := testkit.ListenUnix(t, func(c *testkit.Conn) {
		take := func() bool {
			for n := 0; n < len(request); {
				k, err := c.Conn.Read(make([]byte, len(request)-n))
				if n += k; err != nil {
					return false
				}
			}
			return true
		}
		if c.Index == 0 {
			take()
			c.Send(small)
			if take() {
				c.TrySend(large)
			}
			return
		}
		for take() {
			if c.TrySend(small) != nil {
				return
			}
		}
	})
	dialed := make(chan struct{})
	pool := transport.Connect(t, "demo:a", transport.Options{SlowTurn: time.Hour, DialLocal: func(_, _ string) (net.Conn, error) {
		<-dialed
		return net.Dial("unix", strings.TrimPrefix(origin.URL, "unix:"))
	}}, func(u *config.Upstream) { u.Connections.Pipeline = 64 })
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			c := pool.Join(0, 0)
			defer pool.Release(c, false)
			transport.SendForTest(c, request)
			if b, err := c.Reader.Peek(1); err != nil && err != transport.ErrAlone {
				t.Errorf("error is %v for %q", err, b)
			}
		})
	}
	for range 1000 {
		runtime.Gosched() // so that they gather while the connection is made
	}
	close(dialed)
	all.Wait()
}

// A wait that was ended in the moment of the answer says nothing about the next
// exchange.
func TestPipelineEndedLate(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	slow := make(chan struct{}, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			b, err := c.Reader.ReadByte()
			if err != nil {
				return
			}
			if b == '!' {
				<-slow
			}
			if c.TrySend(answer) != nil {
				return
			}
		}
	})
	pool := shared(t, origin.URL, nil)
	for range 200 {
		one := func(request string) *transport.Conn {
			c := pool.Join(0, 0)
			transport.SendForTest(c, []byte(request))
			c.LimitRead(time.Now(), time.Hour)
			return c
		}
		c := one("?")
		if _, err := c.Reader.Peek(len(answer)); err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Unix(1, 0)) // the client has gone, or so it seems
		pool.Release(c, true)
		c = one("!")
		time.AfterFunc(200*time.Microsecond, func() { slow <- struct{}{} })
		if _, err := c.Reader.Peek(len(answer)); err != nil {
			t.Fatalf("the next one fails: %v", err)
		}
		pool.Release(c, true)
	}
}

// An exchange that waited after others until its time was up goes alone; only the
// first has had its time.
func TestPipelineTimeIsUp(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for range 2 {
			c.Reader.ReadByte()
			held <- struct{}{}
		}
		c.Hold()
	})
	pool := shared(t, origin.URL, nil)
	var all sync.WaitGroup
	wait := func(limit time.Duration, want error) {
		c := pool.Join(0, 0)
		all.Go(func() {
			defer pool.Release(c, false)
			transport.SendForTest(c, []byte("?"))
			c.LimitRead(time.Now(), limit)
			if _, err := c.Reader.Peek(1); !errors.Is(err, want) {
				t.Errorf("error is %v, want %v", err, want)
			}
		})
		<-held
	}
	wait(3*time.Second, os.ErrDeadlineExceeded) // longer than a busy machine takes to begin the other one
	wait(20*time.Millisecond, transport.ErrAlone)
	all.Wait()
	p, _ := pool.Pipelined()
	equal(t, "repeated", p.Repeated, 1)
}

// The connections of a target that no upstream and no exchange has any more are
// closed, also the one that was shared to the end.
func TestPipelineRetired(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for range 200 { // it is a race
		answers := make(chan struct{})
		origin := testkit.Listen(t, func(c *testkit.Conn) {
			c.Reader.ReadByte()
			c.Wait(answers)
			c.Send(answer)
			c.Rest()
		})
		cfg := config.DefaultUpstream()
		cfg.Targets = []config.Target{config.DefaultTarget(origin.URL)}
		cfg.Connections.Pipeline = 8
		u, err := lb.NewUpstream("u", &cfg, lb.Options{Algorithms: balance.Algorithms(), NewTransport: func(url string, cfg *config.Upstream) (lb.Transport, error) {
			return transport.NewHTTP1(url, cfg, patient)
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		target, err := u.Acquire(&lb.Pick{})
		if err != nil {
			t.Fatal(err)
		}
		pool := target.Transport().(*transport.HTTP1)
		c := pool.Join(0, 0)
		transport.SendForTest(c, []byte("?"))
		u.Close()
		close(answers)
		if _, err := c.Reader.Peek(len(answer)); err != nil {
			t.Fatal(err)
		}
		pool.Release(c, true)
		u.Release(target, lb.Outcome{Kind: lb.Success})
		testkit.Eventually(t, "no connection is open", func() bool { open, _ := pool.Conns(); return open == 0 })
		origin.Close()
	}
}

// No exchange waits on a connection that takes no more requests.
func TestPipelineWriteFails(t *testing.T) {
	closed := make(chan struct{})
	origin := testkit.ListenUnix(t, func(c *testkit.Conn) {
		c.Reader.ReadByte()
		if err := c.Conn.(*net.UnixConn).CloseRead(); err != nil {
			t.Error(err)
		}
		close(closed)
		c.Hold()
	})
	pool := shared(t, origin.URL, nil)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			_, err := ask(pool, []byte("?"), 1)
			equal(t, "error", err, transport.ErrAlone)
		})
		<-closed
	}
	all.Wait()
}
