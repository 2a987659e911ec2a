package inspect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"weir/admin"
	"weir/config"
	"weir/proxy"
)

// Plan is what one configuration records.
type Plan struct {
	recorder *Recorder
	routes   []*routePlan // by proxy.Route.Index; nil for one that is not recorded
	// others is for exchanges without a route; nil if they are not recorded.
	others *routePlan
	// replays is for those on routes that are not recorded.
	replays *routePlan
	names   *secretNames
	budget  int64
	// balance are the algorithms of upstreams, by name.
	balance map[string]string
	list    []admin.InspectedRoute
}

// routePlan is how the exchanges of a route are recorded.
type routePlan struct {
	// below is the bound for random numbers that choose an exchange.
	below uint64
	body  int
	slow  time.Duration // 0: never
	// why says which requests the route takes.
	why string
}

// newRoutePlan returns the plan of a route, or of no route; nil if it is not recorded.
func newRoutePlan(cfg *config.Config, route *config.Route) *routePlan {
	r := cfg.Inspected(route)
	if r == nil {
		return nil
	}
	p := &routePlan{body: int(r.Body), slow: r.Slow.D(), below: uint64(r.Sample * (1 << 63))}
	if route != nil {
		p.why = whyRoute(route)
	}
	return p
}

// chooses says whether to record an exchange from its beginning.
func (p *routePlan) chooses() bool { return p.below > 0 && rand.Uint64()>>1 < p.below }

// Plan makes the plan of a configuration, which was found to be valid; nil if it records
// nothing.
func (r *Recorder) Plan(cfg *config.Config) *Plan {
	p := &Plan{
		recorder: r, routes: make([]*routePlan, len(cfg.Routes)), names: newSecretNames(cfg.Inspect.Secrets),
		budget: int64(cfg.Inspect.Memory), balance: make(map[string]string), others: newRoutePlan(cfg, nil),
		replays: &routePlan{body: int(cfg.Inspect.Body)},
	}
	for i := range cfg.Routes {
		route := &cfg.Routes[i]
		if plan := newRoutePlan(cfg, route); plan != nil {
			p.routes[i] = plan
			p.list = append(p.list, admin.InspectedRoute{
				Route: route.Label(i), Sample: math.Round(float64(plan.below)/(1<<63)*1e6) / 1e6, Body: int64(plan.body), Slow: plan.slow.Seconds(),
			})
		}
	}
	if len(p.list) == 0 && p.others == nil {
		return nil
	}
	for name := range cfg.Upstreams {
		p.balance[name] = cfg.Upstreams[name].Balance
	}
	return p
}

// of is how an exchange is recorded; nil for not at all.
func (p *Plan) of(x *proxy.Exchange) *routePlan {
	if x.Route == nil {
		return p.others
	}
	return p.routes[x.Route.Index]
}

// Hooks watch the exchanges of p's configuration. They are empty for a nil Plan. They come after
// all others, so that they see what others have changed.
func (p *Plan) Hooks() proxy.Hooks {
	if p == nil {
		return proxy.Hooks{}
	}
	return proxy.Hooks{OnRoute: p.onRoute, OnResponse: p.onResponse, OnReply: p.onReply, OnDone: p.onDone}
}

func (p *Plan) onRoute(x *proxy.Exchange) {
	route := p.of(x)
	r, replay := x.Record.(*recording)
	switch {
	case replay && route != nil:
		r.route = route
	case replay:
	case route == nil || !route.chooses():
		return
	default:
		r = newRecording(p, route, x.Start)
		x.Record = r
	}
	r.watchRequest(x)
}

func (p *Plan) onResponse(x *proxy.Exchange) {
	if r, ok := x.Record.(*recording); ok {
		r.received(x)
	}
}

func (p *Plan) onReply(x *proxy.Exchange) {
	r, ok := x.Record.(*recording)
	if !ok && x.Route == nil && p.others != nil && p.others.chooses() {
		// The first hook that sees a request which no route took, or which was refused.
		r = newRecording(p, p.others, x.Start)
		x.Record = r
	}
	if r != nil {
		r.watchResponse(x)
	}
}

// onDone keeps what was recorded. An exchange that was not recorded is kept in short if it failed
// or was slow.
func (p *Plan) onDone(x *proxy.Exchange) {
	if r, ok := x.Record.(*recording); ok {
		x.Record = nil
		r.done(x, true)
		return
	}
	route := p.of(x)
	if route == nil || kindOf(x, route) == admin.KindRecent {
		return
	}
	if !p.recorder.admit() {
		return
	}
	newRecording(p, route, x.Start).done(x, false)
}

// kindOf says which ring is for an exchange that has ended.
func kindOf(x *proxy.Exchange, route *routePlan) string {
	switch {
	case !ok(x):
		return admin.KindFailed
	case route.slow > 0 && x.Result.End.Sub(x.Start) >= route.slow && !endless(x):
		return admin.KindSlow
	}
	return admin.KindRecent
}

// ok says whether an exchange ended as it should, as far as weir and its targets are concerned.
func ok(x *proxy.Exchange) bool {
	return x.Result.Cause < proxy.CauseNoRoute && x.Result.Status < 500
}

// whyRoute says in a sentence which requests a route takes.
func whyRoute(r *config.Route) string {
	var conditions []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			conditions = append(conditions, name+" "+strings.Join(values, " or "))
		}
	}
	add("listener", r.Listener)
	if r.Scheme != "" {
		add("scheme", []string{r.Scheme})
	}
	add("method", r.Method)
	add("host", r.Host)
	add("path", r.Path)
	pairs := func(name string, table map[string]string) {
		names := make([]string, 0, len(table))
		for k := range table {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			conditions = append(conditions, fmt.Sprintf("%s %s=%s", name, k, table[k]))
		}
	}
	pairs("header", r.Header)
	pairs("query", r.Query)
	if r.Client != nil {
		conditions = append(conditions, "client "+r.Client.String())
	}
	if len(conditions) == 0 {
		return "the route takes everything that no more specific route takes"
	}
	return "the request fits " + strings.Join(conditions, ", ")
}
