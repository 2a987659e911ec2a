package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"weir/bench/load"
)

// watching is a weir that watches what passes, beside one that watches nothing.
type watching struct {
	id, title string
	path      string // what is asked for: an answer of 1 KiB
	option    func(*settings)
}

// watches lists what is measured. "all" is what weir promises a figure for (docs/benchmarks.md).
func watches() []watching {
	const bytes, json = "/bytes/1024", "/json/1024"
	logged := func(s *settings) { s.Logged = true }
	scraped := func(s *settings) { s.Scraped = true }
	counted := func(s *settings) { s.More = "" }
	objective := func(s *settings) {
		s.More = "[[objectives]]\nname = \"fast\"\npercent = 99.9\nbelow = \"300ms\"\n"
	}
	add := func(tables string) func(*settings) { return func(s *settings) { s.More += tables } }
	each := func(options ...func(*settings)) func(*settings) {
		return func(s *settings) {
			for _, option := range options {
				option(s)
			}
		}
	}
	return []watching{
		{"log", "access log", bytes, logged},
		{"statistics", "statistics", bytes, counted},
		{"metrics", "metrics, read every third turn", bytes, scraped},
		{"all", "metrics, access log, statistics", bytes, each(counted, logged, scraped)},
		{"objective", "metrics, access log, statistics, an objective", bytes, each(objective, logged, scraped)},
		{"recorder", "recorder, 1 % sampled", bytes, add("[inspect]\nsample = 0.01\n")},
		{"tracing", "tracing, 1 % sampled", bytes, add("[tracing]\nenabled = true\nendpoint = \"none\"\nsample = 0.01\n")},
		{"bodies", "a counter by class and a histogram from JSON", json, add("[[routes]]\npath = \"/json/\"\nupstream = \"origin\"\n" +
			"[[routes.metrics]]\nname = \"predictions_total\"\neach = \"predictions\"\nlabels = { class = \"json:class\" }\n" +
			"[[routes.metrics]]\nname = \"score\"\ntype = \"histogram\"\nvalue = \"json:predictions.#.score\"\nbuckets = [0.5, 0.9, 1]\n")},
	}
}

// watchingNothing is the weir that all are compared with.
func watchingNothing(s *settings) { s.More = "[statistics]\nenabled = false\n" }

// pairsEach is how often, in each round, both weirs of a pair have the load.
const pairsEach = 3

// pair is what the two weirs of a comparison took in two turns that follow each other.
type pair struct{ off, on sample }

// observe measures what it costs to watch. In each round all weirs are started anew, because two processes of the same program
// differ by some per cent as long as they live. One that watches and one that does not have the load in turn, for a moment each and
// in changing order, so that what else happens on the machine hits both. The median of the ratios of all pairs is what counts.
func observe(ctx context.Context, f flags, r *runner) error {
	chosen, err := choose("what is watched", f.scenarios, watches(), func(w watching) string { return w.id })
	if err != nil {
		return err
	}
	if err := r.startOrigin(ctx, "own"); err != nil { // nginx has no JSON
		return err
	}
	defer r.origin.stop()
	pairs := make([][]pair, len(chosen))
	for round := range r.settings.Rounds {
		for i, w := range chosen {
			more, err := r.watched(ctx, f, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.title, err)
			}
			pairs[i] = append(pairs[i], more...)
		}
		r.log("round %d of %d", round+1, r.settings.Rounds)
	}
	fmt.Printf("CPU per request, microseconds; medians and quartiles of %d pairs of turns, %d with the same processes:\n\n%s",
		r.settings.Rounds*pairsEach, pairsEach, observed(chosen, pairs))
	return nil
}

// observed is the table of the result.
func observed(list []watching, pairs [][]pair) string {
	var b strings.Builder
	b.WriteString("| what is watched | off | on | ratio | quartiles |\n|---|---|---|---|---|\n")
	for i, w := range list {
		var off, on []sample
		var ratios []float64
		for _, p := range pairs[i] {
			off, on = append(off, p.off), append(on, p.on)
			ratios = append(ratios, p.on.CPU/p.off.CPU)
		}
		slices.Sort(ratios)
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.3f | %.3f to %.3f |\n",
			w.title, median(off).CPU, median(on).CPU, quartile(ratios, 2), quartile(ratios, 1), quartile(ratios, 3))
	}
	return b.String()
}

// quartile is the nth quartile of a sorted list that is not empty.
func quartile(sorted []float64, n int) float64 {
	at := float64((len(sorted)-1)*n) / 4
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}

// watched is one round of one comparison.
func (r *runner) watched(ctx context.Context, f flags, w watching) ([]pair, error) {
	sc := scenario{id: w.id, path: w.path, body: 1 << 10, conns: 64}
	start := func(option func(*settings)) (measure func(read bool) (sample, error), end func(), err error) {
		p := peers(f.weir, r.self)[0]
		p.option = func(s *settings) {
			watchingNothing(s)
			option(s)
		}
		proc, s, g, end, err := r.underLoad(ctx, sc, p)
		return func(read bool) (sample, error) { return r.turn(ctx, sc, proc, s, g, read && s.Scraped) }, end, err
	}
	off, endOff, err := start(func(*settings) {})
	if err != nil {
		return nil, err
	}
	defer endOff()
	on, endOn, err := start(w.option)
	if err != nil {
		return nil, err
	}
	defer endOn()
	var list []pair
	for turn := range pairsEach {
		var p pair
		turns := []struct {
			measure func(read bool) (sample, error)
			to      *sample
		}{{off, &p.off}, {on, &p.on}}
		if turn%2 == 1 {
			slices.Reverse(turns)
		}
		for _, t := range turns {
			if *t.to, err = t.measure(turn == 0); err != nil {
				return nil, err
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// turn is a moment of load; read says that the page of metrics is read meanwhile.
func (r *runner) turn(ctx context.Context, sc scenario, proc *process, s settings, g *load.Generator, read bool) (sample, error) {
	m, err := r.counted(sc, proc, func() (loaded, error) {
		if read {
			if _, err := fetchMetrics(ctx, s.Metrics); err != nil {
				return loaded{}, err
			}
		}
		return r.closedLoad(ctx, g)
	})
	if err == nil && m.Failed > 0 {
		err = fmt.Errorf("%d requests failed", m.Failed)
	}
	return m, err
}
