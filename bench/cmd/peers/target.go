package main

import "math"

// best stands for the peer that is best at a scenario.
const best = "the best peer"

// target is something weir promises.
type target struct {
	scenario string
	// against is a peer's name, best, or "" for an absolute figure.
	against string
	// subject is the proxy that is measured; empty means weir.
	subject string
	what    string // for people
	figure  func(sample) float64
	// must and aim are upper bounds of subject / against, or of the figure
	// itself; 0 means that there is no such bound.
	must, aim float64
}

// verdict is a target with what was measured.
type verdict struct {
	Scenario string  `json:"scenario"`
	What     string  `json:"what"`
	Against  string  `json:"against,omitempty"` // as in the target
	Peer     string  `json:"peer,omitempty"`    // who Against stands for
	Weir     float64 `json:"weir"`              // weir's figure
	Other    float64 `json:"other,omitempty"`   // the peer's figure
	Ratio    float64 `json:"ratio,omitempty"`   // of the two
	Must     float64 `json:"must,omitempty"`
	Aim      float64 `json:"aim,omitempty"`
	State    string  `json:"state"`
}

// States of a verdict.
const (
	stateAim       = "aim met"
	stateMet       = "met"
	stateMissed    = "missed"
	stateAimMissed = "aim missed" // of a target without a must
	stateUnknown   = "not measured"
)

func cpu(s sample) float64      { return s.CPU }
func p99(s sample) float64      { return s.P99 }
func resident(s sample) float64 { return s.Resident / (1 << 20) }
func start(s sample) float64    { return s.StartBytes / (1 << 20) }
func idle(s sample) float64     { return s.IdleBytes / 1024 }
func entry(s sample) float64    { return s.EntryBytes / 1024 }
func failed(s sample) float64   { return float64(s.Failed) }

// startedAt is weir's resident memory at the start, in MiB, when it still parsed
// heads with fasthttp. It may need less, not more.
const startedAt = 15.2

// targets lists all that weir promises, which is said nowhere else.
func targets() []target {
	const c = "CPU us per request"
	all := []target{
		{scenario: "pass-1k-c64", against: "haproxy", what: c, figure: cpu, must: 1.0},
		{scenario: "pass-1k-c64", against: "nginx", what: c, figure: cpu, must: 1.1},
		{scenario: "pass-1k-c64", against: best, what: c, figure: cpu, aim: 1.0},
		{scenario: "pass-1k-c64", against: theFloor, what: c, figure: cpu, aim: 1.15},
		{scenario: "pass-1k-c64", against: "httputil", what: c, figure: cpu, must: 1.0 / 6},
		{scenario: "pass-1k-c512", against: "haproxy", what: c, figure: cpu, must: 0.95},
		{scenario: "pass-1k-c512", against: "nginx", what: c, figure: cpu, must: 1.0},
		{scenario: "pass-1k-c512", against: best, what: c, figure: cpu, aim: 0.9},
		{scenario: "browser", against: best, what: c, figure: cpu, must: 1.0, aim: 0.95},
		{scenario: "pass-100k", against: best, what: c, figure: cpu, must: 1.0, aim: 0.85},
		{scenario: "pass-1m", against: best, what: c, figure: cpu, must: 1.05, aim: 0.95},
		{scenario: "tls-1k", against: best, what: c, figure: cpu, must: 0.9, aim: 0.8},
		{scenario: "hit-1k", against: "haproxy", what: c, figure: cpu, must: 0.8, aim: 0.7},
		{scenario: "hit-1k", against: "nginx", what: c, figure: cpu, must: 0.9},
		{scenario: "hit-1k", against: "varnish", what: c, figure: cpu, must: 0.5},
		{scenario: "hit-10k", against: best, what: c, figure: cpu, must: 0.85, aim: 0.8},
		{scenario: "hit-100k", against: best, what: c, figure: cpu, must: 0.9, aim: 0.8},
		{scenario: "h2-pass-100k-c10", against: best, what: c, figure: cpu, must: 0.9, aim: 0.7},
		{scenario: "h2-pass-100k-c100", against: best, what: c, figure: cpu, must: 0.9, aim: 0.7},
		{scenario: "observed", subject: "weir-observed", against: "weir", what: c + " with metrics and access log", figure: cpu, must: 1.08, aim: 1.05},
		{scenario: "idle", what: "resident MiB at the start", figure: start, must: startedAt},
		{scenario: "pass-1k-c512", what: "resident MiB after the load", figure: resident, must: 24},
		{scenario: "entry", what: "KiB charged for an entry", figure: entry, must: 2.1},
		{scenario: "idle", what: "KiB per idle connection", figure: idle, must: 16, aim: 8},
	}
	for _, conns := range []string{"c10", "c100"} {
		pass, hit := "h2-pass-1k-"+conns, "h2-hit-1k-"+conns
		all = append(all,
			target{scenario: pass, against: "haproxy", what: c, figure: cpu, must: 1.0, aim: 0.9},
			target{scenario: pass, against: "nginx", what: c, figure: cpu, must: 0.9},
			target{scenario: pass, against: "caddy", what: c, figure: cpu, must: 0.15},
			target{scenario: hit, against: "haproxy", what: c, figure: cpu, must: 0.7, aim: 0.5})
	}
	for _, sc := range scenarios() {
		if sc.rate > 0 && sc.options == nil {
			all = append(all, target{scenario: sc.id, against: "haproxy", what: "p99 us at the fixed rate", figure: p99, must: 1.0})
		}
	}
	return all
}

// judge measures the targets by a result, and that no request failed.
func judge(r *result) []verdict {
	var out []verdict
	for _, t := range targets() {
		out = append(out, t.judge(r))
	}
	return append(out, judgeFailures(r))
}

func (t target) judge(r *result) verdict {
	v := verdict{Scenario: t.scenario, What: t.what, Against: t.against, Must: t.must, Aim: t.aim, State: stateUnknown}
	subject := t.subject
	if subject == "" {
		subject = "weir"
	}
	s, ok := r.at(t.scenario, subject)
	if !ok || t.figure(s) == 0 {
		return v
	}
	if t.against == "" {
		v.Weir = t.figure(s)
		v.State = rate(v.Weir, t.must, t.aim)
		return v
	}
	if other, name, ok := reference(r, t); ok {
		v.Weir, v.Other, v.Peer = t.figure(s), other, name
		v.Ratio = v.Weir / v.Other
		v.State = rate(v.Ratio, t.must, t.aim)
	}
	return v
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
			v.Weir += failed(c.Median)
			if c.Error != "" {
				v.Weir++
			}
		}
	}
	if v.Weir > 0 {
		v.State = stateMissed
	}
	return v
}

// reference is the figure that t divides by, and whose it is.
func reference(r *result, t target) (figure float64, name string, ok bool) {
	if t.against != best {
		s, ok := r.at(t.scenario, t.against)
		return t.figure(s), t.against, ok && t.figure(s) > 0
	}
	figure = math.Inf(1)
	for _, row := range r.Rows {
		if row.ID != t.scenario {
			continue
		}
		for _, c := range row.Cells {
			s, measured := r.at(t.scenario, c.Peer)
			if measured && !isWeir(c.Peer) && c.Peer != theFloor && t.figure(s) < figure {
				figure, name, ok = t.figure(s), c.Peer, t.figure(s) > 0
			}
		}
	}
	return figure, name, ok
}

func rate(measured, must, aim float64) string {
	switch {
	case aim > 0 && measured <= aim:
		return stateAim
	case must == 0:
		return stateAimMissed
	case measured <= must:
		return stateMet
	}
	return stateMissed
}
