package match

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// New compiles routes. The error is always of type config.Errors and names every
// fault, not only the first; its keys are those of config.Config.Routes.
func New(routes []config.Route) (*Table, error) {
	c := compiler{
		table:    &Table{exact: map[string]*site{}, wildcard: map[string]*site{}},
		routes:   routes,
		problems: make([]config.Errors, len(routes)),
		lists:    map[*[]entry]struct{}{},
		alive:    make([]bool, len(routes)),
		rival:    make([]int, len(routes)),
	}
	for i := range routes {
		c.add(i)
	}
	for list := range c.lists {
		slices.SortStableFunc(*list, func(a, b entry) int {
			if d := b.conditions.count() - a.conditions.count(); d != 0 {
				return d
			}
			return a.route - b.route
		})
		c.judge(*list)
	}
	var all config.Errors
	for i := range routes {
		c.reportDead(i)
		slices.SortFunc(c.problems[i], func(a, b config.Problem) int {
			return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Message, b.Message))
		})
		all = append(all, c.problems[i].Below("routes", i)...)
	}
	if len(all) > 0 {
		return nil, all
	}
	return c.table, nil
}

// compiler holds what New knows while it builds.
type compiler struct {
	table    *Table
	routes   []config.Route
	problems []config.Errors // by route
	// lists are all lists of entries in the table.
	lists map[*[]entry]struct{}
	// alive are the routes that have an entry which can be reached, rival the
	// route that comes before one which cannot.
	alive []bool
	rival []int
}

func (c *compiler) report(route int, p config.Problem) {
	c.problems[route] = append(c.problems[route], p)
}

// add compiles route i into the table.
func (c *compiler) add(i int) {
	c.rival[i] = -1
	pattern, problems := c.routes[i].Pattern()
	c.problems[i] = problems
	for k := range pattern.Paths {
		if want := makeCanonical(&pattern.Paths[k]); want != "" {
			c.report(i, config.Problem{Key: config.Key("path", k), Found: strconv.Quote(c.routes[i].Path[k]), Want: want})
		}
	}
	if len(c.problems[i]) > 0 {
		// Without its faulty conditions the route could make others look unreachable.
		c.alive[i] = true
		return
	}

	var sites []*site
	for _, host := range pattern.Hosts {
		sites = append(sites, c.site(host))
	}
	if len(sites) == 0 {
		if c.table.any == nil {
			c.table.any = &site{}
		}
		sites = append(sites, c.table.any)
	}
	conditions := newConditions(&pattern)
	for _, s := range sites {
		for k := range max(1, len(pattern.Paths)) {
			e := entry{route: i, pattern: k, conditions: conditions}
			if k < len(pattern.Paths) {
				e.path = &pattern.Paths[k]
			}
			c.lists[s.insert(e)] = struct{}{}
		}
	}
}

// site returns the routes of a host. It makes the site of a new host.
func (c *compiler) site(host config.HostPattern) *site {
	sites := c.table.exact
	if host.Wildcard {
		sites = c.table.wildcard
	}
	s := sites[host.Name]
	if s == nil {
		s = &site{}
		sites[host.Name] = s
	}
	return s
}

// judge marks the routes of a sorted list that can be reached through it. Only
// entries of the same list can make an entry unreachable: an entry that fits
// more requests by its host or path is in another list, which is tried later.
// Within the list entries with more conditions come first, so an entry that
// makes another unreachable has conditions for the same fields and parameters,
// with the same value or any.
func (c *compiler) judge(list []entry) {
	if len(list) == 1 {
		c.alive[list[0].route] = true
		return
	}
	seen := map[string][]int{}
	for i := range list {
		e := &list[i]
		before := -1
		for key := range e.conditions.wider() {
			for _, k := range seen[key] {
				if list[k].conditions.implies(e.conditions) && (before < 0 || k < before) {
					before = k
				}
			}
		}
		switch {
		case before < 0:
			c.alive[e.route] = true
		case list[before].route == e.route:
			paths := c.routes[e.route].Path
			c.report(e.route, config.Problem{Key: "path", Message: fmt.Sprintf(
				"path %q fits the same requests as %q of the same route", paths[e.pattern], paths[list[before].pattern])})
		case c.rival[e.route] < 0 || list[before].route < c.rival[e.route]:
			c.rival[e.route] = list[before].route
		}
		seen[e.conditions.key(0)] = append(seen[e.conditions.key(0)], i)
	}
}

// reportDead reports route i if no request can reach it.
func (c *compiler) reportDead(i int) {
	if c.alive[i] || c.rival[i] < 0 {
		return
	}
	key := "path"
	if len(c.routes[i].Path) == 0 {
		key = "host"
	}
	c.report(i, config.Problem{Key: key, Message: fmt.Sprintf(
		"can never match: route %q fits the same requests and comes first", c.routes[c.rival[i]].Label(c.rival[i]))})
}
