// Package lb chooses targets. An Upstream is a named set of targets with one
// balancing algorithm: Acquire picks a usable target for an attempt and counts
// it, Release gives it back and says how it went; ReleaseBetween does so between two
// attempts of an exchange. The package also holds what
// is decided from these outcomes: the retry budget, the hedge delay, in-flight
// limits and the circuit breaker.
//
// It chooses and does nothing else: a target's connections are a Transport that
// the caller makes. It neither probes nor discovers: packages health and discover push into it
// with SetUp, SetDown, Eject, SetReachable and SetEndpoints. Package proxy
// calls Acquire and Release.
//
// # What belongs to whom
//
// A generation (Upstream) has its configuration and its set of targets. All generations
// of one upstream share a core: the endpoints that were found, position, running
// exchanges, budget, queue and breaker. All generations that know a target of the same
// identity (URL, and settings of connections) share its live part: connections, counts,
// health, drain, and the owner's Attachment. At any time
//
//	set of a generation = its static targets + the endpoints that were found
//
// and in older generations those besides that sources had found which the newest has no more.
//
// # Locks
//
// A pick takes no lock and allocates nothing: the set of targets is an
// immutable snapshot that one pointer leads to, and what changes about a target is
// atomic. What changes rarely (sets, health) is changed with core.mu held. NewTransport,
// NewAttachment and algorithms are called with core.mu held; Retire, OnChange and the
// functions of a Watcher are called without it.
//
// # Interleavings
//
// A target goes while an exchange picks it:
//  1. A pick loads the set.
//  2. SetEndpoints replaces the set, and releases a target that is gone. If no exchange
//     runs on the target, its live part is retired.
//  3. The pick chooses that target: holding the live part fails, and with it the pick.
//  4. The pick sees that there is another set, and picks again.
//
// A target goes while an exchange ends on it: package refs sees to it that the one who
// releases last retires the live part, once.
//
// A target comes back while an exchange still runs on it: no set has its live part, so
// it gets a new one, which starts afresh. The old one is retired with that exchange.
//
// A reload while SetEndpoints runs: both hold core.mu.
//  1. NewUpstream takes the endpoints that were found, and is among the open generations
//     before it lets go of core.mu: a later SetEndpoints replaces its set too.
//  2. SetEndpoints first: NewUpstream finds its endpoints in the core.
//
// A reload that fails: its generation was open until Close. If SetEndpoints ran
// meanwhile, older generations may have adopted live parts that it made, and hold them.
package lb
