package cli

import (
	"fmt"
	"log/slog"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
	"weir/server"
)

func checkCommand() *urfave.Command {
	return flagsOnly(check, &urfave.Command{
		Name:  "check",
		Usage: "say everything that is wrong with a configuration",
		Flags: []urfave.Flag{configFlag("the configuration `FILE`")},
	})
}

// check reports everything that is wrong with a file, or sums it up.
func check(c *urfave.Command) error {
	path := c.String(flagConfig)
	cfg, err := load(path)
	if err != nil {
		return err
	}
	targets := 0
	for _, u := range cfg.Upstreams {
		targets += len(u.Targets)
	}
	warnings := server.Warnings(cfg, time.Now())
	for _, w := range warnings {
		if _, err := fmt.Fprintf(c.Root().Writer, "warning: %s\n", w.Error()); err != nil {
			return err
		}
	}
	verdict := "is fine"
	if len(warnings) > 0 {
		verdict = "works, with " + count(len(warnings), "warning")
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s %s: %s, %s, %s with %s\n", path, verdict,
		count(len(cfg.Listeners), "listener"), count(len(cfg.Routes), "route"), count(len(cfg.Upstreams), "upstream"), count(targets, "target"))
	return err
}

func schemaCommand() *urfave.Command {
	return flagsOnly(schema, &urfave.Command{
		Name:  "config-schema",
		Usage: "print a JSON schema of the configuration, for editors",
	})
}

func schema(c *urfave.Command) error {
	_, err := fmt.Fprintf(c.Root().Writer, "%s\n", config.Schema(server.Names()))
	return err
}

// count returns "1 route", "2 routes".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// warn logs what works in a configuration, but is most likely a mistake.
func warn(log *slog.Logger, cfg *config.Config) {
	for _, w := range server.Warnings(cfg, time.Now()) {
		log.Warn("the configuration works, but something in it is most likely a mistake", "warning", w.Error())
	}
}
