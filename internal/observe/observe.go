package observe

import (
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidwall/gjson"

	"weir/config"
	"weir/internal/head"
	"weir/proxy"
)

// Registry has the metrics of all generations of a server, so that counting goes on over
// reloads. The zero value is ready.
type Registry struct {
	mu       sync.Mutex
	families map[string]*family // by route and name
}

// Plan is what one configuration observes.
type Plan struct {
	routes   map[string]*routeRules // by the route's label
	families map[string]*family
}

// routeRules are those of one route.
type routeRules struct{ request, response messageRules }

// messageRules are those about requests, or about responses: those that look into a body,
// and those that need only the head.
type messageRules struct {
	head, body []*rule
	last       atomic.Pointer[choice] // of the last message's type
}

func (m *messageRules) add(r *rule) {
	if r.looksInside() {
		m.body = append(m.body, r)
	} else {
		m.head = append(m.head, r)
	}
}

// Plan makes the plan of a configuration, which was found to be valid; nil if it observes
// nothing. Families that r has already, and that are the same, are used again.
func (r *Registry) Plan(cfg *config.Config) *Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &Plan{routes: make(map[string]*routeRules), families: make(map[string]*family)}
	for i := range cfg.Routes {
		route := &cfg.Routes[i]
		label := route.Label(i)
		if len(route.Metrics) == 0 {
			continue
		}
		rules := new(routeRules)
		p.routes[label] = rules
		for k := range route.Metrics {
			m := &route.Metrics[k]
			made := newRule(m, p.family(r, label, m))
			if m.From == "request" {
				rules.request.add(made)
			} else {
				rules.response.add(made)
			}
		}
	}
	if len(p.routes) == 0 {
		return nil
	}
	return p
}

// family returns the one of a metric in a route. r.mu is held.
func (p *Plan) family(r *Registry, route string, m *config.RouteMetric) *family {
	key := route + "\x00" + m.Name
	if f := p.families[key]; f != nil {
		return f
	}
	s := shape{
		route: route, name: m.Name, kind: m.Type, help: m.Help, values: m.MaxLabelValues,
		labels: slices.Sorted(maps.Keys(m.Labels)),
	}
	if m.Type == "histogram" {
		s.buckets = m.Buckets
	}
	f := r.families[key]
	if f == nil || !f.equal(&s) {
		f = newFamily(s)
	}
	p.families[key] = f
	return f
}

// Show makes the families of p, and no others, those that WriteMetrics writes. p may be nil.
func (r *Registry) Show(p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.families = nil
	if p != nil {
		r.families = p.families
	}
}

// sorted are the families by name, those of one name together.
func (r *Registry) sorted() []*family {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.families), func(a, b *family) int {
		if n := strings.Compare(a.name, b.name); n != 0 {
			return n
		}
		return strings.Compare(a.route, b.route)
	})
}

// WriteMetrics writes all series in the text format of Prometheus.
func (r *Registry) WriteMetrics(w io.Writer) {
	for _, f := range r.sorted() {
		f.write(w)
	}
}

// Describe calls each for the metrics of the operator: what they are for the scraper.
func (r *Registry) Describe(each func(name, kind, help string)) {
	for _, f := range r.sorted() {
		each(f.name, f.kind, f.help)
	}
}

// Hooks watch the exchanges of p's configuration. They are empty for a nil Plan.
func (p *Plan) Hooks() proxy.Hooks {
	if p == nil {
		return proxy.Hooks{}
	}
	return proxy.Hooks{OnRoute: p.onRoute, OnReply: p.onReply}
}

func (p *Plan) onRoute(x *proxy.Exchange) {
	if rules := p.routes[x.Route.Name]; rules != nil {
		rules.request.watch(x, &x.Request, proxy.ToTarget)
	}
}

func (p *Plan) onReply(x *proxy.Exchange) {
	if x.Route == nil {
		return
	}
	if rules := p.routes[x.Route.Name]; rules != nil {
		rules.response.watch(x, x.Response, proxy.ToClient)
	}
}

// watch records what the rules want of a message. They observe it when the exchange is over,
// so that no client waits for them.
func (m *messageRules) watch(x *proxy.Exchange, h *head.Head, d proxy.Direction) {
	for _, r := range m.head {
		x.Defer(func() { r.element(x, h, gjson.Result{}, new(reading)) })
	}
	if c := newRecorder(x, h, m); c != nil {
		x.Tap(d, c.tapLimit(), c.onPiece)
		x.Defer(c.onDone)
	}
}
