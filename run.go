package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"weir/config"
	"weir/internal/notify"
	"weir/server"
)

// watchInterval is how often a watched configuration file is looked at.
const watchInterval = time.Second

// run serves until a signal ends it.
func run(c *cli.Command) error {
	read, path, err := loader(c)
	if err != nil {
		return err
	}
	watched := newWatch(path) // before the file is read, so that no change is missed
	cfg, err := read()
	if err != nil {
		return err
	}

	// From here on a signal has its meaning, however early it comes. SIGPIPE is
	// ignored so that a reader of the access log that goes away is a write error.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE)

	p := &process{load: read, watched: watched, cfg: cfg, signals: signals}
	p.log = newLog(cfg.Log, &p.level)
	p.memory.tune(cfg, p.log)
	if p.manager, err = notify.New(os.Getenv("NOTIFY_SOCKET")); err != nil {
		return err
	}
	if p.pidFile, err = lockPIDFile(c.String(flagPIDFile)); err != nil {
		return err
	}
	defer p.pidFile.close()
	if p.server, err = server.New(cfg, server.WithLog(p.log), server.WithSystemdSockets(), server.WithTiers(tiers)); err != nil {
		return err
	}
	if err := p.server.Start(); err != nil {
		return errors.Join(err, p.server.Close())
	}
	if err := p.pidFile.write(os.Getpid()); err != nil {
		return errors.Join(err, p.server.Close())
	}
	welcome(os.Stderr, p.log, cfg, p.server)
	p.tell(p.manager.Ready("serving"))
	return p.serve()
}

// loader returns how to read the configuration, at the start and for reloads,
// and the path of its file, empty without one.
func loader(c *cli.Command) (read func() (*config.Config, error), path string, err error) {
	listen, to := c.StringSlice(flagListen), c.StringSlice(flagTo)
	switch {
	case len(listen) == 0 && len(to) == 0:
		path = c.String(flagConfig)
		return func() (*config.Config, error) { return load(path) }, path, nil
	case c.IsSet(flagConfig):
		return nil, "", usage("--listen and --to are for serving without a file: leave out --config, or put them into the file")
	case len(listen) == 0:
		return nil, "", usage("--to needs --listen ADDRESS")
	case len(to) == 0:
		return nil, "", usage("--listen needs --to URL")
	}
	return func() (*config.Config, error) { return oneLine(listen, to) }, "", nil
}

// oneLine returns the configuration of "weir run --listen ADDRESS --to URL".
func oneLine(listen, to []string) (*config.Config, error) {
	cfg := config.Default()
	for _, address := range listen {
		l := config.DefaultListener()
		if err := l.Address.UnmarshalText([]byte(address)); err != nil {
			return nil, usage("--listen: found %q: want %w", address, err)
		}
		cfg.Listeners = append(cfg.Listeners, l)
	}
	const name = "to"
	upstream := config.DefaultUpstream()
	for _, url := range to {
		upstream.Targets = append(upstream.Targets, config.DefaultTarget(url))
	}
	cfg.Upstreams = map[string]config.Upstream{name: upstream}
	route := config.DefaultRoute()
	route.Name = name
	route.Upstream = config.MustTemplate(name)
	cfg.Routes = []config.Route{route}
	if err := server.Check(cfg); err != nil {
		return nil, usage("cannot use --listen and --to:\n%w", err)
	}
	return cfg, nil
}

// newLog returns weir's own log. Its level follows level, which reloads set; its
// format stays as it is.
func newLog(cfg config.Log, level *slog.LevelVar) *slog.Logger {
	setLevel(cfg, level)
	o := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

func setLevel(cfg config.Log, level *slog.LevelVar) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(cfg.Level)); err != nil {
		panic(fmt.Sprintf("BUG: log level %q was not validated: %s", cfg.Level, err))
	}
	level.Set(l)
}

// process is a running weir. It belongs to one goroutine.
type process struct {
	load    func() (*config.Config, error)
	watched *watch
	cfg     *config.Config
	level   slog.LevelVar
	log     *slog.Logger
	manager *notify.Notifier
	pidFile *pidFile
	server  *server.Server
	memory  memory
	signals <-chan os.Signal
	alive   <-chan time.Time // when the service manager expects a sign of life; or nil
}

// serve handles signals until weir has stopped.
func (p *process) serve() error {
	interval, err := notify.WatchdogInterval(os.Getpid(), os.Getenv)
	if err != nil {
		return errors.Join(err, p.server.Close())
	}
	if interval > 0 {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		p.alive = ticker.C
	}
	look := time.NewTicker(watchInterval)
	defer look.Stop()
	for {
		select {
		case s := <-p.signals:
			if s != syscall.SIGHUP {
				return p.stop(s)
			}
			p.watched.skip() // what is read now is no change later
			verdict := p.reload("SIGHUP")
			p.server.Reopen()
			if err := p.pidFile.verdict(verdict); err != nil {
				p.log.Warn("weir reload gets no verdict", "error", err)
			}
		case <-look.C:
			// The file is looked at in any case: when the key is switched on,
			// older changes do not count.
			if p.watched.look() && p.cfg.Lifecycle.Watch {
				p.reload("file has changed")
			}
		case <-p.alive:
			p.tell(p.manager.Watchdog())
		case <-p.server.Done():
			return errors.New("the server has stopped by itself")
		}
	}
}

// reload puts the configuration as it is now into force. If that does not work,
// the old one stays, and the error that is returned has been logged.
func (p *process) reload(reason string) error {
	p.tell(p.manager.Reloading())
	cfg, err := p.load()
	if err != nil {
		p.server.ReloadFailed()
	} else {
		err = p.server.Reload(cfg)
	}
	if err != nil {
		p.log.Error("reload failed, the old configuration stays in force", "reason", reason, "error", err)
		p.tell(p.manager.Ready("serving the old configuration: the reload failed"))
		return err
	}
	p.cfg = cfg
	setLevel(cfg.Log, &p.level)
	p.memory.tune(cfg, p.log)
	p.log.Info("reloaded", "reason", reason)
	p.tell(p.manager.Ready("serving"))
	return nil
}

// stop drains, at most for the configured time; a second signal ends that.
func (p *process) stop(s os.Signal) error {
	limit := p.cfg.Lifecycle.Drain.D()
	p.log.Info("stopping: running exchanges may end, a second signal cuts them", "signal", s.String(), "at_most", limit)
	p.tell(p.manager.Stopping("draining"))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- p.server.Shutdown(ctx) }()
	for {
		select {
		case err := <-drained:
			if err != nil {
				p.log.Warn("running exchanges were cut", "error", err)
			}
			if err := p.server.Close(); err != nil {
				return fmt.Errorf("cannot stop cleanly: %w", err)
			}
			p.log.Info("stopped")
			return nil
		case s := <-p.signals:
			if s == syscall.SIGHUP {
				continue
			}
			return errors.Join(errors.New("stopped at once by a second signal"), p.server.Close())
		case <-p.alive:
			p.tell(p.manager.Watchdog())
		}
	}
}

// tell logs that the service manager could not be told something: no reason to
// stop serving.
func (p *process) tell(err error) {
	if err != nil {
		p.log.Warn("the service manager was not told", "error", err)
	}
}
