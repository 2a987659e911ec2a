package listener_test

import (
	"net"
	"testing"

	"weir/internal/listener"
)

func TestConnectionsPause(t *testing.T) {
	cfg := local()
	cfg.Limits.Connections = 2
	l := start(t, cfg, listener.Options{}, greet)
	one, two, three := dial(t, l), dial(t, l), dial(t, l)
	line(t, one)
	line(t, two)
	until(t, "accepting pauses", func() bool { return l.Stats().Paused == 1 })
	if open := l.Stats().Open; open != 2 {
		t.Errorf("%d connections are open", open)
	}
	// The third waits, unharmed, until there is room.
	one.Close()
	line(t, three)

	// An update that raises the limit wakes the loop too.
	four := dial(t, l)
	until(t, "accepting pauses again", func() bool { return l.Stats().Paused == 2 })
	more := local()
	more.Limits.Connections = 3
	if err := l.Update(more); err != nil {
		t.Fatal(err)
	}
	line(t, four)
}

func TestConnectionsPerAddress(t *testing.T) {
	cfg := local()
	cfg.Limits.ConnectionsPerAddress = 2
	r := make(refusals, 10)
	l := start(t, cfg, r.options(), greet)
	one, two := dial(t, l), dial(t, l)
	line(t, one)
	line(t, two)
	closed(t, dial(t, l))
	if got := r.expect(t, listener.RefusedAddressLimit); got.client.Addr().String() != "127.0.0.1" {
		t.Errorf("refused client is %v", got.client)
	}

	// Another address has its own count.
	other := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := other.Dial("tcp", l.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := line(t, conn); got != "127.0.0.2" {
		t.Errorf("greeted as %q", got)
	}

	// A closed connection gives its place back.
	one.Close()
	until(t, "the first is gone", func() bool { return l.Stats().Open == 2 })
	line(t, dial(t, l))
	if n := l.Stats().Refused[listener.RefusedAddressLimit]; n != 1 {
		t.Errorf("%d refused", n)
	}
}

// With a PROXY header it is the client's address that counts, an IPv6 client's
// by its /64.
func TestConnectionsPerProxiedAddress(t *testing.T) {
	cfg := proxied("127.0.0.0/8")
	cfg.Limits.ConnectionsPerAddress = 1
	r := make(refusals, 10)
	l := start(t, cfg, r.options(), greet)
	check := func(client string, refused bool) {
		t.Helper()
		conn := dial(t, l)
		send(t, conn, "PROXY TCP6 "+client+" 2001:db8::1 1000 443\r\n")
		if refused {
			closed(t, conn)
			r.expect(t, listener.RefusedAddressLimit)
		} else if got := line(t, conn); got != client {
			t.Errorf("greeted as %q", got)
		}
	}
	check("2001:db8:1:1::1", false)
	check("2001:db8:1:1:ffff::1", true) // the same /64
	check("2001:db8:1:2::1", false)     // another
}
