package importer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The answers of routes that are closed.
const (
	forbidden      = 403 // something protects the route that is not translated
	notImplemented = 501 // what the route does is not translated
)

// draft is the configuration that is being made.
type draft struct {
	program, path string
	options       Options
	global        section
	listeners     []*section
	routes        []*route
	upstreams     []*section
	notes         []Note
}

// route is a rule of the other program. It becomes a route of weir, or several.
type route struct {
	section
	match match
	// hosts, if it is not nil, are used in place of match.host.
	hosts  []string
	change *swap
	// capture names what follows the path "rest".
	capture bool
	closed  *closing
	// priority is its place among the rules.
	priority int
}

// closing says why a route is closed.
type closing struct {
	status int
	why    []string // the places of what is not translated
}

// note notes something that is not translated.
func (d *draft) note(at Place, format string, a ...any) {
	d.add(Note{Place: at, Text: fmt.Sprintf(format, a...)})
}

func (d *draft) add(n Note) {
	for i, old := range d.notes {
		if old.Place == n.Place && old.Text == n.Text {
			d.notes[i].Closed = old.Closed || n.Closed
			return
		}
	}
	d.notes = append(d.notes, n)
}

// refuse closes the route.
func (r *route) refuse(d *draft, at Place, status int, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	d.add(Note{Place: at, Text: text, Closed: true})
	if r.closed == nil {
		r.closed = &closing{status: status}
	}
	if status == forbidden {
		r.closed.status = status
	}
	if why := at.String(); !slices.Contains(r.closed.why, why) {
		r.closed.why = append(r.closed.why, why)
	}
}

// limit closes the route because of a limit on rates or connections that is not translated, or only notes it,
// as the options say.
func (r *route) limit(d *draft, at Place, format string, a ...any) {
	if d.options.WithoutLimits {
		d.note(at, format, a...)
		return
	}
	r.refuse(d, at, forbidden, format, a...)
}

// listener returns the listener at an address, a new one if there is none yet.
func (d *draft) listener(at Place, address string) *section {
	for _, l := range d.listeners {
		if l.get("address") == address {
			return l
		}
	}
	l := &section{at: at, name: address}
	l.set("address", address)
	d.listeners = append(d.listeners, l)
	return l
}

// plainHTTP2 lets a listener without TLS speak HTTP/2, which weir does where it is told to: clients of gRPC need it.
func plainHTTP2(l *section) { l.set("protocols", list{"h1", "h2c"}) }

// plainHTTP2 does so for all listeners without TLS that do not only redirect.
func (d *draft) plainHTTP2() {
	for _, l := range d.listeners {
		if l.get("certificates") == nil && l.get("https_redirect") == nil {
			plainHTTP2(l)
		}
	}
}

// upstream returns the upstream of a name, or nil.
func (d *draft) upstream(name string) *section {
	for _, u := range d.upstreams {
		if u.name == name {
			return u
		}
	}
	return nil
}

// newUpstream adds an upstream.
func (d *draft) newUpstream(at Place, name string) *section {
	u := &section{at: at, name: name}
	d.upstreams = append(d.upstreams, u)
	return u
}

// asName makes a name of the host of a URL, or of a path.
var asName = strings.NewReplacer("/", "-", ":", "-", "[", "", "]", "")

// target returns the upstream of one URL.
func (d *draft) target(at Place, url string) *section {
	_, name, _ := strings.Cut(url, "://")
	name = asName.Replace(strings.Trim(cmp.Or(name, strings.TrimPrefix(url, "unix:")), "/"))
	for n, try := 1, name; ; n++ {
		u := d.upstream(try)
		if u == nil {
			u = d.newUpstream(at, try)
			u.set("targets", list{url})
			return u
		}
		if urls, ok := u.get("targets").(list); ok && len(urls) == 1 && urls[0] == url {
			return u
		}
		try = fmt.Sprintf("%s-%d", name, n+1)
	}
}

// complete adds what weir needs, and removes upstreams that nothing uses.
func (d *draft) complete() {
	used := make(map[any]bool)
	for _, r := range d.routes {
		used[r.get("upstream")] = true
	}
	d.upstreams = slices.DeleteFunc(d.upstreams, func(u *section) bool {
		if used[literal(u.name)] {
			return false
		}
		d.note(u.at, "nothing that is translated uses %q: left out", u.name)
		return true
	})
	if len(d.routes) == 0 {
		none := &route{section: section{at: d.listeners[0].at}}
		none.comment("No rule is translated.")
		none.set("respond", []pair{{"status", 404}})
		d.routes = append(d.routes, none)
	}
	if len(d.listeners) == 1 {
		for _, r := range d.routes {
			r.match.listeners = nil
		}
	}
	for _, l := range d.listeners {
		if len(d.listeners) > 1 && l.get("name") == nil {
			l.keys = append([]pair{{"name", l.name}}, l.keys...)
		}
	}
}

// emitted is a route of weir.
type emitted struct {
	owner  *route
	keys   []pair
	closed *closing
}

// emitted returns the routes in the order in which they are written.
func (d *draft) emitted() (list []emitted) {
	for _, r := range d.routes {
		for _, f := range r.match.path.forms(r.change) {
			if r.capture {
				f.path = []string{literal(r.match.path.text) + "{rest...}"}
			}
			e := emitted{owner: r, closed: r.closed}
			hosts := r.hosts
			if hosts == nil && r.match.host != "" {
				hosts = []string{r.match.host}
			}
			for _, p := range [...]struct {
				key  string
				list []string
			}{{"host", hosts}, {"path", f.path}, {"method", r.match.methods}, {"listener", r.match.listeners}} {
				if len(p.list) > 0 {
					e.keys = append(e.keys, pair{p.key, p.list})
				}
			}
			if r.match.scheme != "" {
				e.keys = append(e.keys, pair{"scheme", r.match.scheme})
			}
			for _, t := range [...]struct {
				table      string
				conditions map[string]string
			}{{"header", r.match.header}, {"query", r.match.query}} {
				for _, name := range slices.Sorted(maps.Keys(t.conditions)) {
					e.keys = append(e.keys, pair{keyed(t.table, name), t.conditions[name]})
				}
			}
			e.keys = append(append(e.keys, f.keys...), r.keys...)
			list = append(list, e)
		}
	}
	return merged(list)
}

// merged joins routes that follow each other and differ in one of host and path alone.
func merged(all []emitted) (list []emitted) {
	for _, e := range all {
		if len(list) > 0 && list[len(list)-1].join(&e) {
			continue
		}
		list = append(list, e)
	}
	return list
}

// join takes another route into e.
func (e *emitted) join(other *emitted) bool {
	if e.closed != other.closed && (e.closed == nil || other.closed == nil || !slices.Equal(e.closed.why, other.closed.why)) || len(e.keys) != len(other.keys) || e.owner.at != other.owner.at {
		return false
	}
	differs := -1
	for i := range e.keys {
		a, b := &e.keys[i], &other.keys[i]
		if a.key != b.key {
			return false
		}
		if tomlValue(a.value) == tomlValue(b.value) {
			continue
		}
		if differs >= 0 || a.key != "host" && a.key != "path" {
			return false
		}
		differs = i
	}
	if differs >= 0 {
		k := &e.keys[differs]
		for _, v := range other.keys[differs].value.([]string) {
			if !slices.Contains(k.value.([]string), v) {
				k.value = append(slices.Clip(k.value.([]string)), v)
			}
		}
	}
	return true
}

// isMatch says whether a key says which requests a route fits.
func isMatch(key string) bool {
	table, _, _ := strings.Cut(key, ".")
	return slices.Contains([]string{"host", "path", "method", "listener", "scheme", "header", "query"}, table)
}

// text is the configuration.
func (d *draft) text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by weir import %s %s. Read it before you use it.\n", d.program, d.path)
	slices.SortStableFunc(d.notes, func(x, y Note) int {
		return cmp.Or(cmp.Compare(x.Place.File, y.Place.File), cmp.Compare(x.Place.Line, y.Place.Line))
	})
	if len(d.notes) > 0 {
		b.WriteString("#\n# Not translated, or not exactly:\n")
		for _, n := range d.notes {
			b.WriteString("#   " + strings.ReplaceAll(n.String(), "\n", " ") + "\n")
		}
	}
	if len(d.global.keys) > 0 {
		d.global.write(&b, "", "")
	}
	for _, l := range d.listeners {
		l.write(&b, "[[listeners]]", "")
	}
	for _, e := range d.emitted() {
		e.write(&b)
	}
	for _, u := range d.upstreams {
		u.write(&b, "[upstreams."+keyed(u.name)+"]", "")
	}
	return []byte(b.String())
}

// write writes the route. Of a closed one, what it would do is a comment.
func (e *emitted) write(b *strings.Builder) {
	s := section{comments: append([]string{"From " + e.owner.at.String() + "."}, e.owner.comments...)}
	if e.closed == nil {
		s.keys = e.keys
		s.write(b, "[[routes]]", "")
		return
	}
	s.comment("CLOSED because of " + strings.Join(e.closed.why, ", ") + ": see the top of this file.")
	s.comment("To open it, take care of that, remove \"respond\", and use the lines that are comments.")
	var rest section
	for _, k := range e.keys {
		if isMatch(k.key) {
			s.keys = append(s.keys, k)
		} else {
			rest.keys = append(rest.keys, k)
		}
	}
	s.set("respond", []pair{{"status", e.closed.status}, {"body", "closed by weir import\n"}})
	s.write(b, "[[routes]]", "")
	var lines strings.Builder
	rest.write(&lines, "", "# ")
	b.WriteString(strings.TrimPrefix(lines.String(), "\n"))
}
