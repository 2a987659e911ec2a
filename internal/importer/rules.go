package importer

import "slices"

// rules are those of a program that takes the first rule that fits, or that with the highest
// priority, while weir takes the most specific one. Where the two differ, add makes routes for what both
// rules fit.
type rules struct {
	routes []*route
	guards []guard
	count  int
	steps  int // taken by insert
}

// maxSteps bounds the work for rules that overlap.
const maxSteps = 50_000

// tooMany ends a translation with too many rules that overlap. Import makes an error of it: leaving
// some out could open what others close.
type tooMany struct{}

// guard changes what the routes that come after it do with the requests that it fits.
type guard struct {
	match match
	apply func(r *route)
}

// guard changes all routes that are added after it, for requests that fit one of the matches.
func (rs *rules) guard(matches []match, apply func(r *route)) {
	for _, m := range matches {
		rs.guards = append(rs.guards, guard{match: m, apply: apply})
	}
}

// add adds a rule of lower priority than those before it. Requests fit it that fit one of the matches.
func (rs *rules) add(matches []match, r route) {
	rs.count++
	r.priority = rs.count
	for _, m := range matches {
		r := r
		r.match = m
		rs.guarded(r, rs.guards)
	}
}

// guarded adds a route with the changes of guards.
func (rs *rules) guarded(r route, guards []guard) {
	for i, g := range guards {
		both, ok := r.match.and(g.match)
		if !ok {
			continue
		}
		if both.equal(r.match) {
			r = clone(r)
			g.apply(&r)
			continue
		}
		// The requests that the guard fits have a route of their own.
		part := clone(r)
		part.match = both
		g.apply(&part)
		rs.guarded(part, guards[i+1:])
	}
	rs.insert(r)
}

// insert adds a route, and for each rule before it a route for the requests that fit both, if weir
// would prefer the new one for them.
func (rs *rules) insert(r route) {
	if rs.steps++; rs.steps > maxSteps {
		panic(tooMany{})
	}
	for _, e := range rs.routes {
		if e.priority >= r.priority {
			continue
		}
		both, ok := r.match.and(e.match)
		switch {
		case !ok:
		case both.equal(r.match):
			return // a rule before it takes them all
		case r.match.beats(e.match):
			piece := clone(*e)
			piece.match = both
			rs.insert(piece)
		}
	}
	for i, e := range rs.routes {
		if e.match.equal(r.match) {
			if r.priority < e.priority {
				rs.routes[i] = &r
			}
			return
		}
	}
	rs.routes = append(rs.routes, &r)
}

// ordered returns the routes, those of the first rule first.
func (rs *rules) ordered() []*route {
	slices.SortStableFunc(rs.routes, func(a, b *route) int { return a.priority - b.priority })
	return rs.routes
}

// clone copies a route, so that it can be changed.
func clone(r route) route {
	r.keys = append([]pair(nil), r.keys...)
	r.comments = append([]string(nil), r.comments...)
	if r.closed != nil {
		c := *r.closed
		c.why = append([]string(nil), c.why...)
		r.closed = &c
	}
	return r
}
