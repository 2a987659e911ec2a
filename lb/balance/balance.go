// Package balance is weir's own balancing algorithms. They use what package lb
// exports and nothing else, so that programs which embed weir can write their own
// with the same means. Package server gives both to lb.
package balance

import "weir/lb"

// Algorithms returns weir's own algorithms, the default first: the only list of
// their names.
func Algorithms() []lb.Algorithm {
	return []lb.Algorithm{
		{Name: "round_robin", New: newRoundRobin},
		{Name: "random", New: newRandom},
		{Name: "least_connections", New: newLeastConnections},
		{Name: "p2c", New: newPowerOfTwo, Options: func() any { return &powerOptions{Choices: 2} }},
		{Name: "ewma", New: newPeakEWMA},
		{Name: "hash", New: newHash, NeedsKey: true},
	}
}

// first returns the first target from start on, round the end, that p admits,
// or nil.
func first(p *lb.Pick, targets []*lb.Target, start int) *lb.Target {
	for _, t := range targets[start:] {
		if p.Admits(t) {
			return t
		}
	}
	for _, t := range targets[:start] {
		if p.Admits(t) {
			return t
		}
	}
	return nil
}
