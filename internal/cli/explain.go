package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
	"weir/server"
)

// The flags of weir explain.
const (
	flagField    = "header"
	flagFrom     = "from"
	flagListener = "listener"
	flagAnswer   = "answer"
	flagRunning  = "running"
	flagClient   = "client-cert"
)

func explainCommand() *urfave.Command {
	return withArguments(explain, &urfave.Command{
		Name:      "explain",
		Usage:     "say what a configuration makes of a request, and why, without sending it",
		ArgsUsage: "[METHOD] URL",
		Flags: []urfave.Flag{
			configFlag("the configuration `FILE`"),
			&urfave.BoolFlag{Name: flagRunning, Usage: "ask the running weir, whose admin.address the file has: its configuration, its targets as they are, what its cache has"},
			&urfave.StringFlag{Name: flagAdmin, Usage: "ask the running weir whose admin API is at `ADDRESS`"},
			&urfave.StringSliceFlag{Name: flagField, Aliases: []string{"H"}, Usage: "a `FIELD` of the request such as \"Accept: text/html\"; may be given again"},
			&urfave.StringFlag{Name: flagFrom, Usage: "the `ADDRESS` that the client connects from", Value: "127.0.0.1"},
			&urfave.StringFlag{Name: flagListener, Usage: "the `NAME` of the listener, or its address if it has none; else one that fits the URL's scheme"},
			&urfave.StringFlag{Name: flagClient, Usage: "the PEM `FILE` of the certificate that the client shows, which is taken for a good one"},
			&urfave.StringSliceFlag{Name: flagAnswer, Usage: "a `FIELD` of the response that the target is assumed to give, such as \"Cache-Control: max-age=60\"; may be given again"},
			&urfave.BoolFlag{Name: flagJSON, Usage: "print JSON"},
		},
		DisableSliceFlagSeparator: true,
	}, func(c *urfave.Command) error {
		if n := c.Args().Len(); n != 1 && n != 2 {
			return usage("%s takes %s, found %s; see %s --help", c.FullName(), c.ArgsUsage, count(n, "argument"), c.FullName())
		}
		return nil
	})
}

func explain(c *urfave.Command) error {
	q := server.Question{Fields: c.StringSlice(flagField), Listener: c.String(flagListener), Answer: c.StringSlice(flagAnswer)}
	if q.URL = c.Args().First(); c.Args().Len() == 2 {
		q.Method, q.URL = c.Args().First(), c.Args().Get(1)
	}
	var err error
	if q.From, err = netip.ParseAddr(c.String(flagFrom)); err != nil {
		return usage("--from: found %q: want an IP address", c.String(flagFrom))
	}
	if file := c.String(flagClient); file != "" {
		text, err := config.ReadFile(file)
		if err != nil {
			return err
		}
		q.ClientCert = string(text)
	}
	e, err := explanation(c, q)
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, e, err)
	}
	return printExplanation(c.Root().Writer, e)
}

// explanation explains q by the file, or by the running weir.
func explanation(c *urfave.Command, q server.Question) (*server.Explanation, error) {
	if !c.Bool(flagRunning) && !c.IsSet(flagAdmin) {
		cfg, err := load(c.String(flagConfig))
		if err != nil {
			return nil, err
		}
		return server.Explain(cfg, q, server.WithSchemes(schemes()...))
	}
	question := admin.Question{Method: q.Method, URL: q.URL, Fields: q.Fields, From: q.From.String(), Listener: q.Listener, Answer: q.Answer, ClientCert: q.ClientCert}
	text, err := ask(c, func(ctx context.Context, weir *admin.Client) (json.RawMessage, error) {
		return weir.Explain(ctx, question)
	})
	if err != nil {
		return nil, err
	}
	e := new(server.Explanation)
	if err := json.Unmarshal(text, e); err != nil {
		return nil, fmt.Errorf("cannot use the explanation of the running weir, which may be of another version: %w", err)
	}
	return e, nil
}

// printExplanation prints the way of a request from the listener to the response.
func printExplanation(w io.Writer, e *server.Explanation) error {
	if err := explanationFacts(e).print(w); err != nil {
		return err
	}
	if r := e.Request; r != nil {
		fmt.Fprintf(w, "\nthe target gets (+ is not the client's, - is not sent on)\n  %s\n", r.Line)
		printLines(w, r.Fields, r.Added)
		for _, line := range r.Removed {
			fmt.Fprintf(w, "- %s\n", line)
		}
	}
	if r := e.Response; r != nil {
		fmt.Fprintf(w, "\nthe client gets %d\n", r.Status)
		printLines(w, r.Fields, nil)
	}
	if k := e.Cache; k != nil {
		fmt.Fprintf(w, "\nthe cache: %s\n  key %s\n", k.Verdict, strings.ReplaceAll(k.Key, "\n", "\n      "))
		if k.Next != "" {
			fmt.Fprintf(w, "  now %s: %s\n", k.Next, k.Because)
		}
	}
	end := "cause: " + e.Cause
	if e.Error != "" {
		end += ", " + e.Error
	}
	_, err := fmt.Fprintln(w, "\n"+end)
	return err
}

// explanationFacts says where the request goes, and what was decided on the way.
func explanationFacts(e *server.Explanation) table {
	facts := table{{"listener", e.Listener}, {"client", e.ClientAddress + " by " + e.Scheme}}
	for _, r := range e.Routes {
		facts.add("route", r.Route, "  "+routeVerdict(e, r))
	}
	if e.Upstream != "" {
		facts.add("upstream", e.Upstream+", "+e.Balance)
	}
	for i := range e.Targets {
		t := &e.Targets[i]
		facts.add("target", t.URL, "  "+targetNote(t, t.URL == e.Target))
	}
	for _, note := range e.Notes {
		facts.add("", note)
	}
	for _, source := range e.Sources {
		facts.add("source", source, "  finds targets while weir runs")
	}
	if l := e.Limits; l != nil {
		bounds := fmt.Sprintf("connect %s, first byte %s, idle %s, total %s", orNone(l.Connect), orNone(l.FirstByte), orNone(l.Idle), orNone(l.Total))
		facts.add("limits", fmt.Sprintf("%s; %s", bounds, count(l.Attempts, "attempt")))
		if l.MaxBody > 0 {
			facts.add("", fmt.Sprintf("a body of at most %s", count(int(l.MaxBody), "byte")))
		}
	}
	return facts
}

// orNone prints a limit of time: "0s" means no limit.
func orNone(limit string) string {
	if limit == "0s" {
		return "none"
	}
	return limit
}

// targetNote says in one line what is known of a target.
func targetNote(t *server.ExplainedTarget, picked bool) string {
	note := "weight " + share(t.Weight, t.Sharers)
	if t.Priority > 0 {
		note += fmt.Sprintf(", group %d", t.Priority)
	}
	if t.State != "" {
		note += fmt.Sprintf(", %s, %s", t.State, count(t.InFlight, "running exchange"))
	}
	if t.Reason != "" {
		note += ", " + t.Reason
	}
	if t.Source != "" {
		note += fmt.Sprintf(", found by %s, seen %s ago", t.Source, time.Since(*t.Seen).Round(time.Second))
	}
	if t.Kept != "" {
		note += ", kept: " + t.Kept
	}
	if picked {
		note += ", is picked"
	}
	return note
}

// routeVerdict says whether a route takes the request, and why not.
func routeVerdict(e *server.Explanation, r server.RouteVerdict) string {
	switch {
	case r.Taken:
		return "takes it"
	case r.Misfit != "":
		return fmt.Sprintf("does not: %s is %s", r.Misfit, r.Wants)
	case e.Route == "":
		return "would take it"
	}
	return fmt.Sprintf("would take it, but %s is more specific", e.Route)
}

// printLines prints the lines of a head, with a mark before those that were added.
func printLines(w io.Writer, lines, added []string) {
	left := slices.Clone(added)
	for _, line := range lines {
		mark := " "
		if i := slices.Index(left, line); i >= 0 {
			mark, left = "+", slices.Delete(left, i, i+1)
		}
		fmt.Fprintf(w, "%s %s\n", mark, strings.TrimRight(line, " "))
	}
}
