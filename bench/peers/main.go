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
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "serve-httputil":
		err = serveHTTPUtil(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "serve-origin":
		err = serveOrigin(os.Args[2:])
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
	dir, scale, profile                          string
	quick                                        bool
	limit                                        float64
	run                                          runSettings
}

func parseFlags() (flags, error) {
	var f flags
	flag.StringVar(&f.weir, "weir", "bin/weir", "weir's executable")
	flag.StringVar(&f.peers, "peers", "", "peers to measure, separated by commas; empty means all that are installed")
	flag.StringVar(&f.scenarios, "scenarios", "", "scenarios to measure, separated by commas; empty means all")
	flag.StringVar(&f.origin, "origin", "auto", "what answers: nginx, own, or auto for nginx if it is installed")
	flag.StringVar(&f.out, "out", "bench/results", "folder for the results; empty means print only")
	flag.StringVar(&f.compare, "compare", "", "compare the working tree with this git revision instead of with peers")
	flag.Float64Var(&f.limit, "limit", 1.10, "with -compare: fail if CPU per request grew beyond this ratio")
	flag.StringVar(&f.scale, "scale", "", "measure weir's curves instead: connections,routes,targets,entries or all")
	flag.StringVar(&f.profile, "profile", "", "write a CPU profile of weir under the scenarios to this file instead, for the compiler")
	flag.BoolVar(&f.quick, "quick", false, "one short round of few scenarios, below a minute: to see that it works, not to quote")
	flag.IntVar(&f.run.Rounds, "rounds", 3, "rounds; medians are taken over them")
	flag.Float64Var(&f.run.Warmup, "warmup", 1, "seconds of load before each measurement")
	flag.Float64Var(&f.run.Closed, "closed", 3, "seconds of closed-loop load: CPU time and throughput")
	flag.Float64Var(&f.run.Open, "open", 3, "seconds of load at a fixed rate: latency")
	flag.Float64Var(&f.run.RateFactor, "rate-factor", 1, "multiplies the scenarios' fixed rates")
	flag.IntVar(&f.run.Workers, "workers", 2, "workers or threads of each peer")
	flag.IntVar(&f.run.Idle, "idle", 5000, "idle connections")
	flag.BoolVar(&f.run.Forwarding, "forwarding", false, "all peers send X-Forwarded-For, -Proto and -Host")
	flag.Parse()
	if flag.NArg() > 0 {
		return f, fmt.Errorf("cannot use argument %q: only flags are allowed", flag.Arg(0))
	}
	if f.quick {
		if f.scenarios == "" && f.compare == "" {
			f.scenarios = "pass-1k-c64,pass-100k,tls-1k,hit-1k"
		}
		f.run.Rounds, f.run.Warmup, f.run.Closed, f.run.Open, f.run.Idle = 1, 0.2, 0.4, 0.4, min(f.run.Idle, 1000)
	}
	for name, v := range map[string]float64{"rounds": float64(f.run.Rounds), "closed": f.run.Closed, "workers": float64(f.run.Workers), "idle": float64(f.run.Idle), "rate-factor": f.run.RateFactor} {
		if v <= 0 {
			return f, fmt.Errorf("cannot use -%s %g: must be above 0", name, v)
		}
	}
	return f, nil
}

func run() error {
	f, err := parseFlags()
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if f.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(f.dir); err != nil {
			fmt.Fprintf(os.Stderr, "peers: cannot remove %s: %v\n", f.dir, err)
		}
	}()
	r, err := newRunner(f.dir, f.run, progress)
	if err != nil {
		return err
	}
	switch {
	case f.compare != "":
		return compare(ctx, f, r)
	case f.scale != "":
		return scale(ctx, f, r)
	case f.profile != "":
		return profile(ctx, f, r)
	}
	return comparePeers(ctx, f, r)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// comparePeers is the comparison with other proxies.
func comparePeers(ctx context.Context, f flags, r *runner) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	chosen, err := choose("peer", f.peers, peers(f.weir, self), func(p peer) string { return p.name })
	if err != nil {
		return err
	}
	wanted, err := choose("scenario", f.scenarios, scenarios(), func(s scenario) string { return s.id })
	if err != nil {
		return err
	}
	res := newResult(ctx, r)
	var present []peer
	for _, p := range chosen {
		if _, err := p.find(); err != nil {
			res.Missing[p.name] = p.how
			progress("%v", err)
			continue
		}
		if v := p.tell(ctx); v != "" {
			res.Versions[p.name] = v
		}
		present = append(present, p)
	}
	var name string
	if r.origin, r.address, name, err = startOrigin(ctx, f.origin, f.dir, self, r.base("")); err != nil {
		return err
	}
	defer r.origin.stop()
	res.Settings.Origin = name
	for _, sc := range wanted {
		row, err := r.row(ctx, sc, present)
		if err != nil {
			return err
		}
		res.Rows = append(res.Rows, row)
	}
	res.Targets = judge(res)
	fmt.Println(markdown(res))
	if f.out == "" {
		return nil
	}
	return save(f.out, "peers", res, markdown(res), map[string]string{
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

// compare measures two builds of weir in turn and fails if the newer one
// needs clearly more CPU.
func compare(ctx context.Context, f flags, r *runner) error {
	if f.scenarios == "" {
		f.scenarios = "pass-1k-c64,pass-100k,tls-1k,hit-1k"
	}
	wanted, err := choose("scenario", f.scenarios, scenarios(), func(s scenario) string { return s.id })
	if err != nil {
		return err
	}
	r.settings.Open = 0
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	var builds []peer
	base, err := buildRevision(ctx, f.dir, f.compare)
	if err != nil {
		return err
	}
	head := filepath.Join(f.dir, "weir-head")
	if err := buildWeir(ctx, ".", head); err != nil {
		return err
	}
	for _, b := range []struct{ name, program string }{{"base", base}, {"head", head}} {
		p := peers(b.program, self)[0]
		p.name = b.name
		builds = append(builds, p)
	}
	if r.origin, r.address, _, err = startOrigin(ctx, f.origin, f.dir, self, r.base("")); err != nil {
		return err
	}
	defer r.origin.stop()
	res := newResult(ctx, r)
	for _, sc := range wanted {
		row, err := r.row(ctx, sc, builds)
		if err != nil {
			return err
		}
		res.Rows = append(res.Rows, row)
	}
	table, errs := regressions(res, f.limit)
	fmt.Printf("CPU per request of the working tree (%s) against %s, microseconds:\n\n%s", res.Revision, f.compare, table)
	return errors.Join(errs...)
}
