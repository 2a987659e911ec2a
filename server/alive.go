package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"

	"weir/internal/head"
	"weir/proxy"
)

// Alive returns nil if the server serves: the accept loop of each listener takes a connection of
// this process, and a request on it is answered. No route, log or metric sees that request. Sockets that this
// process cannot reach, such as unix sockets, are not asked. A reload or a shutdown meanwhile may delay
// the answer. Of a server that was not started, or is closed, it returns nil: there is nothing to ask.
func (s *Server) Alive(ctx context.Context) error {
	s.mu.Lock()
	listeners := slices.Collect(maps.Values(s.listeners))
	s.mu.Unlock()
	for _, r := range listeners {
		if err := r.Visit(ctx, askAlive); err != nil {
			return fmt.Errorf("listener %q does not serve: %w", r.Name(), err)
		}
	}
	return nil
}

func askAlive(c net.Conn) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusNoContent {
		return fmt.Errorf("it answers with %s", r.Status)
	}
	return nil
}

// aliveHandler answers Alive.
type aliveHandler struct{ s *Server }

// Serve implements http1.Handler.
func (h aliveHandler) Serve(x *proxy.Exchange) {
	g := h.s.enter() // as each exchange does
	defer g.leave()
	var answer head.Head
	answer.StartResponse(http.StatusNoContent)
	if x.Client.Front.Start(&answer, 0, true) == nil {
		x.Client.Front.Finish(nil)
	}
}

// Refuse implements http1.Handler.
func (aliveHandler) Refuse(*proxy.Exchange, int, proxy.Cause, error) {}
