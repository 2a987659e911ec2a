package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
)

func servicesCommand() *urfave.Command {
	return flagsOnly(showServices, &urfave.Command{
		Name:  "services",
		Usage: "show the services that a running weir has in its registry, and their endpoints",
		Flags: askFlags(),
	})
}

func showServices(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]admin.Service, error) { return weir.Services(ctx) })
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	rows := table{{"SERVICE", "VERSION", "ENDPOINT", "WEIGHT", "GROUP", "SEEN", "TTL", "FAILURES", "FROM", "NOTE"}}
	for _, s := range list {
		if len(s.Endpoints) == 0 {
			rows.add(s.Name, cmp.Or(s.Version, "-"), "(none)")
		}
		for _, e := range s.Endpoints {
			ttl, note := "-", ""
			if e.TTL > 0 {
				ttl = brief(e.TTL)
			}
			if e.Drain {
				note = "draining"
			}
			if e.Missing != nil {
				note = "gone from its catalog since " + clock(*e.Missing) + ", not believed yet"
			}
			rows.add(s.Name, cmp.Or(s.Version, "-"), e.URL, e.Weight, e.Priority, ago(&e.Seen), ttl, e.Failures, cmp.Or(e.Catalog, "registration"), note)
		}
	}
	return rows.print(c.Root().Writer)
}

func sourcesCommand() *urfave.Command {
	return flagsOnly(showSources, &urfave.Command{
		Name:  "sources",
		Usage: "show the sources where a running weir finds targets and services, and how they are",
		Flags: askFlags(),
	})
}

func showSources(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]admin.Source, error) { return weir.Sources(ctx) })
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	rows := table{{"SOURCE", "FOR", "SEEN", "ENDPOINTS", "REJECTED", "FAILURES", "NOTE"}}
	for _, s := range list {
		rows.add(s.Name, cmp.Or(s.Upstream, "services"), ago(s.Seen), s.Endpoints, s.Rejected, s.Failures, sourceNote(&s))
	}
	return rows.print(c.Root().Writer)
}

// sourceNote says what is not as it should be with a source.
func sourceNote(s *admin.Source) string {
	var notes []string
	if s.Failing != "" {
		notes = append(notes, "fails: "+s.Failing)
	}
	if s.EmptySince != nil {
		notes = append(notes, "finds nothing since "+clock(*s.EmptySince)+", not believed yet")
	}
	if s.Restored {
		notes = append(notes, "its endpoints are from before the start")
	}
	for _, url := range slices.Sorted(maps.Keys(s.Held)) {
		notes = append(notes, fmt.Sprintf("%s comes and goes, is used from %s on", url, clock(s.Held[url])))
	}
	return strings.Join(notes, "; ")
}

// ago is how long ago a time was; "never" for nil.
func ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	return time.Since(*t).Round(time.Second).String() + " ago"
}
