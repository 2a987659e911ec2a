// Command outage shows what clients notice while targets fail: it starts three
// targets and a proxy as processes of their own, sends requests at a steady rate, and
// meanwhile kills, stops, restarts, breaks and slows the targets and reloads
// weir. It does so with weir in several configurations and with HAProxy, if that is
// installed, and with one of them kills all targets at once in the end. What it saw it
// writes as Markdown.
//
// It imports nothing of weir's: what is measured is the program that users run.
// "make outage" runs it; "outage origin" is the target, which it starts itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "origin" {
		if err := serveOrigin(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "outage origin:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "outage:", err)
		os.Exit(1)
	}
}

func run() error {
	rate := flag.Int("rate", 1000, "requests per second")
	weir := flag.String("weir", "", "the weir to run; empty builds the one of this folder")
	out := flag.String("out", "", "the Markdown file to write; empty means standard output")
	names := flag.String("setups", "", "the setups to run, separated by commas; empty means all")
	verbose := flag.Bool("v", false, "show the proxy's own log")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("cannot use argument %q: only flags are allowed", flag.Arg(0))
	}
	if *rate < 10 || *rate > 20_000 {
		return fmt.Errorf("cannot use -rate %d: want 10 to 20000", *rate)
	}

	list, unknown := chosen(*names)
	if unknown != "" {
		return fmt.Errorf("cannot use -setups %q: there is no %q", *names, unknown)
	}

	// A signal from here on ends the program only when nothing is left behind.
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	dir, err := os.MkdirTemp("", "outage")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *weir == "" {
		*weir = filepath.Join(dir, "weir")
		if text, err := exec.Command("make", "build", "OUT="+dir).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build weir: %w: %s", err, text)
		}
	}
	var played atomic.Pointer[stage]
	done := context.AfterFunc(ctx, func() {
		if s := played.Load(); s != nil {
			s.abort()
		}
		_ = os.RemoveAll(dir) // what is left of it is no reason to stay
		fmt.Fprintln(os.Stderr, "outage: cannot go on:", context.Cause(ctx))
		os.Exit(1)
	})
	defer done()
	var reports []*report
	for _, up := range list {
		s := newStage(up, dir, *weir, *verbose)
		played.Store(s)
		r, err := s.run(*rate)
		if err != nil {
			return fmt.Errorf("%s: %w", up.name, err)
		}
		reports = append(reports, r)
	}
	w := os.Stdout
	if *out != "" {
		if w, err = os.Create(*out); err != nil {
			return err
		}
		defer w.Close()
	}
	if err := write(w, reports); err != nil {
		return err
	}
	for _, r := range reports {
		if r.setup.strict && r.failed(get) > 0 || !r.setup.haproxy && r.doubled > 0 {
			return fmt.Errorf("%s: %d GETs failed and %d POSTs were doubled: want none", r.setup.name, r.failed(get), r.doubled)
		}
	}
	return nil
}

// run plays all that is seen of a setup.
func (s *stage) run(rate int) (*report, error) {
	defer s.close()
	if err := s.open(); err != nil {
		return nil, err
	}
	r := &report{setup: s.setup, rate: rate, began: time.Now()}
	if err := s.play(r); err != nil || !s.setup.full {
		return r, err
	}
	if err := s.allDead(r); err != nil {
		return r, err
	}
	return r, s.allBusy(r)
}
