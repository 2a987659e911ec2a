// Command outage shows what clients notice while targets fail: it starts three
// targets and weir as processes of their own, sends requests at a steady rate, and
// meanwhile kills, stops, restarts, breaks and slows the targets and reloads
// weir. Then it kills all targets at once. What it saw it writes as Markdown.
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
	verbose := flag.Bool("v", false, "show weir's own log")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("cannot use argument %q: only flags are allowed", flag.Arg(0))
	}
	if *rate < 10 || *rate > 20_000 {
		return fmt.Errorf("cannot use -rate %d: want 10 to 20000", *rate)
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
	s := newStage(dir, *weir, *verbose)
	done := context.AfterFunc(ctx, func() {
		s.abort()
		_ = os.RemoveAll(dir) // what is left of it is no reason to stay
		fmt.Fprintln(os.Stderr, "outage: cannot go on:", context.Cause(ctx))
		os.Exit(1)
	})
	defer done()
	defer s.close()
	if err := s.open(); err != nil {
		return err
	}

	r := &report{rate: *rate, began: time.Now()}
	if err := s.play(r); err != nil {
		return err
	}
	if err := s.allDead(r); err != nil {
		return err
	}
	if err := s.allBusy(r); err != nil {
		return err
	}
	w := os.Stdout
	if *out != "" {
		if w, err = os.Create(*out); err != nil {
			return err
		}
		defer w.Close()
	}
	if err := r.write(w); err != nil {
		return err
	}
	if r.failed(get) > 0 || r.doubled > 0 {
		return fmt.Errorf("%d GETs failed and %d POSTs were doubled: want none", r.failed(get), r.doubled)
	}
	return nil
}
