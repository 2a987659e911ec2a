package server

import (
	"errors"
	"slices"
	"strconv"

	"weir/config"
	"weir/health"
	"weir/internal/accesslog"
	"weir/internal/forward"
	"weir/internal/match"
	"weir/lb"
)

// Check reports everything that New would refuse, without opening anything.
// The error is of type config.Errors: every problem with the place where it
// stands in the file.
func Check(cfg *config.Config) error { return check(cfg, new(options)) }

// CheckParts reports what is wrong with a configuration beyond what its own
// validation finds, whether or not that finds anything. It is for config.Load,
// which then reports all of it at once.
func CheckParts(cfg *config.Config) config.Errors { return checkParts(cfg, new(options)) }

func check(cfg *config.Config, o *options) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	return checkParts(cfg, o).Err()
}

func checkParts(cfg *config.Config, o *options) (problems config.Errors) {
	add := func(p config.Problem, parts ...any) {
		key := config.Key(parts...)
		if p.Key != "" {
			key += "." + p.Key
		}
		p.Key = key
		p.File, p.Line = cfg.Position(key)
		problems = append(problems, p)
	}
	for _, p := range accesslog.Check(&cfg.AccessLog) {
		add(p, "access_log")
	}
	seen := make(map[config.Address]bool)
	for i := range cfg.Listeners {
		// With port 0 too, where the kernel would find two ports: a reload knows
		// listeners by their addresses.
		if a := cfg.Listeners[i].Address; seen[a] {
			add(config.Problem{Key: "address", Found: strconv.Quote(string(a)), Want: "another than a listener before has"}, "listeners", i)
		} else {
			seen[a] = true
		}
	}
	algorithms := o.balancing()
	for name := range cfg.Upstreams {
		u := cfg.Upstreams[name]
		for _, p := range slices.Concat(lb.Check(&u, algorithms), health.Check(&u), checkHandlers(&u, o.handlers)) {
			add(p, "upstreams", name)
		}
	}
	table, err := match.New(cfg.Routes)
	var routes match.Problems
	if errors.As(err, &routes) {
		for _, p := range routes {
			add(config.Problem{Key: p.Key, Message: p.Message}, "routes", p.Route)
		}
	}
	headers := func(err error, parts ...any) {
		var list config.Errors
		if errors.As(err, &list) {
			for _, p := range list {
				add(p, parts...)
			}
		}
	}
	_, err = forward.NewForwarder(cfg.Forwarding)
	headers(err, "forwarding")
	if table != nil {
		for i := range cfg.Routes {
			_, err := forward.CompileRequest(cfg.Routes[i].RequestHeaders, table.Captures(i))
			headers(err, "routes", i, "request_headers")
			_, err = forward.CompileResponse(cfg.Routes[i].ResponseHeaders, table.Captures(i))
			headers(err, "routes", i, "response_headers")
		}
	}
	return problems
}
