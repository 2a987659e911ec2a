package server

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// pageServer serves a page for operators at one address. Unlike http.Server.Shutdown, which cuts the connections
// whose requests it has not begun to serve, leave loses no request.
type pageServer struct {
	http.Server
	handler http.Handler
	socket  net.Listener
	leaving atomic.Bool
	// clients counts the connections, and serve while that accepts.
	clients sync.WaitGroup
}

// newPageServer returns a server for the clients of socket, which it owns. serve has to be called.
func newPageServer(socket net.Listener, handler http.Handler) *pageServer {
	p := &pageServer{handler: handler, socket: socket}
	p.Server = http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute, ConnState: p.count}
	p.clients.Add(1)
	return p
}

// serve serves the clients of socket, which is that of newPageServer or wraps that, until stopAccepting or Close.
// The error says why it ended otherwise.
func (p *pageServer) serve(socket net.Listener) error {
	defer p.clients.Done()
	if err := p.Serve(socket); !p.leaving.Load() && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// count counts connections.
func (p *pageServer) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.clients.Add(1) // on the goroutine of serve, which counts itself
	case http.StateClosed, http.StateHijacked:
		p.clients.Done()
	}
}

// ServeHTTP answers a request, and makes it the last one of its connection if the page leaves.
func (p *pageServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	p.handler.ServeHTTP(w, r)
}

// stopAccepting makes the page leave: it accepts no more clients, and serves those that it has one more request.
func (p *pageServer) stopAccepting() {
	p.leaving.Store(true)
	p.socket.Close()
}

// leave waits until the clients have left after stopAccepting, at most for partTime or until stop is closed, and
// ends the page then.
func (p *pageServer) leave(stop <-chan struct{}) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		p.clients.Wait()
	}()
	limit := time.NewTimer(partTime)
	defer limit.Stop()
	select {
	case <-gone:
	case <-limit.C:
	case <-stop:
	}
	p.Close()
}
