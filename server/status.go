package server

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"time"

	"weir/admin"
	"weir/config"
	"weir/lb"
)

// Status returns how the server is, for the admin API.
func (o operator) Status() admin.Status {
	s := o.s
	status := admin.Status{
		Version:       s.options.version,
		Go:            runtime.Version(),
		PID:           os.Getpid(),
		State:         "serving",
		Started:       s.started,
		Loaded:        time.Unix(int64(s.reloads.last.Get()), 0),
		Reloads:       s.reloads.ok.Get() + s.reloads.failed.Get(),
		FailedReloads: s.reloads.failed.Get(),
		ReloadFailed:  s.reloads.success.Get() == 0,
		LastReloads:   s.reloads.list(),
		Listeners:     []admin.Listener{},
		Upstreams:     []admin.UpstreamSummary{},
	}
	if s.state.Load() >= stateDraining {
		status.State = "draining"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Running = s.runningExchanges()
	for _, r := range s.listeners {
		l := admin.Listener{Name: r.Name(), TLS: r.Config().Secure()}
		for i, a := range r.Addrs() { // several sockets of the service manager may be one listener
			if i > 0 {
				l.Address += " "
			}
			l.Address += a.String()
		}
		stats := r.Stats()
		l.Open, l.Accepted = stats.Open, stats.Accepted
		status.Listeners = append(status.Listeners, l)
	}
	slices.SortFunc(status.Listeners, func(a, b admin.Listener) int { return cmp.Compare(a.Name, b.Name) })
	sets := s.sets()
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		status.Upstreams = append(status.Upstreams, summary(sets[name]))
	}
	return status
}

// runningExchanges counts the exchanges of all generations. s.mu is held.
func (s *Server) runningExchanges() (n int) {
	for _, g := range append([]*generation{s.current.Load()}, s.retiring...) {
		n += int(g.running.Load())
	}
	return n
}

func summary(u *lb.Upstream) admin.UpstreamSummary {
	sum := admin.UpstreamSummary{Name: u.Name(), Running: u.InFlight()}
	for _, t := range u.Targets() {
		sum.Targets++
		if state := t.State(); state == lb.Healthy || state == lb.SlowStart {
			sum.Usable++
		}
	}
	return sum
}

// conditions are the keys of a route that say which requests fit.
var conditions = [...]string{"listener", "scheme", "method", "host", "path", "header", "query"}

// Routes returns the routes in force, without secrets.
func (o operator) Routes() []admin.Route {
	cfg := o.s.current.Load().config
	shown, _ := cfg.Show(true)["routes"].([]map[string]any)
	list := make([]admin.Route, len(cfg.Routes))
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		match := make(map[string]any)
		for _, key := range conditions {
			if value := reflect.ValueOf(shown[i][key]); value.IsValid() && value.Len() > 0 {
				match[key] = value.Interface()
			}
		}
		list[i] = admin.Route{Name: r.Label(i), Match: match, Does: does(r, shown[i]), Cache: r.Cache != nil && r.Cache.Enabled}
	}
	return list
}

// does says in words what r does, of which Config.Show has made route.
func does(r *config.Route, route map[string]any) string {
	redirect, redirects := route["redirect"].(map[string]any)
	respond, responds := route["respond"].(map[string]any)
	switch {
	case redirects:
		return fmt.Sprintf("redirect %v to %q", redirect["status"], redirect["to"])
	case responds:
		return fmt.Sprintf("respond %v", respond["status"])
	case r.Files != nil:
		return fmt.Sprintf("files of %q", r.Files.Root)
	}
	return fmt.Sprintf("upstream %q", route["upstream"])
}

// Problems returns what works, but is most likely a mistake, in the configuration in force.
func (o operator) Problems() []string {
	list := []string{}
	for _, p := range Warnings(o.s.current.Load().config, time.Now()) {
		list = append(list, p.Error())
	}
	return list
}

// Origins returns the keys of the configuration in force with what has set them.
func (o operator) Origins(all bool) []config.Origin { return o.s.current.Load().config.Origins(all) }

// Config returns the configuration in force without secrets.
func (o operator) Config(all bool) map[string]any { return o.s.current.Load().config.Show(all) }
