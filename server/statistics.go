package server

import (
	"cmp"
	"slices"
	"time"

	"weir/admin"
	"weir/internal/figures"
	"weir/internal/objective"
	"weir/internal/statistics"
)

// Statistics returns what was counted of the exchanges of a route, by its label, or of all routes if
// that is nil: since the route is there, and of late. The paths of a route come in the order of their
// use. An error lists the routes that exist.
func (s *Server) Statistics(route *string) (admin.Statistics, error) {
	cfg := s.current.Load().config
	labels := []string{""}
	for i := range cfg.Routes {
		labels = append(labels, cfg.Routes[i].Label(i))
	}
	if route != nil {
		if !slices.Contains(labels, *route) {
			return admin.Statistics{}, notThere("route", *route, labels[1:])
		}
		labels = []string{*route}
	}
	now := time.Now()
	list := admin.Statistics{Recent: s.statistics.Recent(now).Seconds(), Routes: []admin.RouteStatistics{}}
	for _, label := range labels {
		list.Routes = append(list.Routes, s.routeStatistics(label, now))
	}
	for _, o := range s.objectives.Objectives(now) {
		list.Objectives = append(list.Objectives, describeObjective(&o))
	}
	return list, nil
}

func describeObjective(o *objective.Objective) admin.ObjectiveState {
	state := admin.ObjectiveState{Name: o.Name, Percent: o.Percent, Below: o.Below.D().Seconds(), Good: o.Good, Slow: o.Slow, Failed: o.Failed}
	for i, rate := range o.Burn {
		state.Burn = append(state.Burn, admin.Burn{Window: objective.WindowName(o.Windows[i].D()), Rate: rate})
	}
	return state
}

func (s *Server) routeStatistics(label string, now time.Time) admin.RouteStatistics {
	all := s.metrics.Figures(label)
	late := s.statistics.Late(label, &all)
	r := admin.RouteStatistics{
		Route: label, Figures: describeFigures(&all), Late: describeFigures(&late), Paths: []admin.PathStatistics{}, Slowest: []admin.SlowExchange{},
	}
	r.Late.Max = 0
	paths := s.statistics.Paths(label, now)
	var slow []statistics.Slow
	for i := range paths {
		p := &paths[i]
		path := admin.PathStatistics{Path: p.Template, Figures: describeFigures(&p.Snapshot), Late: describeFigures(&p.Late)}
		path.Late.Max = 0
		r.Paths = append(r.Paths, path)
		slow = append(slow, p.Slowest...)
	}
	slices.SortFunc(slow, func(a, b statistics.Slow) int { return cmp.Compare(b.Duration, a.Duration) })
	for i := range slow {
		r.Slowest = append(r.Slowest, describeSlow(&slow[i]))
	}
	return r
}

func describeFigures(s *figures.Snapshot) admin.Figures {
	f := admin.Figures{
		Count: s.Count, Errors: s.Errors, BytesIn: s.BytesIn, BytesOut: s.BytesOut,
		Total: s.Durations.Sum.Seconds(), Max: s.Longest.Seconds(),
		P50: s.Durations.Quantile(0.5).Seconds(), P90: s.Durations.Quantile(0.9).Seconds(), P99: s.Durations.Quantile(0.99).Seconds(),
	}
	if n := s.Durations.Total; n > 0 {
		f.Mean = f.Total / float64(n)
		f.Phases = describePhases(&s.Phases, float64(n))
	}
	return f
}

// describePhases returns the phases of one of n exchanges whose phases are p.
func describePhases(p *figures.Phases, n float64) admin.Phases {
	of := func(phase figures.Phase) float64 { return p[phase].Seconds() / n }
	return admin.Phases{Waiting: of(figures.Waiting), Connecting: of(figures.Connecting), FirstByte: of(figures.FirstByte), Body: of(figures.Body)}
}

func describeSlow(s *statistics.Slow) admin.SlowExchange {
	return admin.SlowExchange{
		Path: s.Template, Method: s.Method, Requested: s.Path, RequestID: s.RequestID, Start: s.Start, Duration: s.Duration.Seconds(),
		Phases: describePhases(&s.Phases, 1), Status: s.Status, Cause: s.Cause, Target: s.Target,
	}
}

func (o operator) Statistics(route *string) (admin.Statistics, error) { return o.s.Statistics(route) }
