package acme_test

import (
	"cmp"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// relayTo returns an address that leads to a unix socket until the end of the test.
func relayTo(t *testing.T, socket string) string {
	t.Helper()
	r := &relay{to: socket, network: "unix"}
	r.up.Store(true)
	r.listen(t)
	return r.addr
}

// relay is a way to a server that may be down: then it closes connections at once.
type relay struct {
	addr, to string
	network  string // of to; empty means tcp
	up       atomic.Bool
}

func (r *relay) listen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r.addr = l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
}

func (r *relay) serve(c net.Conn) {
	defer c.Close()
	if !r.up.Load() {
		return
	}
	server, err := net.Dial(cmp.Or(r.network, "tcp"), r.to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, c)
		server.Close()
	}()
	io.Copy(c, server)
}
