// Package statistics counts the exchanges of each route by path template: how many, how long, in which
// phases, and which were the slowest of late. It is a hook of the core.
//
// The templates of a route are its own paths where these are whole, and below a prefix they are learned
// (tree.go) from the requests: segments that look like identifiers are folded (template.go), a place with
// too many different segments becomes one, and there are never more than so many templates.
package statistics

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/config"
	"weir/internal/figures"
	"weir/proxy"
)

// Registry has the statistics of all generations of a server, so that counting goes on over
// reloads. The zero value is ready.
type Registry struct {
	budget budget

	mu   sync.Mutex
	plan *Plan // what is shown; nil: nothing
	// routes are the marks of whole routes by label, which were made at older and newer.
	routes       map[string]*marks
	older, newer time.Time
}

// Plan is what one configuration counts.
type Plan struct {
	routes  []*route // in the order of the configuration
	byLabel map[string]*route
	limits  config.Statistics
}

// route is what is counted of one route.
type route struct {
	label string
	paths []routePath
	other *path // of exchanges that have no template
}

// routePath is one of a route's own paths; a route without one has a prefix of nothing.
type routePath struct {
	text string
	// whole is what is counted for a path that is no prefix; nil for one that is.
	whole *path
	// below is what is counted below a prefix. slashes are those of the prefix.
	below   *tree
	slashes int
}

// Plan makes the plan of a configuration, which was found to be valid; nil if it counts nothing. What
// the shown plan counts already of routes with the same paths is counted on.
func (r *Registry) Plan(cfg *config.Config) *Plan {
	s := &cfg.Statistics
	if !s.Enabled {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &Plan{routes: make([]*route, len(cfg.Routes)), byLabel: make(map[string]*route), limits: *s}
	for i := range cfg.Routes {
		label := cfg.Routes[i].Label(i)
		made := r.newRoute(label, &cfg.Routes[i])
		made.adopt(r.plan.route(label))
		p.routes[i], p.byLabel[label] = made, made
	}
	return p
}

func (r *Registry) newRoute(label string, cfg *config.Route) *route {
	made := &route{label: label, other: &path{template: other}}
	add := func(text string, p config.PathPattern) {
		rp := routePath{text: text, slashes: p.Slashes}
		if p.Prefix {
			rp.below = &tree{budget: &r.budget, other: made.other}
			rp.below.root.template = text[:strings.LastIndexByte(text, '/')]
		} else {
			rp.whole = &path{template: text}
		}
		made.paths = append(made.paths, rp)
	}
	pattern, _ := cfg.Pattern()
	if len(pattern.Paths) == 0 {
		add("/", config.PathPattern{Prefix: true, Slashes: 1})
	}
	for i, p := range pattern.Paths {
		add(cfg.Path[i], p)
	}
	return made
}

// adopt makes r go on with what old has counted, if the two have the same paths. old may be nil.
func (r *route) adopt(old *route) {
	if old == nil || !slices.EqualFunc(r.paths, old.paths, func(a, b routePath) bool { return a.text == b.text }) {
		return
	}
	r.paths, r.other = old.paths, old.other
}

// Show makes p, the plan of cfg, what is shown. What was counted of routes that are not in it is dropped. p
// may be nil.
func (r *Registry) Show(cfg *config.Config, p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	routes := map[string]*marks{"": cmp.Or(r.routes[""], new(marks))}
	for i := range cfg.Routes {
		label := cfg.Routes[i].Label(i)
		routes[label] = cmp.Or(r.routes[label], new(marks))
	}
	r.routes = routes
	// Exchanges of old configurations that still run learn nothing of what is dropped.
	for t := range r.plan.trees() {
		t.setLimit(0, new(budget))
	}
	r.plan = p
	learned := 0
	for t := range p.trees() {
		learned += t.setLimit(p.limits.Paths, &r.budget)
	}
	r.budget.count.Store(int64(learned))
	r.budget.limit.Store(0)
	if p != nil {
		r.budget.limit.Store(int64(p.limits.MaxPaths))
	}
}

// route returns the route with a label; nil if there is none. p may be nil.
func (p *Plan) route(label string) *route {
	if p == nil {
		return nil
	}
	return p.byLabel[label]
}

// trees are all trees of p, which may be nil.
func (p *Plan) trees() iter.Seq[*tree] {
	return func(yield func(*tree) bool) {
		if p == nil {
			return
		}
		for _, r := range p.routes {
			for i := range r.paths {
				if t := r.paths[i].below; t != nil && !yield(t) {
					return
				}
			}
		}
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
	sample, to := x.Sample(), p.routes[x.Route.Index].pathOf(x)
	to.use(x.Result.End)
	to.Add(sample)
	if !sample.Untimed {
		to.slowest.offer(x, to.template, sample.Duration)
	}
}

// pathOf returns what an exchange is counted for.
func (r *route) pathOf(x *proxy.Exchange) *path {
	own := &r.paths[min(x.Pattern, len(r.paths)-1)]
	if own.whole != nil {
		return own.whole
	}
	rest := x.Canonical
	for range own.slashes {
		rest = rest[bytes.IndexByte(rest, '/')+1:]
	}
	if p := own.below.find(rest); p != nil {
		return p
	}
	// What is answered so is most often a path that does not exist.
	if status := x.Result.Status; status >= 400 && status < 500 {
		return r.other
	}
	return own.below.learn(rest, x.Result.End)
}

// Path is what was counted for one path template of a route.
type Path struct {
	// Template is the path template; "other" stands for all exchanges without one.
	Template string
	figures.Snapshot
	// Late are the figures of late, as far as Registry.Recent goes back.
	Late figures.Snapshot
	// Slowest are the slowest exchanges of late, the slowest first.
	Slowest []Slow
}

// Paths returns what was counted of a route, by its label: its templates that were used, the most used
// first. It is empty if nothing is counted of it.
func (r *Registry) Paths(label string, now time.Time) (list []Path) {
	r.mu.Lock()
	p := r.plan
	r.mu.Unlock()
	route := p.route(label)
	if route == nil {
		return nil
	}
	for _, at := range route.all() {
		s := at.Snapshot()
		if s.Count > 0 {
			list = append(list, Path{Template: at.template, Snapshot: s, Late: at.marks.late(s), Slowest: at.slowest.at(now)})
		}
	}
	slices.SortFunc(list, func(a, b Path) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Template, b.Template))
	})
	return list
}

// all are the paths of a route.
func (r *route) all() (list []*path) {
	for i := range r.paths {
		if own := &r.paths[i]; own.whole != nil {
			list = append(list, own.whole)
		} else {
			own.below.root.each(func(_ *node, p *path) { list = append(list, p) })
		}
	}
	return append(list, r.other)
}

// WriteMetrics writes the series of all paths in the text format of Prometheus, histograms in format f.
func (r *Registry) WriteMetrics(w io.Writer, f figures.Format) {
	r.mu.Lock()
	p := r.plan
	r.mu.Unlock()
	if p == nil {
		return
	}
	var page []byte
	for _, label := range slices.Sorted(maps.Keys(p.byLabel)) {
		list := p.byLabel[label].all()
		slices.SortFunc(list, func(a, b *path) int { return strings.Compare(a.template, b.template) })
		page = page[:0]
		for _, at := range list {
			if s := at.Snapshot(); s.Count > 0 {
				page = appendPath(page, f, "route="+figures.Quote(label)+",path="+figures.Quote(at.template), &s)
			}
		}
		w.Write(page)
	}
}

func appendPath(dst []byte, f figures.Format, labels string, s *figures.Snapshot) []byte {
	dst = fmt.Appendf(dst, "weir_path_requests_total{%s} %d\n", labels, s.Count)
	dst = fmt.Appendf(dst, "weir_path_errors_total{%s} %d\n", labels, s.Errors)
	dst = fmt.Appendf(dst, "weir_path_response_body_bytes_total{%s} %d\n", labels, s.BytesOut)
	return s.Durations.Append(dst, f, "weir_path_duration_seconds", labels)
}
