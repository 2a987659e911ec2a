package main

import (
	"context"
	"fmt"
	"strings"
)

// observing are weirs that watch what passes, by what they are called in the table, each beside the weir that it is compared
// with, which watches nothing. All answer 1 KiB on 64 connections.
var observing = []struct {
	title, path string
	with        []watching
}{
	{"1 KiB", "/bytes/1024", []watching{
		{"metrics, access log, statistics, an objective", func(s *settings) {
			s.Observed = true
			s.More = "[[objectives]]\nname = \"fast\"\npercent = 99.9\nbelow = \"300ms\"\n"
		}},
		{"recorder, 1 % sampled", func(s *settings) { s.More = noStatistics + "[inspect]\nsample = 0.01\n" }},
		{"tracing, 1 % sampled", func(s *settings) {
			s.More = noStatistics + "[tracing]\nenabled = true\nendpoint = \"none\"\nsample = 0.01\n"
		}},
	}},
	{"JSON of 1 KiB", "/json/1024", []watching{
		{"a counter by class and a histogram from the body", func(s *settings) {
			s.More = noStatistics + "[[routes]]\npath = \"/json/\"\nupstream = \"origin\"\n" +
				"[[routes.metrics]]\nname = \"predictions_total\"\neach = \"predictions\"\nlabels = { class = \"json:class\" }\n" +
				"[[routes.metrics]]\nname = \"score\"\ntype = \"histogram\"\nvalue = \"json:predictions.#.score\"\nbuckets = [0.5, 0.9, 1]\n"
		}},
	}},
}

// watching is a weir that watches something.
type watching struct {
	what   string
	option func(*settings)
}

const noStatistics = "[statistics]\nenabled = false\n"

// observe measures what it costs to watch. In each round all weirs of a table are started anew, because two processes of the same
// program differ by some per cent as long as they live. They have the load in turn for a moment each, so that what else happens on
// the machine hits neighbours alike. The median of the ratios of the rounds is what counts.
func observe(ctx context.Context, f flags, r *runner) error {
	if err := r.startOrigin(ctx, "own"); err != nil { // nginx has no JSON
		return err
	}
	defer r.origin.stop()
	var b strings.Builder
	b.WriteString("| what is watched | off | on | ratio |\n|---|---|---|---|\n")
	for _, o := range observing {
		all := append([]watching{{"weir", func(s *settings) { s.More = noStatistics }}}, o.with...)
		row := row{Cells: make([]cell, len(all))}
		for range r.settings.Rounds {
			samples, err := r.watched(ctx, f, scenario{id: o.path, path: o.path, body: 1 << 10, conns: 64}, all)
			if err != nil {
				return err
			}
			for i, s := range samples {
				row.Cells[i].Rounds = append(row.Cells[i].Rounds, s)
			}
		}
		for i := range row.Cells {
			row.Cells[i].Peer, row.Cells[i].Median = all[i].what, median(row.Cells[i].Rounds)
		}
		for _, c := range row.Cells[1:] {
			fmt.Fprintf(&b, "| %s: %s | %.1f | %.1f | %.3f |\n", o.title, c.Peer, row.Cells[0].Median.CPU, c.Median.CPU, pairedRatio(row, "weir", c.Peer))
		}
	}
	fmt.Printf("CPU per request, microseconds; medians of %d rounds in turn:\n\n%s", r.settings.Rounds, b.String())
	return nil
}

// turns is how often each weir of a round has the load.
const turns = 5

// watched is one round: the medians of the turns of each weir.
func (r *runner) watched(ctx context.Context, f flags, sc scenario, all []watching) ([]sample, error) {
	var measure []func() (sample, error)
	for _, w := range all {
		p := peers(f.weir, r.self)[0]
		p.option = w.option
		proc, _, g, end, err := r.underLoad(ctx, sc, p)
		if err != nil {
			return nil, err
		}
		defer end()
		measure = append(measure, func() (sample, error) { return r.closed(ctx, sc, proc, g) })
	}
	list := make([][]sample, len(all))
	for turn := range turns {
		for i := range measure {
			if turn%2 == 1 {
				i = len(measure) - 1 - i
			}
			s, err := measure[i]()
			if err == nil && s.Failed > 0 {
				err = fmt.Errorf("%d requests failed", s.Failed)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].what, err)
			}
			list[i] = append(list[i], s)
		}
	}
	medians := make([]sample, len(all))
	for i := range list {
		medians[i] = median(list[i])
	}
	return medians, nil
}
