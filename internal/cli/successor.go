package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"weir/internal/handover"
	"weir/server"
)

const (
	// lastWords is how long after the end of a process what it has said is read, all of which is there.
	lastWords = time.Second
	// partLimit is how long a process that has ended otherwise waits until the new one, which may be stopped, has taken
	// what there is to say.
	partLimit = 10 * time.Second
)

// successor is a process that is to replace this one.
type successor struct {
	cmd    *exec.Cmd
	conn   *handover.Conn
	server *server.Server
	// attempt names the upgrade in its verdict.
	attempt string
	// hungUp says that SIGHUP came meanwhile, which the new process may have missed.
	hungUp bool

	ready  chan struct{} // closed when it can serve
	took   chan struct{} // closed when it is the one that counts
	asked  bool          // it was told to be; of the process's goroutine
	ended  chan struct{} // closed when it has ended, after exit and reason were set
	exit   error
	reason string // why it ends, as it said itself
}

// programPath returns the path of this program as it was started, so that what is installed
// there later is the new version; symbolic links are followed when that is started.
func programPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return os.Executable()
	}
	return filepath.Abs(path)
}

// startSuccessor starts program with the arguments and the environment of this process.
func startSuccessor(program string, s *server.Server) (*successor, error) {
	conn, theirs, err := handover.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	n := &successor{conn: conn, server: s, ready: make(chan struct{}), took: make(chan struct{}), ended: make(chan struct{})}
	n.cmd = exec.Command(program, os.Args[1:]...)
	n.cmd.Env = handover.Environment(os.Environ(), os.Getpid())
	n.cmd.Stdin, n.cmd.Stdout, n.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	n.cmd.ExtraFiles = []*os.File{theirs}
	if err := n.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot start %q: %w", program, err)
	}
	conn.Lost = s.Lost
	s.Connect(conn)
	return n, nil
}

// await gives the new process what it needs, and returns when it can serve, or why it cannot.
// The new process has ended then.
func (n *successor) await(pid *pidFile, limit time.Duration) error {
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		n.listen()
	}()
	go func() {
		n.exit = n.cmd.Wait()
		n.conn.HearFor(lastWords) // a process that it has started may hold its end open
		<-heard                   // so that the reason is known
		close(n.ended)
	}()
	given := make(chan error, 1)
	go func() { given <- n.give(pid) }()
	return n.wait(given, n.ready, limit)
}

// wait waits until done is closed, and returns why that will not be. The new process has ended then.
func (n *successor) wait(given <-chan error, done <-chan struct{}, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for late := false; ; {
		select {
		case err := <-given:
			if err == nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				continue // if it has ended before it had everything, its end says more
			}
			n.end()
			return err
		case <-done:
			return nil
		case <-n.ended:
			n.end()
			return n.why()
		case <-timer.C:
			if !late { // if it was this process that was stopped, what the other one has said is not read yet
				late = true
				timer.Reset(lastWords)
				continue
			}
			n.end()
			return fmt.Errorf("the new process was not ready within %s (lifecycle.upgrade), and was ended", limit)
		}
	}
}

// give sends what the new process needs.
func (n *successor) give(pid *pidFile) (err error) {
	n.server.EachSocket(func(use string, socket syscall.Conn) {
		if err == nil {
			err = n.conn.Send(handover.Message{Kind: handover.Socket, Name: use}, socket)
		}
	})
	if err == nil && pid != nil {
		err = n.conn.Send(handover.Message{Kind: handover.PIDFile, Name: pid.file.Name()}, pid.file)
	}
	if err != nil {
		return err
	}
	memory, err := n.server.Memory()
	if err != nil {
		return err
	}
	return n.conn.Send(handover.Message{Kind: handover.Memory, Data: memory, Confirms: true}, nil)
}

// listen hears the new process until that ends.
func (n *successor) listen() {
	ready := sync.OnceFunc(func() { close(n.ready) }) // another version may say it again
	took := sync.OnceFunc(func() { close(n.took) })
	for {
		m, err := n.conn.Receive()
		switch {
		case err != nil:
			return
		case m.Kind == handover.Ready:
			ready()
			if !m.Confirms {
				took()
			}
		case m.Kind == handover.Took:
			took()
		case m.Kind == handover.Failed:
			n.reason = m.Text
		case m.Kind == handover.Joining:
			n.conn.Post(handover.Message{Kind: handover.Joined})
		case m.Kind == handover.Changed:
			n.server.Learn(m.Data) // an error is that of another version
			n.conn.Confirm()
		}
	}
}

// why says why the new process has ended.
func (n *successor) why() error {
	switch {
	case n.reason != "":
		return errors.New(strings.TrimSpace(n.reason))
	case n.exit == nil:
		return errors.New("the new process ended before it was ready")
	}
	return fmt.Errorf("the new process ended before it was ready: %w", n.exit)
}

// end ends the new process, if it runs, and waits for that.
func (n *successor) end() {
	n.server.Connect(nil)
	n.cmd.Process.Kill() // fails if it has ended
	<-n.ended
	n.conn.Close()
}

// beginUpgrade starts the process that is to replace this one.
func (p *process) beginUpgrade() {
	p.attempts++
	attempt := fmt.Sprintf("%d.%d", os.Getpid(), p.attempts)
	if p.next != nil {
		p.log.Warn("an upgrade is under way already, so this signal does nothing", "process", p.next.cmd.Process.Pid)
		return
	}
	err := error(nil)
	if os.Getpid() == 1 {
		err = errors.New("this is process 1, with whose end the container ends: replace the container")
	} else {
		p.next, err = startSuccessor(p.program, p.server)
	}
	if err != nil {
		p.upgradeFailed(attempt, err)
		return
	}
	p.next.attempt = attempt
	p.log.Info("upgrading", "program", p.program, "process", p.next.cmd.Process.Pid)
	p.tellUpgrade(upgradeVerdict{attempt, upgradeRuns, ""})
	result := make(chan error, 1)
	p.upgraded = result
	next, limit := p.next, p.cfg.Lifecycle.Upgrade.D()
	go func() { result <- next.await(p.pidFile, limit) }()
}

// upgradeFailed makes this process go on alone.
func (p *process) upgradeFailed(attempt string, err error) {
	p.next, p.upgraded = nil, nil
	p.log.Error("the upgrade failed, this process goes on", "error", err)
	p.tellUpgrade(upgradeVerdict{attempt, upgradeFailed, strings.ReplaceAll(err.Error(), "\n", "\n  ")})
}

func (p *process) tellUpgrade(v upgradeVerdict) {
	if err := p.pidFile.upgrade(v); err != nil {
		p.log.Warn("weir upgrade gets no verdict", "error", err)
	}
}

// nextStep goes on with the upgrade after the new process has done a step, or has failed with err. over says that this
// process has left everything to the new one, and ended with result.
func (p *process) nextStep(err error) (over bool, result error) {
	next := p.next
	switch {
	case err != nil:
		if next.asked {
			p.tell(p.manager.Main(os.Getpid()))
		}
		p.upgradeFailed(next.attempt, err)
		return false, nil
	case next.asked:
		return true, p.handOver()
	}
	next.asked = true
	p.tell(p.manager.Main(next.cmd.Process.Pid))
	next.conn.Post(handover.Message{Kind: handover.Main, Name: next.attempt})
	upgraded, limit := make(chan error, 1), p.cfg.Lifecycle.Upgrade.D()
	p.upgraded = upgraded
	go func() { upgraded <- next.wait(nil, next.took, limit) }()
	return false, nil
}

// handOver leaves everything to the new process, which serves, and ends this one when its
// clients have left.
func (p *process) handOver() error {
	next := p.next
	pid := next.cmd.Process.Pid
	p.manager, p.watchdog.tick = nil, nil // what this process says does not count any more
	p.pidFile.leave()
	if next.hungUp {
		next.cmd.Process.Signal(syscall.SIGHUP)
	}
	limit := p.cfg.Lifecycle.Drain.D()
	p.log.Info("the new process serves, this one ends when its clients have left", "process", pid, "at_most", limit)
	if err := p.server.HandOver(); err != nil {
		return errors.Join(err, p.server.Close())
	}
	next.conn.Post(handover.Message{Kind: handover.Released})
	err := p.end(limit)
	if err := next.conn.Flush(partLimit); err != nil {
		p.log.Error("the new process does not know what was changed here in the end", "error", err)
	}
	next.conn.Close()
	return err
}
