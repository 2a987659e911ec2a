// Weir is a reverse proxy, load balancer and response cache. This package is its
// command line: it reads flags and files, starts package server, and passes
// signals on. Everything else is done elsewhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/urfave/cli/v3"

	"weir/config"
	"weir/server"
)

// The exit codes.
const (
	exitFailed = 1 // what was asked for did not work
	exitUsage  = 2 // what was asked for is not clear
)

func main() {
	err := commands().Run(context.Background(), os.Args)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "weir: "+err.Error())
	if _, ok := errors.AsType[usageError](err); ok {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

// usageError is an error of whoever typed the command.
type usageError struct{ error }

func usage(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// The names of the flags that several places read.
const (
	flagConfig  = "config"
	flagListen  = "listen"
	flagTo      = "to"
	flagPIDFile = "pid-file"
	flagPID     = "pid"
	flagWait    = "wait"
)

func commands() *cli.Command {
	onUsageError := func(_ context.Context, c *cli.Command, err error, _ bool) error {
		return usage("%w; see %s --help", err, c.FullName())
	}
	configFlag := func(use string) cli.Flag {
		return &cli.StringFlag{Name: flagConfig, Aliases: []string{"c"}, Value: "config.toml", Usage: use, TakesFile: true}
	}
	pidFileFlag := func(use string) cli.Flag {
		return &cli.StringFlag{Name: flagPIDFile, Usage: use, Sources: cli.EnvVars("WEIR_PID_FILE"), TakesFile: true}
	}
	return &cli.Command{
		Name:            "weir",
		Usage:           "reverse proxy, load balancer and response cache",
		HideHelpCommand: true,
		Suggest:         true,
		OnUsageError:    onUsageError,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // main reports errors
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return unknownCommand(c)
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			{
				Name:      "run",
				Usage:     "serve until SIGTERM or SIGINT",
				UsageText: "weir run --config FILE\nweir run --listen :9090 --to http://localhost:5000 [--to URL]",
				Flags: []cli.Flag{
					configFlag("the configuration `FILE`"),
					&cli.StringSliceFlag{Name: flagListen, Usage: "serve without a file, on this `ADDRESS`; may be repeated"},
					&cli.StringSliceFlag{Name: flagTo, Usage: "the target `URL` of --listen; may be repeated"},
					pidFileFlag("write the process id to `FILE`, for weir reload"),
				},
				DisableSliceFlagSeparator: true, // a URL may hold commas
				OnUsageError:              onUsageError,
				Action:                    withoutArguments(run),
			},
			{
				Name:         "check",
				Usage:        "say everything that is wrong with a configuration",
				Flags:        []cli.Flag{configFlag("the configuration `FILE`")},
				OnUsageError: onUsageError,
				Action:       withoutArguments(check),
			},
			{
				Name:         "config-schema",
				Usage:        "print a JSON schema of the configuration, for editors",
				OnUsageError: onUsageError,
				Action: withoutArguments(func(c *cli.Command) error {
					_, err := fmt.Fprintf(c.Root().Writer, "%s\n", config.Schema())
					return err
				}),
			},
			{
				Name:  "reload",
				Usage: "make a running weir read its configuration again",
				Flags: []cli.Flag{
					pidFileFlag("the --pid-file `FILE` of the running weir; its verdict is waited for"),
					&cli.IntFlag{Name: flagPID, Usage: "its process `ID` instead; the verdict is in its log"},
					&cli.DurationFlag{Name: flagWait, Value: 30 * time.Second, Usage: "the longest `TIME` to wait for the verdict"},
				},
				OnUsageError: onUsageError,
				Action:       withoutArguments(reload),
			},
			purgeCommand(configFlag("the configuration `FILE` of the running weir"), onUsageError),
			{
				Name:         "version",
				Usage:        "print the version",
				OnUsageError: onUsageError,
				Action: withoutArguments(func(c *cli.Command) error {
					_, err := fmt.Fprintln(c.Root().Writer, versionText())
					return err
				}),
			},
		},
	}
}

// withoutArguments refuses what stands behind the flags, where a file name is
// easily put by mistake.
func withoutArguments(action func(*cli.Command) error) cli.ActionFunc {
	return func(_ context.Context, c *cli.Command) error {
		if c.Args().Present() {
			return usage("%s takes flags only, found %q; see %s --help", c.FullName(), c.Args().First(), c.FullName())
		}
		return action(c)
	}
}

func unknownCommand(c *cli.Command) error {
	var names []string
	for _, sub := range c.Commands {
		names = append(names, sub.Name)
	}
	found := c.Args().First()
	if meant := config.Nearest(found, names); meant != "" {
		return usage("found command %q: want %s; did you mean %q?", found, config.OneOf(names), meant)
	}
	return usage("found command %q: want %s", found, config.OneOf(names))
}

// load reads the file at path. The error has everything that is wrong with it.
func load(path string) (*config.Config, error) {
	cfg, err := config.Load(path, server.CheckParts)
	if problems, ok := errors.AsType[config.Errors](err); ok {
		return nil, fmt.Errorf("%s has %s:\n%w", path, count(len(problems), "problem"), problems)
	}
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// check reports everything that is wrong with a file, or sums it up.
func check(c *cli.Command) error {
	path := c.String(flagConfig)
	cfg, err := load(path)
	if err != nil {
		return err
	}
	targets := 0
	for _, u := range cfg.Upstreams {
		targets += len(u.Targets)
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s is fine: %s, %s, %s with %s\n", path,
		count(len(cfg.Listeners), "listener"), count(len(cfg.Routes), "route"), count(len(cfg.Upstreams), "upstream"), count(targets, "target"))
	return err
}

// count returns "1 route", "2 routes".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// versionText names the build: what the linker was told, else what the go
// command knows.
func versionText() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
	}
	if v == "" {
		v = "(devel)"
	}
	return fmt.Sprintf("weir %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
