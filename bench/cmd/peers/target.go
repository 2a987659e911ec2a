package main

import (
	"fmt"
	"math"
)

// best stands for the peer that is best at a scenario.
const best = "the best peer"

// target is something weir promises.
type target struct {
	scenario string
	// against is a peer's name, best, or "" for an absolute figure.
	against string
	// subject is who is measured; empty means weir.
	subject string
	what    string // for people
	figure  func(sample) float64
	// must and aim are upper bounds of subject / against, or of the figure
	// itself; 0 means there is none.
	must, aim float64
}

// verdict is a target with what was measured.
type verdict struct {
	Scenario string  `json:"scenario"`
	What     string  `json:"what"`
	Against  string  `json:"against,omitempty"`
	Measured float64 `json:"measured"`
	Must     float64 `json:"must,omitempty"`
	Aim      float64 `json:"aim,omitempty"`
	State    string  `json:"state"`
}

// States of a verdict.
const (
	stateAim     = "aim met"
	stateMet     = "met"
	stateMissed  = "missed"
	stateUnknown = "not measured"
)

func cpu(s sample) float64    { return s.CPU }
func p99(s sample) float64    { return s.P99 }
func idle(s sample) float64   { return s.IdleBytes / 1024 }
func failed(s sample) float64 { return float64(s.Failed) }

func targets() []target {
	const c = "CPU per request"
	all := []target{
		{scenario: "pass-1k-c64", against: "haproxy", what: c, figure: cpu, must: 1.15, aim: 1.0},
		{scenario: "pass-1k-c64", against: "nginx", what: c, figure: cpu, must: 1.3},
		{scenario: "pass-1k-c64", against: "httputil", what: c, figure: cpu, must: 1.0 / 6},
		{scenario: "pass-1k-c512", against: "haproxy", what: c, figure: cpu, must: 1.0},
		{scenario: "pass-1k-c512", against: "nginx", what: c, figure: cpu, must: 1.2, aim: 1.0},
		{scenario: "pass-100k", against: best, what: c, figure: cpu, must: 1.0, aim: 0.85},
		{scenario: "pass-1m", against: best, what: c, figure: cpu, must: 1.05, aim: 0.95},
		{scenario: "tls-1k", against: best, what: c, figure: cpu, must: 1.05, aim: 0.95},
		{scenario: "hit-1k", against: "nginx", what: c, figure: cpu, must: 0.9},
		{scenario: "hit-1k", against: "varnish", what: c, figure: cpu, must: 0.5},
		{scenario: "hit-1k", against: "haproxy", what: c, figure: cpu, must: 1.15, aim: 1.0},
		{scenario: "hit-10k", against: best, what: c, figure: cpu, must: 0.9, aim: 0.8},
		{scenario: "hit-100k", against: best, what: c, figure: cpu, must: 0.9, aim: 0.8},
		{scenario: "observed", subject: "weir-observed", against: "weir", what: c + " with metrics and access log", figure: cpu, must: 1.1},
		{scenario: "idle", what: "KiB per idle connection", figure: idle, must: 16, aim: 8},
	}
	for _, sc := range scenarios() {
		if sc.rate > 0 && sc.options == nil {
			all = append(all, target{scenario: sc.id, against: "haproxy", what: "p99 at the fixed rate", figure: p99, must: 1.0})
		}
	}
	return all
}

// judge measures the targets by a result, and that no request failed.
func judge(r *result) []verdict {
	var out []verdict
	for _, t := range targets() {
		v := verdict{Scenario: t.scenario, What: t.what, Against: t.against, Must: t.must, Aim: t.aim, State: stateUnknown}
		subject := t.subject
		if subject == "" {
			subject = "weir"
		}
		if s, ok := r.at(t.scenario, subject); ok {
			if base, name, ok := reference(r, t); ok {
				v.Measured = t.figure(s) / base
				v.State = rate(v.Measured, t.must, t.aim)
				if t.against == best {
					v.Against = fmt.Sprintf("%s (%s)", best, name)
				}
			}
		}
		out = append(out, v)
	}
	return append(out, judgeFailures(r))
}

// judgeFailures counts weir's failed requests. A measurement that failed as a
// whole is no better than one.
func judgeFailures(r *result) verdict {
	v := verdict{Scenario: "all", What: "failed requests and measurements", State: stateUnknown}
	for _, row := range r.Rows {
		for _, c := range row.Cells {
			if !isWeir(c.Peer) {
				continue
			}
			v.State = stateMet
			v.Measured += failed(c.Median)
			if c.Error != "" {
				v.Measured++
			}
		}
	}
	if v.Measured > 0 {
		v.State = stateMissed
	}
	return v
}

// reference is the figure that t divides by.
func reference(r *result, t target) (figure float64, name string, ok bool) {
	switch t.against {
	case "":
		return 1, "", true
	case best:
		figure = math.Inf(1)
		for _, row := range r.Rows {
			if row.ID != t.scenario {
				continue
			}
			for _, c := range row.Cells {
				if s, measured := r.at(t.scenario, c.Peer); measured && c.Peer != "weir" && t.figure(s) < figure {
					figure, name, ok = t.figure(s), c.Peer, t.figure(s) > 0
				}
			}
		}
		return figure, name, ok
	}
	s, ok := r.at(t.scenario, t.against)
	return t.figure(s), t.against, ok && t.figure(s) > 0
}

func rate(measured, must, aim float64) string {
	switch {
	case aim > 0 && measured <= aim:
		return stateAim
	case measured <= must:
		return stateMet
	}
	return stateMissed
}
