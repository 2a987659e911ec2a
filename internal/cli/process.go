package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"weir/config"
	"weir/internal/notify"
	"weir/server"
)

// watchInterval is how often a watched configuration file is looked at.
const watchInterval = time.Second

// process is a running weir. It belongs to one goroutine.
type process struct {
	load     func() (*config.Config, error)
	tune     func(*config.Config) // fits memory to what load has returned
	watched  *watch
	parts    *documents
	cfg      *config.Config
	log      *ownLog
	manager  *notify.Notifier
	pidFile  *pidFile
	server   *server.Server
	memory   memory
	signals  <-chan os.Signal
	watchdog watchdog
	// stored are the names under which the service manager keeps sockets; false is one that it may not have.
	stored map[string]bool

	program  string       // what an upgrade starts
	next     *successor   // the process that is to replace this one; nil while there is none
	upgraded <-chan error // how the start of next has ended
	attempts int          // to upgrade
}

// serve handles signals until weir has stopped.
func (p *process) serve() error {
	stop, err := p.watchdog.start()
	if err != nil {
		return errors.Join(err, p.server.Close())
	}
	defer stop()
	look := time.NewTicker(watchInterval)
	defer look.Stop()
	for {
		select {
		case s := <-p.signals:
			switch s {
			case syscall.SIGHUP:
			case syscall.SIGUSR1:
				p.log.Info("opening the logs again", "signal", s.String())
				p.reopen()
				continue
			case syscall.SIGUSR2:
				p.beginUpgrade()
				continue
			default:
				return p.stop(s)
			}
			if p.next != nil {
				p.next.hungUp = true
			}
			p.watched.skip() // what is read now is no change later
			verdict := p.reload("SIGHUP")
			p.reopen()
			if err := p.pidFile.verdict(verdict); err != nil {
				p.log.Warn("weir reload gets no verdict", "error", err)
			}
		case <-look.C:
			// The file is looked at in any case: when the key is switched on,
			// older changes do not count.
			if p.watched.look() && p.cfg.Lifecycle.Watch {
				p.reload("file has changed")
			}
		case err := <-p.upgraded:
			if over, result := p.nextStep(err); over {
				return result
			}
		case <-p.parts.Changed():
			p.reload("documents have changed")
		case <-p.watchdog.tick:
			p.watchdog.ask(p.server)
		case err := <-p.watchdog.verdict:
			p.heard(err)
		case <-p.server.Done():
			return errors.New("the server has stopped by itself")
		}
	}
}

// reload reads the configuration and puts it into force. If that does not work,
// the old one stays in force, and reload has logged the error that it returns.
func (p *process) reload(reason string) error {
	p.tell(p.manager.Reloading())
	var cfg *config.Config
	var log *logOutput
	var err error
	p.await(func() {
		if cfg, err = p.load(); err == nil {
			log, err = p.log.open(cfg.Log)
		}
		if err != nil {
			p.server.ReloadFailed(err)
		} else if err = p.server.Reload(cfg); err != nil {
			p.log.closed(log)
		}
	})
	if err != nil {
		p.log.Error("reload failed, the old configuration stays in force", "reason", reason, "error", err)
		p.tell(p.manager.Ready("serving the old configuration: the reload failed"))
		return err
	}
	p.cfg = cfg
	p.watched.include(cfg.Included())
	p.parts.used(cfg)
	p.log.use(cfg.Log, log)
	p.tune(cfg)
	p.log.Info("reloaded", "reason", reason)
	warn(p.log.Logger, cfg)
	p.store()
	p.tell(p.manager.Ready("serving"))
	return nil
}

// reopen opens the files of both logs again, for files that were moved away.
func (p *process) reopen() {
	p.log.reopen()
	p.server.Reopen()
}

// await calls f and meanwhile tells the service manager that weir lives, whatever the watchdog would
// find: a large configuration takes longer to load than a sign of life may take to come.
func (p *process) await(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		select {
		case <-done:
			return
		case <-p.watchdog.tick:
			p.tell(p.manager.Watchdog())
		}
	}
}

// stop goes on serving for the configured delay and then lets running exchanges end, at
// most for the configured time; a second signal cuts them.
func (p *process) stop(s os.Signal) error {
	delay, drain := p.cfg.Lifecycle.Delay.D(), p.cfg.Lifecycle.Drain.D()
	limit := delay + drain
	if delay > 0 {
		p.log.Info("stopping: not ready, and serving until the listeners close; a second signal cuts", "signal", s.String(), "listeners_close_after", delay, "at_most", limit)
	} else {
		p.log.Info("stopping: running exchanges may end, a second signal cuts them", "signal", s.String(), "at_most", limit)
	}
	p.tell(p.manager.Stopping("draining"))
	if p.next != nil { // which must not go on alone
		p.log.Warn("the upgrade that was under way is given up")
		p.next.cmd.Process.Kill()
	}
	return p.end(limit)
}

// end lets running exchanges end, at most for limit, and closes the server; a second signal
// cuts them.
func (p *process) end(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- p.server.Shutdown(ctx) }()
	for {
		select {
		case err := <-drained:
			if err != nil {
				p.log.Warn("running exchanges were cut", "after", limit, "error", err)
			}
			if err := p.server.Close(); err != nil {
				return fmt.Errorf("cannot stop cleanly: %w", err)
			}
			p.log.Info("stopped")
			return nil
		case s := <-p.signals:
			switch s {
			case syscall.SIGUSR1:
				p.reopen()
			case syscall.SIGHUP:
				p.reopen()
				p.refuse(s, p.pidFile.verdict)
			case syscall.SIGUSR2:
				p.refuse(s, func(err error) error {
					p.attempts++
					return p.pidFile.upgrade(upgradeVerdict{fmt.Sprintf("%d.%d", os.Getpid(), p.attempts), upgradeFailed, err.Error()})
				})
			}
			if s != syscall.SIGTERM && s != syscall.SIGINT {
				continue // SIGQUIT asks for the drain that is under way
			}
			return errors.Join(errors.New("stopped at once by a second signal"), p.server.Close())
		case <-p.watchdog.tick:
			p.tell(p.manager.Watchdog())
		}
	}
}

// refuse answers a reload or an upgrade that is asked for while this process ends.
func (p *process) refuse(s os.Signal, verdict func(error) error) {
	err := errors.New("this process stops")
	p.log.Warn("the signal does nothing", "signal", s.String(), "error", err)
	if p.pidFile == nil || p.pidFile.left {
		return // the new process answers
	}
	if err := verdict(err); err != nil {
		p.log.Warn("the command that sent the signal gets no verdict", "error", err)
	}
}

// tell logs err, the error of telling the service manager something, if there is
// one: it is no reason to stop serving.
func (p *process) tell(err error) {
	if err != nil {
		p.log.Warn("the service manager was not told", "error", err)
	}
}
