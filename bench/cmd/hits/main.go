// Command hits shows how often a cache answers without asking the origin: it starts an origin
// and weir, sends what browsers and players send, and counts the requests that reach the origin.
//
// It imports nothing of weir's: what is measured is the program that users run, of any revision
// (-weir). "make bench-hits" runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

func main() {
	weir := flag.String("weir", "bin/weir", "the weir to run")
	only := flag.String("scenarios", "", "run only these, names with commas between them; empty means all")
	flag.Parse()
	if err := run(*weir, *only); err != nil {
		fmt.Fprintln(os.Stderr, "hits:", err)
		os.Exit(1)
	}
}

func run(weir, only string) error {
	path, err := exec.LookPath(weir)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "scenario\trequests\torigin requests\thit ratio\tslowest\t")
	known := make([]string, 0, len(scenarios))
	ran := 0
	for _, s := range scenarios {
		known = append(known, s.name)
		if only != "" && !strings.Contains(","+only+",", ","+s.name+",") {
			continue
		}
		ran++
		t, err := s.measure(path)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		ratio := 1 - float64(t.origin)/float64(t.requests)
		fmt.Fprintf(table, "%s: %s\t%d\t%d\t%.0f %%\t%.1f s\t\n", s.name, s.about, t.requests, t.origin, max(ratio, 0)*100, t.slowest.Seconds())
	}
	if ran == 0 {
		return fmt.Errorf("found no scenario in %q: want some of %s", only, strings.Join(known, ", "))
	}
	return table.Flush()
}
