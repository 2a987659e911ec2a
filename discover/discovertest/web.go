package discovertest

import (
	"net"
	"net/http"
	"sync"
)

// Web is a web server at an address of its own, for stand-ins. Its methods may be called by any goroutine.
type Web struct {
	// Addr is its address, once it was started.
	Addr string
	// Handler answers.
	Handler http.Handler

	mu     sync.Mutex
	server *http.Server
	conns  map[net.Conn]bool // true: open
}

// Start starts the server, again after Stop at the same address.
func (w *Web) Start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Addr == "" {
		w.Addr = OwnAddress()
	}
	ln, err := net.Listen("tcp", w.Addr)
	if err != nil {
		return err
	}
	w.Addr, w.conns = ln.Addr().String(), make(map[net.Conn]bool)
	w.server = &http.Server{Handler: w.Handler, ConnState: w.note}
	go w.server.Serve(ln)
	return nil
}

func (w *Web) note(c net.Conn, state http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = state != http.StateClosed
}

// Stop ends the server at once.
func (w *Web) Stop() error {
	w.mu.Lock()
	server := w.server
	w.mu.Unlock()
	return server.Close() // which calls note
}

// Cut ends all connections. It returns nil.
func (w *Web) Cut() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, open := range w.conns {
		if open {
			c.Close()
		}
	}
	return nil
}
