package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
)

// The names of the flags that only weir purge has. The API has the same names
// for what to purge.
const (
	flagAdmin  = "admin"
	flagURL    = "url"
	flagHost   = "host"
	flagPrefix = "prefix"
	flagGroup  = "group"
	flagAll    = "all"
	flagSoft   = "soft"
)

// purgeWait is how long a running weir may take to purge.
const purgeWait = 30 * time.Second

func purgeCommand() *urfave.Command {
	return flagsOnly(purge, &urfave.Command{
		Name:      "purge",
		Usage:     "end entries in the cache of a running weir",
		UsageText: "weir purge [--config FILE | --admin ADDRESS] --url URL [--soft]\nweir purge ... --host HOST | --prefix PREFIX | --group GROUP | --all",
		Flags: []urfave.Flag{
			configFlag("the configuration `FILE` of the running weir"),
			&urfave.StringFlag{Name: flagAdmin, Usage: "the `ADDRESS` of its admin API instead of the file's admin.address"},
			&urfave.StringFlag{Name: flagURL, Usage: "all variants of this `URL`"},
			&urfave.StringFlag{Name: flagHost, Usage: "everything of this `HOST`, with its port if clients write one"},
			&urfave.StringFlag{Name: flagPrefix, Usage: "every URL that starts with `PREFIX`"},
			&urfave.StringFlag{Name: flagGroup, Usage: "every member of this cache `GROUP` or surrogate key"},
			&urfave.BoolFlag{Name: flagAll, Usage: "everything"},
			&urfave.BoolFlag{Name: flagSoft, Usage: "only make them stale: they may still be validated, and answer when the origin fails"},
		},
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
	address, err := adminAddress(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), purgeWait)
	defer cancel()
	client := admin.Client{Address: address}
	n, err := client.Purge(ctx, p)
	if err != nil {
		return err
	}
	entries := "entries"
	if n == 1 {
		entries = "entry"
	}
	_, err = fmt.Fprintf(c.Root().Writer, "purged %d %s\n", n, entries)
	return err
}

// adminAddress returns where the admin API of the running weir should be.
func adminAddress(c *urfave.Command) (config.Address, error) {
	var address config.Address
	if c.IsSet(flagAdmin) {
		if c.IsSet(flagConfig) {
			return "", usage("--admin is for doing without the file: leave out --config")
		}
		const want = `"host:port" or "unix:/path"`
		text := c.String(flagAdmin)
		if err := address.UnmarshalText([]byte(text)); err != nil {
			return "", usage("--admin: found %q: want %s", text, want)
		}
		if network, _ := address.Split(); network != "tcp" && network != "unix" {
			return "", usage("--admin: found %q: want %s", text, want)
		}
		return address, nil
	}
	path := c.String(flagConfig)
	cfg, err := load(path)
	if err != nil {
		return "", fmt.Errorf("cannot find the admin API: %w", err)
	}
	address = cfg.Admin.Address
	switch {
	case address == "":
		return "", fmt.Errorf("cannot find the admin API: %s has no admin.address; set it, or name the address by --admin", path)
	case strings.HasSuffix(string(address), ":0"):
		return "", errors.New("cannot find the admin API: admin.address has port 0; name the address that the log of weir has by --admin")
	}
	return address, nil
}
