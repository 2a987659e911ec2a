package listener_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/config"
	"weir/internal/listener"
	"weir/internal/testkit"
)

// limit ends a test that would hang; no test depends on its length.
const limit = time.Minute

// greet is a handler that says who the client is and then echoes.
func greet(c *listener.Conn) {
	io.WriteString(c.NetConn(), remote(c)+"\n")
	io.Copy(c.NetConn(), c.NetConn())
}

// remote returns the address of the client without its port.
func remote(c *listener.Conn) string {
	if !c.RemoteAddr().IsValid() {
		return "unix"
	}
	return c.RemoteAddr().Addr().String()
}

// local is a configuration on a port of the kernel's choice.
func local() *config.Listener {
	return &config.Listener{
		Address:  "127.0.0.1:0",
		Timeouts: config.ListenerTimeouts{Handshake: config.Duration(limit)},
		Tickets:  config.Tickets{Enabled: true, Rotate: config.Duration(time.Hour)},
	}
}

// start opens and serves a listener until the end of the test, which fails if
// anything of the listener is still running then.
func start(t *testing.T, cfg *config.Listener, options listener.Options, handle func(*listener.Conn)) *listener.Listener {
	t.Helper()
	l, err := listener.Open(cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		l.Serve(handle)
		close(served)
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l.Abort()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := l.Wait(ctx); err != nil {
			t.Errorf("%d connections are left: %v", l.Stats().Open, err)
		}
	})
	return l
}

// dial connects to the listener's first socket.
func dial(t *testing.T, l *listener.Listener) net.Conn {
	t.Helper()
	a := l.Addrs()[0]
	conn, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(limit))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// line reads one line without its end.
func line(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("got %q, then: %v", text, err)
	}
	return strings.TrimSuffix(text, "\n")
}

// until waits for a condition that other goroutines bring about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	testkit.EventuallyWithin(t, limit, what, condition)
}

// closed fails unless the peer closes without having sent anything.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	rest, err := io.ReadAll(conn)
	if len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %q, %v; want a closed connection", rest, err)
	}
}

func TestTCP(t *testing.T) {
	conns := make(chan *listener.Conn, 1)
	l := start(t, local(), listener.Options{}, func(c *listener.Conn) {
		conns <- c
		greet(c)
	})
	client := dial(t, l)
	if got := line(t, client); got != "127.0.0.1" {
		t.Errorf("greeted as %q", got)
	}
	c := <-conns
	if _, ok := c.NetConn().(*net.TCPConn); !ok || c.Raw() != c.NetConn() {
		t.Errorf("NetConn is a %T, Raw a %T", c.NetConn(), c.Raw())
	}
	if got, want := c.RemoteAddr().String(), client.LocalAddr().String(); got != want {
		t.Errorf("RemoteAddr is %s, want %s", got, want)
	}
	if c.TLS() != nil || c.Listener() != l {
		t.Errorf("TLS %v, Listener %p", c.TLS(), c.Listener())
	}
}

// An IPv4 client of a dual-stack socket must not look like an IPv6 one: rules
// and logs speak of 127.0.0.1.
func TestMappedAddress(t *testing.T) {
	cfg := local()
	cfg.Address = "[::]:0"
	l, err := listener.Open(cfg, listener.Options{})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	go l.Serve(greet)
	defer l.Close()
	client, err := net.Dial("tcp4", strings.Replace(l.Addrs()[0].String(), "[::]", "127.0.0.1", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got := line(t, client); got != "127.0.0.1" {
		t.Errorf("greeted as %q", got)
	}
}

func TestAddressInUse(t *testing.T) {
	l := start(t, local(), listener.Options{}, greet)
	cfg := local()
	cfg.Address = config.Address(l.Addrs()[0].String())
	_, err := listener.Open(cfg, listener.Options{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), string(cfg.Address)) {
		t.Errorf("got %v", err)
	}
}

func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.sock")
	cfg := local()
	cfg.Address = config.Address("unix:" + path)
	conns := make(chan *listener.Conn, 10) // the probe of the second listener is one too
	l := start(t, cfg, listener.Options{}, func(c *listener.Conn) {
		conns <- c
		greet(c)
	})
	if got := line(t, dial(t, l)); got != "unix" {
		t.Errorf("greeted as %q", got)
	}
	c := <-conns
	if _, ok := c.NetConn().(*net.UnixConn); !ok || c.RemoteAddr().IsValid() {
		t.Errorf("NetConn is a %T, RemoteAddr %v", c.NetConn(), c.RemoteAddr())
	}

	// A running process answers: its socket file stays.
	if _, err := listener.Open(cfg, listener.Options{}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "running process") {
		t.Errorf("second listener: %v", err)
	}
	line(t, dial(t, l))

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file after Close: %v", err)
	}
}

func TestStaleUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	cfg := local()
	cfg.Address = config.Address("unix:" + path)
	line(t, dial(t, start(t, cfg, listener.Options{}, greet)))

	// A file that is not a socket may be a user's data, so it stays.
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Address = config.Address("unix:" + file)
	if _, err := listener.Open(cfg, listener.Options{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(file); string(data) != "precious" {
		t.Errorf("the file is now %q", data)
	}
}

func TestUpdate(t *testing.T) {
	l := start(t, local(), listener.Options{}, greet)
	old := dial(t, l)
	line(t, old)

	ca := newAuthority(t)
	secure := local()
	secure.Name = "public"
	secure.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	if err := l.Update(secure); err != nil {
		t.Fatal(err)
	}
	if l.Name() != "public" {
		t.Errorf("name is %q", l.Name())
	}
	// The old connection lives on as it was; a new one gets TLS.
	io.WriteString(old, "still here\n")
	if got := line(t, old); got != "still here" {
		t.Errorf("old connection got %q", got)
	}
	client := tls.Client(dial(t, l), ca.client("www.example.org"))
	if got := line(t, client); got != "127.0.0.1" {
		t.Errorf("new connection greeted as %q", got)
	}

	// A bad update changes nothing.
	broken := local()
	broken.Certificates = []config.Certificate{{Cert: "/nonexistent/cert.pem", Key: "/nonexistent/key.pem"}}
	if err := l.Update(broken); err == nil || !strings.Contains(err.Error(), "/nonexistent/cert.pem") {
		t.Errorf("missing certificate: %v", err)
	}
	moved := local()
	moved.Address = "127.0.0.1:1"
	if err := l.Update(moved); err == nil {
		t.Error("an update moved the listener")
	}
	line(t, tls.Client(dial(t, l), ca.client("www.example.org")))
}

// A reload must not refuse a client: they connect all the time while the
// settings are replaced.
func TestUpdateUnderTraffic(t *testing.T) {
	l := start(t, local(), listener.Options{}, greet)
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n > 0 {
						return
					}
				default:
				}
				conn, err := net.Dial("tcp", l.Addrs()[0].String())
				if err != nil {
					t.Errorf("connection %d: %v", n, err)
					return
				}
				if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
					t.Errorf("connection %d: %v", n, err)
				}
				conn.Close()
			}
		})
	}
	for i := range 100 {
		cfg := local()
		cfg.Limits.Connections = 2 + i%3
		cfg.Limits.ConnectionsPerAddress = 100 * (i % 2)
		if err := l.Update(cfg); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	clients.Wait()
}

// Connections that the kernel had accepted before Close would be reset.
func TestCloseTakesQueued(t *testing.T) {
	one := local()
	one.Address = config.Address(testkit.Reserve(t)) // no other test gets it after Close
	l, err := listener.Open(one, listener.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// The first connection holds the one place; the accept loop waits with
	// the second, and the others are in the kernel's queue.
	one.Limits.Connections = 1
	if err := l.Update(one); err != nil {
		t.Fatal(err)
	}
	go l.Serve(greet)
	var clients []net.Conn
	for range 20 {
		clients = append(clients, dial(t, l))
	}
	line(t, clients[0])
	until(t, "the second is accepted", func() bool { return l.Stats().Accepted == 2 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients[1:] {
		line(t, c)
	}
	if _, err := net.Dial("tcp", l.Addrs()[0].String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Close: %v", err)
	}

	// Close left them alone; they end when they like, or by Abort.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with %d open: %v", l.Stats().Open, err)
	}
	l.Abort()
	if err := l.Wait(context.Background()); err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		closed(t, c)
	}
}

// Abort cuts connections whose handlers work inside a read, and waits for none of them: here none ends
// before all are cut.
func TestAbortInsideRead(t *testing.T) {
	t.Parallel()
	const count = 3
	inside := make(chan struct{}, count)
	var left sync.WaitGroup
	left.Add(count)
	l := start(t, local(), listener.Options{}, func(c *listener.Conn) {
		raw, err := c.NetConn().(syscall.Conn).SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		raw.Read(func(uintptr) bool {
			inside <- struct{}{}
			for end := time.Now().Add(limit); !errors.Is(c.NetConn().SetDeadline(time.Time{}), net.ErrClosed); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Error("a connection is not cut")
					break
				}
			}
			left.Done()
			left.Wait()
			return true
		})
	})
	var clients []net.Conn
	for range count {
		clients = append(clients, dial(t, l))
	}
	for range clients {
		<-inside
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Abort()
	if err := l.Wait(context.Background()); err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		closed(t, c)
	}
}

func TestCloseWithoutServe(t *testing.T) {
	l, err := listener.Open(local(), listener.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	l.Serve(greet) // returns at once
}

// The client reads the answer although it was still sending: a reset would have
// destroyed it.
func TestLinger(t *testing.T) {
	ca := newAuthority(t)
	secure := local()
	secure.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	check := func(name string, cfg *config.Listener, wrap func(net.Conn) net.Conn) {
		t.Run(name, func(t *testing.T) {
			l := start(t, cfg, listener.Options{}, func(c *listener.Conn) {
				io.ReadFull(c.NetConn(), make([]byte, 1))
				io.WriteString(c.NetConn(), "431\n")
				c.Linger()
			})
			client := wrap(dial(t, l))
			if _, err := client.Write(make([]byte, 16<<20)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(client); string(got) != "431\n" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	check("plain", local(), func(c net.Conn) net.Conn { return c })
	check("tls", secure, func(c net.Conn) net.Conn { return tls.Client(c, ca.client("www.example.org")) })
}

// A client that sends for ever is let go in the end, and one that does nothing after a
// while.
func TestLingerBounds(t *testing.T) {
	t.Parallel()
	drop := func(within, silence time.Duration, client func(net.Conn)) time.Duration {
		took := make(chan time.Duration, 1)
		l := start(t, local(), listener.Options{}, func(c *listener.Conn) {
			began := time.Now()
			listener.Drop(c.NetConn(), began.Add(within), silence)
			took <- time.Since(began)
		})
		client(dial(t, l))
		return <-took
	}
	endless := func(c net.Conn) {
		go func() {
			for _, err := c.Write([]byte("x")); err == nil; _, err = c.Write([]byte("x")) {
				time.Sleep(time.Millisecond)
			}
		}()
	}
	if took := drop(300*time.Millisecond, limit, endless); took < 300*time.Millisecond || took > limit/2 {
		t.Errorf("one that sends for ever cost %v", took)
	}
	if took := drop(limit, 300*time.Millisecond, func(net.Conn) {}); took < 300*time.Millisecond || took > limit/2 {
		t.Errorf("one that does nothing cost %v", took)
	}
}

// The end of a listener does not wait for connections that only linger, but a cut does.
func TestWaitPassesLingering(t *testing.T) {
	t.Parallel()
	l := start(t, local(), listener.Options{}, func(c *listener.Conn) {
		io.WriteString(c.NetConn(), "413\n")
		c.Linger()
	})
	client := dial(t, l)
	if _, err := io.ReadFull(client, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := errors.Join(l.Close(), l.Wait(ctx)); err != nil {
		t.Error(err)
	}
	if open := l.Stats().Open; open != 1 {
		t.Errorf("%d connections are open, want the one that lingers", open)
	}
	l.Abort()
	if err := l.Wait(ctx); err != nil || l.Stats().Open != 0 {
		t.Errorf("after the cut %d are open: %v", l.Stats().Open, err)
	}
}

func TestReasonsAreCounted(t *testing.T) {
	l := start(t, local(), listener.Options{}, greet)
	s := l.Stats()
	for _, r := range listener.Reasons() {
		if _, ok := s.Refused[r]; !ok {
			t.Errorf("Stats lack %q", r)
		}
	}
	if len(s.Refused) != len(listener.Reasons()) {
		t.Errorf("got %v", s.Refused)
	}
}

// refusals collects what OnRefuse hears.
type refusals chan refusal

type refusal struct {
	reason listener.Reason
	err    error
	client netip.AddrPort
}

func (r refusals) options() listener.Options {
	return listener.Options{OnRefuse: func(reason listener.Reason, err error, client netip.AddrPort) {
		r <- refusal{reason, err, client}
	}}
}

// expect waits for the next refusal.
func (r refusals) expect(t *testing.T, want listener.Reason) refusal {
	t.Helper()
	select {
	case got := <-r:
		if got.reason != want {
			t.Errorf("refused by %q (%v), want %q", got.reason, got.err, want)
		}
		return got
	case <-time.After(limit):
		t.Fatalf("nothing was refused, want %q", want)
		return refusal{}
	}
}
