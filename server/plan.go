package server

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"weir/config"
	"weir/lb"
)

// Plan is what a reload would do.
type Plan struct {
	// Changes are in the order listeners, routes, upstreams with their targets, the cache, all
	// else; none means that a reload would change nothing but read certificates and other files again.
	Changes []Change `json:"changes"`
	// Problem says why a reload would fail although the configuration is right; empty if it
	// would not.
	Problem string `json:"problem,omitempty"`
}

// Change is one thing that a reload would do.
type Change struct {
	// Do is "add", "drop", "change" or "rebuild".
	Do string `json:"do"`
	// What is "listener", "route", "upstream", "target", "cache" or "settings", and Name which one:
	// a target's is its URL, and settings have that of their table.
	What string `json:"what"`
	Name string `json:"name,omitempty"`
	// Keys are the keys whose values differ.
	Keys []string `json:"keys,omitempty"`
	// Effect says what becomes of connections, counts and entries.
	Effect string `json:"effect,omitempty"`
}

// errNoLoader is the answer of a server that was not told where its configuration comes from.
var errNoLoader = errors.New("this weir does not know where its configuration comes from")

// WithLoader says how to read the configuration that a reload would put into force, so that the
// admin API can say what would change. load returns what is wrong as an error.
func WithLoader(load func() (*config.Config, error)) Option {
	return func(o *options) { o.load = load }
}

// Plan says what Reload(cfg) would do. It changes nothing, and opens nothing. The error says what is
// wrong with cfg.
func (s *Server) Plan(cfg *config.Config) (*Plan, error) {
	if err := check(cfg, &s.options); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &planner{s: s, old: s.current.Load(), cfg: cfg, plan: Plan{Changes: []Change{}}}
	p.was, p.is = p.old.config.Show(true), cfg.Show(true)
	p.listeners()
	p.routes()
	p.upstreams()
	p.cache()
	p.rest()
	return &p.plan, nil
}

// planner makes one Plan. Server.mu is held.
type planner struct {
	s       *Server
	old     *generation
	cfg     *config.Config
	was, is map[string]any // both configurations, as Show has them
	plan    Plan
}

func (p *planner) add(do, what, name string, keys []string, format string, args ...any) {
	p.plan.Changes = append(p.plan.Changes, Change{Do: do, What: what, Name: name, Keys: keys, Effect: fmt.Sprintf(format, args...)})
}

// rows are the tables of a list of tables, as Show has it.
func rows(table map[string]any, key string) []map[string]any {
	list, _ := table[key].([]map[string]any)
	return list
}

// differences are the keys whose values differ in two tables, with the keys of tables in them.
// If none differs, the tables differ in a secret, which they do not show.
func differences(was, is map[string]any) (keys []string) {
	keys = compare(nil, "", was, is)
	if len(keys) == 0 {
		keys = []string{"a secret"}
	}
	return keys
}

func compare(keys []string, path string, was, is map[string]any) []string {
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		a, b := was[key], is[key]
		inA, okA := a.(map[string]any)
		inB, okB := b.(map[string]any)
		switch {
		case okA && okB:
			keys = compare(keys, path+key+".", inA, inB)
		case !reflect.DeepEqual(a, b):
			keys = append(keys, path+key)
		}
	}
	return keys
}

func (p *planner) listeners() {
	before := make(map[config.Address]int)
	for i := range p.old.config.Listeners {
		before[p.old.config.Listeners[i].Address] = i
	}
	for i := range p.cfg.Listeners {
		l := &p.cfg.Listeners[i]
		k, ok := before[l.Address]
		delete(before, l.Address)
		switch {
		case !ok:
			p.add("add", "listener", l.Label(), nil, "opens %s", l.Address)
		case !reflect.DeepEqual(p.old.config.Listeners[k], *l):
			p.add("change", "listener", l.Label(), differences(rows(p.was, "listeners")[k], rows(p.is, "listeners")[i]),
				"keeps its socket and its %s", connections(p.open(l.Address)))
		}
	}
	for _, i := range slices.Sorted(maps.Values(before)) {
		l := &p.old.config.Listeners[i]
		p.add("drop", "listener", l.Label(), nil, "closes %s; running exchanges of its %s may end", l.Address, connections(p.open(l.Address)))
	}
}

// open counts the connections of a listener.
func (p *planner) open(a config.Address) int {
	if r := p.s.listeners[a]; r != nil {
		return int(r.Stats().Open)
	}
	return 0
}

// connections is "1 connection", "2 connections".
func connections(n int) string { return counted(n, "connection") }

func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

func (p *planner) routes() {
	type place struct {
		label string
		i     int
	}
	labels := func(c *config.Config) (list []place) {
		for i := range c.Routes {
			list = append(list, place{c.Routes[i].Label(i), i})
		}
		return list
	}
	before, after := labels(p.old.config), labels(p.cfg)
	index := make(map[string]int)
	for _, r := range before {
		index[r.label] = r.i
	}
	for _, r := range after {
		k, ok := index[r.label]
		delete(index, r.label)
		switch {
		case !ok:
			p.add("add", "route", r.label, nil, "")
		case !reflect.DeepEqual(p.old.config.Routes[k], p.cfg.Routes[r.i]):
			p.add("change", "route", r.label, differences(rows(p.was, "routes")[k], rows(p.is, "routes")[r.i]), "")
		}
	}
	for _, r := range before {
		if _, gone := index[r.label]; gone {
			p.add("drop", "route", r.label, nil, "")
		}
	}
}

func (p *planner) upstreams() {
	table := func(t map[string]any, name string) map[string]any {
		all, _ := t["upstreams"].(map[string]any)
		one, _ := all[name].(map[string]any)
		return one
	}
	names := maps.Clone(p.cfg.Upstreams)
	maps.Copy(names, p.old.config.Upstreams)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		live := p.old.upstreams[name]
		cfg, is := p.cfg.Upstreams[name]
		switch was := p.old.config.Upstreams[name]; {
		case live == nil:
			p.add("add", "upstream", name, nil, "%s", counted(len(cfg.Targets), "target"))
		case !is:
			p.add("drop", "upstream", name, nil, "%s get no new exchanges; %s may end", counted(len(live.Targets()), "target"), counted(live.InFlight(), "running exchange"))
		case !reflect.DeepEqual(was, cfg):
			p.upstream(live.Upstream, &cfg, differences(table(p.was, name), table(p.is, name)))
		}
	}
}

// upstream is about an upstream that both configurations have, and that differs.
func (p *planner) upstream(live *lb.Upstream, cfg *config.Upstream, keys []string) {
	do, effect := "change", "its targets keep connections, counts and health"
	if !live.KeepsConnections(cfg) {
		do, effect = "rebuild", "new connections to all targets, whose counts and health begin anew; connections of before close when their exchanges have ended"
	}
	p.add(do, "upstream", live.Name(), keys, "%s", effect)
	was := make(map[string]bool)
	for _, t := range live.Config().Targets {
		was[t.Origin()] = true
	}
	for _, t := range cfg.Targets {
		if !was[t.Origin()] {
			p.add("add", "target", config.DisplayURL(t.Origin()), nil, "of upstream %s", live.Name())
		}
		delete(was, t.Origin())
	}
	for _, url := range slices.Sorted(maps.Keys(was)) {
		for _, t := range live.Targets() {
			if name, _, _ := strings.Cut(t.URL(), "#"); name == url { // also an address of a name
				p.add("drop", "target", t.Name(), nil, "of upstream %s: no new exchanges; %s may end", live.Name(), counted(t.InFlight(), "running exchange"))
			}
		}
	}
}

func (p *planner) cache() {
	before, now := p.old.config.Cache, p.cfg.Cache
	before.PurgeFrom, now.PurgeFrom = nil, nil
	if reflect.DeepEqual(before, now) {
		return
	}
	was, _ := p.was["cache"].(map[string]any)
	is, _ := p.is["cache"].(map[string]any)
	keys := differences(was, is)
	effect := "no route had a cache"
	if p.old.store != nil {
		if err := changesFolder(&before, &now); err != nil {
			p.plan.Problem = err.Error()
		}
		effect = fmt.Sprintf("the cache's memory begins empty, without the %d entries that it has", p.old.store.Stats().Entries)
	}
	p.add("rebuild", "cache", "", keys, "%s", effect)
}

// effects are what becomes of a change of other tables.
var effects = map[string]string{
	"access_log": "the new output is opened before the old one is closed; no line is lost",
	"metrics":    "a new address is opened before the old one is closed",
	"admin":      "a new address is opened before the old one is closed",
}

// rest is about the tables that have nothing of their own to keep.
func (p *planner) rest() {
	for _, key := range slices.Sorted(maps.Keys(p.is)) {
		if slices.Contains([]string{"listeners", "routes", "upstreams", "cache"}, key) {
			continue
		}
		was, okA := p.was[key].(map[string]any)
		is, okB := p.is[key].(map[string]any)
		switch {
		case okA && okB:
			if keys := compare(nil, "", was, is); len(keys) > 0 {
				p.add("change", "settings", key, keys, "%s", effects[key])
			}
		case !reflect.DeepEqual(p.was[key], p.is[key]):
			p.add("change", "settings", key, nil, "%s", effects[key])
		}
	}
}
