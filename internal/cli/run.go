package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
	"weir/internal/notify"
	"weir/server"
)

// The names of the flags that only weir run has.
const (
	flagListen = "listen"
	flagTo     = "to"

	flagDomain       = "domain"
	flagRedirectFrom = "redirect-from"
	flagEmail        = "email"
	flagStorage      = "storage"
	flagACME         = "acme-ca"
	flagACMERoots    = "acme-ca-roots"
)

func runCommand() *urfave.Command {
	return flagsOnly(run, &urfave.Command{
		Name:      "run",
		Usage:     "serve until SIGTERM, SIGINT or SIGQUIT",
		UsageText: "weir run --config FILE\nweir run --listen :9090 --to http://localhost:5000 [--to URL]\nweir run --to http://localhost:5000 --inspect\nweir run --to http://localhost:3000 --domain example.org",
		Flags: []urfave.Flag{
			configFlag("the configuration `FILE`"),
			&urfave.StringSliceFlag{Name: flagListen, Usage: "serve without a file, on this `ADDRESS`; may be repeated"},
			&urfave.StringSliceFlag{Name: flagTo, Usage: "the target `URL` of --listen; may be repeated"},
			&urfave.BoolFlag{Name: flagInspect, Usage: "record all exchanges, and print the address of the page that shows them; --to then needs no --listen"},
			&urfave.StringSliceFlag{Name: flagDomain, Usage: "serve this `NAME` by https, with a certificate that weir gets itself, and send http there; may be repeated. Local names get one of weir's own CA (weir trust). --listen is then where TLS is spoken, by default " + secureAddress},
			&urfave.StringFlag{Name: flagRedirectFrom, Value: plainAddress, Usage: "where --domain sends http to https, an `ADDRESS`"},
			&urfave.StringFlag{Name: flagEmail, Usage: "the `ADDRESS` by which the CA of --domain reaches you"},
			&urfave.StringFlag{Name: flagStorage, Usage: "the `FOLDER` or URL where --domain keeps certificates"},
			&urfave.StringFlag{Name: flagACME, Usage: "the `URL` of the directory of another CA for --domain"},
			&urfave.StringFlag{Name: flagACMERoots, Usage: "a PEM `FILE` of the authorities to trust when that CA is asked", TakesFile: true},
			pidFileFlag("write the process id to `FILE`, for weir reload"),
		},
		DisableSliceFlagSeparator: true, // a URL may hold commas
	})
}

// run serves until a signal ends it.
func run(c *urfave.Command) error {
	before, err := meet()
	if err == nil {
		err = serve(c, before)
	}
	before.fail(err)
	return err
}

// serve serves in place of the process before this one, if there is one.
func serve(c *urfave.Command, before *predecessor) error {
	if err := useOwnRoots(); err != nil {
		return fmt.Errorf("cannot read the authorities that weir contains: %w", err)
	}
	parts := newDocuments()
	defer parts.Close()
	read, path, err := loader(c, parts)
	if err != nil {
		return err
	}
	watched := newWatch(path) // before the file is read, so that no change is missed
	cfg, err := parts.start(read)
	if err != nil {
		return err
	}

	watched.include(cfg.Included())

	// From here on a signal has its meaning, however early it comes. SIGPIPE is
	// ignored so that a reader of the access log that goes away is a write error.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE)

	p := &process{watched: watched, parts: parts, cfg: cfg, signals: signals}
	if p.program, err = programPath(); err != nil {
		return fmt.Errorf("cannot find the path of this program: %w", err)
	}
	if p.log, err = newLog(cfg.Log); err != nil {
		return err
	}
	defer p.log.close()
	log := p.log.Logger
	takeLibraryLog(log)
	parts.log.use(log.Handler())
	parts.used(cfg)
	limit := memoryLimit(log)
	p.load = func() (*config.Config, error) {
		cfg, now, err := fitted(read, log)
		if err == nil {
			limit = now
		}
		return cfg, err
	}
	p.tune = func(cfg *config.Config) { p.memory.tune(cfg, limit, log) }
	// planned reads what a reload would read, on goroutines of the admin API.
	planned := func() (*config.Config, error) {
		cfg, _, err := fitted(read, log)
		return cfg, err
	}
	fit(cfg, limit)
	p.tune(cfg)
	warn(log, cfg)
	if p.manager, err = notify.New(os.Getenv("NOTIFY_SOCKET")); err != nil {
		return err
	}
	if p.pidFile, err = before.lockPIDFile(c.String(flagPIDFile)); err != nil {
		return err
	}
	defer p.pidFile.close()
	if p.server, err = server.New(cfg, append(before.options(log), server.WithLog(log), server.WithSystemdSockets(), server.WithTiers(tiersAfter(before.release())),
		server.WithSchemes(schemes()...), server.WithIssuer(newIssuer(log)), server.WithTraceExporter(traceExporter(c.Root().Version)), server.WithChecked(), server.WithLoader(planned), server.WithVersion(c.Root().Version))...); err != nil {
		return err
	}
	if err := p.server.Start(); err != nil {
		return errors.Join(err, p.server.Close())
	}
	attempt, end := before.replace(p.server, signals, log)
	if end != nil {
		p.manager = nil // the service is that of the process before this one
		return p.stop(end)
	}
	if err := p.pidFile.write(os.Getpid()); err != nil {
		return errors.Join(err, p.server.Close())
	}
	announce(os.Stderr, log, cfg, p.server, before == nil && !c.Bool(flagInspect))
	if c.Bool(flagInspect) {
		announceInspector(os.Stderr, cfg, p.server)
	}
	p.store()
	if err := dropFilePages(); err != nil {
		log.Debug("pages of the program file stay resident", "error", err)
	}
	p.tell(p.manager.Ready("serving"))
	if attempt != "" {
		p.tellUpgrade(upgradeVerdict{attempt, upgradeDone, strconv.Itoa(os.Getpid())})
	}
	return p.serve()
}

// fitted reads the configuration and fits it into the memory that there is now.
func fitted(read func() (*config.Config, error), log *slog.Logger) (cfg *config.Config, limit int64, err error) {
	if cfg, err = read(); err != nil {
		return nil, 0, err
	}
	limit = memoryLimit(log)
	fit(cfg, limit)
	return cfg, limit, nil
}

// loader returns how to read the configuration, at the start and for reloads,
// and the path of its file, empty without one.
func loader(c *urfave.Command, parts *documents) (read func() (*config.Config, error), path string, err error) {
	listen, to := c.StringSlice(flagListen), c.StringSlice(flagTo)
	complete := func(*config.Config) error { return nil }
	if domains := c.StringSlice(flagDomain); len(domains) > 0 {
		if len(listen) == 0 {
			listen = []string{secureAddress}
		}
		complete = func(cfg *config.Config) error { return secured(c, cfg, domains) }
	}
	if c.Bool(flagInspect) {
		defer func() {
			if err == nil {
				read = inspected(read)
			}
		}()
		if len(listen) == 0 && len(to) > 0 {
			listen = []string{free(inspectedAddress)}
		}
	}
	switch {
	case len(listen) == 0 && len(to) == 0:
		path = c.String(flagConfig)
		return func() (*config.Config, error) { return parts.load(path) }, path, nil
	case c.IsSet(flagConfig):
		return nil, "", usage("--listen, --to and --domain are for serving without a file: leave out --config, or put them into the file")
	case len(listen) == 0:
		return nil, "", usage("--to needs --listen ADDRESS, --domain NAME, or --inspect")
	case len(to) == 0:
		return nil, "", usage("--listen and --domain need --to URL")
	}
	return func() (*config.Config, error) { return oneLine(listen, to, complete) }, "", nil
}

// oneLine returns the configuration of "weir run --listen ADDRESS --to URL", which complete completes.
func oneLine(listen, to []string, complete func(*config.Config) error) (*config.Config, error) {
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
	if err := complete(cfg); err != nil {
		return nil, err
	}
	if err := server.Check(cfg, server.WithSchemes(schemes()...), server.WithIssuer(newIssuer(nil))); err != nil {
		return nil, usage("cannot use these flags:\n%w", err)
	}
	return cfg, checkCertificates(cfg).Err()
}
