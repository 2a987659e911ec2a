package match

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// New compiles routes. An error is always of type Problems and names every
// fault, not only the first.
func New(routes []config.Route) (*Table, error) {
	c := compiler{
		table:  &Table{exact: map[string]*site{}, wildcard: map[string]*site{}, captures: make([][]string, len(routes))},
		routes: routes,
		lists:  map[*[]entry]struct{}{},
		alive:  make([]bool, len(routes)),
		rival:  make([]int, len(routes)),
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
	for i := range routes {
		c.reportDead(i)
	}
	if len(c.problems) > 0 {
		slices.SortFunc(c.problems, func(a, b Problem) int {
			return cmp.Or(a.Route-b.Route, strings.Compare(a.Key, b.Key), strings.Compare(a.Message, b.Message))
		})
		return nil, c.problems
	}
	return c.table, nil
}

// compiler holds what New knows while it builds.
type compiler struct {
	table    *Table
	routes   []config.Route
	problems Problems
	// lists are all places that hold entries.
	lists map[*[]entry]struct{}
	// alive are the routes that have an entry which can be reached, rival the
	// route that stands before one which cannot.
	alive []bool
	rival []int
}

// add compiles route i into the table.
func (c *compiler) add(i int) {
	r := &c.routes[i]
	faults := len(c.problems)
	fault := func(key, format string, args ...any) {
		c.problems = append(c.problems, Problem{Route: i, Key: key, Message: fmt.Sprintf(format, args...)})
	}

	sites := make([]*site, 0, 1)
	for k, h := range r.Host {
		name, wildcard, err := parseHost(h)
		if err != nil {
			fault("host", "%v", err)
			continue
		}
		s := c.site(name, wildcard)
		if slices.Contains(sites, s) {
			fault("host", "host %q stands there twice", r.Host[k])
		}
		sites = append(sites, s)
	}
	if len(r.Host) == 0 {
		if c.table.any == nil {
			c.table.any = &site{}
		}
		sites = append(sites, c.table.any)
	}

	paths := make([]*pattern, 0, 1)
	for _, text := range r.Path {
		p, err := parsePath(text)
		if err != nil {
			fault("path", "%v", err)
			continue
		}
		paths = append(paths, p)
	}
	if len(r.Path) == 0 {
		paths = append(paths, nil)
	}
	c.table.captures[i] = common(paths)

	conditions := newConditions(r, fault)
	if len(c.problems) > faults {
		// Half a route would make others look shadowed, or not.
		c.alive[i] = true
		return
	}
	c.rival[i] = -1
	for _, s := range sites {
		for k, p := range paths {
			list := s.insert(entry{route: i, pattern: k, conditions: conditions, path: p})
			c.lists[list] = struct{}{}
		}
	}
}

// site returns the routes of a host, which it makes if there are none.
func (c *compiler) site(name string, wildcard bool) *site {
	sites := c.table.exact
	if wildcard {
		sites = c.table.wildcard
	}
	s := sites[name]
	if s == nil {
		s = &site{}
		sites[name] = s
	}
	return s
}

// judge marks the routes of a sorted list that can be reached through it. An
// entry can be shadowed only from the same list: whatever fits more requests
// stands under a less specific host or path, where it comes later. Within the
// list more conditions come first, so the one that shadows asks for the same
// fields and parameters, for the same value or any.
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
			c.problems = append(c.problems, Problem{Route: e.route, Key: "path", Message: fmt.Sprintf(
				"path %q fits the same requests as %q of the same route",
				c.routes[e.route].Path[e.pattern], c.routes[e.route].Path[list[before].pattern])})
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
	name := c.routes[c.rival[i]].Name
	if name == "" {
		name = "route-" + strconv.Itoa(c.rival[i]+1)
	}
	c.problems = append(c.problems, Problem{Route: i, Key: key, Message: fmt.Sprintf(
		"can never match: route %q fits the same requests and comes first", name)})
}

// parseHost returns the lower-case key of a host, which is the part from the
// first dot on for a wildcard.
func parseHost(text string) (name string, wildcard bool, err error) {
	const want = `"www.example.org", "*.example.org" or an address, without a port`
	name = strings.ToLower(strings.TrimSuffix(text, "."))
	if rest, ok := strings.CutPrefix(name, "*"); ok {
		name, wildcard = rest, true
		if !strings.HasPrefix(name, ".") || len(name) < 2 {
			return "", false, fmt.Errorf("host %q: want %s", text, want)
		}
	}
	if name == "" || len(name) > maxHost {
		return "", false, fmt.Errorf("host %q: want %s", text, want)
	}
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") && !wildcard {
		return name, false, nil
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "."), ".") {
		if label == "" {
			return "", false, fmt.Errorf("host %q: want %s", text, want)
		}
		for i := range len(label) {
			b := label[i]
			if b >= 0x80 {
				return "", false, fmt.Errorf("host %q: want the ASCII form (\"xn--...\") that clients send", text)
			}
			if !('a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-' || b == '_') {
				return "", false, fmt.Errorf("host %q: want %s", text, want)
			}
		}
	}
	return name, wildcard, nil
}

// common returns the names that all paths capture.
func common(paths []*pattern) []string {
	var names []string
	for i, p := range paths {
		if p == nil {
			return nil
		}
		if i == 0 {
			names = slices.Clone(p.names)
			continue
		}
		names = slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(p.names, n) })
	}
	return names
}
