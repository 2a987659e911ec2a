package discovertest

import (
	"io"
	"net"
	"sync"
)

// Relay stands between weir and a server: it cuts connections, answers nonsense, or passes nothing on.
type Relay struct {
	// Addr is where weir connects to.
	Addr string

	server string
	ln     net.Listener
	ends   sync.WaitGroup

	mu     sync.Mutex
	passes sync.Cond // held has become false, or closed true
	conns  map[net.Conn]bool
	broken bool
	held   bool
	closed bool
}

// StartRelay starts a relay to a server.
func StartRelay(server string) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{Addr: ln.Addr().String(), server: server, ln: ln, conns: make(map[net.Conn]bool)}
	r.passes.L = &r.mu
	r.ends.Go(r.accept)
	return r, nil
}

// Close ends it.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	r.passes.Broadcast()
	r.mu.Unlock()
	r.ln.Close()
	r.Cut()
	r.ends.Wait()
}

// Cut ends all connections. It returns nil.
func (r *Relay) Cut() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
	return nil
}

// Break ends all connections and answers new ones with nonsense, until it is called with false.
func (r *Relay) Break(broken bool) {
	r.mu.Lock()
	r.broken = broken
	r.mu.Unlock()
	r.Cut()
}

// Hold makes it pass on nothing, as a network does that loses all packets, until it is called with false. Connections stay, and
// new ones come about.
func (r *Relay) Hold(held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
	r.passes.Broadcast()
}

// pass copies from one connection to another, but for what Hold keeps back.
func (r *Relay) pass(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		for r.held && !r.closed {
			r.passes.Wait()
		}
		r.mu.Unlock()
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			return
		}
	}
}

func (r *Relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.ends.Go(func() { r.serve(c) })
	}
}

// keep says whether a connection may be served now; then Cut ends it.
func (r *Relay) keep(c net.Conn) (ok, broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.conns[c] = true
	}
	return !r.closed, r.broken
}

func (r *Relay) end(c net.Conn) {
	c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *Relay) serve(c net.Conn) {
	defer r.end(c)
	ok, broken := r.keep(c)
	if !ok {
		return
	}
	if broken {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nnonsense")
		return
	}
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer r.end(server)
	if ok, _ := r.keep(server); !ok {
		return
	}
	r.ends.Go(func() {
		defer c.Close()
		r.pass(c, server)
	})
	r.pass(server, c)
}
