package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
)

// flagEvery is the flag of weir config that prints every key, flagOrigins the one that says
// what has set each.
const (
	flagEvery   = "all"
	flagOrigins = "origins"
)

func statusCommand() *urfave.Command {
	return flagsOnly(showStatus, &urfave.Command{
		Name:  "status",
		Usage: "say how a running weir is: its configuration, listeners and upstreams",
		Flags: askFlags(),
	})
}

func showStatus(c *urfave.Command) error {
	s, err := ask(c, func(ctx context.Context, weir *admin.Client) (admin.Status, error) { return weir.Status(ctx) })
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, s, err)
	}
	w := c.Root().Writer
	fmt.Fprintf(w, "weir %s, %s, process %d\n", s.Version, s.Go, s.PID)
	fmt.Fprintf(w, "%s, started %s (%s ago), %s\n", s.State, clock(s.Started), time.Since(s.Started).Round(time.Second), count(s.Running, "running exchange"))
	fmt.Fprintf(w, "configuration loaded %s; %s, %d failed", clock(s.Loaded), count(int(s.Reloads), "reload"), s.FailedReloads)
	if s.ReloadFailed {
		fmt.Fprint(w, "\nTHE LAST RELOAD FAILED, so the configuration in force is not that of the file: weir check, and the log, say why")
	}
	fmt.Fprint(w, "\n\n")
	listeners := table{{"LISTENER", "ADDRESS", "TLS", "OPEN", "ACCEPTED"}}
	for _, l := range s.Listeners {
		listeners.add(l.Name, l.Address, yes(l.TLS), l.Open, l.Accepted)
	}
	upstreams := table{{"UPSTREAM", "TARGETS", "USABLE", "RUNNING"}}
	for _, u := range s.Upstreams {
		upstreams.add(u.Name, u.Targets, u.Usable, u.Running)
	}
	if err := listeners.print(w); err != nil || len(s.Upstreams) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return upstreams.print(w)
}

func upstreamsCommand() *urfave.Command {
	return withArguments(showUpstreams, &urfave.Command{
		Name:      "upstreams",
		Usage:     "show the targets of a running weir and their states",
		ArgsUsage: "[UPSTREAM...]",
		Flags:     askFlags(),
	}, func(*urfave.Command) error { return nil })
}

func showUpstreams(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]admin.Upstream, error) { return weir.Upstreams(ctx) })
	if err == nil && c.Args().Present() {
		list, err = choose(list, c.Args().Slice())
	}
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	rows := table{{"UPSTREAM", "TARGET", "STATE", "WEIGHT", "GROUP", "RUNNING", "SUCCEEDED", "FAILED", "LATENCY", "REASON"}}
	found := slices.ContainsFunc(list, func(u admin.Upstream) bool {
		return slices.ContainsFunc(u.Targets, func(t admin.Target) bool { return t.Source != "" })
	})
	if found {
		rows[0] = slices.Insert(rows[0], 9, "SOURCE")
	}
	for _, u := range list {
		if len(u.Targets) == 0 {
			lacking := slices.Repeat([]any{""}, len(rows[0]))
			lacking[0], lacking[1], lacking[len(lacking)-1] = u.Name, "none", u.Reason
			rows.add(lacking...)
		}
		for _, t := range u.Targets {
			weight := share(t.Weight, t.Sharers)
			if t.ConfiguredWeight != 0 {
				weight += fmt.Sprintf(" (configured %d)", t.ConfiguredWeight)
			}
			latency := time.Duration(t.Latency * float64(time.Second)).Round(10 * time.Microsecond)
			columns := []any{u.Name, t.Name, t.State, weight, t.Priority, t.InFlight, t.Succeeded, t.Failed, latency}
			if found {
				columns = append(columns, cmp.Or(t.Source, "the configuration"))
			}
			rows.add(append(columns, cmp.Or(t.Reason, t.Kept, failing(t)))...)
		}
	}
	if err := rows.print(c.Root().Writer); err != nil {
		return err
	}
	for _, u := range list {
		for _, note := range upstreamNotes(u) {
			fmt.Fprintf(c.Root().Writer, "%s: %s\n", u.Name, note)
		}
	}
	return nil
}

// failing says that a target does not answer well although it is used, as the last one that can be, or because statuses are no
// failures; empty if that is not so.
func failing(t admin.Target) string {
	if t.FailedInARow < 2 {
		return ""
	}
	return fmt.Sprintf("the last %d exchanges failed", t.FailedInARow)
}

// upstreamNotes says what is out of the ordinary about an upstream as a whole.
func upstreamNotes(u admin.Upstream) (notes []string) {
	if u.BreakerReason != "" {
		notes = append(notes, u.BreakerReason)
	}
	if u.PanicMode {
		notes = append(notes, admin.PanicNote)
	}
	if u.Queued > 0 {
		notes = append(notes, fmt.Sprintf("%s for a place, %d run", waiting(u.Queued), u.Running))
	}
	if u.Retries > 0 && u.Retries >= u.AllowedRetries {
		notes = append(notes, fmt.Sprintf("the budget of retries is used up: %d of %d within ten seconds", u.Retries, u.AllowedRetries))
	}
	return notes
}

// waiting says how many exchanges wait.
func waiting(n int) string {
	if n == 1 {
		return "1 exchange waits"
	}
	return fmt.Sprintf("%d exchanges wait", n)
}

// share returns a weight that several targets may have together.
func share(weight, sharers int) string {
	if sharers > 1 {
		return fmt.Sprintf("%d/%d", weight, sharers)
	}
	return strconv.Itoa(weight)
}

// choose returns the upstreams of these names.
func choose(list []admin.Upstream, names []string) (chosen []admin.Upstream, err error) {
	for _, name := range names {
		i := slices.IndexFunc(list, func(u admin.Upstream) bool { return u.Name == name })
		if i < 0 {
			known := make([]string, len(list))
			for i, u := range list {
				known[i] = u.Name
			}
			return nil, fmt.Errorf("found upstream %q: there is %s", name, config.OneOf(known))
		}
		chosen = append(chosen, list[i])
	}
	return chosen, nil
}

func routesCommand() *urfave.Command {
	return flagsOnly(showRoutes, &urfave.Command{
		Name:  "routes",
		Usage: "show the routes of a running weir",
		Flags: askFlags(),
	})
}

func showRoutes(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]admin.Route, error) { return weir.Routes(ctx) })
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	rows := table{{"ROUTE", "MATCHES", "DOES", "CACHE"}}
	for _, r := range list {
		rows.add(r.Name, conditions(r.Match), r.Does, yes(r.Cache))
	}
	return rows.print(c.Root().Writer)
}

// conditions are those of a route in one line.
func conditions(match map[string]any) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(match)) {
		switch value := match[key].(type) {
		case []any:
			words = append(words, strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintln(value...), " ", ","), "\n"))
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(value)) {
				words = append(words, fmt.Sprintf("%s %s=%v", key, name, value[name]))
			}
		default:
			words = append(words, fmt.Sprint(value))
		}
	}
	if len(words) == 0 {
		return "everything"
	}
	return strings.Join(words, " ")
}

func configCommand() *urfave.Command {
	return flagsOnly(showConfig, &urfave.Command{
		Name:  "config",
		Usage: "print the configuration that is in force in a running weir, without secrets",
		Flags: append(askFlags(), &urfave.BoolFlag{Name: flagEvery, Usage: "also the keys that have their defaults"},
			&urfave.BoolFlag{Name: flagOrigins, Usage: "one key a line, with what has set it: a line of a file, or an environment variable"}),
	})
}

func showConfig(c *urfave.Command) error {
	if c.Bool(flagOrigins) {
		return showOrigins(c)
	}
	format := "toml"
	if c.Bool(flagJSON) {
		format = "json"
	}
	text, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]byte, error) {
		return weir.Config(ctx, format, c.Bool(flagEvery))
	})
	if err != nil {
		return err
	}
	_, err = c.Root().Writer.Write(text)
	return err
}

func showOrigins(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]config.Origin, error) {
		return weir.Origins(ctx, c.Bool(flagEvery))
	})
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	rows := table{{"KEY", "VALUE", "FROM"}}
	for _, o := range list {
		rows.add(o.Key, o.Value, o.From)
	}
	return rows.print(c.Root().Writer)
}

// orPrint returns err, or prints v as JSON if there is none.
func orPrint(c *urfave.Command, v any, err error) error {
	if err != nil {
		return err
	}
	return printJSON(c, v)
}

// table is lines of columns, the header first.
type table [][]string

func (t *table) add(columns ...any) {
	row := make([]string, len(columns))
	for i, column := range columns {
		row[i] = fmt.Sprint(column)
	}
	*t = append(*t, row)
}

func (t table) print(w io.Writer) error {
	aligned := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range t {
		fmt.Fprintln(aligned, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return aligned.Flush()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
