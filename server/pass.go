package server

import (
	"time"

	"weir/internal/forward"
	"weir/internal/listener"
	"weir/proxy"
)

// pass serves a connection whose TLS is ended by a target.
func (s *Server) pass(c *listener.Conn, l *proxy.Listener) {
	to := c.Passed()
	peer := forward.NewPeer(c.RemoteAddr(), true)
	x := proxy.NewExchange()
	x.Client = &proxy.Client{Cancel: new(proxy.Cancel), Listener: l, Peer: &peer, Remote: c.RemoteAddr(), TLS: true}
	x.Start = time.Now()
	g := s.enter()
	defer g.leave()
	g.proxy.Pass(x, to.Upstream, to.ServerName, c.Raw(), to.Hello)
}
