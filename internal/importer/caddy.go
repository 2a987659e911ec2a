package importer

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type caddyImport struct {
	d        *draft
	matchers map[string]condition
	root     string // of the files of a site
	automate bool   // certificates are got by Caddy
	plainH2  bool   // servers speak HTTP/2 without TLS, too
}

func caddy(d *draft, file string) error {
	options, sites, err := parseCaddy(file)
	if err != nil {
		return err
	}
	c := &caddyImport{d: d, automate: true}
	c.options(options)
	for i := range sites {
		c.site(&sites[i])
	}
	if c.plainH2 {
		d.plainHTTP2()
	}
	return nil
}

// options translates the global options.
func (c *caddyImport) options(directives []directive) {
	for _, o := range directives {
		switch o.name {
		case "email", "admin", "log", "order", "grace_period", "debug", "acme_ca", "default_sni", "storage", "persist_config", "local_certs", "skip_install_trust", "key_type":
		case "auto_https":
			c.automate = o.arg(0) != "off"
		case "servers":
			for _, s := range o.block {
				if s.name == "trusted_proxies" && s.arg(0) == "static" {
					var ranges list
					for _, a := range s.args[1:] {
						if a == "private_ranges" {
							ranges = append(ranges, privateRanges...)
						} else {
							ranges = append(ranges, a)
						}
					}
					c.d.global.set("forwarding.trusted_proxies", ranges)
				} else if s.name == "protocols" {
					c.plainH2 = slices.Contains(s.args, "h2c")
				} else if s.name != "metrics" {
					c.d.note(s.at, "servers: %s is not translated", s.name)
				}
			}
		default:
			c.d.note(o.at, "option %s: not translated", o.name)
		}
	}
}

// privateRanges are what Caddy calls private_ranges.
var privateRanges = list{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8", "127.0.0.0/8", "::1"}

// caddyAddress is the address of a site.
type caddyAddress struct {
	host, port, path string
	secure           bool
}

func (c *caddyImport) address(text string) (a caddyAddress, ok bool) {
	full := text
	if !strings.Contains(text, "://") {
		full = "//" + text
	}
	u, err := url.Parse(full)
	if err != nil || strings.Contains(u.Host, "{") {
		return a, false
	}
	a = caddyAddress{host: strings.ToLower(u.Hostname()), port: u.Port(), path: strings.TrimSuffix(u.Path, "*")}
	switch {
	case u.Scheme == "http" || a.port == "80":
		a.port = cmp.Or(a.port, "80")
	case u.Scheme == "https" || a.port == "443" || a.host != "" && c.automate:
		a.secure, a.port = true, cmp.Or(a.port, "443")
	default:
		a.port = cmp.Or(a.port, "80")
	}
	return a, true
}

// site translates a site.
func (c *caddyImport) site(s *caddySite) {
	var base []match
	for _, text := range s.addresses {
		a, ok := c.address(text)
		if !ok {
			c.d.note(s.at, "address %s is not translated", text)
			continue
		}
		m := match{host: a.host}
		if a.path != "" && a.path != "/" {
			m.path = path{a.path, false}
		}
		if a.secure {
			m.scheme = "https"
			c.secure(s, &a)
		} else {
			l := c.d.listener(s.at, ":"+a.port)
			m.listeners = []string{l.name}
		}
		base = append(base, m)
	}
	c.matchers, c.root = make(map[string]condition), ""
	for i := range s.list {
		if dir := &s.list[i]; strings.HasPrefix(dir.name, "@") {
			c.matchers[dir.name] = c.matcher(dir)
		}
	}
	rs := new(rules)
	c.block(rs, s.list, base, true)
	nothing := route{section: section{at: s.at}}
	nothing.set("respond", []pair{{"status", 200}})
	rs.add(base, nothing) // Caddy answers 200 with nothing where no directive does
	c.d.routes = append(c.d.routes, rs.ordered()...)
}

// secure makes the listeners of a site with TLS, and sends clients there.
func (c *caddyImport) secure(s *caddySite, a *caddyAddress) {
	plain := c.d.listener(s.at, ":80")
	to := "https://{hostname}{path}"
	if a.port != "443" {
		to = "https://{hostname}:" + a.port + "{path}"
	}
	redirect := &route{section: section{at: s.at}, match: match{host: a.host, scheme: "http"}}
	redirect.set("redirect", []pair{{"to", to}, {"status", 308}})
	if a.host != "" {
		c.d.routes = append(c.d.routes, redirect)
	}
	var pairOf []pair
	for _, dir := range s.list {
		if dir.name == "tls" && len(dir.args) == 2 {
			pairOf = []pair{{"cert", dir.args[0]}, {"key", dir.args[1]}}
		}
		if dir.name == "tls" && dir.block != nil {
			c.tlsOptions(s, &dir)
		}
	}
	if pairOf == nil {
		c.d.note(s.at, "%s: Caddy gets the certificate by itself, and weir where a listener says tls = \"acme\": add such a listener on :%s; until then the site is not served", cmp.Or(a.host, "the site"), a.port)
		plain.comment(fmt.Sprintf("With certificates by ACME:\n[[listeners]]\naddress = \":%s\"\ntls = \"acme\"", a.port))
		return
	}
	l := c.d.listener(s.at, ":"+a.port)
	all, _ := l.get("certificates").([][]pair)
	if !slices.ContainsFunc(all, func(o []pair) bool { return slices.Equal(o, pairOf) }) {
		l.set("certificates", append(all, pairOf))
	}
}

// tlsOptions translates what clients must show.
func (c *caddyImport) tlsOptions(s *caddySite, dir *directive) {
	for _, o := range dir.block {
		switch o.name {
		case "client_auth":
			c.d.add(Note{Place: o.at, Text: "client_auth is not translated: a listener's client_ca asks for certificates", Closed: true})
			s.list = append(slices.Clip(s.list), directive{at: o.at, name: closesAll, args: []string{"client_auth"}})
		case "protocols", "ciphers", "curves", "alpn", "dns", "issuer", "on_demand", "resolvers":
		default:
			c.d.note(o.at, "tls: %s is not translated", o.name)
		}
	}
}

// caddyOrder is in which order Caddy takes directives, whatever their order in the file.
var caddyOrder = []string{
	closesAll, "root", "header", "request_body", "redir", "rewrite", "uri", "try_files", "basic_auth", "basicauth", "forward_auth", "request_header", "encode",
	"handle", "handle_path", "route", "abort", "error", "respond", "reverse_proxy", "php_fastcgi", "file_server",
}

// block translates the directives of a site, or of a handle, for requests that fit base.
func (c *caddyImport) block(rs *rules, list []directive, base []match, sorted bool) {
	list = slices.Clone(list)
	if sorted {
		group := func(d *directive) int {
			i := slices.Index(caddyOrder, d.name)
			if d.name == "handle_path" {
				i = slices.Index(caddyOrder, "handle")
			}
			return i
		}
		slices.SortStableFunc(list, func(a, b directive) int {
			if x, y := group(&a), group(&b); x != y {
				return x - y
			}
			return c.specific(&b) - c.specific(&a)
		})
	}
	for i := range list {
		c.directive(rs, &list[i], base)
	}
}

// specific is how specific the matcher of a directive is: Caddy takes longer paths first, and those without a
// matcher last.
func (c *caddyImport) specific(d *directive) int {
	a := d.arg(0)
	switch {
	case strings.HasPrefix(a, "/"):
		return 2 * len(strings.TrimSuffix(a, "*"))
	case strings.HasPrefix(a, "@"):
		return 1
	}
	return 0
}

// matched takes the matcher of a directive from its arguments.
func (c *caddyImport) matched(d *directive, base []match) (cond condition, args []string) {
	a := d.arg(0)
	switch {
	case a == "*":
		return condition{matches: base}, d.args[1:]
	case strings.HasPrefix(a, "@"):
		named, ok := c.matchers[a]
		if !ok {
			named = condition{unknown: "there is no " + a}
		}
		cond, args = named, d.args[1:]
	case strings.HasPrefix(a, "/"):
		p, ok := caddyPath(a)
		if !ok {
			cond.unknown = a
		}
		cond.matches, args = []match{{path: p}}, d.args[1:]
	default:
		return condition{matches: base}, d.args
	}
	cond.matches = both(base, cond.matches)
	return cond, args
}

// caddyPath is the path of a matcher.
func caddyPath(text string) (path, bool) {
	rest, wild := strings.CutSuffix(text, "*")
	if strings.Contains(rest, "*") || !strings.HasPrefix(rest, "/") {
		return path{}, false
	}
	return path{rest, !wild}, true
}

// matcher translates a named matcher.
func (c *caddyImport) matcher(d *directive) condition {
	lines := d.block
	if lines == nil && len(d.args) > 0 {
		lines = []directive{{at: d.at, name: d.args[0], args: d.args[1:]}}
	}
	cond := condition{matches: []match{{}}}
	for _, l := range lines {
		cond.add(caddyTest(&l), false)
		if l.name == "not" && len(l.args) > 1 && (l.args[0] == "remote_ip" || l.args[0] == "client_ip") {
			cond.unknown = ""
			cond.add(caddyTest(&directive{at: l.at, name: l.args[0], args: l.args[1:]}), true)
		}
	}
	return cond
}

func caddyTest(l *directive) (t test) {
	add := func(m match) { t.matches = append(t.matches, m) }
	for _, v := range l.args {
		switch l.name {
		case "path":
			p, ok := caddyPath(v)
			if !ok {
				return test{unknown: "path " + v}
			}
			add(match{path: p})
		case "host":
			add(match{host: strings.ToLower(v)})
		case "query":
			name, value, _ := strings.Cut(v, "=")
			add(match{query: map[string]string{name: value}})
		case "protocol":
			add(match{scheme: v})
		case "remote_ip", "client_ip":
			if v == "private_ranges" {
				for _, private := range privateRanges {
					t.addresses = append(t.addresses, accessRule{allow: true, text: private, at: l.at})
				}
			} else if v != "forwarded" {
				t.addresses = append(t.addresses, accessRule{allow: true, text: v, at: l.at})
			}
		}
	}
	if l.name == "method" {
		add(match{methods: strings.Fields(strings.ToUpper(strings.Join(l.args, " ")))})
	}
	if l.name == "header" && len(l.args) > 0 && !strings.HasPrefix(l.args[0], "!") {
		value := cmp.Or(l.arg(1), "*")
		if value != "*" && strings.Contains(value, "*") {
			return test{unknown: "header " + value}
		}
		add(match{header: map[string]string{l.args[0]: value}})
	}
	if t.matches == nil && t.addresses == nil {
		t.unknown = l.name
	}
	return t
}

// placeholders are Caddy's placeholders that weir has variables for.
var placeholders = map[string]string{
	"host": "{hostname}", "hostport": "{host}", "uri": "{path}{search}", "path": "{path}", "query": "{query}", "scheme": "{scheme}", "method": "{method}", "remote_host": "{client_addr}",
	"client_ip": "{client_addr}", "remote_port": "{client_port}", "http.request.host": "{hostname}", "http.request.hostport": "{host}", "http.request.uri": "{path}{search}", "http.request.uri.path": "{path}",
	"http.request.remote.host": "{client_addr}", "http.request.scheme": "{scheme}", "http.request.method": "{method}", "http.auth.user.id": "{auth_user}", "tls_client_subject": "{client_subject}", "?query": "{search}",
}

var placeholder = regexp.MustCompile(`\{[^{}\s]+\}`)

// placed is a text with variables; the first that weir does not have is returned too.
func placed(text string) (out, unknown string) {
	return substitute(text, placeholder, func(variable string) (string, bool) {
		value, known := placeholders[strings.Trim(variable, "{}")]
		return value, known
	})
}

// terminal adds a rule for a directive that answers.
func (c *caddyImport) terminal(rs *rules, d *directive, cond condition, r route) {
	r.at = d.at
	switch why := cond.beyond(); why {
	case "":
		rs.add(cond.matches, r)
	case byAddress:
		c.d.note(d.at, "%s: %s, so its requests go on to what follows", d.name, why)
	default:
		c.d.note(d.at, "%s: its matcher is not translated (%s), so its requests go on to what follows", d.name, why)
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
