package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"
	"time"

	"weir/cache"
	"weir/config"
	"weir/discover"
	"weir/internal/listener"
	"weir/internal/secure"
	"weir/lb"
)

// partTime is how long a client may take for the one more request that a connection serves
// after HandOver.
const partTime = 5 * time.Second

// Predecessor is what a process gets of the one that it replaces.
type Predecessor struct {
	// Sockets are the listening sockets with what they are used for, as EachSocket tells. The
	// server owns them.
	Sockets []PassedSocket
	// Memory is what Memory returned; empty means nothing.
	Memory []byte
}

// PassedSocket is a listening socket of the process before this one.
type PassedSocket struct {
	Use  string
	File *os.File
}

// memory is what a server knows that lasts over the end of its process.
type memory struct {
	Upstreams map[string]lb.Memory `json:"upstreams,omitempty"`
	Cache     cache.Memory         `json:"cache"`
	Discovery []byte               `json:"discovery,omitempty"` // what discover.Memory knows
	// Tickets are the keys of session tickets.
	Tickets map[config.Address][]secure.TicketKey `json:"tickets,omitempty"`
}

// WithPredecessor makes the server go on where another process's is, which serves until this
// one has started and then ends by HandOver: with its sockets, and with what it knows of
// upstreams and targets. Call Own once the other process leaves the sockets to this one.
func WithPredecessor(p *Predecessor) Option {
	return func(o *options) { o.predecessor = p }
}

// adopt takes over the sockets and the memory of the process before this one.
func (s *Server) adopt(p *Predecessor) error {
	if p == nil {
		return nil
	}
	if s.sockets == nil {
		s.sockets = listener.NewInherited()
	}
	for _, socket := range p.Sockets {
		s.sockets.Add(socket.Use, socket.File)
	}
	s.shared = true
	if len(p.Memory) == 0 {
		return nil
	}
	if err := json.Unmarshal(p.Memory, &s.recalled); err != nil {
		return fmt.Errorf("cannot use the memory of the process before this one: %w", err)
	}
	return nil
}

// EachSocket calls f with each listening socket and with what it is used for.
func (s *Server) EachSocket(f func(use string, socket syscall.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets.Each(f)
	for _, r := range s.listeners {
		if !r.foreign {
			r.EachSocket(f)
		}
	}
	for _, p := range s.pages() {
		if socket, ok := p.socket.(syscall.Conn); ok && p.server != nil {
			f(listener.PageUse(p.name, p.at), socket)
		}
	}
}

// Memory returns what the process that replaces this one can go on with: states, weights and
// latencies of targets, positions of balancing, circuit breakers.
func (s *Server) Memory() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.current.Load()
	m := memory{Upstreams: make(map[string]lb.Memory, len(g.upstreams)), Discovery: s.memory.Text()}
	m.Tickets = make(map[config.Address][]secure.TicketKey, len(s.listeners))
	for address, r := range s.listeners {
		m.Tickets[address] = r.Tickets()
	}
	for name, u := range s.added {
		m.Upstreams[name] = u.Memory()
	}
	for name, u := range g.upstreams {
		m.Upstreams[name] = u.Memory()
	}
	if g.store != nil {
		m.Cache = g.store.Memory()
	}
	return json.Marshal(m)
}

// Tell makes f get a message for Learn of the other process's server for each purge and each
// invalidation of the cache, and for each change of the registry that a program or an operator makes; f
// must not block. nil ends that.
func (s *Server) Tell(f func(message []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell = f
	s.tellChanges.Store(&f)
	if st := s.current.Load().store; st != nil {
		st.Tell(f)
	}
}

// aboutRegistry begins a message about the registry; all others are the cache's.
const aboutRegistry = "registry "

// tellChange tells the other process, if there is one, of a change of the registry.
func (s *Server) tellChange(c discover.Change) {
	tell := s.tellChanges.Load()
	if tell == nil || *tell == nil {
		return
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic("BUG: cannot encode a change of the registry: " + err.Error())
	}
	(*tell)(append([]byte(aboutRegistry), text...))
}

// Learn ends in the cache what the other process has ended, and does to the registry what was done
// to the other process's.
func (s *Server) Learn(message []byte) error {
	if text, ok := bytes.CutPrefix(message, []byte(aboutRegistry)); ok {
		var c discover.Change
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		return s.registry.Apply(c)
	}
	g := s.enter() // so that a reload does not close the store meanwhile
	defer g.leave()
	if g.store == nil {
		return nil
	}
	return g.store.Learn(message)
}

// Own says that the process before this one serves by none of the sockets any more.
func (s *Server) Own() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setShared(false)
}

// setShared says whether another process has the sockets, too. s.mu is held.
func (s *Server) setShared(shared bool) {
	s.shared = shared
	for _, r := range s.listeners {
		r.SetShared(shared)
	}
	for _, p := range s.pages() {
		if p.server != nil {
			listener.OwnFile(p.socket, !shared)
		}
	}
}

// HandOver leaves the clients that come to another process, which accepts from the same
// sockets, and the cache's tiers that only one process can have; tell gets what the other
// process's Learn is to know. Shutdown then waits for the clients that this process has:
// connections of HTTP/1.1 serve one more request each, so that none is lost on its way, and
// end when they have waited for one for 5 seconds. The error is http.ErrServerClosed if the
// server does not serve.
func (s *Server) HandOver(tell func(message []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Load() != stateServing {
		return http.ErrServerClosed
	}
	s.state.Store(stateDraining)
	s.handedOver = true
	s.setShared(true)
	s.front.Part()
	for _, r := range s.running() {
		if err := r.Close(); err != nil {
			s.log.Warn("cannot close a listener cleanly", "listener", r.Name(), "error", err)
		}
	}
	s.frames.Drain()
	for _, p := range s.pages() {
		if p.server != nil {
			s.background.Go(func() { s.leavePage(p.server) })
		}
	}
	s.memory.Move("")              // the other process writes the file
	s.background.Go(s.closeIssuer) // and renews certificates
	if st := s.current.Load().store; st != nil {
		if err := st.Release(tell); err != nil {
			s.log.Warn("cannot hand the cache over cleanly", "error", err)
		}
	}
	return nil
}

// leavePage ends a page for operators after the requests that run.
func (s *Server) leavePage(page *http.Server) {
	ctx, done := context.WithTimeout(context.Background(), partTime)
	defer done()
	page.Shutdown(ctx) // Close ends what is left
}

// part waits for the clients of a server that has handed over, as long as each may send a
// request that was under way.
func (s *Server) part(ctx context.Context, list []*running) error {
	ctx, done := context.WithTimeout(ctx, partTime)
	defer done()
	return waitAll(ctx, list)
}

// waitAll waits until no listener of list has a connection.
func waitAll(ctx context.Context, list []*running) error {
	var errs []error
	for _, r := range list {
		errs = append(errs, r.Wait(ctx))
	}
	return errors.Join(errs...)
}
