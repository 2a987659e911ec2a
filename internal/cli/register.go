package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
	"weir/discover"
	"weir/lb"
)

// The names of the flags that only weir register has.
const (
	flagRegistry = "registry"
	flagService  = "service"
	flagEndpoint = "endpoint"
	flagWeight   = "weight"
	flagTTL      = "ttl"
	flagDrain    = "drain"
	flagHealth   = "health"
	flagInterval = "every"
)

func registerCommand() *urfave.Command {
	return withArguments(register, &urfave.Command{
		Name:  "register",
		Usage: "keep a service in a registry while it is well, and withdraw it before it stops",
		UsageText: "weir register --service NAME --version V --endpoint URL [--registry URL | --admin ADDRESS] -- COMMAND [ARGUMENT...]\n" +
			"weir register ... --pid ID",
		ArgsUsage: "[COMMAND [ARGUMENT...]]",
		Flags: append(adminFlags(),
			&urfave.StringFlag{Name: flagRegistry, Usage: "the `URL` of another registry than that of a running weir, such as etcd://127.0.0.1:2379/services"},
			&urfave.StringFlag{Name: flagService, Usage: "the `NAME` of the service"},
			&urfave.StringFlag{Name: flagVersion, Usage: "its `VERSION`; none if it is not given"},
			&urfave.StringFlag{Name: flagEndpoint, Usage: "the `URL` at which clients reach it"},
			&urfave.IntFlag{Name: flagWeight, Value: 1, Usage: "its `SHARE` relative to the other endpoints"},
			&urfave.DurationFlag{Name: flagTTL, Value: 15 * time.Second, Usage: "the `TIME` after which the registry drops it if nothing is heard of it"},
			&urfave.DurationFlag{Name: flagDrain, Value: 5 * time.Second, Usage: "the `TIME` for running requests between SIGTERM and the end of the service"},
			&urfave.StringFlag{Name: flagHealth, Usage: "a `PATH` that answers with a status below 400 while the service is well; else a connection must come about"},
			&urfave.DurationFlag{Name: flagInterval, Value: time.Second, Usage: "the `TIME` from one look at the service to the next"},
			&urfave.IntFlag{Name: flagPID, Usage: "the process `ID` of a service that runs already, in place of a command"},
		),
	}, func(c *urfave.Command) error {
		if c.Args().Present() == c.IsSet(flagPID) {
			return usage("%s takes a COMMAND after --, or --%s ID; see %s --help", c.FullName(), flagPID, c.FullName())
		}
		return nil
	})
}

// oneSignal is how long further signals count as the first one: some programs, such as
// timeout, signal a process and then the group that it is in.
const oneSignal = 200 * time.Millisecond

// register keeps a service registered until it ends.
func register(c *urfave.Command) error {
	k, err := keeper(c)
	if err != nil {
		return err
	}
	defer k.Registrar.Close()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	var s *served
	if c.IsSet(flagPID) {
		s, err = adopt(c.Int(flagPID))
	} else {
		s, err = launch(c.Args().Slice())
	}
	if err != nil {
		return err
	}
	stop, kept := make(chan struct{}), make(chan struct{})
	var stopped time.Time
	go func() {
		k.Run(stop, s.gone)
		close(kept)
	}()
	for {
		select {
		case <-s.gone:
			<-kept
			return s.verdict()
		case sig := <-signals:
			if sig == syscall.SIGHUP && s.command != nil {
				s.command.Process.Signal(sig)
				continue
			}
			if !stopped.IsZero() { // a second signal does not wait for the drain
				if time.Since(stopped) > oneSignal {
					s.end()
				}
				continue
			}
			stopped = time.Now()
			close(stop)
			go func() {
				<-kept
				s.end()
			}()
		}
	}
}

// keeper makes what keeps the service registered, of the flags.
func keeper(c *urfave.Command) (*discover.Keeper, error) {
	e := discover.Entry{Name: c.String(flagService), Version: c.String(flagVersion), Endpoint: lb.Endpoint{URL: c.String(flagEndpoint), Weight: c.Int(flagWeight)}}
	if err := discover.CheckService(e.Name, e.Version); err != nil {
		return nil, usage("--%s and --%s: %w", flagService, flagVersion, err)
	}
	t := config.DefaultTarget(e.URL)
	if found, want := t.URLProblem(); want != "" {
		return nil, usage("--%s: found %s: want %s", flagEndpoint, found, want)
	}
	if e.Weight < 1 || e.Weight > config.MaxWeight {
		return nil, usage("--%s: found %d: want 1 to %d", flagWeight, e.Weight, config.MaxWeight)
	}
	if ttl := c.Duration(flagTTL); ttl < time.Second {
		return nil, usage("--%s: found %s: want 1s or more", flagTTL, ttl)
	}
	every := c.Duration(flagInterval)
	if !c.IsSet(flagInterval) {
		every = min(every, c.Duration(flagTTL)/3)
	}
	if every <= 0 || c.Duration(flagDrain) < 0 {
		return nil, usage("--%s and --%s: found %s and %s: want more than 0, and 0 or more", flagInterval, flagDrain, every, c.Duration(flagDrain))
	}
	if ttl := c.Duration(flagTTL); every > ttl/3 {
		return nil, usage("--%s: found %s: want at most a third of --%s (%s), because a sign of life follows a look", flagInterval, every, flagTTL, ttl)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	healthy, err := look(t.Origin(), c.String(flagHealth))
	if err != nil {
		return nil, err
	}
	registrar, err := openRegistrar(c, log)
	if err != nil {
		return nil, err
	}
	return &discover.Keeper{
		Registrar: registrar, Entry: e, TTL: c.Duration(flagTTL), Drain: c.Duration(flagDrain), Healthy: healthy, Every: every, Log: log,
	}, nil
}

// openRegistrar returns the registry that the flags name.
func openRegistrar(c *urfave.Command, log *slog.Logger) (discover.Registrar, error) {
	if c.IsSet(flagRegistry) {
		if c.IsSet(flagAdmin) || c.IsSet(flagConfig) {
			return nil, usage("--%s is for another registry than that of a running weir: leave out --%s and --%s", flagRegistry, flagAdmin, flagConfig)
		}
		r, err := discover.Schemes(schemes()).Registrar(c.String(flagRegistry), discover.SchemeOptions{Log: log})
		if err != nil {
			return nil, usage("--%s: %w", flagRegistry, err)
		}
		return r, nil
	}
	client, err := adminClient(c)
	if err != nil {
		return nil, err
	}
	return weirRegistrar{client}, nil
}

// weirRegistrar writes to the registry of a running weir.
type weirRegistrar struct{ client *admin.Client }

func (r weirRegistrar) Put(ctx context.Context, e discover.Entry, ttl time.Duration) error {
	_, err := r.client.Register(ctx, e.Name, e.Version, e.URL, admin.Registration{Weight: e.Weight, Priority: e.Priority, Drain: e.Drain, TTL: ttl})
	return err
}

func (r weirRegistrar) Withdraw(ctx context.Context, e discover.Entry) error {
	err := r.client.Deregister(ctx, e.Name, e.Version, e.URL)
	if errors.Is(err, admin.ErrNotRegistered) {
		return nil
	}
	return err
}

func (weirRegistrar) Close() error { return nil }

// look returns what looks at the service at an endpoint: path answers well, or if there is none a
// connection comes about.
func look(endpoint, path string) (func(ctx context.Context) error, error) {
	network, address := "tcp", ""
	if socket, ok := strings.CutPrefix(endpoint, "unix:"); ok {
		network, address = "unix", socket
	} else if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		if address = u.Host; u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), u.Scheme)
		}
	} else {
		return nil, usage("--%s: found %q: want one of http, https or unix", flagEndpoint, endpoint)
	}
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) }
	if path == "" {
		return func(ctx context.Context) error {
			conn, err := dial(ctx)
			if err != nil {
				return err
			}
			return conn.Close()
		}, nil
	}
	target := endpoint
	if network == "unix" {
		target = "http://localhost"
	}
	request, err := http.NewRequest(http.MethodGet, target+path, nil)
	if err != nil || path[0] != '/' {
		return nil, usage("--%s: found %q: want a path such as \"/healthy\"", flagHealth, path)
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	return func(ctx context.Context) error {
		response, err := transport.RoundTrip(request.Clone(ctx))
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode >= 400 {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	}, nil
}

// served is the process of a service.
type served struct {
	command *exec.Cmd     // nil: it was not started here
	gone    chan struct{} // closed when it has ended
	err     error         // of the command, once gone is closed
	end     func()        // tells it to end
}

// launch starts a command. It gets no signals of the terminal: those are for weir register, which
// drains before it ends the command.
func launch(args []string) (*served, error) {
	s := &served{command: exec.Command(args[0], args[1:]...), gone: make(chan struct{})}
	s.command.Stdin, s.command.Stdout, s.command.Stderr = os.Stdin, os.Stdout, os.Stderr
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the service: %w", err)
	}
	s.end = func() { s.command.Process.Signal(syscall.SIGTERM) }
	go func() {
		s.err = s.command.Wait()
		close(s.gone)
	}()
	return s, nil
}

// adopt watches a process that runs already. It is not ended here: weir register ends instead.
func adopt(pid int) (*served, error) {
	alive := func() bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
	if pid <= 1 || !alive() {
		return nil, usage("--%s: found %d: want the process id of a running service", flagPID, pid)
	}
	s, ended := &served{gone: make(chan struct{})}, make(chan struct{}, 2)
	s.end = func() {
		select {
		case ended <- struct{}{}:
		default:
		}
	}
	go func() {
		defer close(s.gone)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for alive() {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}()
	return s, nil
}

// verdict is what weir register ends with: as the command did.
func (s *served) verdict() error {
	if ended, ok := errors.AsType[*exec.ExitError](s.err); ok {
		return commandError{ended}
	}
	return s.err
}

// commandError says that a command that weir has started ended badly; weir then exits as the command
// did.
type commandError struct{ ended *exec.ExitError }

func (e commandError) Error() string { return "the service ended: " + e.ended.String() }

// code is the exit status: 128 and the signal's number if a signal ended the command, as shells have it.
func (e commandError) code() int {
	if status, ok := e.ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return e.ended.ExitCode()
}
