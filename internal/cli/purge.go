package cli

import (
	"context"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
)

// The names of the flags that only weir purge has. The API has the same names
// for what to purge.
const (
	flagURL    = "url"
	flagHost   = "host"
	flagPrefix = "prefix"
	flagGroup  = "group"
	flagAll    = "all"
	flagSoft   = "soft"
)

func purgeCommand() *urfave.Command {
	return flagsOnly(purge, &urfave.Command{
		Name:      "purge",
		Usage:     "end entries in the cache of a running weir",
		UsageText: "weir purge [--config FILE | --admin ADDRESS] --url URL [--soft]\nweir purge ... --host HOST | --prefix PREFIX | --group GROUP | --all",
		Flags: append(adminFlags(),
			&urfave.StringFlag{Name: flagURL, Usage: "all variants of this `URL`"},
			&urfave.StringFlag{Name: flagHost, Usage: "everything of this `HOST`, with its port if clients write one"},
			&urfave.StringFlag{Name: flagPrefix, Usage: "every URL that starts with `PREFIX`"},
			&urfave.StringFlag{Name: flagGroup, Usage: "every member of this cache `GROUP` or surrogate key"},
			&urfave.BoolFlag{Name: flagAll, Usage: "everything"},
			&urfave.BoolFlag{Name: flagSoft, Usage: "only make them stale: they may still be validated, and answer when the origin fails"},
		),
	})
}

// purge calls the admin API and prints how many entries it hit.
func purge(c *urfave.Command) error {
	what := []string{flagURL, flagHost, flagPrefix, flagGroup, flagAll}
	var given []string
	for _, name := range what {
		if c.IsSet(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) != 1 {
		found := "nothing to purge"
		if len(given) > 0 {
			found = strings.Join(given, " and ")
		}
		return usage("found %s: want exactly one of --%s", found, strings.Join(what, ", --"))
	}
	p := admin.Purge{
		URL: c.String(flagURL), Host: c.String(flagHost), Prefix: c.String(flagPrefix), Group: c.String(flagGroup),
		All: c.Bool(flagAll), Soft: c.Bool(flagSoft),
	}
	if err := p.Check(); err != nil {
		return usageError{err}
	}
	done, err := ask(c, func(ctx context.Context, weir *admin.Client) (admin.Purged, error) { return weir.Purge(ctx, p) })
	if err != nil {
		return err
	}
	entries := "entries"
	if done.Purged == 1 {
		entries = "entry"
	}
	if _, err := fmt.Fprintf(c.Root().Writer, "purged %d %s\n", done.Purged, entries); err != nil {
		return err
	}
	if len(done.Pending) > 0 {
		return partError{fmt.Errorf("weir could not tell %s yet: what is kept there may come back until weir can", strings.Join(done.Pending, " and "))}
	}
	return nil
}

// partError says that a part of what was asked for is still to be done; weir then exits with
// exitPart.
type partError struct{ error }
