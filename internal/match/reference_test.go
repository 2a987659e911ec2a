package match_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/head"
	"weir/internal/match"
)

// The reference does what Match must do, without regard to speed: it compares
// every path of every route by a regular expression and keeps the best that fits.
// It knows only canonical, literal text.

type candidate struct {
	route, pattern int
	host, path     string
	conditions     int
}

func reference(routes []config.Route, r *match.Request) (best *candidate, captures map[string]string) {
	for i := range routes {
		hosts, paths := routes[i].Host, routes[i].Path
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		if len(paths) == 0 {
			paths = []string{""}
		}
		for _, host := range hosts {
			for k, path := range paths {
				c := &candidate{i, k, host, path, len(routes[i].Header) + len(routes[i].Query) +
					min(1, len(routes[i].Method)) + min(1, len(routes[i].Listener)) + min(1, len(routes[i].Scheme))}
				values, ok := c.fits(&routes[i], r)
				if ok && (best == nil || c.beats(best)) {
					best, captures = c, values
				}
			}
		}
	}
	return best, captures
}

var capture = regexp.MustCompile(`\{(\w+)(\.\.\.)?\}`)

func (c *candidate) fits(route *config.Route, r *match.Request) (captures map[string]string, ok bool) {
	host, _, _ := strings.Cut(strings.ToLower(string(r.Host)), ":")
	host = strings.TrimSuffix(host, ".")
	if wild, ok := strings.CutPrefix(c.host, "*"); ok {
		if !strings.HasSuffix(host, wild) || len(host) == len(wild) {
			return nil, false
		}
	} else if c.host != "" && c.host != host {
		return nil, false
	}
	captures = map[string]string{}
	if c.path != "" {
		e := expression(c.path)
		m := e.FindStringSubmatch(string(r.Path))
		if m == nil {
			return nil, false
		}
		for i, name := range e.SubexpNames()[1:] {
			captures[name] = m[i+1]
		}
	}
	method := string(r.Method)
	if len(route.Method) > 0 && !slices.Contains(route.Method, method) &&
		(method != "HEAD" || !slices.Contains(route.Method, "GET")) {
		return nil, false
	}
	if len(route.Listener) > 0 && !slices.Contains(route.Listener, r.Listener) {
		return nil, false
	}
	if route.Scheme != "" && route.Scheme != string(r.Scheme) {
		return nil, false
	}
	for name, value := range route.Header {
		n := head.NewName(name)
		if got := r.Header.Get(n); r.Header.Count(n) == 0 || value != "*" && value != string(got) {
			return nil, false
		}
	}
	for name, value := range route.Query {
		ok := false
		for _, parameter := range strings.Split(string(r.Query), "&") {
			n, v, _ := strings.Cut(parameter, "=")
			ok = ok || n == name && (value == "*" || value == v)
		}
		if !ok {
			return nil, false
		}
	}
	return captures, true
}

var expressions = map[string]*regexp.Regexp{}

// expression returns what a path means as a regular expression.
func expression(path string) *regexp.Regexp {
	if e := expressions[path]; e != nil {
		return e
	}
	expr, end := "^", "$"
	at := 0
	exact := strings.TrimSuffix(path, "{$}")
	for _, m := range capture.FindAllStringSubmatchIndex(path, -1) {
		expr += regexp.QuoteMeta(path[at:m[0]])
		at = m[1]
		if m[4] >= 0 {
			expr += "(?P<" + path[m[2]:m[3]] + ">.*)"
		} else {
			expr += "(?P<" + path[m[2]:m[3]] + ">[^/]+)"
		}
	}
	expr += regexp.QuoteMeta(exact[at:])
	if strings.HasSuffix(path, "/") {
		end = ""
	}
	e := regexp.MustCompile(expr + end)
	expressions[path] = e
	return e
}

// beats compares what fits the same request.
func (c *candidate) beats(other *candidate) bool {
	if a, b := hostRank(c.host), hostRank(other.host); a != b {
		return a > b
	}
	a, b := strings.Split(c.path, "/"), strings.Split(other.path, "/")
	for i := range min(len(a), len(b)) {
		if i == 0 {
			continue // the empty text before the first slash
		}
		x, y := segmentRank(a[i], i == len(a)-1), segmentRank(b[i], i == len(b)-1)
		if d := slices.Compare(x, y); d != 0 {
			return d > 0
		}
	}
	if c.path == "" || other.path == "" {
		if c.path != other.path {
			return c.path != ""
		}
	}
	if c.conditions != other.conditions {
		return c.conditions > other.conditions
	}
	return c.route < other.route
}

func hostRank(host string) int {
	switch {
	case host == "":
		return 0
	case host[0] == '*':
		return len(host)
	}
	return 1000
}

// segmentRank is compared element by element: literal, then a capture with more
// text around it, with more of it in front, then a bare one, then the rest.
func segmentRank(segment string, last bool) []int {
	switch i := strings.IndexByte(segment, '{'); {
	case segment == "{$}":
		return []int{3}
	case last && (segment == "" || strings.HasSuffix(segment, "...}")):
		return []int{0}
	case i < 0:
		return []int{3}
	default:
		text := i + len(segment) - strings.IndexByte(segment, '}') - 1
		return []int{1, text, i}
	}
}

func TestMatchAgainstReference(t *testing.T) {
	for seed := range 200 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 1))
		routes := randomRoutes(rnd)
		tab := accepted(routes)
		routes = tab.routes
		for range 60 {
			r := randomRequest(rnd)
			want, captures := reference(routes, r)
			var c match.Captures
			route, pattern, ok := tab.Match(r, &c)
			describe := func() string {
				return fmt.Sprintf("seed %d: %s %s%s?%s\nroutes %+v", seed, r.Method, r.Host, r.Path, r.Query, routes)
			}
			if ok != (want != nil) || ok && (route != want.route || pattern != want.pattern) {
				t.Fatalf("route %d, pattern %d, %t; want %+v\n%s", route, pattern, ok, want, describe())
			}
			if len(captures) != c.Len() {
				t.Fatalf("%d captures, want %v\n%s", c.Len(), captures, describe())
			}
			for name, value := range captures {
				if string(c.Get(name)) != value {
					t.Fatalf("capture %s = %q, want %q\n%s", name, c.Get(name), value, describe())
				}
			}
		}
	}
}

type acceptedTable struct {
	*match.Table
	routes []config.Route
}

// accepted drops the routes that New calls unreachable, which also tests that
// the others are not.
func accepted(routes []config.Route) acceptedTable {
	for {
		tab, err := match.New(routes)
		if err == nil {
			return acceptedTable{tab, routes}
		}
		var rest []config.Route
		for i := range routes {
			if !slices.ContainsFunc(err.(config.Errors), func(p config.Problem) bool { return ofRoute(p, i) }) {
				rest = append(rest, routes[i])
			}
		}
		routes = rest
	}
}

func ofRoute(p config.Problem, i int) bool {
	return strings.HasPrefix(p.Key, config.Key("routes", i)+".")
}

// Every route that New calls unreachable is one that the reference never picks.
func TestUnreachableAgainstReference(t *testing.T) {
	for seed := range 80 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 2))
		routes := randomRoutes(rnd)
		_, err := match.New(routes)
		problems, _ := err.(config.Errors)
		for range 100 {
			best, _ := reference(routes, randomRequest(rnd))
			for _, p := range problems {
				if best != nil && ofRoute(p, best.route) && strings.HasPrefix(p.Message, "can never match") {
					t.Fatalf("seed %d: route %d is said to be unreachable: %s\n%+v", seed, best.route, p.Message, routes)
				}
			}
		}
	}
}

func pick(rnd *rand.Rand, list ...string) string { return list[rnd.IntN(len(list))] }

func randomRoutes(rnd *rand.Rand) []config.Route {
	var routes []config.Route
	for range 1 + rnd.IntN(12) {
		var r config.Route
		for range rnd.IntN(2) {
			r.Host = append(r.Host, pick(rnd, "a.b.c", "b.c", "*.b.c", "*.c", "*.a.b.c"))
		}
		for range rnd.IntN(3) {
			path := ""
			for i := range 1 + rnd.IntN(3) {
				path += "/" + pick(rnd, "x", "y", "xy", fmt.Sprintf("{p%d}", i), fmt.Sprintf("x{p%d}", i), fmt.Sprintf("{p%d}y", i), fmt.Sprintf("x{p%d}y", i))
			}
			r.Path = append(r.Path, path+pick(rnd, "", "/", "/{rest...}", "/{$}"))
		}
		if rnd.IntN(4) == 0 {
			r.Method = append(r.Method, pick(rnd, "GET", "POST", "HEAD"))
		}
		if rnd.IntN(4) == 0 {
			r.Header = map[string]string{"H": pick(rnd, "1", "2", "*")}
		}
		if rnd.IntN(4) == 0 {
			r.Query = map[string]string{"q": pick(rnd, "1", "2", "*")}
		}
		for range max(0, rnd.IntN(6)-3) {
			if name := pick(rnd, "in", "out"); !slices.Contains(r.Listener, name) {
				r.Listener = append(r.Listener, name)
			}
		}
		if rnd.IntN(4) == 0 {
			r.Scheme = pick(rnd, "http", "https")
		}
		routes = append(routes, r)
	}
	return routes
}

func randomRequest(rnd *rand.Rand) *match.Request {
	path := ""
	for range 1 + rnd.IntN(4) {
		path += "/" + pick(rnd, "x", "y", "xy", "xyy", "xzy", "z", "")
	}
	h := &head.Head{}
	if rnd.IntN(2) == 0 {
		h.Set(head.NewName("H"), []byte(pick(rnd, "1", "2", "3")))
	}
	return &match.Request{
		Host:   []byte(pick(rnd, "a.b.c", "b.c", "B.C:80", "x.a.b.c", "y.c.", "c", "other")),
		Path:   []byte(path),
		Query:  []byte(pick(rnd, "", "q=1", "q=2", "r=1&q=3")),
		Method: []byte(pick(rnd, "GET", "POST", "HEAD", "PUT")),

		Listener: pick(rnd, "in", "out", "other"),
		Scheme:   []byte(pick(rnd, "http", "https")),
		Header:   h,
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/", "/a/", "/{a}/{b}/", "/v{major}.html", "/{{x}}/{rest...}", "/%2f/%7B", "/{", "/a//b", "/a/{$}", "/{$}/b"} {
		f.Add(s, "/a/b/c")
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		route := config.Route{Path: config.Strings{template}}
		tab, err := match.New([]config.Route{route})
		if err != nil {
			if _, ok := err.(config.Errors); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		canonical, refusal := match.Canonical(nil, []byte(path))
		if refusal != match.Accepted {
			return
		}
		var c match.Captures
		if _, _, ok := tab.Match(&match.Request{Path: canonical}, &c); !ok {
			return
		}
		// What was captured is put back into the template.
		if len(route.Captures()) != c.Len() || c.Slashes() > strings.Count(path, "/") {
			t.Fatalf("%q fits %q with %d captures, %d slashes", template, path, c.Len(), c.Slashes())
		}
		for i := range c.Len() {
			name, value := c.At(i)
			if value == nil || !strings.Contains(template, "{"+name) || !strings.Contains(string(canonical), string(value)) {
				t.Fatalf("%q fits %q with %s = %q", template, path, name, value)
			}
		}
	})
}
