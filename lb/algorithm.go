package lb

import (
	"slices"
	"strconv"
	"sync/atomic"

	"weir/config"
)

// Picker chooses among the targets of one priority group. Many goroutines call
// it at once; it must not lock, allocate or wait, and must keep nothing of p. It
// returns nil if p admits none of the targets. The caller counts.
type Picker interface {
	Pick(p *Pick) *Target
}

// Algorithm is a balancing algorithm. Package lb/balance has weir's own; programs
// that embed weir may have others, with the same means.
type Algorithm struct {
	// Name is what the key balance says.
	Name string
	// New makes a Picker for a set of targets. It is called off the request path,
	// whenever the set changes, and not when a target's health does: Pick.Admits
	// tells that for each pick. It must not be slow, because a lock is held. An error, a panic and a nil Picker
	// refuse the set: a start or a reload fails with it, and what was found by discovery is not used.
	New func(in Input) (Picker, error)
	// Options returns a pointer to a new struct that holds the defaults of the
	// algorithm's own options, with tags such as `toml:"choices"`; nil means that
	// the algorithm has none. What the table balance_options says is written to
	// the struct, and New gets it as Input.Options. If the pointer has a method
	// Check() []config.Problem, the method is called before and says what is
	// wrong, with keys of the table.
	Options func() any
	// NeedsKey says that the pickers use Pick.Key, which is made from what
	// hash.by names.
	NeedsKey bool
}

// Input is what an Algorithm makes a Picker from. All of it may be kept.
type Input struct {
	// Targets are the members of one priority group, at least one, in the
	// order of the configuration. It is never changed.
	Targets []*Target
	// Config is the upstream's configuration.
	Config *config.Upstream
	// Options is what Algorithm.Options returned, with the values of the file;
	// nil if the algorithm has no options.
	Options any
	// Position counts picks. It is the same for all sets of targets and all
	// generations of an upstream.
	Position *atomic.Uint64
	// Rand returns a random number; it may be called by many goroutines at once.
	Rand func() uint64
	// Running returns the number of running exchanges of the whole upstream.
	Running func() int64
}

// terms is what a configuration says by names that package config does not know.
type terms struct {
	algorithm Algorithm
	options   any
	hash      HashSource
	retry     *RetryPolicy
	adaptive  bool
	// failures are the statuses that are failures of the target.
	failures statusSet
}

// Check returns what is wrong with c that only this package and the algorithms
// know: names of algorithms and their options, of what a hash is made from, of
// conditions for a retry. The keys are below the upstream's own.
func Check(c *config.Upstream, algorithms []Algorithm) []config.Problem {
	_, problems := readTerms(c, algorithms)
	return problems
}

func readTerms(c *config.Upstream, algorithms []Algorithm) (t terms, problems []config.Problem) {
	report := func(p *config.Problem) {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	// The embedder's own come last, and win.
	for _, a := range slices.Backward(algorithms) {
		if a.Name == c.Balance {
			t.algorithm = a
			break
		}
	}
	if t.algorithm.New == nil {
		report(unknownAlgorithm(c.Balance, algorithms))
	} else {
		var wrong []config.Problem
		t.options, wrong = t.algorithm.read(c.BalanceOptions)
		problems = append(problems, wrong...)
	}
	if t.algorithm.NeedsKey {
		var p *config.Problem
		t.hash, p = parseHashSource(c.Hash.By)
		report(p)
	}
	retry, wrong := newRetryPolicy(&c.Retry)
	t.retry, problems = retry, append(problems, wrong...)
	for i, text := range c.Health.Passive.Statuses {
		if !t.failures.add(text) {
			problems = append(problems, config.Problem{
				Key:   config.Key("health", "passive", "statuses", i),
				Found: strconv.Quote(text),
				Want:  `a status from "400" to "599"`,
			})
		}
	}
	t.adaptive = c.Limits.Adaptive == adaptiveGradient
	report(checkAdaptive(c.Limits.Adaptive))
	return t, problems
}

// read returns the options that table sets.
func (a *Algorithm) read(table config.Table) (options any, problems []config.Problem) {
	if a.Options == nil {
		for _, p := range table.Decode(&struct{}{}) {
			p.Want = "no options, because " + strconv.Quote(a.Name) + " has none"
			problems = append(problems, p)
		}
	} else {
		options = a.Options()
		problems = table.Decode(options)
		if c, ok := options.(interface{ Check() []config.Problem }); ok && len(problems) == 0 {
			problems = c.Check()
		}
	}
	for i := range problems {
		problems[i].Key = "balance_options." + problems[i].Key
	}
	return options, problems
}

func unknownAlgorithm(name string, algorithms []Algorithm) *config.Problem {
	var names []string
	for _, a := range algorithms {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	p := config.NotOneOf("balance", name, names)
	return &p
}

// AdaptiveLimits returns the values of limits.adaptive.
func AdaptiveLimits() []string { return []string{adaptiveOff, adaptiveGradient} }

func checkAdaptive(value string) *config.Problem {
	names := AdaptiveLimits()
	if slices.Contains(names, value) {
		return nil
	}
	p := config.NotOneOf(config.Key("limits", "adaptive"), value, names)
	return &p
}
