package listener_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"weir/config"
	"weir/internal/listener"
	"weir/internal/testkit"
)

// stuck is a socket whose accept loop stands still when told so.
type stuck struct {
	*net.TCPListener
	still atomic.Bool
	ended chan struct{}
}

func (s *stuck) Accept() (net.Conn, error) {
	if s.still.Load() {
		<-s.ended
		return nil, net.ErrClosed
	}
	return s.TCPListener.Accept()
}

func hello(c net.Conn) error {
	text, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && text != "hello\n" {
		return errors.New(text)
	}
	return err
}

// TestVisit: a visit shows whether the accept loop takes connections, and the handler does not see it.
func TestVisit(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket := &stuck{TCPListener: tcp.(*net.TCPListener), ended: make(chan struct{})}
	cfg := config.DefaultListener()
	cfg.Address = "127.0.0.1:0"
	cfg.Limits.Connections = 1
	l, err := listener.Open(&cfg, listener.Options{Socket: socket, OnVisit: func(c *listener.Conn) { io.WriteString(c.NetConn(), "hello\n") }})
	if err != nil {
		t.Fatal(err)
	}
	var handled atomic.Int32
	served := make(chan struct{})
	go func() {
		defer close(served)
		l.Serve(func(c *listener.Conn) {
			handled.Add(1)
			io.ReadAll(c.NetConn())
		})
	}()
	defer func() {
		close(socket.ended)
		l.Close()
		<-served
	}()

	visit := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return l.Visit(ctx, hello)
	}
	for range 3 {
		if err := visit(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if n, s := handled.Load(), l.Stats(); n != 0 || s.Accepted != 0 || s.Open != 0 {
		t.Errorf("the handler got %d of the visits, the statistics are %+v", n, s)
	}

	// At a limit the loop waits, as it should: a visit does not come through, and that is no failure.
	var clients [2]net.Conn
	for i := range clients {
		if clients[i], err = net.Dial("tcp", tcp.Addr().String()); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the listener is full", func() bool { return l.Stats().Paused == 1 })
	if err := visit(100 * time.Millisecond); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, c := range clients {
		c.Close()
	}
	testkit.Eventually(t, "the clients have gone", func() bool { return l.Stats().Open == 0 })

	socket.still.Store(true)
	visit(time.Second) // which a loop that waits already takes
	if err := visit(100 * time.Millisecond); err == nil {
		t.Error("a loop that stands still took a connection")
	}
}
