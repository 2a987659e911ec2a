// Package objective counts how well exchanges go against the objectives of the configuration, and how
// fast they use up what an objective lets go wrong. It is a hook of the core.
package objective

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/config"
	"weir/internal/figures"
	"weir/proxy"
)

// Registry has the objectives of all generations of a server, so that counting goes on over
// reloads. The zero value is ready.
type Registry struct {
	mu    sync.Mutex
	shown []*objective
}

// Plan is what one configuration counts.
type Plan struct {
	all    []*objective
	routes [][]*objective // by the index of the route
}

// objective is one of the configuration, and what was counted for it.
type objective struct {
	config.Objective
	good, slow, failed atomic.Uint64

	mu      sync.Mutex
	windows []window
}

// counts are what was counted up to a time.
type counts struct {
	at         time.Time
	total, bad uint64
}

// slots is into how many parts the time of a window is split, by which its burn rate may reach too
// far back.
const slots = 30

// window remembers what had been counted, as far back as it goes.
type window struct {
	length time.Duration
	past   []counts // the oldest first; at most slots+1
}

// Plan makes the plan of a configuration, which was found to be valid; nil if it has no objective.
// Objectives that r shows, and that are the same, are counted on.
func (r *Registry) Plan(cfg *config.Config) *Plan {
	if len(cfg.Objectives) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &Plan{routes: make([][]*objective, len(cfg.Routes))}
	for i := range cfg.Objectives {
		o := r.objective(&cfg.Objectives[i])
		p.all = append(p.all, o)
		for k := range cfg.Routes {
			if label := cfg.Routes[k].Label(k); len(o.Routes) == 0 || slices.Contains(o.Routes, label) {
				p.routes[k] = append(p.routes[k], o)
			}
		}
	}
	return p
}

// objective returns that of cfg, a new one if there is none. r.mu is held.
func (r *Registry) objective(cfg *config.Objective) *objective {
	for _, o := range r.shown {
		if reflect.DeepEqual(&o.Objective, cfg) {
			return o
		}
	}
	o := &objective{Objective: *cfg}
	for _, w := range cfg.Windows {
		o.windows = append(o.windows, window{length: w.D()})
	}
	return o
}

// Show makes the objectives of p, and no others, those that are shown. p may be nil.
func (r *Registry) Show(p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = nil
	if p != nil {
		r.shown = p.all
	}
}

// Hooks watch the exchanges of p's configuration. They are empty for a nil Plan.
func (p *Plan) Hooks() proxy.Hooks {
	if p == nil {
		return proxy.Hooks{}
	}
	return proxy.Hooks{OnDone: p.onDone}
}

func (p *Plan) onDone(x *proxy.Exchange) {
	if x.Route == nil {
		return
	}
	list := p.routes[x.Route.Index]
	if len(list) == 0 {
		return
	}
	if s := x.Sample(); !s.Untimed {
		for _, o := range list {
			o.count(s.Duration, s.Failed, x.Result.Cause == proxy.CauseClientGone)
		}
	}
}

// count counts an exchange. One whose client went away says nothing, unless it was too slow by then.
func (o *objective) count(took time.Duration, failed, gone bool) {
	switch {
	case failed && o.Errors:
		o.failed.Add(1)
	case o.Below > 0 && took > o.Below.D():
		o.slow.Add(1)
	case !gone:
		o.good.Add(1)
	}
}

// counts are what was counted up to now.
func (o *objective) counts(now time.Time) counts {
	bad := o.slow.Load() + o.failed.Load()
	return counts{at: now, total: bad + o.good.Load(), bad: bad}
}

// Look lets the windows go on to now. It is to be called every few seconds.
func (r *Registry) Look(now time.Time) {
	r.mu.Lock()
	list := r.shown
	r.mu.Unlock()
	for _, o := range list {
		o.mu.Lock()
		for i := range o.windows {
			o.windows[i].goOn(now, o.counts)
		}
		o.mu.Unlock()
	}
}

// goOn notes what has been counted if it is time for that.
func (w *window) goOn(now time.Time, counted func(time.Time) counts) {
	if n := len(w.past); n > 0 && now.Sub(w.past[n-1].at) < w.length/slots {
		return
	}
	if len(w.past) > slots {
		w.past = append(w.past[:0], w.past[1:]...)
	}
	w.past = append(w.past, counted(now))
}

// share is how large a part of the exchanges in the window did not go well; 0 without any. All that
// was counted is in it as long as nothing in past is as old as the window.
func (w *window) share(now counts) float64 {
	var from counts
	for _, c := range w.past {
		if !c.at.After(now.at.Add(-w.length)) {
			from = c
		}
	}
	if now.total <= from.total {
		return 0
	}
	return float64(now.bad-min(now.bad, from.bad)) / float64(now.total-from.total)
}

// Objective is how an objective is met.
type Objective struct {
	config.Objective
	// Good, Slow and Failed count exchanges.
	Good, Slow, Failed uint64
	// Burn are the burn rates over the windows, in their order: how many times as many exchanges do not go well as
	// may.
	Burn []float64
}

// Objectives returns how the objectives are met at now, in the order of the configuration.
func (r *Registry) Objectives(now time.Time) (list []Objective) {
	r.mu.Lock()
	shown := r.shown
	r.mu.Unlock()
	for _, o := range shown {
		state := Objective{Objective: o.Objective, Good: o.good.Load(), Slow: o.slow.Load(), Failed: o.failed.Load()}
		counted := o.counts(now)
		o.mu.Lock()
		for i := range o.windows {
			state.Burn = append(state.Burn, o.windows[i].share(counted)/(1-o.Percent/100))
		}
		o.mu.Unlock()
		list = append(list, state)
	}
	return list
}

// WriteMetrics writes the series in the text format of Prometheus.
func (r *Registry) WriteMetrics(w io.Writer) {
	for _, o := range r.Objectives(time.Now()) {
		label := "objective=" + figures.Quote(o.Name)
		fmt.Fprintf(w, "weir_objective_goal_ratio{%s} %.12g\n", label, o.Percent/100)
		fmt.Fprintf(w, "weir_objective_requests_total{%s} %d\n", label, o.Good+o.Slow+o.Failed)
		fmt.Fprintf(w, "weir_objective_bad_total{%s,reason=\"slow\"} %d\n", label, o.Slow)
		fmt.Fprintf(w, "weir_objective_bad_total{%s,reason=\"error\"} %d\n", label, o.Failed)
		for i, burn := range o.Burn {
			fmt.Fprintf(w, "weir_objective_burn_rate{%s,window=%q} %.6g\n", label, WindowName(o.Windows[i].D()), burn)
		}
	}
}

// WindowName is a window in its largest unit: "5m", "6h", "3d".
func WindowName(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return config.Duration(d).String()
}
