package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildRevision builds weir of a git revision, in a work tree of its own below dir.
func buildRevision(ctx context.Context, dir, rev string) (program string, err error) {
	tree := filepath.Join(dir, "base-tree")
	if out, err := exec.CommandContext(ctx, "git", "worktree", "add", "--detach", tree, rev).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot check out revision %q: %w: %s", rev, err, out)
	}
	program = filepath.Join(dir, "weir-base")
	err = buildWeir(ctx, tree, program)
	// Not bound to ctx: the work tree must go also after a signal.
	if out, removeErr := exec.Command("git", "worktree", "remove", "--force", tree).CombinedOutput(); removeErr != nil && err == nil {
		err = fmt.Errorf("cannot remove work tree %q: %w: %s", tree, removeErr, out)
	}
	return program, err
}

// buildWeir builds the tree as a release is built: with its own default.pgo.
func buildWeir(ctx context.Context, tree, program string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, ".")
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build weir in %q: %w: %s", tree, err, out)
	}
	return nil
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
			ratio := pairedRatio(row)
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

// pairedRatio is the median over rounds of head's CPU per request over base's.
func pairedRatio(r row) float64 {
	rounds := make(map[string][]sample)
	for _, c := range r.Cells {
		rounds[c.Peer] = c.Rounds
	}
	var ratios []sample
	for i := range min(len(rounds["base"]), len(rounds["head"])) {
		ratios = append(ratios, sample{CPU: rounds["head"][i].CPU / rounds["base"][i].CPU})
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
