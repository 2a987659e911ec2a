package cache

import (
	"weir/cache/evict"
	"weir/cache/rule"
	"weir/config"
)

// Check returns what NewStore would refuse, with keys below the cache's own.
func Check(c *config.Cache) (problems config.Errors) {
	if _, err := evict.New[*Entry](c.Policy); err != nil {
		problems = append(problems, config.Problem{Key: "policy", Message: err.Error()})
	}
	if err := checkSizes(c); err != nil {
		problems = append(problems, config.Problem{Key: "max_object", Message: err.Error()})
	}
	return problems
}

// CheckRoute returns what is wrong with a route's cache policy, with keys below the route's cache.
func CheckRoute(c *config.RouteCache) config.Errors {
	return rule.Check(c)
}

// Names are the values of the keys that this package and its parts know, by key.
func Names() map[string][]string {
	return map[string][]string{
		"cache.policy": evict.Policies(), "routes.cache.set_cookie": rule.SetCookieRules(), "routes.cache.fill": rule.FillRules(),
	}
}
