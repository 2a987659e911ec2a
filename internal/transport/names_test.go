package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/internal/transport"
)

// zone is what the name "name.test" means.
type zone struct {
	mu      sync.Mutex
	addrs   []netip.Addr
	err     error
	lookups int
}

// set makes the name mean these addresses.
func (z *zone) set(err error, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs, z.err = nil, err
	for _, a := range addrs {
		z.addrs = append(z.addrs, netip.MustParseAddr(a))
	}
}

func (z *zone) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if host != "name.test" {
		return nil, fmt.Errorf("unknown name %q", host)
	}
	z.lookups++
	return z.addrs, z.err
}

// again waits until the name was looked up n times more.
func (z *zone) again(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.lookups
	}
	n += count()
	testkit.Eventually(t, "lookups", func() bool { return count() >= n })
}

// listenAt accepts at all addresses, on one port, and returns the URL of that port of
// name.test. Connections stay open to the end of the test. Addresses begin with 127.7,
// where tests of other packages do not listen at that port by chance.
func listenAt(t *testing.T, addrs ...string) (url string) {
	t.Helper()
	for range 100 {
		var open []net.Listener
		port := "0"
		for _, a := range addrs {
			ln, err := net.Listen("tcp", net.JoinHostPort(a, port))
			if err != nil {
				break
			}
			open = append(open, ln)
			_, port, _ = net.SplitHostPort(ln.Addr().String())
		}
		if len(open) < len(addrs) { // another program has the port at one of them
			for _, ln := range open {
				ln.Close()
			}
			continue
		}
		for _, ln := range open {
			t.Cleanup(func() { ln.Close() })
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					t.Cleanup(func() { c.Close() })
				}
			}()
		}
		return "http://name.test:" + port
	}
	t.Fatal("no port is free at all addresses")
	return ""
}

// peer returns the address that c is connected to.
func peer(c *transport.Conn) string {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	return host
}

func acquire(t *testing.T, pool *transport.HTTP1) *transport.Conn {
	t.Helper()
	c, err := pool.Acquire(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// All addresses of a name are used alike, and one that refuses costs nothing.
func TestSeveralAddresses(t *testing.T) {
	check := func(what string, listening, addrs []string, want map[string]int) {
		t.Helper()
		z := new(zone)
		z.set(nil, addrs...)
		pool := transport.Connect(t, listenAt(t, listening...), transport.Options{Lookup: z.lookup}, nil)
		got := map[string]int{}
		for range 12 {
			c := acquire(t, pool)
			got[peer(c)]++
			defer pool.Release(c, false)
		}
		equal(t, what, fmt.Sprint(got), fmt.Sprint(want))
	}
	three := []string{"127.7.0.2", "127.7.0.3", "127.7.0.4"}
	check("three accept", three, three, map[string]int{"127.7.0.2": 4, "127.7.0.3": 4, "127.7.0.4": 4})
	check("one accepts", three[1:2], three, map[string]int{"127.7.0.3": 12})
	check("one, mapped", three[1:2], []string{"::ffff:127.7.0.3"}, map[string]int{"127.7.0.3": 12})
	check("the other family refuses", three[:1], []string{"::1", "127.7.0.2"}, map[string]int{"127.7.0.2": 12})
}

// The error of a name says what the matter is.
func TestErrorsOfNames(t *testing.T) {
	check := func(what string, err error, addrs []string, phase string, timeout, refused bool) {
		t.Helper()
		z := new(zone)
		z.set(err, addrs...)
		pool := transport.Connect(t, "http://name.test:"+strings.Split(testkit.Reserve(t), ":")[1], transport.Options{Lookup: z.lookup}, nil)
		_, got := pool.Acquire(time.Minute)
		var de *transport.DialError
		if !errors.As(got, &de) {
			t.Fatalf("%s: got %v", what, got)
		}
		equal(t, what+": phase", de.Phase, phase)
		equal(t, what+": timeout", de.Timeout, timeout)
		equal(t, what+": refused", de.Refused, refused)
	}
	check("no such name", &net.DNSError{Err: "no such host", IsNotFound: true}, nil, "resolve", false, false)
	check("no answer", &net.DNSError{Err: "time-out", IsTimeout: true}, nil, "resolve", true, false)
	check("no address", nil, nil, "resolve", false, false)
	check("all refuse", nil, []string{"127.0.0.1", "127.7.0.2"}, "connect", false, true)
}

// While the name cannot be resolved, the addresses of the last time serve.
func TestNameServerIsDown(t *testing.T) {
	z := new(zone)
	z.set(nil, "127.7.0.2")
	pool := transport.Connect(t, listenAt(t, "127.7.0.2"), transport.Options{Lookup: z.lookup}, nil)
	pool.Release(acquire(t, pool), false)
	z.set(&net.DNSError{Err: "server misbehaving", IsTemporary: true})
	pool.Release(acquire(t, pool), false)
	z.set(&net.DNSError{Err: "no such host", IsNotFound: true})
	if _, err := pool.Acquire(time.Minute); err == nil {
		t.Error("a name that is gone is connected to")
	}
}

// Connections to an address end once the name has lost it, and not before that is sure.
func TestNameMoves(t *testing.T) {
	z := new(zone)
	z.set(nil, "127.7.0.2")
	pool := transport.Connect(t, listenAt(t, "127.7.0.2", "127.7.0.3"), transport.Options{Lookup: z.lookup}, func(u *config.Upstream) {
		u.Connections.Resolve = config.Duration(time.Millisecond)
	})
	busy, idle := acquire(t, pool), acquire(t, pool)
	pool.Release(idle, true)
	// No answer, and no such name, are no reason to part.
	z.set(&net.DNSError{Err: "no such host", IsNotFound: true})
	z.again(t, 4)
	open, unused := pool.Conns()
	equal(t, "open while the name is gone", open, 2)
	equal(t, "unused while the name is gone", unused, 1)

	z.set(nil, "127.7.0.3")
	testkit.Eventually(t, "the end of the unused connection", func() bool { open, _ := pool.Conns(); return open == 1 })
	c := acquire(t, pool)
	equal(t, "address of a new connection", peer(c), "127.7.0.3")
	pool.Release(c, true)
	pool.Release(busy, true)
	open, unused = pool.Conns()
	equal(t, "open after the exchange", open, 1)
	equal(t, "unused after the exchange", unused, 1)
	c = acquire(t, pool)
	equal(t, "reused", c.Reused(), true)
	equal(t, "address", peer(c), "127.7.0.3")
	pool.Release(c, true)
}

// Servers that answer by turns with different addresses cost no connection.
func TestNameServersDisagree(t *testing.T) {
	z := new(zone)
	z.set(nil, "127.7.0.2")
	var answers atomic.Int32
	pool := transport.Connect(t, listenAt(t, "127.7.0.2"), transport.Options{Lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		found, err := z.lookup(ctx, host)
		if answers.Add(1)%2 == 0 {
			found = []netip.Addr{netip.MustParseAddr("127.7.0.9")}
		}
		return found, err
	}}, func(u *config.Upstream) { u.Connections.Resolve = config.Duration(time.Millisecond) })
	c := acquire(t, pool)
	z.again(t, 10)
	pool.Release(c, true)
	_, idle := pool.Conns()
	equal(t, "unused connections", idle, 1)
}

// Nothing is looked up while there is no connection, or if it is not wanted.
func TestLookupsEnd(t *testing.T) {
	check := func(what string, resolve time.Duration, want int32) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var lookups atomic.Int32
			a, b := net.Pipe()
			defer b.Close()
			c := transport.ConnForTest(addressed{a, "127.7.0.2:80"}, resolve, func(context.Context, string) ([]netip.Addr, error) {
				lookups.Add(1)
				return []netip.Addr{netip.MustParseAddr("127.7.0.2")}, nil
			})
			time.Sleep(10*resolve + time.Second)
			c.Close()
			time.Sleep(time.Hour)
			equal(t, what, lookups.Load(), want)
		})
	}
	check("every minute", time.Minute, 11) // the last one finds that there is no connection
	check("never", 0, 0)
}

// A connection of the highest age, less a tenth at most, is used for no further exchange.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := transport.Connect(t, "demo:a", transport.Options{DialLocal: func(_, _ string) (net.Conn, error) {
			a, b := net.Pipe()
			go io.Copy(io.Discard, b)
			return a, nil
		}}, func(u *config.Upstream) {
			u.Connections.MaxAge, u.Connections.Idle = config.Duration(time.Hour), config.Duration(24*time.Hour)
		})
		const conns = 100
		next := func() (reused int) {
			var list []*transport.Conn
			for range conns {
				c := acquire(t, pool)
				if c.Reused() {
					reused++
				}
				list = append(list, c)
			}
			for _, c := range list {
				pool.Release(c, true)
			}
			return reused
		}
		equal(t, "at first", next(), 0)
		time.Sleep(54*time.Minute - time.Nanosecond)
		equal(t, "before nine tenths", next(), conns)
		time.Sleep(3 * time.Minute)
		// It is so by chance for each: beyond 20 and 80 once in four billion runs.
		if n := next(); n < 20 || n > 80 {
			t.Errorf("halfway through the spread %d of %d connections are used, want about half", n, conns)
		}
		_, idle := pool.Conns()
		equal(t, "unused", idle, conns)

		// What gets old during an exchange ends after it.
		c := acquire(t, pool)
		time.Sleep(time.Hour)
		pool.Release(c, true)
		equal(t, "after an hour in one exchange", next(), 0)
		pool.Retire()
		time.Sleep(48 * time.Hour) // for the pool's own goroutine to see that
	})
}

// Exchanges that share a connection leave one that is old, however many there are.
func TestMaxAgeOfSharedConnections(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			if _, err := c.Reader.ReadByte(); err != nil || c.TrySend(answer) != nil {
				return
			}
		}
	})
	pool := transport.Connect(t, origin.URL, patient, func(u *config.Upstream) {
		u.Connections.MaxAge, u.Connections.Pipeline, u.Connections.Max = config.Duration(20*time.Millisecond), 64, 2
	})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := pool.Join(0, 0)
				if c == nil {
					continue
				}
				transport.SendForTest(c, []byte("?"))
				if b, err := c.Reader.Peek(len(answer)); err != transport.ErrAlone && string(b) != answer {
					t.Errorf("answer is %q, %v", b, err)
				}
				pool.Release(c, true)
			}
		})
	}
	testkit.Eventually(t, "further connections", func() bool { return len(origin.Conns()) >= 4 })
	close(stop)
	all.Wait()
}

// addressed is a connection to an address.
type addressed struct {
	net.Conn
	addr string
}

func (c addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.addr))
}

// closing counts its end.
type closing struct {
	net.Conn
	addr   netip.Addr
	closed atomic.Bool
}

func (c *closing) Close() error { c.closed.Store(true); return nil }

// behaviour is how an address answers: after a time, or never.
type behaviour struct {
	after   time.Duration // 0: never
	accepts bool
}

// Whatever the addresses do, the first that accepts by the rules of the race wins, all other
// connections are closed, and nothing takes longer than it must.
func TestRaceIsAsItsModel(t *testing.T) {
	const limit = 3 * time.Second
	chance := rand.New(rand.NewPCG(8305, 1))
	for n := range 300 {
		var addrs []netip.Addr
		does := map[netip.Addr]behaviour{}
		for i := range 1 + chance.IntN(5) {
			a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			if chance.IntN(2) == 0 {
				a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
			}
			addrs = append(addrs, a)
			// The microseconds see that no two things happen at the same moment.
			does[a] = behaviour{time.Duration(chance.IntN(600))*time.Millisecond + time.Microsecond<<i, chance.IntN(2) == 0}
			if chance.IntN(4) == 0 {
				does[a] = behaviour{}
			}
		}
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var dialed []netip.Addr
			var made []*closing
			dial := transport.DialerForTest(func(context.Context, string) ([]netip.Addr, error) { return addrs, nil },
				func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
					mu.Lock()
					dialed = append(dialed, a.Addr())
					mu.Unlock()
					b := does[a.Addr()]
					if b.after == 0 {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					time.Sleep(b.after) // as if it did not notice the end of ctx
					if !b.accepts {
						return nil, syscall.ECONNREFUSED
					}
					mu.Lock()
					defer mu.Unlock()
					c := &closing{addr: a.Addr()}
					made = append(made, c)
					return c, nil
				})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			c, err := dial(ctx)
			took := time.Since(began)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			winner, wantTook, started := model(dialed, addrs, does, limit)
			if (err == nil) != winner.IsValid() || err == nil && c.(*closing).addr != winner {
				t.Fatalf("%d: got %v, %v; want %v: %v %v", n, c, err, winner, dialed, does)
			}
			equal(t, fmt.Sprint(n, ": time"), took, wantTook)
			equal(t, fmt.Sprint(n, ": addresses dialled"), len(dialed), started)
			mu.Unlock()
			time.Sleep(time.Minute)
			mu.Lock()
			for _, m := range made {
				equal(t, fmt.Sprint(n, ": closed ", m.addr), m.closed.Load(), m.addr != winner)
			}
		})
	}
}

// model says who wins a race of addresses that were dialled in this order, when, and how many
// are dialled until then. What was not dialled comes after the others.
func model(dialed, addrs []netip.Addr, does map[netip.Addr]behaviour, limit time.Duration) (winner netip.Addr, at time.Duration, started int) {
	const delay = 250 * time.Millisecond
	starts := []time.Duration{0}
	order := dialed
	for {
		// What happens next, of all that is under way and of the delay?
		next, who := limit, -1
		for i, s := range starts {
			if b := does[order[i]]; b.after > 0 && s+b.after > at && s+b.after < next {
				next, who = s+b.after, i
			}
		}
		last := starts[len(starts)-1]
		waits := len(starts) < len(addrs) && last+delay < next
		switch {
		case waits:
			at = last + delay
		case who < 0:
			return netip.Addr{}, limit, len(starts)
		default:
			at = next
			if does[order[who]].accepts {
				return order[who], at, len(starts)
			}
			failed := 0
			for i, s := range starts {
				if b := does[order[i]]; b.after > 0 && s+b.after <= at {
					failed++
				}
			}
			if failed == len(addrs) {
				return netip.Addr{}, at, len(starts)
			}
		}
		if len(starts) < len(addrs) {
			starts = append(starts, at)
		}
	}
}

// The families take turns, and an address that failed or was slow comes last for a while.
func TestOrderOfAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		addrs := []netip.Addr{
			netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"),
			netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"),
		}
		var dialed []netip.Addr
		dead := map[netip.Addr]bool{addrs[0]: true, addrs[1]: true, addrs[2]: true, addrs[3]: true}
		dial := transport.DialerForTest(func(context.Context, string) ([]netip.Addr, error) { return addrs, nil },
			func(_ context.Context, a netip.AddrPort) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				dialed = append(dialed, a.Addr())
				if dead[a.Addr()] {
					return nil, syscall.ECONNREFUSED
				}
				return &closing{}, nil
			})
		dial(t.Context())
		families := ""
		for _, a := range dialed {
			families += map[bool]string{true: "4", false: "6"}[a.Is4()]
		}
		equal(t, "families", families, "6464")

		dead[addrs[3]] = false
		dial(t.Context())
		for range 8 {
			dialed = nil
			dial(t.Context())
			equal(t, "dialled while the others are known as dead", fmt.Sprint(dialed), fmt.Sprint(addrs[3:]))
		}
		time.Sleep(10 * time.Second)
		dialed = nil
		dial(t.Context())
		equal(t, "family of the first a while later", dialed[0].Is6(), true)
	})
}
