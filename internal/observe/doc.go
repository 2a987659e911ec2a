// Package observe takes metrics from the requests and responses that pass, as
// [[routes.metrics]] of the configuration says: a number and labels out of a body of JSON,
// an event stream, or a head. It watches by hooks and taps of the core, holds nothing back
// and changes nothing: what cannot be looked into is counted as skipped.
//
// A rule (rule.go) is one such table. A recorder (recorder.go) keeps the beginning of a body for
// the rules of its route until the exchange is over. A family (family.go) is what is counted: the
// series of one name in one route, bounded in number (top.go).
package observe
