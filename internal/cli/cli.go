// Package cli is weir's command line: it reads flags and files, starts package
// server, passes signals on, and connects the cache tiers that bring client
// libraries. Only the program calls it. Programs that embed weir import package
// server instead, which has everything that concerns requests.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // the command was understood and did not work
	exitUsage  = 2 // the command was not understood
	exitPart   = 3 // part of what was asked for is still to be done
)

// Main runs the command that args name, the program's name first, and returns
// the exit code. An error is reported on standard error. version is what the
// linker was told; if it is empty, the go command's build information counts.
func Main(args []string, version string) (code int) {
	root := commands(version)
	var unknown error
	root.CommandNotFound = func(_ context.Context, c *urfave.Command, name string) { unknown = unknownCommand(c, name) } // of weir help NAME
	helpAnywhere(root.Commands)
	err := root.Run(context.Background(), args)
	if err == nil {
		err = unknown
	}
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(os.Stderr, "weir: "+err.Error())
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[commandError](err); ok {
		return e.code()
	}
	if _, ok := errors.AsType[partError](err); ok {
		return exitPart
	}
	return exitFailed
}

func commands(version string) *urfave.Command {
	return &urfave.Command{
		Name:                            "weir",
		Usage:                           "reverse proxy, load balancer and response cache",
		Version:                         versionOf(version, buildInfo()),
		HideVersion:                     true, // of its own: see the flag
		Suggest:                         true,
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: describeCompletion,
		Flags:                           []urfave.Flag{&urfave.BoolFlag{Name: flagVersion, Aliases: []string{"v"}, Usage: "print the version", Local: true}},
		OnUsageError:                    onUsageError,
		ExitErrHandler:                  func(context.Context, *urfave.Command, error) {}, // Main reports errors
		Action: func(_ context.Context, c *urfave.Command) error {
			if c.Args().Present() {
				return unknownCommand(c, c.Args().First())
			}
			if c.Bool(flagVersion) {
				return showVersion(c, version)
			}
			return urfave.ShowAppHelp(c)
		},
		Commands: []*urfave.Command{
			runCommand(), checkCommand(), explainCommand(), testCommand(), planCommand(), schemaCommand(), reloadCommand(), upgradeCommand(), healthCommand(),
			statusCommand(), upstreamsCommand(), servicesCommand(), sourcesCommand(), routesCommand(), statisticsCommand(), topCommand(), configCommand(), benchCommand(), importCommand(),
			drainCommand(), undrainCommand(), weightCommand(), purgeCommand(), cacheCommand(), tapCommand(), registerCommand(),
			certificatesCommand(), trustCommand(), echCommand(),
			manCommand(), versionCommand(version),
		},
	}
}

// describeCompletion makes the library's command that prints scripts for shells like the
// others.
func describeCompletion(c *urfave.Command) {
	c.Hidden, c.Usage, c.ArgsUsage = false, "print a script that makes a shell complete weir's commands and flags", "bash|zsh|fish|pwsh"
	c.Action = func(_ context.Context, c *urfave.Command) error {
		return usage("found shell %q: want %s", c.Args().First(), c.ArgsUsage)
	}
}

// helpAnywhere makes commands show their help also if --help comes after arguments, which the library would
// take for names of commands.
func helpAnywhere(commands []*urfave.Command) {
	for _, c := range commands {
		if len(c.Commands) == 0 {
			c.CommandNotFound = func(_ context.Context, c *urfave.Command, _ string) {
				urfave.HelpPrinter(c.Root().Writer, urfave.CommandHelpTemplate, c)
			}
		}
		helpAnywhere(c.Commands)
	}
}

func unknownCommand(c *urfave.Command, found string) error {
	var names []string
	for _, sub := range c.Commands {
		names = append(names, sub.Name)
	}
	if meant := config.Nearest(found, names); meant != "" {
		return usage("found command %q: want %s; did you mean %q?", found, config.OneOf(names), meant)
	}
	return usage("found command %q: want %s", found, config.OneOf(names))
}
