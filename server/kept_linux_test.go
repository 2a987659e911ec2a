package server_test

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weir/internal/testkit"
)

// A client that ends its side together with a later request is let go after the answer, also where nothing
// tells of the end by itself.
func TestLaterRequestWithEnd(t *testing.T) {
	t.Parallel()
	check := func(name, address string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := run(t, `
[[listeners]]
name = "main"
address = %q
timeouts = { idle = "10m" }
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
`, address, keeping(t, nil).URL)
			var clients []*testkit.Client
			for range 20 {
				c := w.later()
				uncork := cork(t, c.Conn)
				c.Send(get)
				c.CloseWrite()
				uncork()
				clients = append(clients, c)
			}
			for _, c := range clients {
				equal(t, "the answer", c.Response("GET").Body, "ok")
				rest, end := c.Rest()
				equal(t, "the end", rest+string(end), string(testkit.Closed))
			}
		})
	}
	check("TCP", "127.0.0.1:0")
	check("unix", "unix:"+t.TempDir()+"/weir")
}

// Urgent data divides what is read: what is behind it is not told of by itself either.
func TestLaterUrgent(t *testing.T) {
	t.Parallel()
	w := through(t, keeping(t, nil))
	c := w.later()
	uncork := cork(t, c.Conn)
	c.Send(get)
	urge(t, c.Conn.(*net.TCPConn))
	c.Send(get)
	uncork()
	for range 2 {
		equal(t, "the answer", c.Response("GET").Body, "ok")
	}
	equal(t, "the next", c.Get("/").Body, "ok")
}

// cork makes TCP send what is written to c, and its end, in one segment, which uncork lets go. Other
// connections know no segments.
func cork(t testing.TB, c net.Conn) (uncork func()) {
	t.Helper()
	set := func(on int) {
		control(t, c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, on) })
	}
	if _, ok := c.(*net.TCPConn); !ok {
		return func() {}
	}
	set(1)
	return func() { set(0) }
}

// urge sends a byte of urgent data.
func urge(t testing.TB, c *net.TCPConn) {
	t.Helper()
	control(t, c, func(fd int) error { return unix.Sendto(fd, []byte("!"), unix.MSG_OOB, nil) })
}

func control(t testing.TB, c net.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}
