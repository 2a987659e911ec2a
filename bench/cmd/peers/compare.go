package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// compare measures two builds of weir in turn and fails if the newer one
// needs clearly more CPU.
func compare(ctx context.Context, f flags, r *runner) error {
	if f.scenarios == "" {
		f.scenarios = fewScenarios
	}
	wanted, err := chooseScenarios(f.scenarios)
	if err != nil {
		return err
	}
	base, head := filepath.Join(r.dir, "base"), filepath.Join(r.dir, "head")
	r.log("building %s and the working tree", f.compare)
	if err := buildRevision(ctx, filepath.Join(r.dir, "base-tree"), f.compare, base); err != nil {
		return err
	}
	if err := buildWeir(ctx, ".", head); err != nil {
		return err
	}
	builds := []peer{peers(filepath.Join(base, "weir"), r.self)[0], peers(filepath.Join(head, "weir"), r.self)[0]}
	builds[0].name, builds[1].name = "base", "head"
	if err := r.startOrigin(ctx, f.origin); err != nil {
		return err
	}
	defer r.origin.stop()
	res := newResult(ctx, r)
	for _, sc := range wanted {
		first, err := r.row(ctx, sc, builds)
		if err != nil {
			return err
		}
		if ratio := pairedRatio(first, "base", "head"); ratio > f.limit {
			// It may be noise: as many rounds again, and all of them decide.
			r.log("%-12s ratio %.3f is above %g: measured again", sc.id, ratio, f.limit)
			again, err := r.row(ctx, sc, builds)
			if err != nil {
				return err
			}
			for i := range first.Cells {
				first.Cells[i].add(again.Cells[i])
			}
		}
		res.Rows = append(res.Rows, first)
	}
	table, errs := regressions(res, f.limit)
	fmt.Printf("CPU per request of the working tree (%s) against %s, microseconds:\n\n%s", res.Revision, f.compare, table)
	return errors.Join(errs...)
}

// buildRevision builds folder/weir of a git revision from a copy of its files in tree.
// A git work tree would leave its entry in the repository if this were killed.
func buildRevision(ctx context.Context, tree, rev, folder string) error {
	commit, err := output(ctx, ".", "git", "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
	if err != nil {
		return fmt.Errorf("cannot find revision %q: want a commit, branch or tag of this repository", rev)
	}
	if err := os.Mkdir(tree, 0o755); err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	archive := tree + ".tar"
	if _, err := output(ctx, ".", "git", "archive", "--format=tar", "--output="+archive, strings.TrimSpace(commit)); err != nil {
		return fmt.Errorf("cannot copy revision %q: %w", rev, err)
	}
	if _, err := output(ctx, tree, "tar", "-xf", archive); err != nil {
		return fmt.Errorf("cannot copy revision %q: %w", rev, err)
	}
	return buildWeir(ctx, tree, folder)
}

// buildWeir builds folder/weir from the tree as a release is built: by its own
// Makefile, with its own default.pgo.
func buildWeir(ctx context.Context, tree, folder string) error {
	if _, err := output(ctx, tree, "make", "build", "OUT="+folder); err != nil {
		return fmt.Errorf("cannot build weir in %q: %w", tree, err)
	}
	return nil
}

// output runs a command in dir; its error holds what it said.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	// Asked, not killed: a build has temporary files to remove.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// regressions compares "head" with "base" in each row: the median of the ratios
// of each round, whose two measurements were neighbours in time. A scenario that
// base could not do is no regression; one that only base can do is.
func regressions(r *result, limit float64) (table string, errs []error) {
	var b strings.Builder
	b.WriteString("| scenario | base | head | ratio |\n|---|---|---|---|\n")
	compared := 0
	for _, row := range r.Rows {
		base, hadBase := r.at(row.ID, "base")
		head, hasHead := r.at(row.ID, "head")
		switch {
		case !hadBase && !hasHead:
			fmt.Fprintf(&b, "| %s | cannot | cannot | |\n", row.Title)
		case !hadBase:
			fmt.Fprintf(&b, "| %s | cannot | %.1f | |\n", row.Title, head.CPU)
		case !hasHead:
			errs = append(errs, fmt.Errorf("cannot compare %s: the working tree was not measured: %s", row.ID, reason(row, "head")))
		default:
			compared++
			ratio := pairedRatio(row, "base", "head")
			fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.3f |\n", row.Title, base.CPU, head.CPU, ratio)
			if ratio > limit {
				errs = append(errs, fmt.Errorf("regression at %s: CPU per request is %.3f times the base's, allowed is %.2f", row.ID, ratio, limit))
			}
			if head.Failed > base.Failed {
				errs = append(errs, fmt.Errorf("regression at %s: %d requests failed, %d with the base", row.ID, head.Failed, base.Failed))
			}
		}
	}
	if compared == 0 {
		errs = append(errs, errors.New("cannot compare: no scenario was measured with both builds"))
	}
	return b.String(), errs
}

// pairedRatio is the median over rounds of one peer's CPU per request over another's.
func pairedRatio(r row, base, head string) float64 {
	rounds := make(map[string][]sample)
	for _, c := range r.Cells {
		rounds[c.Peer] = c.Rounds
	}
	var ratios []sample
	for i := range min(len(rounds[base]), len(rounds[head])) {
		ratios = append(ratios, sample{CPU: rounds[head][i].CPU / rounds[base][i].CPU})
	}
	return median(ratios).CPU
}

func reason(r row, peer string) string {
	for _, c := range r.Cells {
		if c.Peer == peer {
			return c.Error
		}
	}
	return "not started"
}
