package config

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// upstreamNames returns the names of all upstreams, sorted.
func (c *check) upstreamNames() []string {
	if c.upstreams == nil {
		c.upstreams = newNameList(slices.Sorted(maps.Keys(c.config.Upstreams)))
	}
	return c.upstreams.names
}

// knownUpstream says whether there is an upstream of a name, which a key below p has as text, and reports it if not.
func (p keyPath) knownUpstream(key, text, name string) bool {
	_, known := p.check.config.Upstreams[name]
	if !known {
		names := p.check.upstreamNames()
		p.unknown(key, strconv.Quote(text), "the name of an upstream: "+OneOf(names), Nearest(name, names))
	}
	return known
}

// fitsUpstream says whether a template can become the name of an upstream.
func (c *check) fitsUpstream(t Template) bool {
	c.upstreamNames()
	for range c.upstreams.fitting(t) {
		return true
	}
	return false
}

// service is what the upstream of a service may be called: "name/version", or "name".
var service = regexp.MustCompile(`^[a-zA-Z0-9._-]+(/[a-zA-Z0-9._-]+)?$`)

// fitsService says whether a template can become the name of a service's upstream.
func (t Template) fitsService() bool {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.Write(p.literal)
		} else {
			b.WriteByte('x')
		}
	}
	return service.MatchString(b.String())
}

// UnmetTemplates warns of routes whose upstream is a template that fits no upstream, while
// nothing in the configuration lets the registry have services.
func (c *Config) UnmetTemplates() (unmet Errors) {
	d := &c.Discovery
	if len(d.Catalogs) > 0 || d.Upstream != "" || d.Persist != "" || c.Admin.Address != "" {
		return nil
	}
	list := newNameList(slices.Sorted(maps.Keys(c.Upstreams)))
routes:
	for i := range c.Routes {
		t := c.Routes[i].Upstream
		if t.Names() == nil {
			continue
		}
		for range list.fitting(t) {
			continue routes
		}
		unmet = append(unmet, Problem{Key: Key("routes", i, "upstream"), Message: "the template fits no upstream, and nothing registers services: discovery.catalogs or admin.address does"})
	}
	return c.Locate(unmet)
}

// nameList are names in which those that fit a template are found without a look at all of
// them, for configurations of thousands of routes and upstreams.
type nameList struct {
	names    []string // sorted
	reversed []string // each name from its last byte to its first, sorted
}

func newNameList(sorted []string) *nameList {
	l := &nameList{names: sorted}
	for _, name := range sorted {
		l.reversed = append(l.reversed, reverse(name))
	}
	slices.Sort(l.reversed)
	return l
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// fitting returns the names that a template can become if no variable is empty.
func (l *nameList) fitting(t Template) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if len(t.parts) == 0 {
			return
		}
		e := regexp.MustCompile(t.expression())
		first, last := t.parts[0], t.parts[len(t.parts)-1]
		list, back := startingWith(l.names, string(first.literal)), false
		if other := startingWith(l.reversed, reverse(string(last.literal))); len(other) < len(list) {
			list, back = other, true
		}
		for _, name := range list {
			if back {
				name = reverse(name)
			}
			if e.MatchString(name) && !yield(name) {
				return
			}
		}
	}
}

// startingWith returns the part of a sorted list that starts with prefix.
func startingWith(sorted []string, prefix string) []string {
	from, _ := slices.BinarySearch(sorted, prefix)
	n, _ := slices.BinarySearchFunc(sorted[from:], prefix, func(name, prefix string) int {
		if strings.HasPrefix(name, prefix) {
			return -1
		}
		return 1
	})
	return sorted[from : from+n]
}

// expression returns a regular expression of every text that t can become if no variable
// is empty.
func (t Template) expression() string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(regexp.QuoteMeta(string(p.literal)))
		} else {
			b.WriteString(`[^/]+`)
		}
	}
	return "^(?s:" + b.String() + ")$"
}

// UnusedUpstreams warns of upstreams that no route sends to.
func (c *Config) UnusedUpstreams() Errors {
	used := make(map[string]bool, len(c.Upstreams))
	used[c.Discovery.Upstream] = true
	for i := range c.Listeners {
		for _, name := range c.Listeners[i].PassThrough {
			used[name] = true
		}
	}
	list, seen := newNameList(slices.Sorted(maps.Keys(c.Upstreams))), map[string]bool{}
	for i := range c.Routes {
		t := c.Routes[i].Upstream
		if t.Names() == nil {
			used[t.Literal()] = true
			continue
		}
		if e := t.expression(); !seen[e] {
			seen[e] = true
			for name := range list.fitting(t) {
				used[name] = true
			}
		}
	}
	var unused Errors
	for _, name := range list.names {
		if !used[name] {
			unused = append(unused, Problem{Key: Key("upstreams", name), Message: "no route sends to this upstream"})
		}
	}
	return c.Locate(unused)
}
