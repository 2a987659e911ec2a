package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v3"
)

// The names of the flags that several commands have. A flag of one command
// stands in that command's file.
const (
	flagConfig  = "config"
	flagPIDFile = "pid-file"
	flagVersion = "version"
)

// defaultConfig is the file that is read where none is named.
const defaultConfig = "config.toml"

func configFlag(use string) urfave.Flag {
	return &urfave.StringFlag{Name: flagConfig, Aliases: []string{"c"}, Value: defaultConfig, Usage: use, TakesFile: true}
}

func pidFileFlag(use string) urfave.Flag {
	return &urfave.StringFlag{Name: flagPIDFile, Usage: use, Sources: urfave.EnvVars("WEIR_PID_FILE"), TakesFile: true}
}

// usageError says that a command was not understood; weir then exits with
// exitUsage.
type usageError struct{ error }

func usage(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

func onUsageError(_ context.Context, c *urfave.Command, err error, _ bool) error {
	return usage("%w; see %s --help", err, c.FullName())
}

// flagsOnly makes c run action, and refuse arguments after the flags: a file
// name there is easily a forgotten --config.
func flagsOnly(action func(*urfave.Command) error, c *urfave.Command) *urfave.Command {
	return withArguments(action, c, func(c *urfave.Command) error {
		if c.Args().Present() {
			hint := ""
			if slices.ContainsFunc(c.Flags, func(f urfave.Flag) bool { return slices.Contains(f.Names(), flagConfig) }) {
				hint = "a file is named by --config FILE; "
			}
			return usage("%s takes flags only, found %q; %ssee %s --help", c.FullName(), c.Args().First(), hint, c.FullName())
		}
		return nil
	})
}

// withArguments makes c run action if check finds nothing wrong with the arguments.
func withArguments(action func(*urfave.Command) error, c *urfave.Command, check func(*urfave.Command) error) *urfave.Command {
	c.OnUsageError = onUsageError
	c.Action = func(_ context.Context, c *urfave.Command) error {
		if err := check(c); err != nil {
			return err
		}
		return action(c)
	}
	return c
}

// takes checks that there is one argument for each word of a command's ArgsUsage.
func takes(c *urfave.Command) error {
	if want := len(strings.Fields(c.ArgsUsage)); c.Args().Len() != want {
		return usage("%s takes %s, found %s; see %s --help", c.FullName(), c.ArgsUsage, count(c.Args().Len(), "argument"), c.FullName())
	}
	return nil
}
