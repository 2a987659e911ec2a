// Command peers compares weir with other proxies, each as a whole process, one
// after the other in front of one origin: CPU time per request, throughput,
// latency at a fixed rate, memory. `make bench-peers` runs it, and
// `make bench-compare` with two builds of weir in the peers' place. It writes
// its results as JSON, Markdown and SVG. It listens on loopback only, changes
// nothing about the machine, and ends all that it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && servers()[os.Args[1]] != nil:
		err = servers()[os.Args[1]](os.Args[2:])
	default:
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// flags are what the command line says.
type flags struct {
	weir, peers, scenarios, origin, out, compare string
	scale, profile                               string
	quick, observe                               bool
	limit                                        float64
	run                                          runSettings
}

// parseFlags reads the command line and refuses what would be ignored.
func parseFlags(args []string) (flags, error) {
	var f flags
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	fs.StringVar(&f.weir, "weir", "bin/weir", "weir's executable")
	fs.StringVar(&f.peers, "peers", "", "peers to measure, separated by commas; empty means all that are installed")
	fs.StringVar(&f.scenarios, "scenarios", "", "scenarios to measure, separated by commas; empty means all (-compare, -profile: some; -observe: log, statistics, metrics, all, objective, recorder, tracing, bodies)")
	fs.StringVar(&f.origin, "origin", "auto", "what answers: nginx, own, or auto for nginx if it is installed")
	fs.StringVar(&f.out, "out", "bench/results", "folder for the results; empty, as with -quick, means print only")
	fs.StringVar(&f.compare, "compare", "", "compare the working tree with this git revision instead of with peers")
	fs.Float64Var(&f.limit, "limit", 1.10, "with -compare: fail if CPU per request grew beyond this ratio")
	fs.StringVar(&f.scale, "scale", "", "measure weir's curves instead: connections,routes,targets,entries or all")
	fs.StringVar(&f.profile, "profile", "", "write a CPU profile of weir under the scenarios to this file instead, for the compiler")
	fs.BoolVar(&f.observe, "observe", false, "measure what it costs weir to watch what passes instead: metrics, log, recorder, traces (12 rounds)")
	fs.BoolVar(&f.quick, "quick", false, "one short round of few scenarios, below a minute: to see that it works, not to quote")
	fs.IntVar(&f.run.Rounds, "rounds", 3, "rounds; medians are taken over them (-compare: 7)")
	fs.Float64Var(&f.run.Warmup, "warmup", 1, "seconds of load before each measurement (-compare: 0.5)")
	fs.Float64Var(&f.run.Closed, "closed", 3, "seconds of closed-loop load: CPU time and throughput (-compare: 1)")
	fs.Float64Var(&f.run.Open, "open", 3, "seconds of load at a fixed rate: latency; 0 means none")
	fs.Float64Var(&f.run.RateFactor, "rate-factor", 1, "multiplies the scenarios' fixed rates")
	fs.IntVar(&f.run.Workers, "workers", 2, "workers or threads of each peer")
	fs.IntVar(&f.run.Idle, "idle", 5000, "idle connections")
	fs.BoolVar(&f.run.Forwarding, "forwarding", true, "all peers send the forwarding fields that weir sends by default")
	fs.SetOutput(io.Discard) // the error says it all
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Println("usage: go run ./bench/cmd/peers [flags], in weir's own folder")
			fs.SetOutput(os.Stdout)
			fs.PrintDefaults()
			return f, err
		}
		return f, fmt.Errorf("cannot use the command line: %w (-h lists all flags)", err)
	}
	if fs.NArg() > 0 {
		return f, fmt.Errorf("cannot use argument %q: only flags are allowed", fs.Arg(0))
	}
	given := make(map[string]bool)
	fs.Visit(func(v *flag.Flag) { given[v.Name] = true })
	mode := ""
	for _, m := range []struct{ name, value string }{{"compare", f.compare}, {"scale", f.scale}, {"profile", f.profile}, {"observe", strconv.FormatBool(f.observe)}} {
		switch {
		case !given[m.name]:
		case m.value == "":
			return f, fmt.Errorf("cannot use an empty -%s", m.name)
		case mode != "":
			return f, fmt.Errorf("cannot use -%s together with -%s", m.name, mode)
		default:
			mode = m.name
		}
	}
	// What a mode would ignore; "" is the comparison with peers.
	goesWith := map[string][]string{
		"peers": {""}, "scenarios": {"", "compare", "profile", "observe"}, "out": {"", "scale"}, "limit": {"compare"},
		"weir": {"", "scale", "profile", "observe"}, "open": {""}, "rate-factor": {""}, "idle": {""}, "rounds": {"", "compare", "scale", "observe"},
		"origin": {"", "compare", "scale", "profile"},
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		modes, bound := goesWith[name]
		switch {
		case !bound || slices.Contains(modes, mode):
		case mode == "":
			return f, fmt.Errorf("cannot use -%s without -%s", name, modes[0])
		default:
			return f, fmt.Errorf("cannot use -%s together with -%s", name, mode)
		}
	}
	byDefault := func(name string, to *float64, v float64) {
		if !given[name] {
			*to = v
		}
	}
	if mode == "observe" {
		byDefault("closed", &f.run.Closed, 0.25)
		byDefault("warmup", &f.run.Warmup, 0.2)
		if !given["rounds"] {
			f.run.Rounds = 12
		}
	}
	if mode == "compare" {
		// Many short rounds: what else happens on the machine spoils few of them.
		byDefault("closed", &f.run.Closed, 1)
		byDefault("warmup", &f.run.Warmup, 0.5)
		if !given["rounds"] {
			f.run.Rounds = 7
		}
	}
	if f.quick {
		if mode == "" && !given["scenarios"] {
			f.scenarios = fewScenarios
		}
		if !given["out"] {
			f.out = ""
		}
		if !given["rounds"] {
			f.run.Rounds = 1
		}
		byDefault("warmup", &f.run.Warmup, 0.2)
		byDefault("closed", &f.run.Closed, 0.4)
		byDefault("open", &f.run.Open, 0.4)
		if !given["idle"] {
			f.run.Idle = 1000
		}
	}
	if mode != "" {
		f.run.Open = 0
	}
	for _, v := range []struct {
		name  string
		value float64
		zero  bool // is allowed
	}{
		{"rounds", float64(f.run.Rounds), false}, {"workers", float64(f.run.Workers), false}, {"idle", float64(f.run.Idle), false},
		{"closed", f.run.Closed, false}, {"rate-factor", f.run.RateFactor, false}, {"limit", f.limit, false},
		{"warmup", f.run.Warmup, true}, {"open", f.run.Open, true},
	} {
		switch {
		case v.value > 0 && v.value <= 1e6 || v.zero && v.value == 0:
		case v.zero:
			return f, fmt.Errorf("cannot use -%s %g: want 0 to 1e6", v.name, v.value)
		default:
			return f, fmt.Errorf("cannot use -%s %g: want above 0 to 1e6", v.name, v.value)
		}
	}
	return f, nil
}

func run() (err error) {
	f, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	// Nothing reads this channel: it only makes a write to a pipe whose reader went away an
	// error, instead of ending the program without cleaning up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("cannot remove %q: %w", dir, removeErr))
		}
	}()
	r, err := newRunner(dir, self, f.run, func(format string, args ...any) {
		if _, err := fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...); err != nil {
			cancel() // the reader of the output went away
		}
	})
	if err != nil {
		return err
	}
	switch {
	case f.compare != "":
		err = compare(ctx, f, r)
	case f.scale != "":
		err = scale(ctx, f, r)
	case f.profile != "":
		err = profile(ctx, f, r)
	case f.observe:
		err = observe(ctx, f, r)
	default:
		err = comparePeers(ctx, f, r)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("cannot go on: %w", context.Cause(ctx))
	}
	return err
}

// comparePeers is the comparison with other proxies.
func comparePeers(ctx context.Context, f flags, r *runner) error {
	chosen, err := choose("peer", f.peers, peers(f.weir, r.self), func(p peer) string { return p.name })
	if err != nil {
		return err
	}
	wanted, err := chooseScenarios(f.scenarios)
	if err != nil {
		return err
	}
	res := newResult(ctx, r)
	var present []peer
	for _, p := range chosen {
		if _, err := p.find(); err != nil {
			if p.program == f.weir {
				return err // what all others are compared with
			}
			res.Missing[p.name] = p.how
			r.log("%v", err)
			continue
		}
		if v := p.tell(ctx); v != "" && p.option == nil {
			res.Versions[p.name] = v
		}
		present = append(present, p)
	}
	if len(present) == 0 {
		return fmt.Errorf("cannot measure: none of %s is installed", f.peers)
	}
	if err := r.startOrigin(ctx, f.origin); err != nil {
		return err
	}
	defer r.origin.stop()
	res.Settings.Origin = r.settings.Origin
	for _, sc := range wanted {
		if !slices.ContainsFunc(present, func(p peer) bool { return sc.takes(p) && (sc.options == nil || p.option != nil) }) {
			continue // nothing to measure, or to compare weir with
		}
		row, err := r.row(ctx, sc, present)
		if err != nil {
			return err
		}
		res.Rows = append(res.Rows, row)
	}
	res.Targets = judge(res)
	text := markdown(res)
	fmt.Println(text)
	if f.out == "" {
		return nil
	}
	return save(f.out, "peers", res, text, map[string]string{
		"cpu":     barChart("CPU time per request, microseconds (less is better)", bars(res, cpu)),
		"latency": barChart("p99 at a fixed rate, microseconds (less is better)", bars(res, p99)),
		"idle":    barChart("KiB per idle connection (less is better)", bars(res, idle)),
	})
}

func newResult(ctx context.Context, r *runner) *result {
	return &result{
		Time: time.Now().UTC().Truncate(time.Second), Revision: revision(ctx), Command: "peers " + strings.Join(os.Args[1:], " "),
		Machine: inspect(), Versions: map[string]string{}, Missing: map[string]string{}, Settings: r.settings,
	}
}
