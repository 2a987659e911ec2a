// Command http2 shows what HTTP/2 costs weir besides ordinary load: the memory of connections and
// streams that wait, small answers beside a large one on the same connection, bodies of a GiB, and clients that misbehave in
// many ways, with a normal client beside them. It starts a weir of its own, and an origin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "http2: "+err.Error())
		os.Exit(1)
	}
}

// parts are what can be shown, in their order.
var parts = []struct {
	name string
	show func(ctx context.Context, weir string) error
}{
	{"memory", showMemory},
	{"beside", showBeside},
	{"large", showLarge},
	{"misbehave", showMisbehaviour},
}

func run(ctx context.Context) error {
	weir := flag.String("weir", "bin/weir", "the program to look at")
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	chosen := flag.String("parts", strings.Join(names, ","), "what to show")
	flag.StringVar(&only, "only", "", "the one way to misbehave that is tried; empty means all")
	flag.Parse()
	for name := range strings.SplitSeq(*chosen, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return fmt.Errorf("cannot show %q: allowed are %s", name, strings.Join(names, ", "))
		}
		if err := parts[i].show(ctx, *weir); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if missed > 0 {
		return errors.New("something is not as promised, see above")
	}
	return nil
}

// missed counts promises that were not kept.
var missed int

// promise prints a figure beside its bound.
func promise(what string, figure, most float64, unit string) {
	state := "met"
	if figure > most {
		state = "missed"
		missed++
	}
	fmt.Printf("| %s | %.2f %s | <= %g %s | %s |\n", what, figure, unit, most, unit, state)
}

func promises() { fmt.Print("\n| what | measured | must | |\n|---|---|---|---|\n") }
