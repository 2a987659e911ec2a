package main

import (
	"context"
	"fmt"
	"strings"

	"weir/bench/load"
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

// observe measures what it costs to watch. All weirs of a table run at once, and have the load in turn for a moment each, so that
// what else happens on the machine hits neighbours alike; the median of the ratios of neighbours is what counts.
func observe(ctx context.Context, f flags, r *runner) error {
	if err := r.startOrigin(ctx, "own"); err != nil { // nginx has no JSON
		return err
	}
	defer r.origin.stop()
	var b strings.Builder
	b.WriteString("| what is watched | off | on | ratio |\n|---|---|---|---|\n")
	for _, o := range observing {
		row, err := r.watched(ctx, f, scenario{id: o.path, path: o.path, body: 1 << 10, conns: 64}, o.with)
		if err != nil {
			return err
		}
		for _, c := range row.Cells[1:] {
			fmt.Fprintf(&b, "| %s: %s | %.1f | %.1f | %.3f |\n", o.title, c.Peer, row.Cells[0].Median.CPU, c.Median.CPU, pairedRatio(row, "weir", c.Peer))
		}
	}
	fmt.Printf("CPU per request, microseconds; medians of %d rounds in turn:\n\n%s", r.settings.Rounds, b.String())
	return nil
}

// watched measures a weir that watches nothing, whose cell is the first, and others that do.
func (r *runner) watched(ctx context.Context, f flags, sc scenario, with []watching) (row, error) {
	var out row
	var measure []func() (sample, error)
	for _, w := range append([]watching{{"weir", func(s *settings) { s.More = noStatistics }}}, with...) {
		p := peers(f.weir, r.self)[0]
		p.option = w.option
		proc, s, err := r.start(ctx, sc, p)
		if err != nil {
			return out, err
		}
		defer r.stop(proc, s)
		g, err := load.New(r.options(sc, s.Listen))
		if err != nil {
			return out, err
		}
		defer g.Close()
		if err := r.warmUp(ctx, g); err != nil {
			return out, err
		}
		out.Cells = append(out.Cells, cell{Peer: w.what})
		measure = append(measure, func() (sample, error) {
			return r.counted(sc, proc, func() (loaded, error) {
				closed, err := phase(ctx, g, load.Phase{Duration: seconds(r.settings.Closed)})
				return loaded{closed.Requests, closed.Failed(), closed.PerSecond()}, err
			})
		})
	}
	for round := range r.settings.Rounds {
		for i := range measure {
			if round%2 == 1 {
				i = len(measure) - 1 - i
			}
			s, err := measure[i]()
			if err != nil {
				return out, fmt.Errorf("%s: %w", out.Cells[i].Peer, err)
			}
			if s.Failed > 0 {
				return out, fmt.Errorf("%s: %d requests failed", out.Cells[i].Peer, s.Failed)
			}
			out.Cells[i].Rounds = append(out.Cells[i].Rounds, s)
		}
	}
	for i := range out.Cells {
		out.Cells[i].Median = median(out.Cells[i].Rounds)
	}
	return out, nil
}
