package lb

import (
	"maps"
	"slices"
	"sync/atomic"

	"weir/config"
)

// Picker chooses among the targets of one priority group. It is called by many
// goroutines at once, must not lock, allocate or wait, and must keep nothing of
// p. It returns nil if p admits none of the targets. The caller counts.
type Picker interface {
	Pick(p *Pick) *Target
}

// Algorithm makes a Picker for a set of targets. It is called off the request
// path, whenever the set changes, and not when a target's health does: Admits
// tells that for each pick.
type Algorithm func(in Input) (Picker, error)

// Input is what an Algorithm makes a Picker from. All of it may be kept.
type Input struct {
	// Targets are the members of one priority group, at least one, in the
	// order of the configuration. It is never changed.
	Targets []*Target
	// Config is the upstream's configuration.
	Config *config.Upstream
	// Position counts picks. It is the same for all sets of targets and all
	// generations of an upstream.
	Position *atomic.Uint64
	// Rand returns a random number; it may be called by many goroutines at once.
	Rand func() uint64
	// Running returns the number of running exchanges of the whole upstream.
	Running func() int64
	// Latency returns the average latency of the whole upstream in nanoseconds;
	// 0 if nothing is known yet.
	Latency func() float64
}

// builtin is one of weir's own algorithms.
type builtin struct {
	name  string
	build Algorithm
}

// builtins returns weir's own algorithms: the only list of their names.
func builtins() []builtin {
	return []builtin{
		{"round_robin", newRoundRobin},
		{"random", newRandom},
		{"least_connections", newLeastConnections},
		{"p2c", newPowerOfTwo},
		{"ewma", newPeakEWMA},
		{"hash", newHash},
	}
}

// Algorithms returns the names of weir's own algorithms, the default first.
func Algorithms() []string {
	var names []string
	for _, b := range builtins() {
		names = append(names, b.name)
	}
	return names
}

// algorithm finds an algorithm by its name, the embedder's own first.
func algorithm(name string, own map[string]Algorithm) (Algorithm, error) {
	if a := own[name]; a != nil {
		return a, nil
	}
	for _, b := range builtins() {
		if b.name == name {
			return b.build, nil
		}
	}
	names := append(Algorithms(), slices.Sorted(maps.Keys(own))...)
	return nil, unknownAlgorithm(name, names)
}
