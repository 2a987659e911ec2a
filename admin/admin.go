// Package admin is the operators' side of weir: an HTTP API on an address of its
// own that purges, drains, weighs and shows, and the client that the commands use.
// It knows of a weir only what the interface Weir offers. Who
// may use it is in access.go and guard.go: on an address that only this machine reaches everyone,
// else who has a token or a certificate. Package server serves it; main calls it.
package admin

import (
	"context"
	"errors"
	"time"

	"weir/config"
)

// Weir is what the API commands. Any goroutine may call its methods.
type Weir interface {
	// Purge removes the entries that p names. The error is ErrNoCache or nil.
	Purge(p Purge) (Purged, error)
	// Drain begins or ends the draining of a target, and returns its new state.
	// An error lists the upstreams or targets that exist.
	Drain(upstream, target string, on bool) (Target, error)
	// SetWeight changes the weight of a target, 0 for that of the configuration, and
	// returns the target. An error lists the upstreams or targets that exist.
	SetWeight(upstream, target string, weight int) (Target, error)
	// Upstreams returns the upstreams in the order of their names.
	Upstreams() []Upstream
	// Routes returns the routes in the order of the configuration.
	Routes() []Route
	// Statistics returns what was counted of the exchanges of a route, by its label, or of all if that is
	// nil. An error lists the routes that exist.
	Statistics(route *string) (Statistics, error)
	// Status returns how weir is.
	Status() Status
	// History returns how weir was after a time, as far as it remembers.
	History(since time.Time) History
	// Problems returns what works, but is most likely a mistake, in the configuration in force.
	Problems() []string
	// CacheStats returns the figures of the cache; the error is ErrNoCache or nil.
	CacheStats() (CacheStats, error)
	// CacheTop returns the first entries of the cache's memory by "hits" or "bytes"; the
	// error is ErrNoCache or nil.
	CacheTop(by string, limit int) ([]CacheEntry, error)
	// CacheWhy returns what the cache has for a URL; the error is ErrNoCache or nil.
	CacheWhy(url string) (CacheWhy, error)
	// Services returns what the registry has, in the order of names and versions.
	Services() []Service
	// Sources returns how the sources of targets and services are, by upstream.
	Sources() []Source
	// Certificates returns the certificates of all listeners.
	Certificates() []Certificate
	// Register adds an endpoint of a service to the registry, or changes it, and returns it. An
	// error says what cannot be registered, or is ErrNotKept.
	Register(name, version, url string, r Registration) (Endpoint, error)
	// Deregister removes an endpoint, and RemoveService a service with all endpoints that were
	// registered. Their errors are ErrNotRegistered, ErrNotKept or nil.
	Deregister(name, version, url string) error
	RemoveService(name, version string) error
	// ReportFailure says that an attempt to use an endpoint failed, and returns the endpoint. The
	// error is as that of Deregister.
	ReportFailure(name, version, url string) (Endpoint, error)
	// Config returns the configuration in force without secrets, as config.Show does.
	Config(all bool) map[string]any
	// Origins returns the same as a list of keys, with what has set each.
	Origins(all bool) []config.Origin
	// Explain returns what weir would do with a request, as JSON can have it. The error says what
	// is wrong with the question.
	Explain(q Question) (any, error)
	// Plan returns what a reload would do now, as JSON can have it. The error says why the reload
	// would fail.
	Plan() (any, error)
	// Inspector returns the recorder of exchanges.
	Inspector() Inspector
	// Replay sends a request again. original is the recorded exchange that q names, nil without. The
	// error is an ErrReplay, or says what is wrong with q.
	Replay(ctx context.Context, q Replay, original *ExchangeDetail) (Replayed, error)
}

// ErrNoCache is the answer to what is about entries when no route has a cache.
var ErrNoCache = errors.New("no route has a cache, so there is no entry")

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

// Purged is what came of a purge.
type Purged struct {
	// Purged is how many entries there were in this process's memory.
	Purged int `json:"purged"`
	// Pending are the names of the tiers of the cache, and of the other process of an upgrade, that could not be told yet: what
	// they keep may come back, and others who share them may still answer with it. They are
	// told as soon as they can be.
	Pending []string `json:"pending,omitempty"`
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

// PanicNote tells operators that an upstream is in panic mode.
const PanicNote = "panic mode: ejections are ignored, because so few targets are usable"

// Upstream is an upstream as operators see it.
type Upstream struct {
	Name    string   `json:"name"`
	Targets []Target `json:"targets"`
	// Reason says why the upstream has no targets; empty if it has some, or if the reason is not known.
	Reason string `json:"reason,omitempty"`
	// Running counts the exchanges that run, and Queued those that wait for a place.
	Running int `json:"running"`
	Queued  int `json:"queued"`
	// Breaker is the state of the circuit breaker, BreakerReason why it is not closed.
	Breaker       string `json:"breaker"`
	BreakerReason string `json:"breaker_reason,omitempty"`
	// PanicMode says that ejections are ignored, because so few targets are usable.
	PanicMode bool `json:"panic_mode,omitempty"`
	// Retries counts the retries and hedges of the last ten seconds, AllowedRetries how many there may be.
	Retries        int `json:"retries"`
	AllowedRetries int `json:"allowed_retries"`
}

// Target is a target as operators see it.
type Target struct {
	// Name is its URL without user information.
	Name string `json:"name"`
	// State is one of the names of package lb's states.
	State string `json:"state"`
	// Reason is why the state is not healthy; empty if that is not known.
	Reason string `json:"reason,omitempty"`
	// Weight is its share relative to the others; ConfiguredWeight is that without the
	// operator's, 0 if that is the same.
	Weight int `json:"weight"`
	// Sharers is how many targets have Weight together, in equal parts: the addresses of a name; 1 is
	// this target alone.
	Sharers          int `json:"sharers"`
	ConfiguredWeight int `json:"configured_weight,omitempty"`
	// Priority is the number of its group; 0 is used first.
	Priority int `json:"priority"`
	// InFlight counts the running exchanges.
	InFlight int `json:"in_flight"`
	// Succeeded and Failed count exchanges since the target was added;
	// FailedInARow counts the failed ones since the last that succeeded.
	Succeeded    int64 `json:"succeeded"`
	Failed       int64 `json:"failed"`
	FailedInARow int64 `json:"failed_in_a_row"`
	// Source is the URL, without secrets, of the source that found it; empty for a target of
	// the configuration. Seen is when the source last said so, and Kept why the target is
	// still used if the source does not.
	Source string     `json:"source,omitempty"`
	Seen   *time.Time `json:"seen,omitempty"`
	Kept   string     `json:"kept,omitempty"`
	// Latency is the moving average of the time to a response's head, in
	// seconds; 0 before the first response.
	Latency float64 `json:"latency_seconds"`
}

// What the API answers.
type (
	upstreams struct {
		Upstreams []Upstream `json:"upstreams"`
	}
	failure struct {
		Error string `json:"error"`
	}
)
