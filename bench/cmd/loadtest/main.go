// Command loadtest shows how weir holds up under load, second by second: it starts
// instances of an application and weir in front of them, lets users send requests, first
// with weir's cache on and then with it off, prints what they got, and plots it as SVG and
// HTML.
//
// "make load-test" runs it; "loadtest instance" is an instance, which it starts itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"weir/bench/load"
)

// settings are what can be adjusted.
type settings struct {
	weir             string // the program
	out              string // a folder
	duration         time.Duration
	users, instances int
	rate             float64
	pages, size      int
	delay            time.Duration
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

func run(args []string, w io.Writer) error {
	var s settings
	flags := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	flags.StringVar(&s.weir, "weir", "bin/weir", "the weir to run")
	flags.StringVar(&s.out, "out", "bin", "the folder for load-test.svg and load-test.html")
	flags.DurationVar(&s.duration, "duration", time.Minute, "how long users send requests, with the cache on, and again with it off")
	flags.IntVar(&s.users, "users", 20, "concurrent users, each with a connection")
	flags.IntVar(&s.instances, "instances", 3, "instances of the application")
	flags.Float64Var(&s.rate, "rate", 0, "requests per second of all users together; 0 means that each user asks again after the answer")
	flags.IntVar(&s.pages, "pages", 100, "different pages that users ask for in turn")
	flags.IntVar(&s.size, "size", 10<<10, "bytes of a page")
	flags.DurationVar(&s.delay, "delay", 5*time.Millisecond, "how long an instance takes to make a page")
	if len(args) > 0 && args[0] == "instance" {
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return serveInstance(s.delay, os.Stdin, w)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("cannot use argument %q: only flags are allowed", flags.Arg(0))
	}
	if s.duration <= 0 || s.users < 1 || s.instances < 1 || s.rate < 0 || s.pages < 1 || s.size < 0 || s.delay < 0 {
		return fmt.Errorf("cannot test with %+v: want a duration above 0, at least one user, instance and page, and nothing negative", s)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	r, err := measure(ctx, s, w)
	if err != nil {
		return err
	}
	return write(s, r, w)
}

// side is what was seen with the cache on, or off.
type side struct {
	title  string
	result load.Result
	asked  int64 // requests that reached the instances
}

// report is a whole test.
type report struct {
	title, about string
	sides        []side
}

// measure runs both sides, one after the other, each with a weir of its own.
func measure(ctx context.Context, s settings, w io.Writer) (*report, error) {
	how := "as fast as answers come"
	if s.rate > 0 {
		how = fmt.Sprintf("%g requests per second in all", s.rate)
	}
	r := &report{
		title: "weir under load",
		about: fmt.Sprintf("%d users, %s; %d instances that take %v for a page; %d pages of %d bytes", s.users, how, s.instances, s.delay, s.pages, s.size),
	}
	fmt.Fprintf(w, "%s; %v each with the cache on and off\n", r.about, s.duration)
	for _, cache := range []bool{true, false} {
		sd, err := s.side(ctx, cache)
		if err != nil {
			return nil, err
		}
		r.sides = append(r.sides, *sd)
		if ctx.Err() != nil {
			break // Ctrl-C: what there is is shown
		}
	}
	return r, nil
}

// side measures with the cache on or off.
func (s settings) side(ctx context.Context, cache bool) (*side, error) {
	st, err := newStage(s, cache)
	if err != nil {
		return nil, err
	}
	defer st.close()
	var requests [][]byte
	for page := range s.pages {
		requests = append(requests, load.Get(st.address, fmt.Sprintf("/bytes/%d?page=%d", s.size, page)))
	}
	g, err := load.New(load.Options{Address: st.address, Connections: s.users, Requests: requests, Body: int64(s.size)})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	sd := &side{title: "cache off"}
	if cache {
		sd.title = "cache on"
	}
	sd.result, err = g.Run(load.Phase{
		Duration: s.duration, Rate: s.rate, Persist: true, Stop: ctx.Done(),
		Interval: max(min(time.Second, s.duration/50), 100*time.Millisecond),
	})
	if err == nil {
		sd.asked, err = st.asked()
	}
	return sd, err
}

// write prints the report and writes its files.
func write(s settings, r *report, w io.Writer) error {
	picture := chart(r)
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	svg, page := filepath.Join(s.out, "load-test.svg"), filepath.Join(s.out, "load-test.html")
	if err := os.WriteFile(svg, []byte(picture), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(page, []byte(htmlPage(r, picture)), 0o644); err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows(r) {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nplots: %s, %s\n", svg, page)
	for _, sd := range r.sides {
		for cause, n := range sd.result.Errors {
			fmt.Fprintf(w, "%s: %d failed: %s\n", sd.title, n, cause)
		}
		if sd.result.Requests == 0 {
			return fmt.Errorf("no request succeeded with the %s", sd.title)
		}
	}
	return nil
}

// rows are the figures of all sides, for the terminal and for the page.
func rows(r *report) [][]string {
	table := [][]string{{"", "requests", "requests/s", "success", "p50", "p90", "p99", "p99.9", "max", "at instances"}}
	for _, sd := range r.sides {
		res := sd.result
		all := res.Requests + res.Failed()
		row := []string{sd.title, fmt.Sprint(all), fmt.Sprintf("%.0f", res.PerSecond()), percent(res.Requests, all)}
		for _, q := range []float64{50, 90, 99, 99.9, 100} {
			row = append(row, milliseconds(res.Quantile(q)))
		}
		table = append(table, append(row, fmt.Sprint(sd.asked)))
	}
	return table
}

func percent(part, all int64) string { return fmt.Sprintf("%.2f %%", 100*share(part, all)) }

// share is 1 where there is nothing at all.
func share(part, all int64) float64 {
	if all == 0 {
		return 1
	}
	return float64(part) / float64(all)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
}
