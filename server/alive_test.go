package server_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestAlive: each listener answers the server itself, whatever it asks of clients, and no one notices.
func TestAlive(t *testing.T) {
	t.Parallel()
	w := run(t, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
protocols = ["h2c"]
deny = ["0.0.0.0/0"]
proxy_protocol = ["127.0.0.1"]
[[listeners]]
address = "[::1]:0"
[[listeners]]
address = "unix:%s"
[[routes]]
respond.status = 200
`, t.TempDir()+"/socket")
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := w.Alive(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := w.log.len(); n != 0 {
		t.Errorf("the access log has %d lines", n)
	}

	// A listener that stands still is told apart, as soon as it has worked once.
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	still := &stillListener{TCPListener: tcp.(*net.TCPListener), ended: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- w.Serve(still) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !still.used.Load() {
		if err := w.Alive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 3*time.Second) // the others answer in time
	defer cancel()
	err = w.Alive(short)
	if err == nil || !strings.Contains(err.Error(), tcp.Addr().String()) {
		t.Errorf("a listener that stands still: %v", err)
	}
	close(still.ended)
	w.Close()
	<-served
}

// stillListener accepts one connection and then none until ended is closed.
type stillListener struct {
	*net.TCPListener
	used  atomic.Bool
	ended chan struct{}
}

func (l *stillListener) Accept() (net.Conn, error) {
	if l.used.Load() {
		<-l.ended
		return nil, net.ErrClosed
	}
	c, err := l.TCPListener.Accept()
	l.used.Store(true)
	return c, err
}
