package lb

import (
	"slices"
	"strconv"

	"weir/config"
)

// Check returns what is wrong with c that only this package knows: names of
// algorithms, of what a hash is made from, of conditions for a retry. The keys
// are below the upstream's own. own are the names of the embedder's algorithms.
func Check(c *config.Upstream, own ...string) (problems []config.Problem) {
	names := append(Algorithms(), own...)
	if !slices.Contains(names, c.Balance) {
		problems = append(problems, unknownAlgorithm(c.Balance, names))
	}
	if c.Balance == "hash" {
		if _, p := parseHashSource(c.Hash.By); p != nil {
			problems = append(problems, *p)
		}
	}
	for i, name := range c.Retry.On {
		if p := new(RetryPolicy).add(name); p != nil {
			p.Key = config.Key("retry", "on", i)
			problems = append(problems, *p)
		}
	}
	if p := checkAdaptive(c.Limits.Adaptive); p != nil {
		problems = append(problems, *p)
	}
	return problems
}

func unknownAlgorithm(name string, names []string) config.Problem {
	return config.Problem{
		Key:   "balance",
		Found: strconv.Quote(name),
		Want:  config.OneOf(names),
		Hint:  config.Nearest(name, names),
	}
}

func checkAdaptive(value string) *config.Problem {
	names := []string{adaptiveOff, adaptiveGradient}
	if slices.Contains(names, value) {
		return nil
	}
	return &config.Problem{
		Key:   config.Key("limits", "adaptive"),
		Found: strconv.Quote(value),
		Want:  config.OneOf(names),
		Hint:  config.Nearest(value, names),
	}
}
