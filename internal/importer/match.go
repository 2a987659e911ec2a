package importer

import (
	"maps"
	"slices"
	"strings"
)

// path is what a rule asks of the path: all, a path, or the beginning of one, which may end within
// a segment as in "/ab", which "/abc" begins with.
type path struct {
	text  string // empty means any path
	exact bool
}

// covers says whether all paths of q are paths of p.
func (p path) covers(q path) bool {
	switch {
	case p.text == "":
		return true
	case p.exact:
		return p == q
	}
	return strings.HasPrefix(q.text, p.text)
}

// patterns are the paths of weir for p.
func (p path) patterns() []string {
	t := literal(p.text)
	switch {
	case p.text == "":
		return nil
	case p.exact:
		return []string{p.pattern()}
	case strings.HasSuffix(p.text, "/"):
		return []string{t}
	case strings.HasSuffix(p.text, "/."), strings.HasSuffix(p.text, "/.."): // no path of a request ends so
		return []string{t + "{more}", t + "{more}/"}
	}
	return []string{t, t + "/", t + "{more}", t + "{more}/"}
}

// pattern is the path of weir for an exact p.
func (p path) pattern() string {
	if strings.HasSuffix(p.text, "/") {
		return literal(p.text) + "{$}"
	}
	return literal(p.text)
}

// swap is a change of the path: what it begins with is replaced.
type swap struct{ cut, put string }

// form is a path of weir, and the keys that change the path that is forwarded.
type form struct {
	path []string
	keys []pair
}

// forms are the paths of weir for p with a change of the path. The paths of p begin with what is cut.
func (p path) forms(s *swap) []form {
	if s == nil || s.cut == s.put {
		return []form{{path: p.patterns()}}
	}
	if s.cut == "" || s.cut == "/" && s.put != "" && strings.HasSuffix(s.put, "/") {
		return []form{{p.patterns(), []pair{{"add_prefix", literal(strings.TrimSuffix(s.put, "/"))}}}}
	}
	if !p.exact && p.text == s.cut && strings.HasSuffix(s.cut, "/") && strings.HasSuffix("/"+s.put, "/") {
		keys := []pair{{"strip_prefix", true}}
		if put := strings.TrimSuffix(s.put, "/"); put != "" {
			keys = append(keys, pair{"add_prefix", literal(put)})
		}
		return []form{{p.patterns(), keys}}
	}
	t := literal(p.text)
	to := literal(s.put + strings.TrimPrefix(p.text, s.cut))
	one := func(from, rest string) form {
		out := to + rest
		if !strings.HasPrefix(out, "/") {
			out = "/" + out
		}
		return form{[]string{from}, []pair{{"rewrite", out}}}
	}
	switch {
	case p.exact:
		return []form{one(p.pattern(), "")}
	case p.text == "":
		return []form{one("/{rest...}", "{rest}")}
	case strings.HasSuffix(p.text, "/"):
		return []form{one(t+"{rest...}", "{rest}")}
	}
	return []form{one(t, ""), one(t+"/{rest...}", "/{rest}"), one(t+"{more}", "{more}"), one(t+"{more}/{rest...}", "{more}/{rest}")}
}

// match is what a rule asks of a request. The zero value fits all.
type match struct {
	host      string // "a.example", "*.example"; empty means any
	path      path
	methods   []string
	header    map[string]string // "*" is any value
	query     map[string]string
	listeners []string
	scheme    string
}

// hostCovers says whether all names of b are names of a.
func hostCovers(a, b string) bool {
	if suffix, wild := strings.CutPrefix(a, "*"); wild {
		return a == b || strings.HasSuffix(b, suffix)
	}
	return a == "" || a == b
}

// and returns what fits both; false if nothing does.
func (m match) and(n match) (match, bool) {
	both := m
	switch {
	case hostCovers(m.host, n.host):
		both.host = n.host
	case !hostCovers(n.host, m.host):
		return both, false
	}
	switch {
	case m.path.covers(n.path):
		both.path = n.path
	case !n.path.covers(m.path):
		return both, false
	}
	var ok1, ok2, ok3, ok4 bool
	both.methods, ok1 = common(m.methods, n.methods)
	both.listeners, ok2 = common(m.listeners, n.listeners)
	both.header, ok3 = joined(m.header, n.header)
	both.query, ok4 = joined(m.query, n.query)
	if n.scheme != "" {
		both.scheme = n.scheme
	}
	return both, ok1 && ok2 && ok3 && ok4 && (m.scheme == "" || n.scheme == "" || m.scheme == n.scheme)
}

// both returns what fits one of a and one of b, in their order.
func both(a, b []match) (all []match) {
	for _, m := range a {
		for _, n := range b {
			if fit, ok := m.and(n); ok {
				all = append(all, fit)
			}
		}
	}
	return all
}

// common returns what is in both lists, of which an empty one stands for all.
func common(a, b []string) ([]string, bool) {
	if len(a) == 0 {
		return b, true
	}
	if len(b) == 0 {
		return a, true
	}
	both := slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
	return both, len(both) > 0
}

func joined(a, b map[string]string) (map[string]string, bool) {
	both := maps.Clone(a)
	for k, v := range b {
		if both == nil {
			both = make(map[string]string)
		}
		if old, has := both[k]; has && old != v && old != "*" && v != "*" {
			return nil, false
		} else if !has || old == "*" {
			both[k] = v
		}
	}
	return both, true
}

// conditions is what weir counts after host and path.
func (m match) conditions() int {
	n := len(m.header) + len(m.query)
	for _, has := range []bool{len(m.methods) > 0, len(m.listeners) > 0, m.scheme != ""} {
		if has {
			n++
		}
	}
	return n
}

// beats says whether weir prefers m to n for requests that fit both.
func (m match) beats(n match) bool {
	if m.host != n.host {
		return hostCovers(n.host, m.host)
	}
	if m.path != n.path {
		return n.path.covers(m.path)
	}
	return m.conditions() > n.conditions()
}

func (m match) equal(n match) bool {
	return m.host == n.host && m.path == n.path && m.scheme == n.scheme && slices.Equal(m.methods, n.methods) && slices.Equal(m.listeners, n.listeners) &&
		maps.Equal(m.header, n.header) && maps.Equal(m.query, n.query)
}
