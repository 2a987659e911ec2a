package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
)

// The flags of weir statistics.
const (
	flagSlowest = "slowest"
	flagTotal   = "total"
)

func statisticsCommand() *urfave.Command {
	return withArguments(showStatistics, &urfave.Command{
		Name:      "statistics",
		Usage:     "show how many exchanges of a running weir there were by route and path, how long they took, and in which phases",
		ArgsUsage: "[ROUTE]",
		Flags: append(askFlags(),
			&urfave.StringFlag{Name: flagBy, Value: "count", Usage: "the `ORDER` of paths: " + config.OneOf(admin.StatisticsOrders())},
			&urfave.IntFlag{Name: flagLimit, Value: 20, Usage: "the `NUMBER` of paths of each route, 0 for all"},
			&urfave.BoolFlag{Name: flagTotal, Usage: "since the start, not of late"},
			&urfave.BoolFlag{Name: flagSlowest, Usage: "show the slowest exchanges of late"},
		),
	}, func(c *urfave.Command) error {
		if c.Args().Len() > 1 {
			return usage("found %d arguments: want one route, or none for all", c.Args().Len())
		}
		return nil
	})
}

func showStatistics(c *urfave.Command) error {
	q := admin.StatisticsQuery{By: c.String(flagBy), Limit: c.Int(flagLimit), Late: !c.Bool(flagTotal)}
	if c.Args().Present() {
		name := c.Args().First()
		q.Route = &name
	}
	s, err := ask(c, func(ctx context.Context, weir *admin.Client) (admin.Statistics, error) {
		return weir.Statistics(ctx, q)
	})
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, s, err)
	}
	w := c.Root().Writer
	if c.Bool(flagSlowest) {
		return slowestTable(&s).print(w)
	}
	if !c.Bool(flagTotal) {
		fmt.Fprintf(w, "the last %s:\n", seconds(s.Recent))
	}
	if err := figuresTable(&s, c.Bool(flagTotal)).print(w); err != nil || len(s.Objectives) == 0 {
		return err
	}
	fmt.Fprintln(w)
	return objectivesTable(&s).print(w)
}

func objectivesTable(s *admin.Statistics) table {
	rows := table{{"OBJECTIVE", "GOAL", "GOOD", "SLOW", "FAILED", "BURN RATES"}}
	for _, o := range s.Objectives {
		goal := fmt.Sprintf("%g %%", o.Percent)
		if o.Below > 0 {
			goal += " below " + brief(o.Below)
		}
		var rates []string
		for _, b := range o.Burn {
			rates = append(rates, fmt.Sprintf("%s: %.3g", b.Window, b.Rate))
		}
		rows.add(o.Name, goal, o.Good, o.Slow, o.Failed, strings.Join(rates, ", "))
	}
	return rows
}

// figuresTable has a row for each route that was used, and below it one for each of its paths.
func figuresTable(s *admin.Statistics, total bool) table {
	rows := table{{"ROUTE", "PATH", "COUNT", "ERRORS", "MEAN", "P50", "P90", "P99", "MAX", "WAITING", "CONNECTING", "FIRST BYTE", "BODY", "SENT"}}
	add := func(route, path string, all, late *admin.Figures) {
		f := late
		if total {
			f = all
		}
		if f.Count == 0 {
			return
		}
		longest := "-" // of late it is not known
		if total {
			longest = brief(f.Max)
		}
		p := &f.Phases
		rows.add(route, path, f.Count, f.Errors, brief(f.Mean), brief(f.P50), brief(f.P90), brief(f.P99), longest,
			brief(p.Waiting), brief(p.Connecting), brief(p.FirstByte), brief(p.Body), f.BytesOut)
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		name := r.Route
		if name == "" {
			name = "(none)"
		}
		add(name, "", &r.Figures, &r.Late)
		for k := range r.Paths {
			p := &r.Paths[k]
			add("", p.Path, &p.Figures, &p.Late)
		}
	}
	return rows
}

func slowestTable(s *admin.Statistics) table {
	rows := table{{"ROUTE", "START", "TIME", "WAITING", "CONNECTING", "FIRST BYTE", "BODY", "STATUS", "CAUSE", "TARGET", "REQUEST", "ID"}}
	for i := range s.Routes {
		for _, x := range s.Routes[i].Slowest {
			p := &x.Phases
			request := strings.Trim(strconv.Quote(x.Method+" "+x.Requested), `"`)
			rows.add(s.Routes[i].Route, clock(x.Start), brief(x.Duration), brief(p.Waiting), brief(p.Connecting), brief(p.FirstByte), brief(p.Body),
				x.Status, x.Cause, x.Target, request, strings.Trim(strconv.Quote(x.RequestID), `"`))
		}
	}
	return rows
}

// brief is a number of seconds in three digits.
func brief(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	for unit := time.Second; unit > time.Nanosecond; unit /= 10 {
		if d >= 100*unit {
			return d.Round(unit).String()
		}
	}
	return d.String()
}
