package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"weir/internal/field"
)

// HashBalance is what balance = "hash" makes its key from.
type HashBalance struct {
	// By is "client_address", "path", "header:NAME", "cookie:NAME" or
	// "query:NAME". An exchange without such a value goes to any target.
	By string `toml:"by"`
	// BoundedLoad is how many times the average number of running exchanges a
	// target may have before its keys go to other targets; 0 means no bound,
	// other values are above 1.
	BoundedLoad float64 `toml:"bounded_load"`
}

// Sticky sends a client back to the target that answered it before. It works
// with every algorithm, which chooses for clients without a cookie and for
// those whose target is gone.
type Sticky struct {
	// Cookie is the cookie's name; empty means off.
	Cookie string `toml:"cookie"`
	// Path is the cookie's Path.
	Path string `toml:"path"`
	// MaxAge is the cookie's Max-Age; 0 means until the browser closes.
	MaxAge Duration `toml:"max_age"`
	// Secure is "auto" (if the client's scheme is https, behind trusted proxies too), "always" or "never".
	Secure string `toml:"secure"`
	// HTTPOnly hides the cookie from scripts.
	HTTPOnly bool `toml:"http_only"`
	// SameSite is "lax", "strict", "none", or "" to send none.
	SameSite string `toml:"same_site"`
	// Secret keys the cookie's values, which could otherwise be guessed from the
	// URLs of the targets. Several weirs with the same secret give a target the
	// same value.
	Secret string `toml:"secret" secret:"true"`
}

// Retry is when and how often an exchange is tried again on another target. No
// exchange is tried again after the first byte of a response reached the client.
type Retry struct {
	// Attempts is how often an exchange is tried at most, the first included: 1 to 8.
	// Above 1, failed connects do not count, up to 8 attempts in all.
	Attempts int `toml:"attempts"`
	// On names what is tried again: "connect", "reset", "timeout", status codes
	// such as "503", and "unavailable", the status of gRPC. Only requests that are safe to repeat are tried again,
	// see docs/balancing.md; after "connect", which sent nothing, and "unavailable", all are.
	On []string `toml:"on"`
	// TryTimeout bounds one attempt up to its response's head; 0 means that
	// only the upstream's timeouts bound it.
	TryTimeout Duration `toml:"try_timeout"`
	// Backoff is the wait before the second attempt; it doubles for each
	// further one. The wait is a random time from half of it to all of it. The
	// first retry after a failed connect never waits.
	Backoff Duration `toml:"backoff"`
	// BackoffMax bounds Backoff as it grows.
	BackoffMax Duration `toml:"backoff_max"`
	// RetryAfter is the longest Retry-After that weir waits for; a response that
	// asks for more is passed on to the client. 0 means that weir does not wait.
	RetryAfter Duration `toml:"retry_after"`
	// Body is how much of a request's body is kept for another attempt; a
	// longer one is not tried again once its end has been read from the client.
	Body Size `toml:"body"`
	// Budget is the share of recent exchanges that may be tried again: 0 to 1.
	// Hedges count too.
	Budget float64 `toml:"budget"`
	// BudgetFloor is how many retries per ten seconds are allowed even if
	// Budget is used up, for upstreams with few requests.
	BudgetFloor int `toml:"budget_floor"`
	// Hedge sends a second attempt to another target when the first is slower
	// than this share of the upstream's recent exchanges: 0.5 to 0.999; 0 means off.
	Hedge float64 `toml:"hedge"`
	// HedgeMin is the shortest wait before a hedge.
	HedgeMin Duration `toml:"hedge_min"`
}

// Health is how weir finds out which targets work.
type Health struct {
	// Probe is "off", "http", "tcp" or "grpc".
	Probe string `toml:"probe"`
	// Path is the request target of an http probe.
	Path string `toml:"path"`
	// Host is the Host field of an http or grpc probe; empty means the target's.
	Host string `toml:"host"`
	// Status are the codes and ranges ("200-299") that an http probe expects.
	Status []string `toml:"status"`
	// Body is a text that the first 64 KiB of an http probe's response body must
	// contain; empty means that the body is not read.
	Body string `toml:"body"`
	// Service is what a grpc probe asks for; empty means the server as a whole.
	Service string `toml:"service"`
	// Interval is the time from one probe to the next.
	Interval Duration `toml:"interval"`
	// Jitter moves each probe by up to this share of Interval: 0 to 1.
	Jitter float64 `toml:"jitter"`
	// Timeout bounds one probe.
	Timeout Duration `toml:"timeout"`
	// Rise is how many probes in a row must succeed for a target to be up again.
	Rise int `toml:"rise"`
	// Fall is how many probes in a row must fail for a target to be down.
	Fall int `toml:"fall"`
	// Wait bounds how long a start waits for the first verdict on each target;
	// 0 means that targets count as up until a probe says otherwise.
	Wait Duration `toml:"wait"`
	// PanicBelow is the share of usable targets, of those that could be used but for
	// their ejection, below which ejections are ignored, because so many failures at once
	// are more likely a matter of too much load on too few: 0 to 1; 0 means never. What
	// probes say holds all the same.
	PanicBelow float64 `toml:"panic_below"`
	// Passive learns from the exchanges themselves.
	Passive Passive `toml:"passive"`
}

// Passive is what weir learns about targets from exchanges.
type Passive struct {
	// Failures is how many exchanges in a row must fail (no response, a broken
	// one, or one of Statuses) for a target to be ejected; 0 means off.
	Failures int `toml:"failures"`
	// Statuses are the status codes that are failures of the target. 500 is none by
	// default, because it may be the fault of one page.
	Statuses []string `toml:"statuses"`
	// Outlier ejects a target whose success rate over Interval is this many
	// standard deviations below the mean of all; 0 means off.
	Outlier float64 `toml:"outlier"`
	// OutlierRequests is how many exchanges a target must have had in Interval to be judged.
	OutlierRequests int `toml:"outlier_requests"`
	// Interval is the time between two judgements of outliers.
	Interval Duration `toml:"interval"`
	// Eject is how long a target is ejected at first; it doubles each time and
	// shrinks again as the target behaves.
	Eject Duration `toml:"eject"`
	// EjectMax bounds Eject as it grows.
	EjectMax Duration `toml:"eject_max"`
	// MaxEjected is the largest share of targets that may be ejected at the same
	// time: 0 to 1. One target may always be ejected, but never the last usable one.
	MaxEjected float64 `toml:"max_ejected"`
	// Redial is the longest wait before a target that could not be connected to
	// is dialled again; the first wait is a tenth of it. There is one dial at a
	// time, and no exchange waits for it.
	Redial Duration `toml:"redial"`
}

// UpstreamLimits bound what is sent to an upstream at the same time. 0 means no bound.
type UpstreamLimits struct {
	// InFlight bounds the running exchanges of the upstream. An exchange keeps its place
	// between attempts.
	InFlight int `toml:"in_flight"`
	// TargetInFlight bounds the running exchanges of each target.
	TargetInFlight int `toml:"target_in_flight"`
	// Queue is how many exchanges may wait until the limits let them go on; the
	// next one is answered with 503 immediately. Retries wait before the others, and as many
	// more of them may.
	Queue int `toml:"queue"`
	// QueueTimeout bounds the wait; after it the exchange is answered with 503.
	QueueTimeout Duration `toml:"queue_timeout"`
	// RetryAfter is the Retry-After of these 503 responses.
	RetryAfter Duration `toml:"retry_after"`
	// Background bounds the requests that no client waits for: those that validate
	// a cached response which was sent although stale, and fetches for the cache whose
	// clients have left. Beyond it such a response is sent without being validated, and
	// such a fetch ends.
	Background int `toml:"background"`
	// Adaptive is "off", or "gradient": the in-flight bound of each target
	// follows its latency, between 1 and TargetInFlight (1,000 if that is 0).
	Adaptive string `toml:"adaptive"`
}

// Breaker stops sending to an upstream that mostly fails.
type Breaker struct {
	// Failures is the share of exchanges that must fail within Window for the
	// breaker to open: 0 to 1; 0 means off.
	Failures float64 `toml:"failures"`
	// Requests is how many exchanges Window must have for the breaker to open.
	Requests int `toml:"requests"`
	// Window is the time before now whose exchanges count.
	Window Duration `toml:"window"`
	// Open is how long nothing is sent; it doubles each time the upstream still
	// fails afterwards, up to ten times its value.
	Open Duration `toml:"open"`
	// HalfOpen is how many exchanges are let through after Open. All of them must
	// succeed for the breaker to close.
	HalfOpen int `toml:"half_open"`
}

// setBalanceDefaults sets the defaults of the keys in this file.
func (u *Upstream) setBalanceDefaults() {
	u.Balance = "round_robin"
	u.Hash = HashBalance{By: "client_address", BoundedLoad: 0}
	u.Sticky = Sticky{Path: "/", Secure: "auto", HTTPOnly: true, SameSite: "lax"}
	u.Retry = Retry{
		Attempts:    2,
		On:          []string{"connect", "reset", "timeout", "503"},
		Backoff:     Duration(25 * time.Millisecond),
		BackoffMax:  Duration(time.Second),
		RetryAfter:  Duration(time.Second),
		Body:        64 << 10,
		Budget:      0.2,
		BudgetFloor: 10,
		HedgeMin:    Duration(5 * time.Millisecond),
	}
	u.Health = Health{
		Probe:      "off",
		Path:       "/",
		Status:     []string{"200-399"},
		Interval:   Duration(5 * time.Second),
		Jitter:     0.1,
		Timeout:    Duration(2 * time.Second),
		Rise:       2,
		Fall:       3,
		PanicBelow: 0.3,
		Passive: Passive{
			Failures:        5,
			Statuses:        []string{"502", "503", "504"},
			Outlier:         0,
			OutlierRequests: 100,
			Interval:        Duration(10 * time.Second),
			Eject:           Duration(10 * time.Second),
			EjectMax:        Duration(5 * time.Minute),
			MaxEjected:      0.5,
			Redial:          Duration(time.Second),
		},
	}
	u.Limits = UpstreamLimits{
		Background:   64,
		QueueTimeout: Duration(time.Second),
		RetryAfter:   Duration(time.Second),
		Adaptive:     "off",
	}
	u.Breaker = Breaker{
		Requests: 20,
		Window:   Duration(10 * time.Second),
		Open:     Duration(5 * time.Second),
		HalfOpen: 3,
	}
}

func (h *HashBalance) validate(at keyPath) {
	if h.BoundedLoad != 0 && !(h.BoundedLoad > 1 && h.BoundedLoad <= 100) {
		at.wrong("bounded_load", fmt.Sprint(h.BoundedLoad), "0 for no bound, or more than 1 and up to 100")
	}
}

func (s *Sticky) validate(at keyPath) {
	if s.Cookie != "" && !field.IsToken(s.Cookie) {
		at.wrong("cookie", strconv.Quote(s.Cookie), "the name of a cookie: letters, digits and !#$%&'*+-.^_`|~")
	}
	if !strings.HasPrefix(s.Path, "/") || strings.ContainsAny(s.Path, ";\x7f") || hasControl(s.Path) {
		at.wrong("path", strconv.Quote(s.Path), `a path that begins with "/" and has no ";"`)
	}
	at.oneOf("secure", s.Secure, "auto", "always", "never")
	at.oneOf("same_site", s.SameSite, "lax", "strict", "none", "")
	if s.SameSite == "none" && s.Secure == "never" {
		at.wrong("secure", `"never"`, `"auto" or "always", because browsers drop a cookie of same_site = "none" without it`)
	}
}

func (r *Retry) validate(at keyPath) {
	at.between("attempts", r.Attempts, 1, 8)
	if r.BackoffMax < r.Backoff {
		at.wrong("backoff_max", strconv.Quote(r.BackoffMax.String()), "at least backoff, "+strconv.Quote(r.Backoff.String()))
	}
	at.bytes("body", r.Body, 0, 1<<30)
	at.upTo("budget", r.Budget, 1)
	if r.Hedge != 0 && !(r.Hedge >= 0.5 && r.Hedge <= 0.999) {
		at.wrong("hedge", fmt.Sprint(r.Hedge), "0 for off, or 0.5 to 0.999")
	}
	if r.Hedge != 0 && r.Attempts == 1 {
		at.wrong("hedge", fmt.Sprint(r.Hedge), "0, because attempts = 1 leaves no second attempt")
	}
}

func (h *Health) validate(at keyPath) {
	if !strings.HasPrefix(h.Path, "/") || strings.HasPrefix(h.Path, "//") || strings.ContainsAny(h.Path, " \x7f#") || hasControl(h.Path) {
		at.wrong("path", strconv.Quote(h.Path), `a path that begins with one "/", without spaces`)
	}
	if h.Host != "" && !validAuthority(h.Host) {
		at.wrong("host", strconv.Quote(h.Host), "a host with an optional port, or nothing for the target's")
	}
	at.positive("interval", h.Interval)
	at.positive("timeout", h.Timeout)
	at.upTo("jitter", h.Jitter, 1)
	at.between("rise", h.Rise, 1, 1000)
	at.between("fall", h.Fall, 1, 1000)
	at.upTo("panic_below", h.PanicBelow, 1)
}

func (p *Passive) validate(at keyPath) {
	at.upTo("outlier", p.Outlier, 100)
	at.between("outlier_requests", p.OutlierRequests, 1, 1_000_000)
	at.positive("interval", p.Interval)
	at.positive("eject", p.Eject)
	if p.EjectMax < p.Eject {
		at.wrong("eject_max", strconv.Quote(p.EjectMax.String()), "at least eject, "+strconv.Quote(p.Eject.String()))
	}
	at.upTo("max_ejected", p.MaxEjected, 1)
	at.positive("redial", p.Redial)
}

func (l *UpstreamLimits) validate(at keyPath) {
	if l.Queue == 0 {
		return
	}
	at.positive("queue_timeout", l.QueueTimeout)
	if l.InFlight == 0 && l.TargetInFlight == 0 && l.Adaptive == "off" {
		at.wrong("queue", strconv.Itoa(l.Queue), "0, because nothing waits without in_flight, target_in_flight or adaptive")
	}
}

func (b *Breaker) validate(at keyPath) {
	at.upTo("failures", b.Failures, 1)
	at.between("requests", b.Requests, 1, 1_000_000)
	at.positive("window", b.Window)
	at.positive("open", b.Open)
	at.between("half_open", b.HalfOpen, 1, 1000)
}
