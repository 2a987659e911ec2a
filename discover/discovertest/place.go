// Package discovertest shows that traffic follows a source: a weir of its own sends requests to
// targets that a source finds, while what the source reads changes, stops, breaks and comes back.
// Tests of sources use it, and the command bench/cmd/discovery.
package discovertest

import (
	"net"
	"time"

	"weir/discover"
	"weir/lb"
)

// Place is where the source under test finds endpoints: a registry, a name server or a file.
type Place struct {
	// URL is what weir has as its target, if endpoints have this port.
	URL func(port string) string
	// Schemes has what reads URL.
	Schemes []discover.Scheme
	// Resolver, if it is not nil, asks the name servers for host names in URL.
	Resolver *net.Resolver
	// Set makes it have these endpoints, which all have the same port.
	Set func([]lb.Endpoint) error
	// Unweighted says that it knows no weights: only the configuration gives it one.
	Unweighted bool
	// Stop ends the server without a word, and Start starts it again with what it had.
	Stop, Start func() error
	// Cut ends all connections to the server. Where weir has no connection to it, what the server says is lost for a moment.
	Cut func() error
	// Break makes it answer nonsense until Mend.
	Break, Mend func() error
	// Documents are its parts of the configuration; nil if it cannot have any.
	Documents *Documents
}

// Options are how much is to be shown.
type Options struct {
	// Rate is the number of requests each second.
	Rate int
	// Gone is how long the server stays away in the step of that name.
	Gone time.Duration
	// Broken is how long it answers nonsense.
	Broken time.Duration
}

// Step is one thing that happened.
type Step struct {
	Name string
	// After is the time until traffic followed the change.
	After time.Duration
	// Requests and Failed count the requests of this step.
	Requests, Failed int
}
