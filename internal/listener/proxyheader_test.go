package listener_test

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"weir/config"
	"weir/internal/listener"
)

// proxied expects PROXY headers from the prefixes.
func proxied(prefixes ...string) *config.Listener {
	cfg := local()
	for _, text := range prefixes {
		p, err := config.ParsePrefix(text)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		cfg.ProxyProtocol = append(cfg.ProxyProtocol, p)
	}
	return cfg
}

func send(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// version2 is the header as bytes.
func version2(t *testing.T, h proxyproto.Header, tlvs ...proxyproto.TLV) string {
	t.Helper()
	h.Version = 2
	if len(tlvs) > 0 {
		if err := h.SetTLVs(tlvs); err != nil {
			t.Fatal(err)
		}
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func tcp4() proxyproto.Header {
	return proxyproto.Header{
		Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr:      &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1000},
		DestinationAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443},
	}
}

func TestProxyHeader(t *testing.T) {
	conns := make(chan *listener.Conn, 1)
	l := start(t, proxied("127.0.0.1"), listener.Options{}, func(c *listener.Conn) {
		conns <- c
		greet(c)
	})
	// check sends a header in the given parts, and after it, in the same write
	// as the last part, bytes that must reach the handler.
	check := func(name, want string, parts ...string) {
		t.Run(name, func(t *testing.T) {
			client := dial(t, l)
			for i, p := range parts {
				if i == len(parts)-1 {
					p += "GET / HTTP/1.1\r\n"
				}
				send(t, client, p)
			}
			c := <-conns
			if want == "" {
				want = client.LocalAddr().String()
			}
			if got := c.RemoteAddr().String(); got != want {
				t.Errorf("RemoteAddr is %s, want %s", got, want)
			}
			if _, ok := c.NetConn().(*net.TCPConn); !ok {
				t.Errorf("NetConn is a %T", c.NetConn())
			}
			client.(*net.TCPConn).CloseWrite()
			got, err := io.ReadAll(client)
			if want := remote(c) + "\nGET / HTTP/1.1\r\n"; string(got) != want || err != nil {
				t.Errorf("the handler saw %q, %v; want %q", got, err, want)
			}
		})
	}
	unspecified := proxyproto.Header{Command: proxyproto.LOCAL}
	unix := proxyproto.Header{
		Command: proxyproto.PROXY, TransportProtocol: proxyproto.UnixStream,
		SourceAddr: &net.UnixAddr{Name: "/a", Net: "unix"}, DestinationAddr: &net.UnixAddr{Name: "/b", Net: "unix"},
	}
	big := proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, 12<<10)}

	check("version 1, IPv4", "192.0.2.1:1000", "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\r\n")
	check("version 1, IPv6", "[2001:db8::1]:1000", "PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n")
	check("version 1, mapped address", "192.0.2.1:1000", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 1000 443\r\n")
	check("version 1, in parts", "192.0.2.1:1000", "PRO", "XY TCP4 192.0.", "2.1 198.51.100.1 1000 443", "\r", "\n")
	check("version 1, shortest", "", "PROXY UNKNOWN\r\n")
	check("version 1, unknown with addresses", "", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n")
	check("version 2, IPv4", "192.0.2.1:1000", version2(t, tcp4()))
	check("version 2, with TLVs", "192.0.2.1:1000", version2(t, tcp4(), big))
	check("version 2, health check", "", version2(t, unspecified))
	check("version 2, unix", "", version2(t, unix))
	whole := version2(t, tcp4())
	check("version 2, in parts", "192.0.2.1:1000", whole[:3], whole[3:14], whole[14:20], whole[20:])
}

func TestBadProxyHeader(t *testing.T) {
	r := make(refusals, 10)
	l := start(t, proxied("127.0.0.0/8"), r.options(), func(c *listener.Conn) {
		t.Error("the handler was called")
	})
	check := func(name, text string, want listener.Reason) {
		t.Run(name, func(t *testing.T) {
			client := dial(t, l)
			send(t, client, text)
			client.(*net.TCPConn).CloseWrite()
			closed(t, client)
			r.expect(t, want)
		})
	}
	udp := tcp4()
	udp.TransportProtocol = proxyproto.UDPv4
	udp.SourceAddr = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	udp.DestinationAddr = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1}
	good := version2(t, tcp4())

	check("none", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", listener.RefusedProxyHeader)
	check("version 1, endless", "PROXY TCP4 "+strings.Repeat("1", 500), listener.RefusedProxyHeader)
	check("version 1, no carriage return", "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\n", listener.RefusedProxyHeader)
	check("version 1, bad address", "PROXY TCP4 192.0.2.256 198.51.100.1 1000 443\r\n", listener.RefusedProxyHeader)
	check("version 1, bad port", "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", listener.RefusedProxyHeader)
	check("version 1, cut off", "PROXY TCP4 192.0.2.1 198", listener.RefusedGone)
	check("version 2, datagrams", version2(t, udp), listener.RefusedProxyHeader)
	check("version 2, longer than the bound", good[:14]+"\xff\xff"+strings.Repeat("a", 100), listener.RefusedProxyHeader)
	check("version 2, shorter than its addresses", good[:14]+"\x00\x04"+good[16:], listener.RefusedProxyHeader)
	check("version 2, unknown command", good[:12]+"\x2f"+good[13:], listener.RefusedProxyHeader)
	check("version 2, version 3", good[:12]+"\x31"+good[13:], listener.RefusedProxyHeader)
	check("version 2, cut off", good[:20], listener.RefusedGone)
	check("nothing", "", listener.RefusedGone)
}

// From a client that is not a trusted proxy a PROXY header is just bytes, and no address is
// taken from it.
func TestProxyHeaderOfStranger(t *testing.T) {
	l := start(t, proxied("192.0.2.0/24", "2001:db8::/32"), listener.Options{}, greet)
	client := dial(t, l)
	const header = "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\r\n"
	send(t, client, header)
	client.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(client)
	if string(got) != "127.0.0.1\n"+header || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// The rights of the socket file say who may connect, so every client of it must send a PROXY
// header.
func TestProxyHeaderOnUnixSocket(t *testing.T) {
	cfg := proxied("192.0.2.1")
	cfg.Address = config.Address("unix:" + filepath.Join(t.TempDir(), "weir.sock"))
	l := start(t, cfg, listener.Options{}, greet)
	client := dial(t, l)
	send(t, client, "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\r\n")
	if got := line(t, client); got != "192.0.2.1" {
		t.Errorf("greeted as %q", got)
	}
}

// timeouts.handshake bounds the whole header, however it is dripped.
func TestProxyHeaderTimeout(t *testing.T) {
	cfg := proxied("127.0.0.0/8")
	cfg.Timeouts.Handshake = config.Duration(1e6)
	r := make(refusals, 10)
	l := start(t, cfg, r.options(), greet)
	for _, text := range []string{"", "PRO", "PROXY TCP4 192.0.2.1", "\r\n\r\n\x00\r\nQUIT\n\x21"} {
		client := dial(t, l)
		client.Write([]byte(text)) // fails if the time is over already
		closed(t, client)
		r.expect(t, listener.RefusedTimeout)
	}
}
