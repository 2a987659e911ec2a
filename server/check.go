package server

import (
	"errors"
	"slices"
	"strconv"

	"weir/cache"
	"weir/config"
	"weir/health"
	"weir/internal/access"
	"weir/internal/accesslog"
	"weir/internal/forward"
	"weir/internal/match"
	"weir/internal/output"
	"weir/lb"
)

// Check reports everything that New would refuse, without opening anything.
// The error is of type config.Errors: every problem with the place where it
// stands in the file.
// opts are those that New will get.
func Check(cfg *config.Config, opts ...Option) error {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return check(cfg, &o)
}

// CheckParts reports what is wrong with a configuration beyond what its own
// validation finds, whether or not that finds anything. It is for config.Load,
// which then reports all of it at once.
func CheckParts(cfg *config.Config) config.Errors { return checkParts(cfg, new(options)) }

func check(cfg *config.Config, o *options) error {
	if o.checked {
		return nil
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	return slices.Concat(checkParts(cfg, o), checkSources(cfg, o.schemes), checkIssuer(cfg, o)).Err()
}

func checkParts(cfg *config.Config, o *options) config.Errors {
	var problems config.Errors
	add := func(found config.Errors, parts ...any) { problems = append(problems, found.Below(parts...)...) }
	add(output.CheckName(cfg.Log.Output, output.Stderr, output.Stdout), "log")
	add(accesslog.Check(&cfg.AccessLog), "access_log")
	add(checkAdmin(&cfg.Admin), "admin")
	seen := make(map[config.Address]bool)
	for i := range cfg.Listeners {
		// With port 0 too, where the kernel would find two ports: a reload knows
		// listeners by their addresses.
		a := cfg.Listeners[i].Address
		if seen[a] {
			add(config.Errors{{Key: "address", Found: strconv.Quote(string(a)), Want: "another than a listener before has"}}, "listeners", i)
		}
		seen[a] = true
	}
	algorithms := o.balancing()
	for name := range cfg.Upstreams {
		u := cfg.Upstreams[name]
		add(lb.Check(&u, algorithms), "upstreams", name)
		add(health.Check(&u), "upstreams", name)
		add(checkHandlers(&u, o.handlers), "upstreams", name)
	}
	add(cache.Check(&cfg.Cache), "cache")
	_, err := match.New(cfg.Routes)
	problems = append(problems, problemsOf(err)...)
	_, err = forward.NewForwarder(cfg.Forwarding)
	add(problemsOf(err), "forwarding")
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		add(forward.CheckRoute(r, r.Captures()), "routes", i)
		if r.BasicAuth != nil {
			add(access.CheckUsers(r.BasicAuth), "routes", i, "basic_auth")
		}
		if r.Cache != nil && r.Cache.Enabled {
			add(cache.CheckRoute(r.Cache), "routes", i, "cache")
		}
	}
	return cfg.Locate(problems)
}

// Names are the values of the keys that packages other than config know, by the path of
// the key without indexes and names, for config.Schema.
func Names() map[string][]string {
	names := cache.Names()
	var algorithms []string
	for _, a := range new(options).balancing() {
		algorithms = append(algorithms, a.Name)
	}
	names["upstreams.balance"] = algorithms
	names["upstreams.health.probe"] = health.Probes()
	names["upstreams.limits.adaptive"] = lb.AdaptiveLimits()
	for _, table := range []string{"listeners", "upstreams.tls"} {
		names[table+".ciphers"], names[table+".curves"] = config.CipherNames(), config.CurveNames()
	}
	return names
}

// problemsOf returns the problems that err consists of; nil if err is nil.
func problemsOf(err error) config.Errors {
	problems, _ := errors.AsType[config.Errors](err)
	return problems
}
