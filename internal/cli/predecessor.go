package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/internal/handover"
	"weir/server"
)

// How long the process before this one, which may be stopped or hang, is waited for: for each message with what this one
// needs, until it answers that it has told all, and until the log says that it does not leave.
const (
	giveLimit = time.Minute
	joinLimit = 10 * time.Second
	mainLimit = 10 * time.Second
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
	// chosen says which of the two came first: that this process is the one that counts, or that it was told to end.
	chosen atomic.Bool
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
		conn.HearFor(giveLimit)
		m, err := conn.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return p, fmt.Errorf("the process before this one has said nothing for %s", giveLimit)
		}
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
			conn.HearFor(0)
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
// process waits until s has learned them. A process that does not answer is not waited for: as long as it is
// stopped, only s can serve.
func (p *predecessor) join(s *server.Server, log *slog.Logger) {
	p.conn.Lost = s.Lost
	s.Connect(p.conn)
	go p.listen(s, log)
	if !p.confirms {
		return
	}
	p.conn.Post(handover.Message{Kind: handover.Joining, Confirms: true})
	late := time.NewTimer(joinLimit)
	defer late.Stop()
	select {
	case <-p.joined:
	case <-late.C:
		log.Warn("the process before this one does not answer: what it has purged or changed in the last moments, this one learns later", "process", os.Getppid())
	}
}

// replace says that s can serve, and returns when the process before this one leaves the
// clients to it, or has gone. attempt is what names the upgrade. If a signal that ends this process comes before that,
// replace returns it; others are in signals again afterwards.
func (p *predecessor) replace(s *server.Server, signals chan os.Signal, log *slog.Logger) (attempt string, end os.Signal) {
	if p == nil {
		return "", nil
	}
	p.conn.Post(handover.Message{Kind: handover.Ready, Confirms: true})
	late := time.NewTimer(mainLimit)
	defer late.Stop()
	var kept []os.Signal
	for {
		select {
		case <-p.main:
			s.Own()
			for _, sig := range kept {
				select {
				case signals <- sig:
				default: // as the runtime drops what has no room
				}
			}
			return p.attempt, nil
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2:
			default:
				if p.chosen.CompareAndSwap(false, true) {
					p.conn.Post(handover.Message{Kind: handover.Failed, Text: "the new process was told to end (" + sig.String() + ")"})
					return "", sig
				}
			}
			kept = append(kept, sig)
		case <-late.C:
			log.Warn("this process serves, but the one before it does not leave: end that one if it hangs", "process", os.Getppid())
		}
	}
}

// listen hears the process before this one until that has ended.
func (p *predecessor) listen(s *server.Server, log *slog.Logger) {
	main := func() (first bool) {
		if first = p.chosen.CompareAndSwap(false, true); first {
			close(p.main)
		}
		return first
	}
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
			if main() {
				p.conn.Post(handover.Message{Kind: handover.Took})
			}
		case m.Kind == handover.Released:
			released()
		case m.Kind == handover.Joined:
			joined()
		case m.Kind == handover.Changed:
			learn(m.Data)
		}
	}
}
