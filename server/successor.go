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
	// Join is called once by Start, before the server accepts clients. It calls Connect, and Learn for
	// what the other process has changed since Memory, and returns when the server knows all of that;
	// nil does nothing.
	Join func(s *Server)
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
	s.shared, s.join = true, p.Join
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
		if p.server == nil {
			continue
		}
		if socket, ok := p.server.socket.(syscall.Conn); ok {
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
		if !r.foreign {
			m.Tickets[address] = r.Tickets()
		}
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

// Other is the other process of an upgrade, while both serve.
type Other = cache.Other

// Connect makes the server tell other each purge and each invalidation of the cache, and each change of
// the registry or of a target that a program or an operator makes. Operators get their answers when
// other knows of it, so that it makes no difference which process gets their next request. nil ends that.
func (s *Server) Connect(other Other) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.other.Connect(other)
	if st := s.current.Load().store; st != nil {
		st.Connect(other)
	}
}

// learnLimit bounds how long the answer to an operator waits for the other process.
const learnLimit = time.Second

// awaitOther waits until the other process, if there is one, knows what this one has changed. s.mu is not
// held, because the other process may wait in the same way for this one.
func (s *Server) awaitOther() {
	ctx, done := context.WithTimeout(context.Background(), learnLimit)
	defer done()
	if s.other.Await(ctx) != nil {
		s.log.Warn("the other process of the upgrade does not know of a change yet")
	}
}

// What begins a message that is not the cache's: about the registry, and about a target.
const (
	aboutRegistry = "registry "
	aboutTarget   = "target "
)

// Lost returns what the other process of an upgrade, which was stopped or slow for so long that changes were left out, is
// told in their place, for its Learn: what its cache has received until now is validated before it answers.
func (s *Server) Lost() []byte {
	s.log.Warn("the other process of the upgrade was told too little too late: it validates what is in its cache, and does not know all that was registered, removed, drained and weighed here meanwhile")
	return cache.Lost()
}

// Learn changes in this process what the other process says it has changed. An error says what cannot be
// changed here.
func (s *Server) Learn(message []byte) error {
	if text, ok := bytes.CutPrefix(message, []byte(aboutRegistry)); ok {
		var c discover.Change
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		return s.registry.Apply(c)
	}
	if text, ok := bytes.CutPrefix(message, []byte(aboutTarget)); ok {
		var c targetChange
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_, err := s.changeTarget(c)
		return err
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
			listener.OwnFile(p.server.socket, !shared)
		}
	}
}

// HandOver leaves the clients that come to another process, which accepts from the same
// sockets, and the cache's tiers that only one process can have; that of Connect is told what it is to
// know of them. Shutdown then waits for the clients that this process has:
// connections of HTTP/1.1 serve one more request each, so that none is lost on its way, and
// end when they have waited for one for 5 seconds. The error is http.ErrServerClosed if the
// server does not serve.
func (s *Server) HandOver() error {
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
		if page := p.server; page != nil {
			page.stopAccepting()
			s.leavingPages.Go(func() { page.leave(s.stopLook) })
		}
	}
	s.memory.Move("")              // the other process writes the file
	s.background.Go(s.closeIssuer) // and renews certificates
	if st := s.current.Load().store; st != nil {
		if err := st.Release(); err != nil {
			s.log.Warn("cannot hand the cache over cleanly", "error", err)
		}
	}
	return nil
}

// part waits for the clients of a server that has handed over, as long as each may send a
// request that was under way, and for the operators.
func (s *Server) part(ctx context.Context, list []*running) error {
	ctx, done := context.WithTimeout(ctx, partTime)
	defer done()
	err := waitAll(ctx, list)
	left := make(chan struct{})
	go func() {
		defer close(left)
		s.leavingPages.Wait()
	}()
	select {
	case <-left:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	return err
}

// waitAll waits until no listener of list has a connection.
func waitAll(ctx context.Context, list []*running) error {
	var errs []error
	for _, r := range list {
		errs = append(errs, r.Wait(ctx))
	}
	return errors.Join(errs...)
}
