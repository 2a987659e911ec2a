package proxy

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// A request for another protocol becomes a tunnel if the target agrees, else an ordinary
// exchange.
func TestUpgrade(t *testing.T) {
	agrees := func(protocol string) script {
		return func(s *fakeStream) {
			s.respond("101\nContent-Length: 5\nConnection: upgrade\nUpgrade: " + protocol)
			<-s.gone
		}
	}
	const asks = "GET /\nConnection: upgrade\nUpgrade: x, y"
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		a := s.on("a", agrees("y"))
		c := s.request(asks)
		ours, theirs := net.Pipe()
		c.front.tunnel = theirs
		c.start()
		equal(t, "tunnels", s.lis.metrics.tunnels.Load(), 1)
		contains(t, "the head", c.front.head, "Connection: Upgrade\r\n")
		lacks(t, "the head", c.front.head, "Content-Length")
		contains(t, "the request", a.stream(0).head, "Connection: Upgrade\r\nUpgrade: x, y\r\n")
		read := func(n int) string {
			b := make([]byte, n)
			if _, err := io.ReadFull(ours, b); err != nil {
				t.Error(err)
			}
			return string(b)
		}
		equal(t, "what the target had sent", read(6), "early ")
		ours.Write([]byte("ping"))
		equal(t, "the echo", read(4), "ping")
		ours.Close()
		settle()
		equal(t, "the end", c.ended(), "101 upgraded")
		equal(t, "bytes", c.Result.BytesIn*100+c.Result.BytesOut, 4*100+10)
		equal(t, "the calls", c.front.trace(), "tunnel")
		equal(t, "whether the stream is reusable", a.stream(0).reusable, false)
	})
	check := func(name, request string, play script, want string) {
		t.Helper()
		bubble(t, func(t *testing.T) {
			s := newStand(t, oneTarget)
			s.on("a", play)
			c := s.request(request)
			c.front.on["tunnel"] = func() error { return syscall.EPIPE }
			s.Serve(c.Exchange)
			s.settled()
			equal(t, name, c.Result.Cause.String(), want)
		})
	}
	check("another protocol", asks, agrees("z"), "bad_response")
	check("no protocol", asks, agrees(""), "bad_response")
	check("it declines", asks, answer("200", "no"), "ok")
	check("it was not asked", "GET /", agrees("y"), "bad_response")
	check("Connection does not name it", "GET /\nUpgrade: y", agrees("y"), "bad_response")
	check("the client is gone", asks, agrees("y"), "client_gone")
}

// A tunnel in which nothing moves ends.
func TestTunnelIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newStand(t, oneTarget)
		s.on("a", func(s *fakeStream) { s.respond("101\nConnection: upgrade\nUpgrade: x"); <-s.gone })
		c := s.request("GET /\nConnection: upgrade\nUpgrade: x")
		s.lis.tunnelIdle = 5 * time.Second
		ours, theirs := net.Pipe()
		defer ours.Close()
		c.front.tunnel = theirs
		go io.Copy(io.Discard, ours)
		c.start()
		time.Sleep(6 * time.Second)
		settle()
		equal(t, "the end", c.ended(), "101 tunnel_idle")
	})
}
