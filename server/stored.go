package server

import (
	"net"
	"syscall"

	"weir/internal/listener"
)

// EachStorable calls f with each TCP socket that the server opened or took over from a process before this one,
// and with the name under which the service manager may keep a copy of it: a server that is passed the copy by
// that name (see WithSystemdSockets) goes on with it. Unix sockets are not among them: whoever
// opens one makes its file anew.
func (s *Server) EachStorable(f func(name string, socket syscall.Conn)) {
	s.EachSocket(func(use string, socket syscall.Conn) {
		if l, ok := socket.(net.Listener); ok && l.Addr().Network() == "tcp" {
			f(listener.StoredName(use), socket)
		}
	})
}

// StoredBefore returns the names under which the service manager may keep copies of sockets of processes before
// this one.
func (s *Server) StoredBefore() (names []string) {
	for _, use := range s.sockets.Uses() {
		names = append(names, listener.StoredName(use))
	}
	return names
}
