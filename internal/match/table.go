package match

import (
	"bytes"

	"weir/config"
	"weir/internal/head"
)

// Request is what routes are matched against. All slices are borrowed for the
// time of one Match.
type Request struct {
	// Host is the request's host as it was sent, with or without a port.
	Host []byte
	// Path is the canonical path; see Canonical. "*" (of OPTIONS) fits only
	// routes without a path.
	Path []byte
	// Query is the raw query without its "?"; nil for a request without one.
	Query []byte
	// Method is the request's method.
	Method []byte
	// Listener is the label of the listener that took the request.
	Listener string
	// Scheme is "http" or "https", as the client had it.
	Scheme []byte
	// Header is read only when a candidate route has header conditions. nil
	// stands for a request without fields.
	Header *head.Head
	// Client is what the client's certificate says; nil if it has shown none, or none that is good.
	Client *config.ClientIdentity
}

// Table is a compiled list of routes. It is never changed after New and may be
// used by any number of goroutines.
type Table struct {
	// exact holds the routes of lower-case host names, wildcard those of
	// "*.example.org" under ".example.org", any those without a host.
	exact    map[string]*site
	wildcard map[string]*site
	any      *site
}

// site is the routes of one host.
type site struct {
	root node
	// pathless are the routes without a path; they come last.
	pathless []entry
}

// node is a node of a tree of path segments: the segments from the root to it are
// the start of some routes' paths. Its children are tried from the most to the
// least specific, and the first one with a route that fits wins. That is the
// documented order, because it compares paths at their first difference.
type node struct {
	literals map[string]*node
	affixes  []affix // those with more literal text first
	capture  *node
	// The paths of exact end here; those of tails fit anything after a slash.
	exact []entry
	tails []entry
}

// affix is a capture with literal text around it.
type affix struct {
	segment
	next *node
}

// entry is one path of one route, sorted by weight of conditions, then order.
type entry struct {
	route, pattern int
	conditions     *conditions
	path           *config.PathPattern // canonical; nil if the route has no path
}

// maxHost is the length of the longest name in the domain name system.
const maxHost = 255

// Match finds the most specific route that fits r and fills c with what its
// path captured. route is the index in the list given to New, pattern the index
// of the fitting path in that route's Path (0 if it has none). If no route fits,
// ok is false and c is empty. It never allocates.
func (t *Table) Match(r *Request, c *Captures) (route, pattern int, ok bool) {
	c.begin()
	if len(t.exact)+len(t.wildcard) > 0 {
		var buf [maxHost]byte
		host := hostName(buf[:0], r.Host)
		if s := t.exact[string(host)]; s != nil {
			if e := s.find(r, c); e != nil {
				return e.route, e.pattern, true
			}
		}
		if len(t.wildcard) > 0 {
			// From the first dot on to the last: the longest suffix first.
			for i := bytes.IndexByte(host, '.'); i >= 0; {
				// With i == 0 the host has no label for the asterisk.
				if s := t.wildcard[string(host[i:])]; s != nil && i > 0 {
					if e := s.find(r, c); e != nil {
						return e.route, e.pattern, true
					}
				}
				next := bytes.IndexByte(host[i+1:], '.')
				if next < 0 {
					break
				}
				i += 1 + next
			}
		}
	}
	if t.any != nil {
		if e := t.any.find(r, c); e != nil {
			return e.route, e.pattern, true
		}
	}
	return 0, 0, false
}

// hostName appends the lower-case name in host, without its port and final
// dot, to dst. It appends nothing for a name that is too long.
func hostName(dst, host []byte) []byte {
	if len(host) > 0 && host[0] == '[' {
		if i := bytes.IndexByte(host, ']'); i >= 0 {
			host = host[:i+1]
		}
	} else if i := bytes.IndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	if len(host) > maxHost {
		return dst
	}
	for _, b := range host {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		dst = append(dst, b)
	}
	return dst
}

// find returns the most specific entry of s that fits, or nil.
func (s *site) find(r *Request, c *Captures) *entry {
	if len(r.Path) > 0 && r.Path[0] == '/' {
		if e := s.root.find(r.Path[1:], r, c); e != nil {
			return e
		}
	}
	return accept(s.pathless, r, c)
}

// find returns the most specific entry below n that fits; rest is the path after
// the slash that follows n. It returns nil if no entry fits.
func (n *node) find(rest []byte, r *Request, c *Captures) *entry {
	segment, after, more := rest, []byte(nil), false
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		segment, after, more = rest[:i], rest[i+1:], true
	}
	if next := n.literals[string(segment)]; next != nil {
		if e := next.step(after, more, r, c); e != nil {
			return e
		}
	}
	// A child without an entry that fits leaves c as it was.
	for i := range n.affixes {
		a := &n.affixes[i]
		if value, ok := a.match(segment); ok {
			c.push(value)
			if e := a.next.step(after, more, r, c); e != nil {
				return e
			}
			c.pop()
		}
	}
	if n.capture != nil && len(segment) > 0 {
		c.push(segment)
		if e := n.capture.step(after, more, r, c); e != nil {
			return e
		}
		c.pop()
	}
	if e := accept(n.tails, r, c); e != nil {
		if e.path.Rest {
			c.push(rest)
		}
		return e
	}
	return nil
}

// step returns the most specific entry that fits, at n if the path ends with the
// segment that led to n, or below n if more says that a slash and after follow.
func (n *node) step(after []byte, more bool, r *Request, c *Captures) *entry {
	if more {
		return n.find(after, r, c)
	}
	return accept(n.exact, r, c)
}

// accept returns the first entry whose conditions fit, and adds the names of the
// captures to c.
func accept(list []entry, r *Request, c *Captures) *entry {
	for i := range list {
		e := &list[i]
		if !e.conditions.fit(r) {
			continue
		}
		if e.path != nil {
			c.names, c.slashes = e.path.Captures, e.path.Slashes
		}
		return e
	}
	return nil
}

// insert adds e to the list of its path, which it returns.
func (s *site) insert(e entry) (list *[]entry) {
	if e.path == nil {
		list = &s.pathless
	} else {
		n := &s.root
		for i := range e.path.Segments {
			n = n.child((*segment)(&e.path.Segments[i]))
		}
		list = &n.exact
		if e.path.Prefix {
			list = &n.tails
		}
	}
	*list = append(*list, e)
	return list
}

// child returns the node that s leads to. It makes the node of a new segment.
func (n *node) child(s *segment) *node {
	switch {
	case s.Capture == "":
		next := n.literals[s.Before]
		if next == nil {
			if n.literals == nil {
				n.literals = map[string]*node{}
			}
			next = &node{}
			n.literals[s.Before] = next
		}
		return next
	case s.Before == "" && s.After == "":
		if n.capture == nil {
			n.capture = &node{}
		}
		return n.capture
	}
	at := len(n.affixes)
	for i := range n.affixes {
		a := &n.affixes[i]
		if a.Before == s.Before && a.After == s.After {
			return a.next
		}
		if at == len(n.affixes) && s.moreSpecific(&a.segment) {
			at = i
		}
	}
	next := &node{}
	n.affixes = append(n.affixes, affix{})
	copy(n.affixes[at+1:], n.affixes[at:])
	n.affixes[at] = affix{segment: *s, next: next}
	return next
}
