package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"

	"weir/admin"
)

// minInterval bounds how often weir top asks.
const minInterval = 100 * time.Millisecond

func topCommand() *urfave.Command {
	return flagsOnly(top, &urfave.Command{
		Name:  "top",
		Usage: "show the routes and targets of a running weir as they are used, the busiest first, until Ctrl-C",
		Flags: append(adminFlags(),
			&urfave.DurationFlag{Name: flagInterval, Value: 2 * time.Second, Usage: "the `TIME` between two looks, over which rates are"},
			&urfave.IntFlag{Name: flagCount, Usage: "end after `N` looks; 0 means never"},
		),
	})
}

func top(c *urfave.Command) error {
	interval, left := c.Duration(flagInterval), c.Int(flagCount)
	if interval < minInterval {
		return usage("--%s: found %s: want at least %s", flagInterval, interval, minInterval)
	}
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	before, err := take(ctx, client)
	for err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var now *sight
		if now, err = take(ctx, client); err != nil {
			break
		}
		if err = now.print(c.Root().Writer, before); err != nil {
			return err
		}
		before = now
		if left--; left == 0 {
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C while weir was asked
	}
	return err
}

// sight is what one look at a running weir has found.
type sight struct {
	at         time.Time
	status     admin.Status
	statistics admin.Statistics
	upstreams  []admin.Upstream
}

func take(ctx context.Context, client *admin.Client) (s *sight, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminWait)
	defer cancel()
	s = &sight{at: time.Now()}
	if s.status, err = client.Status(ctx); err != nil {
		return nil, err
	}
	if s.statistics, err = client.Statistics(ctx, admin.StatisticsQuery{By: "count", Limit: 1}); err != nil {
		return nil, err
	}
	s.upstreams, err = client.Upstreams(ctx)
	return s, err
}

// row is a line of a table and how much is done for it in a second.
type row struct {
	busy  float64
	cells []any
}

// print shows what happened since the look before. On a terminal it replaces what was shown, and leaves
// out the idle rows that do not fit.
func (s *sight) print(w io.Writer, before *sight) error {
	height, terminal := heightOf(w)
	if terminal {
		fmt.Fprint(w, "\x1b[H\x1b[2J")
	}
	elapsed := s.at.Sub(before.at).Seconds()
	open := 0
	for _, l := range s.status.Listeners {
		open += int(l.Open)
	}
	fmt.Fprintf(w, "weir %s, %s, up %s; %s, %s\n\n", s.status.Version, s.status.State,
		s.at.Sub(s.status.Started).Round(time.Second), count(open, "connection"), count(s.status.Running, "running exchange"))
	half := max((height-6)/2, 3)
	if err := printRows(w, table{{"ROUTE", "REQUESTS/S", "ERRORS/S", "MEAN", "P99", "IN/S", "OUT/S"}}, s.routes(before, elapsed), terminal, half); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return printRows(w, table{{"UPSTREAM", "TARGET", "STATE", "RUNNING", "REQUESTS/S", "FAILED/S", "LATENCY"}}, s.targets(before, elapsed), terminal, half)
}

// printRows prints the busiest rows, all of them unless limited.
func printRows(w io.Writer, t table, rows []row, limited bool, limit int) error {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(b.busy, a.busy) })
	if limited {
		rows = rows[:min(len(rows), limit)]
	}
	for _, r := range rows {
		t.add(r.cells...)
	}
	return t.print(w)
}

func (s *sight) routes(before *sight, elapsed float64) (rows []row) {
	was := make(map[string]*admin.RouteStatistics)
	for i := range before.statistics.Routes {
		r := &before.statistics.Routes[i]
		was[r.Route] = r
	}
	for i := range s.statistics.Routes {
		r := &s.statistics.Routes[i]
		old := was[r.Route]
		if old == nil || old.Count > r.Count { // new, or counted anew after a reload
			old = new(admin.RouteStatistics)
		}
		n, mean := r.Count-old.Count, "-"
		if n > 0 {
			mean = brief((r.Total - old.Total) / float64(n))
		}
		rows = append(rows, row{float64(n), []any{
			cmp.Or(r.Route, "(none)"), perSecond(float64(n), elapsed), perSecond(float64(r.Errors-old.Errors), elapsed), mean, brief(r.Late.P99),
			bytesPerSecond(r.BytesIn-old.BytesIn, elapsed), bytesPerSecond(r.BytesOut-old.BytesOut, elapsed),
		}})
	}
	return rows
}

func (s *sight) targets(before *sight, elapsed float64) (rows []row) {
	was := make(map[string]*admin.Target)
	for _, u := range before.upstreams {
		for i := range u.Targets {
			was[u.Name+"\n"+u.Targets[i].Name] = &u.Targets[i]
		}
	}
	for _, u := range s.upstreams {
		for i := range u.Targets {
			t := &u.Targets[i]
			old := was[u.Name+"\n"+t.Name]
			if old == nil || old.Succeeded > t.Succeeded || old.Failed > t.Failed {
				old = new(admin.Target)
			}
			failed := t.Failed - old.Failed
			n := t.Succeeded - old.Succeeded + failed
			rows = append(rows, row{float64(n) + float64(t.InFlight)/1e6, []any{
				u.Name, t.Name, t.State, t.InFlight, perSecond(float64(n), elapsed), perSecond(float64(failed), elapsed), brief(t.Latency),
			}})
		}
	}
	return rows
}

// perSecond is a rate as people read it.
func perSecond(n, elapsed float64) string {
	rate := n / elapsed
	if rate >= 100 || rate == 0 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.1f", rate)
}

func bytesPerSecond(n int64, elapsed float64) string {
	rate, units := float64(n)/elapsed, []string{"B", "KiB", "MiB", "GiB"}
	for rate >= 1000 && len(units) > 1 {
		rate, units = rate/1024, units[1:]
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", rate), ".0") + " " + units[0]
}

// heightOf says whether w is a terminal, and how many lines it has.
func heightOf(w io.Writer) (lines int, terminal bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Row), true
}
