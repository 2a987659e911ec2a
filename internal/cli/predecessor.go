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
	// early is what the process before this one told before its memory came.
	early [][]byte
}

// meet takes over what a process that this one replaces has for it; nil if there is none.
func meet() (*predecessor, error) {
	conn, err := handover.Inherit()
	if conn == nil {
		return nil, err
	}
	p := &predecessor{conn: conn, released: make(chan struct{}), main: make(chan struct{})}
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
		case handover.Ended:
			p.early = append(p.early, m.Data)
		case handover.Memory:
			p.passed.Memory = m.Data
			return p, nil
		}
	}
}

// options are those of a server that goes on where the other's is.
func (p *predecessor) options() []server.Option {
	if p == nil {
		return nil
	}
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

// replace says that s can serve, and returns when the process before this one leaves the
// clients to it, or has gone. In the background it then hears what that still has to say. name
// is what names the upgrade.
func (p *predecessor) replace(s *server.Server, log *slog.Logger) (attempt string) {
	if p == nil {
		return ""
	}
	s.Tell(func(message []byte) { p.conn.Post(handover.Message{Kind: handover.Ended, Data: message}) })
	go p.listen(s, log)
	p.conn.Post(handover.Message{Kind: handover.Ready})
	<-p.main
	s.Own()
	return p.attempt
}

// listen hears the process before this one until that has ended.
func (p *predecessor) listen(s *server.Server, log *slog.Logger) {
	main := sync.OnceFunc(func() { close(p.main) })
	released := sync.OnceFunc(func() { close(p.released) })
	learn := func(message []byte) {
		if err := s.Learn(message); err != nil {
			log.Warn("this process may have what the process before it has ended", "error", err)
		}
	}
	for _, message := range p.early {
		learn(message)
	}
	for {
		m, err := p.conn.Receive()
		switch {
		case err != nil:
			main()
			released()
			s.Tell(nil)
			p.conn.Close()
			log.Info("the process before this one has ended")
			return
		case m.Kind == handover.Main:
			p.attempt = m.Name
			main()
		case m.Kind == handover.Released:
			released()
		case m.Kind == handover.Ended:
			learn(m.Data)
		}
	}
}
