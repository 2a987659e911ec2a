package cli

import (
	"errors"
	"log/slog"
	"sync"

	"weir/internal/handover"
	"weir/server"
)

// predecessor is the process that this one replaces. The nil predecessor is none.
type predecessor struct {
	conn    *handover.Conn
	passed  server.Predecessor
	pidFile *pidFile
	// released is closed when the process before this one has given back what only one can have.
	released chan struct{}
	main     chan struct{} // closed when this process is the one that counts
	attempt  string        // before main is closed, what names the upgrade
	// confirms says that the process before this one confirms what it learns. joined is closed when this
	// process has learned all that the other one has told without waiting for that.
	confirms bool
	joined   chan struct{}
	// early is what the process before this one told before its memory came.
	early [][]byte
}

// meet takes over what a process that this one replaces has for it; nil if there is none.
func meet() (*predecessor, error) {
	conn, err := handover.Inherit()
	if conn == nil {
		return nil, err
	}
	p := &predecessor{conn: conn, released: make(chan struct{}), main: make(chan struct{}), joined: make(chan struct{})}
	for {
		m, err := conn.Receive()
		if err != nil {
			return p, errors.Join(errors.New("the process before this one has gone"), err)
		}
		switch m.Kind {
		case handover.Socket:
			p.passed.Sockets = append(p.passed.Sockets, server.PassedSocket{Use: m.Name, File: m.File})
		case handover.PIDFile:
			p.pidFile = &pidFile{file: m.File, left: true}
		case handover.Changed:
			p.early = append(p.early, m.Data)
		case handover.Memory:
			p.passed.Memory, p.confirms = m.Data, m.Confirms
			return p, nil
		}
	}
}

// options are those of a server that goes on where the other's is.
func (p *predecessor) options(log *slog.Logger) []server.Option {
	if p == nil {
		return nil
	}
	p.passed.Join = func(s *server.Server) { p.join(s, log) }
	return []server.Option{server.WithPredecessor(&p.passed)}
}

// lockPIDFile locks the pid file at path, or goes on with the one that this process got.
func (p *predecessor) lockPIDFile(path string) (*pidFile, error) {
	if p == nil || p.pidFile == nil || p.pidFile.file.Name() != path {
		return lockPIDFile(path)
	}
	return p.pidFile, nil
}

// release is closed when this process may use what only one can have; nil if it may at once.
func (p *predecessor) release() <-chan struct{} {
	if p == nil {
		return nil
	}
	return p.released
}

// fail tells the process before this one why this one ends.
func (p *predecessor) fail(err error) {
	if p != nil && err != nil {
		p.conn.Send(handover.Message{Kind: handover.Failed, Text: err.Error()}, nil) // it may have gone
	}
}

// join makes s learn what the process before this one has changed, and tell that what s changes. It
// returns when s knows every change that the other process did not wait with; for all others that
// process waits until s has learned them.
func (p *predecessor) join(s *server.Server, log *slog.Logger) {
	s.Connect(p.conn)
	go p.listen(s, log)
	if p.confirms {
		p.conn.Post(handover.Message{Kind: handover.Joining, Confirms: true})
		<-p.joined
	}
}

// replace says that s can serve, and returns when the process before this one leaves the
// clients to it, or has gone. attempt is what names the upgrade.
func (p *predecessor) replace(s *server.Server) (attempt string) {
	if p == nil {
		return ""
	}
	p.conn.Post(handover.Message{Kind: handover.Ready})
	<-p.main
	s.Own()
	return p.attempt
}

// listen hears the process before this one until that has ended.
func (p *predecessor) listen(s *server.Server, log *slog.Logger) {
	main := sync.OnceFunc(func() { close(p.main) })
	released := sync.OnceFunc(func() { close(p.released) })
	joined := sync.OnceFunc(func() { close(p.joined) })
	learn := func(message []byte) {
		if err := s.Learn(message); err != nil {
			log.Warn("this process does not have a change of the process before it", "error", err)
		}
		p.conn.Confirm()
	}
	for _, message := range p.early {
		learn(message)
	}
	for {
		m, err := p.conn.Receive()
		switch {
		case err != nil:
			joined()
			main()
			released()
			s.Connect(nil)
			p.conn.Close()
			log.Info("the process before this one has ended")
			return
		case m.Kind == handover.Main:
			p.attempt = m.Name
			main()
		case m.Kind == handover.Released:
			released()
		case m.Kind == handover.Joined:
			joined()
		case m.Kind == handover.Changed:
			learn(m.Data)
		}
	}
}
