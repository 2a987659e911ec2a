package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
)

// The flags of weir cache top.
const (
	flagBy    = "by"
	flagLimit = "limit"
)

func cacheCommand() *urfave.Command {
	return &urfave.Command{
		Name:  "cache",
		Usage: "show what is in the cache of a running weir",
		Commands: []*urfave.Command{
			flagsOnly(showTop, &urfave.Command{
				Name:  "top",
				Usage: "show the entries in memory with the most hits, or bytes",
				Flags: append(askFlags(),
					&urfave.StringFlag{Name: flagBy, Value: "hits", Usage: "`ORDER`: \"hits\" or \"bytes\""},
					&urfave.IntFlag{Name: flagLimit, Value: 20, Usage: "the `NUMBER` of entries"},
				),
			}),
			withArguments(showWhy, &urfave.Command{
				Name:      "why",
				Usage:     "say what is stored for a URL, and why the next request would be a hit or not",
				ArgsUsage: "URL",
				Flags:     askFlags(),
			}, takes),
		},
	}
}

func showTop(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]admin.CacheEntry, error) {
		return weir.CacheTop(ctx, c.String(flagBy), c.Int(flagLimit))
	})
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	return printEntries(c.Root().Writer, list)
}

func showWhy(c *urfave.Command) error {
	why, err := ask(c, func(ctx context.Context, weir *admin.Client) (admin.CacheWhy, error) {
		return weir.CacheWhy(ctx, c.Args().First())
	})
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, why, err)
	}
	w := c.Root().Writer
	fmt.Fprintf(w, "%s: %s\n", why.Next, why.Because)
	if why.Uncacheable > 0 {
		fmt.Fprintf(w, "an answer could not be stored: for %s requests do not wait for each other\n", seconds(why.Uncacheable))
	}
	if why.Fetching > 0 {
		fmt.Fprintf(w, "under way: %s\n", count(why.Fetching, "fetch"))
	}
	if len(why.Tiers) > 0 {
		fmt.Fprintf(w, "also in: %s\n", strings.Join(why.Tiers, ", "))
	}
	if len(why.Entries) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return printEntries(w, why.Entries)
}

func printEntries(w io.Writer, list []admin.CacheEntry) error {
	rows := table{{"HITS", "MEMORY", "BODY", "STATUS", "AGE", "TTL", "NEXT", "VARY", "URL"}}
	for _, e := range list {
		next := e.Next
		if e.Reason != "" {
			next += " (" + e.Reason + ")"
		}
		where := e.URL
		if e.Method != "GET" {
			where = e.Method + " " + where
		}
		vary := strings.Join(e.Vary, ",")
		if vary == "" {
			vary = "-"
		}
		rows.add(e.Hits, e.Memory, e.Length, e.Status, seconds(e.Age), seconds(e.TTL), next, vary, where)
	}
	return rows.print(w)
}

func seconds(n float64) time.Duration {
	return time.Duration(n * float64(time.Second)).Round(time.Second)
}
