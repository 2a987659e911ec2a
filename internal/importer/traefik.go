package importer

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type traefikImport struct {
	d           *draft
	static      *node
	files       []*node // of the dynamic configuration
	entryPoints map[string]*entryPoint
	names       []string
}

// entryPoint is where clients come in.
type entryPoint struct {
	listener *section
	tls      bool // all routers of it use TLS
	secure   bool // some do
	// middlewares come before those of its routers.
	middlewares []*node
}

func traefik(d *draft, file string) error {
	first, err := readTree(file)
	if err != nil {
		return err
	}
	t := &traefikImport{d: d, static: first, entryPoints: make(map[string]*entryPoint)}
	if err := t.dynamic(file, first); err != nil {
		return err
	}
	t.entries()
	t.judge(first, "global", "log", "accessLog", "api", "ping", "metrics", "entryPoints", "providers", "http", "tls", "tracing", "serversTransport")
	t.certificates()
	t.routers()
	// Traefik speaks HTTP/2 on plain entry points in any case; who has targets for it needs that.
	if slices.ContainsFunc(d.upstreams, func(u *section) bool { return strings.Contains(tomlValue(u.get("targets")), `"h2c://`) }) {
		d.plainHTTP2()
	}
	return nil
}

// judge notes the keys of a table that are not among those that are known.
func (t *traefikImport) judge(n *node, known ...string) {
	for _, c := range n.items {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, c.key) }) {
			t.d.note(c.at, "%s: not translated", c.key)
		}
	}
}

// dynamic finds the files of the dynamic configuration: those that the file provider names, or the file itself.
func (t *traefikImport) dynamic(file string, first *node) error {
	if first.get("http").is() || first.get("tls").is() {
		t.files = append(t.files, first)
	}
	for _, p := range first.get("providers").items {
		if !strings.EqualFold(p.key, "file") && p.table && p.key != "" {
			t.d.note(p.at, "provider %s: weir finds targets by sources, see docs/discovery.md", p.key)
		}
	}
	provider := first.get("providers", "file")
	var names []string
	if name := provider.get("filename").text; name != "" {
		names = append(names, beside(file, name))
	}
	if folder := provider.get("directory").text; folder != "" {
		for _, pattern := range []string{"*.yml", "*.yaml", "*.toml"} {
			found, err := filepath.Glob(filepath.Join(beside(file, folder), pattern))
			if err != nil {
				return err
			}
			names = append(names, found...)
		}
	}
	for _, name := range names {
		tree, err := readTree(name)
		if err != nil {
			return fmt.Errorf("%s: %w", provider.at, err)
		}
		t.files = append(t.files, tree)
	}
	return nil
}

// beside is a path that a file names: beside that file if it is there, as for a copy of the files, else as it is.
func beside(file, name string) string {
	near := filepath.Join(filepath.Dir(file), name)
	if _, err := os.Stat(near); err != nil {
		return name
	}
	return near
}

// find returns a part of the dynamic configuration by its name.
func (t *traefikImport) find(kind, name string) *node {
	name, _, _ = strings.Cut(name, "@")
	for _, f := range t.files {
		if n := f.get("http", kind, name); n.is() {
			return n
		}
	}
	return new(node)
}

// entries makes the listeners.
func (t *traefikImport) entries() {
	for _, e := range t.static.get("entryPoints").items {
		address := e.get("address").text
		if strings.HasSuffix(address, "/udp") {
			t.d.note(e.at, "entry point %s: weir does not forward UDP", e.key)
			continue
		}
		l := t.d.listener(e.at, strings.TrimSuffix(address, "/tcp"))
		l.set("name", e.key)
		l.name = e.key
		tls := e.get("http", "tls").is()
		t.entryPoints[e.key] = &entryPoint{listener: l, tls: tls, secure: tls, middlewares: e.get("http", "middlewares").items}
		t.names = append(t.names, e.key)
		if to := e.get("http", "redirections", "entryPoint"); to.is() {
			l.set("https_redirect", true)
		}
		if trusted := e.get("forwardedHeaders", "trustedIPs").texts(); trusted != nil {
			t.d.global.set("forwarding.trusted_proxies", list(trusted))
		}
		if insecure := e.get("forwardedHeaders", "insecure"); insecure.text == "true" {
			t.d.note(insecure.at, "forwardedHeaders.insecure: weir believes only trusted_proxies")
		}
		if trusted := e.get("proxyProtocol", "trustedIPs").texts(); trusted != nil {
			l.set("proxy_protocol", list(trusted))
		}
		for _, p := range []struct{ theirs, ours string }{{"readTimeout", "timeouts.grace"}, {"idleTimeout", "timeouts.idle"}} {
			if v := e.get("transport", "respondingTimeouts", p.theirs).text; v != "" && v != "0" {
				l.set(p.ours, traefikTime(v))
			}
		}
	}
	if len(t.names) == 0 { // a dynamic configuration alone
		l := t.d.listener(Place{t.d.path, 1}, ":80")
		l.set("name", "web")
		l.name = "web"
		t.entryPoints["web"], t.names = &entryPoint{listener: l}, []string{"web"}
		t.d.note(Place{t.d.path, 0}, "there are no entry points, so there is one listener, on port 80")
	}
}

// traefikTime is a time of Traefik: seconds without a unit.
func traefikTime(text string) string {
	if strings.Trim(text, "0123456789") == "" {
		return text + "s"
	}
	return text
}

// certificates gives listeners with TLS their certificates.
func (t *traefikImport) certificates() {
	all := t.pairs()
	t.findSecure()
	for _, name := range t.names {
		e := t.entryPoints[name]
		switch {
		case !e.secure:
		case all != nil:
			e.listener.set("certificates", all)
		default:
			t.d.note(e.listener.at, "entry point %s: its certificates are not in the files, so its routers are not served until the listener has some", name)
			e.listener.comment("This listener speaks TLS in Traefik, but its certificates are not known.")
		}
	}
}

// pairs returns the certificates of all files, and notes what of their options is not translated.
func (t *traefikImport) pairs() (all [][]pair) {
	for _, f := range t.files {
		certs := append(f.get("tls", "certificates").items, f.get("tls", "stores", "default", "defaultCertificate"))
		for _, c := range certs {
			if cert, key := c.get("certFile").text, c.get("keyFile").text; cert != "" {
				all = append(all, []pair{{"cert", cert}, {"key", key}})
			}
		}
		for _, o := range f.get("tls", "options").items {
			if auth := o.get("clientAuth"); auth.is() {
				t.d.note(auth.at, "tls.options %s: clientAuth is not translated", o.key)
			}
		}
	}
	return all
}

// findSecure marks the entry points of routers with TLS.
func (t *traefikImport) findSecure() {
	for _, f := range t.files {
		for _, r := range f.get("http", "routers").items {
			if r.get("tls").is() {
				for _, name := range t.of(r) {
					if e := t.entryPoints[name]; e != nil {
						e.secure = true
					}
				}
			}
		}
	}
}

// of returns the entry points of a router.
func (t *traefikImport) of(r *node) []string {
	if names := r.get("entryPoints").texts(); names != nil {
		return names
	}
	return t.names
}

// routers translates the routers, those of the highest priority first.
func (t *traefikImport) routers() {
	type ranked struct {
		*node
		priority int
	}
	var all []ranked
	for _, f := range t.files {
		for _, r := range f.get("http", "routers").items {
			all = append(all, ranked{r, cmp.Or(number(r.get("priority").text), len(r.get("rule").text))})
		}
		for _, kind := range []string{"tcp", "udp"} {
			if n := f.get(kind); n.is() {
				t.d.note(n.at, "%s: weir forwards HTTP only", kind)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return b.priority - a.priority })
	rs := new(rules)
	for _, r := range all {
		t.router(rs, r.node)
	}
	t.d.routes = rs.ordered()
}

func (t *traefikImport) router(rs *rules, n *node) {
	matches, beyond := traefikRule(n.get("rule").text)
	t.judge(n, "rule", "entryPoints", "service", "middlewares", "priority", "tls", "observability", "ruleSyntax")
	var entries []*entryPoint
	for _, name := range t.of(n) {
		if e := t.entryPoints[name]; e == nil {
			t.d.note(n.at, "router %s: there is no entry point %s", n.key, name)
		} else if (n.get("tls").is() || e.tls) == e.secure {
			entries = append(entries, e)
		}
	}
	if entries == nil {
		t.d.note(n.at, "router %s has no entry point: left out", n.key)
		return
	}
	for _, group := range grouped(entries) {
		middlewares := slices.Concat(group[0].middlewares, n.get("middlewares").items)
		var listeners []string
		for _, e := range group {
			listeners = append(listeners, e.listener.name)
		}
		for _, m := range matches {
			m.listeners = listeners
			if n.get("tls").is() {
				m.scheme = "https"
			}
			if beyond != nil {
				t.leaveOut(rs, n, m, middlewares, beyond)
				continue
			}
			r := route{section: section{at: n.at, name: n.key}, match: m}
			r.comment("Router " + n.key + ".")
			if auth := t.clientAuth(n, group[0]); auth.is() {
				r.refuse(t.d, auth.at, forbidden, "tls.options asks for certificates of clients, which a listener does in weir (client_ca)")
			}
			t.service(&r, n)
			for _, name := range middlewares {
				t.middleware(&r, name.at, name.text, 0)
			}
			rs.add([]match{r.match}, r) // a redirect asks for a scheme
		}
	}
}

// grouped puts entry points together that have no middlewares.
func grouped(entries []*entryPoint) (groups [][]*entryPoint) {
	var plain []*entryPoint
	for _, e := range entries {
		if e.middlewares == nil {
			plain = append(plain, e)
		} else {
			groups = append(groups, []*entryPoint{e})
		}
	}
	if plain != nil {
		groups = append(groups, plain)
	}
	return groups
}

// clientAuth returns what the TLS options of a router say of certificates of clients.
func (t *traefikImport) clientAuth(n *node, e *entryPoint) *node {
	if n.get("tls").is() || e.tls {
		name, _, _ := strings.Cut(cmp.Or(n.get("tls", "options").text, "default"), "@")
		for _, f := range t.files {
			if auth := f.get("tls", "options", name, "clientAuth"); auth.is() {
				return auth
			}
		}
	}
	return new(node)
}

// leaveOut leaves out a router whose rule is not translated. If it protects something, the routers of lower priority
// that would get its requests are closed for them; m fits all of these, and perhaps more.
func (t *traefikImport) leaveOut(rs *rules, n *node, m match, middlewares []*node, why error) {
	at := n.get("rule").at
	var r route
	before := len(t.d.notes)
	for _, name := range middlewares {
		t.middleware(&r, name.at, name.text, 0)
	}
	t.d.notes = t.d.notes[:before] // they say that a route is closed that is not there
	protects := r.closed != nil && r.closed.status == forbidden || r.get("basic_auth.realm") != nil || r.get("allow") != nil || r.get("deny") != nil ||
		n.get("tls", "options").is() || strings.HasSuffix(n.get("service").text, "@internal")
	if !protects {
		t.d.note(at, "router %s: %v: left out", n.key, why)
		return
	}
	rs.guard([]match{m}, func(r *route) {
		r.refuse(t.d, at, forbidden, "router %s protects something, and its rule is not translated (%v)", n.key, why)
	})
	t.d.note(at, "router %s: %v: left out", n.key, why)
}
