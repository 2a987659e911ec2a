// Package admin is the operators' side of weir: an HTTP API on an address of its
// own that purges, drains and shows targets, and the client that weir purge uses.
// It knows of caches and upstreams only what the interface Weir offers. It has no
// authentication: its address must not be public. Package server serves it; main
// calls it.
package admin

import "errors"

// Weir is what the API commands. Any goroutine may call its methods.
type Weir interface {
	// Purge removes the entries that p names and returns how many of them were in
	// this process's memory. The error is ErrNoCache or nil.
	Purge(p Purge) (int, error)
	// Drain begins or ends the draining of a target, and returns its new state.
	// An error lists the upstreams or targets that exist.
	Drain(upstream, target string, on bool) (Target, error)
	// Upstreams returns the upstreams in the order of their names.
	Upstreams() []Upstream
}

// ErrNoCache is the answer to a purge when no route has a cache.
var ErrNoCache = errors.New("no route has a cache, so there is nothing to purge")

// Purge names cache entries: exactly one of the first five is set.
type Purge struct {
	// URL is "https://host/target"; it names all variants of one resource.
	URL string `json:"url,omitempty"`
	// Host is the host as clients send it, "host" or "host:port".
	Host string `json:"host,omitempty"`
	// Prefix is the start of URLs, "https://host/path/".
	Prefix string `json:"prefix,omitempty"`
	// Group is a cache group (RFC 9875) or surrogate key.
	Group string `json:"group,omitempty"`
	// All names everything.
	All bool `json:"all,omitempty"`
	// Soft makes the entries stale instead of removing them.
	Soft bool `json:"soft,omitempty"`
}

// Named returns what p names: "url", "host", "prefix", "group" or "all", and the name.
func (p *Purge) Named() (what, name string) {
	switch {
	case p.URL != "":
		return "url", p.URL
	case p.Host != "":
		return "host", p.Host
	case p.Prefix != "":
		return "prefix", p.Prefix
	case p.Group != "":
		return "group", p.Group
	}
	return "all", ""
}

// Upstream is an upstream as operators see it.
type Upstream struct {
	Name    string   `json:"name"`
	Targets []Target `json:"targets"`
}

// Target is a target as operators see it.
type Target struct {
	// Name is its URL without user information.
	Name string `json:"name"`
	// State is one of the names of package lb's states.
	State string `json:"state"`
	// Reason is why the state is not healthy; empty if that is not known.
	Reason string `json:"reason,omitempty"`
	// Weight is its share relative to the others.
	Weight int `json:"weight"`
	// Priority is the number of its group; 0 is used first.
	Priority int `json:"priority"`
	// InFlight counts the running exchanges.
	InFlight int `json:"in_flight"`
	// Succeeded and Failed count exchanges since the target was added;
	// FailedInARow counts the failed ones since the last that succeeded.
	Succeeded    int64 `json:"succeeded"`
	Failed       int64 `json:"failed"`
	FailedInARow int64 `json:"failed_in_a_row"`
	// Latency is the moving average of the time to a response's head, in
	// seconds; 0 before the first response.
	Latency float64 `json:"latency_seconds"`
}

// What the API answers.
type (
	purged struct {
		Purged int `json:"purged"`
	}
	upstreams struct {
		Upstreams []Upstream `json:"upstreams"`
	}
	failure struct {
		Error string `json:"error"`
	}
)
