package frames

import (
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"weir/internal/sock"
	"weir/internal/testkit"
)

// owner is a connection without streams.
type owner struct{}

func (owner) Pump()   {}
func (owner) Failed() {}

// The slower the peer the less is gathered for it, within bounds, and the less the kernel takes beyond what it can send, until
// the peer is as fast as others again.
func TestGather(t *testing.T) {
	t.Parallel()
	peer := testkit.Listen(t, func(c *testkit.Conn) { c.Hold() })
	nc, err := net.Dial("tcp", strings.TrimPrefix(peer.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	under := &sock.PacedStream{Stream: sock.NewStream(nc)}
	var o Output
	o.Start(owner{}, new(sync.Mutex), under, under, sock.Pace{})
	check := func(what string, gathered, unsent int) {
		t.Helper()
		got := 0
		raw, err := nc.(*net.TCPConn).SyscallConn()
		if err == nil {
			raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT) })
		}
		if o.gathered != gathered || got != unsent || err != nil {
			t.Errorf("%s: %d bytes are gathered, the kernel takes %d, %v; want %d and %d", what, o.gathered, got, err, gathered, unsent)
		}
	}
	check("at first", Gathered, maxUnsent)
	o.gather(Gathered / 2)
	check("a peer that is slower than others", Gathered/2, maxUnsent)
	o.gather(1)
	check("a slow peer", MaxFrame, slowUnsent)
	o.gather(2 * MaxFrame)
	check("a slow peer that took all once", 2*MaxFrame, slowUnsent)
	o.gather(4 * Gathered)
	check("a peer that took all again and again", Gathered, maxUnsent)
}
