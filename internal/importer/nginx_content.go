package importer

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// nginxVariables are the variables that weir has too. Those without a value are left out.
var nginxVariables = map[string]string{
	"host": "{hostname}", "http_host": "{host}", "server_name": "{hostname}", "scheme": "{scheme}", "remote_addr": "{client_addr}", "remote_port": "{client_port}",
	"request_uri": "{path}{search}", "uri": "{path}", "document_uri": "{path}", "args": "{query}", "query_string": "{query}", "request_id": "{request_id}",
	"remote_user": "{auth_user}", "request_method": "{method}", "ssl_client_s_dn": "{client_subject}", "is_args": "",
	"search": "{search}", // which expand puts in place of two
}

var nginxVariable = regexp.MustCompile(`\$(\{\w+\}|\w+)`)

// expand returns a text with weir's variables; the first variable that weir does not have is returned too.
func expand(text string) (out, unknown string) {
	text = strings.ReplaceAll(text, "$is_args$args", "$search")
	out, unknown = substitute(text, nginxVariable, func(variable string) (string, bool) {
		value, known := nginxVariables[strings.Trim(variable, "${}")]
		return value, known
	})
	return out, strings.NewReplacer("{", "", "}", "").Replace(unknown)
}

// setRedirect makes the route redirect to a URL with weir's variables, which says all of the query.
func setRedirect(r *route, to string, status int) {
	if rest, ok := strings.CutSuffix(to, "{search}"); ok {
		to = rest // weir adds it
	} else if !strings.Contains(to, "?") && !strings.Contains(to, "{search}") {
		to += "?" // or weir would add it
	}
	r.set("redirect", []pair{{"to", to}, {"status", status}})
}

// setReturn translates a return.
func (n *nginxImport) setReturn(s *scope, r *route, dir *directive) {
	code, text := dir.arg(0), dir.arg(1)
	status, err := strconv.Atoi(code)
	if err != nil {
		status, text = 302, code
	}
	switch {
	case slices.Contains([]int{301, 302, 303, 307, 308}, status) && text != "":
		to, unknown := expand(text)
		if unknown != "" {
			r.refuse(n.d, dir.at, notImplemented, "return %s: weir has no %s", strings.Join(dir.args, " "), unknown)
			return
		}
		setRedirect(r, to, status)
	case status == 444:
		r.comment("nginx closes the connection (444).")
		r.set("respond", []pair{{"status", 403}})
	case status < 200 || status > 599:
		r.refuse(n.d, dir.at, notImplemented, "return %s: want a status from 200 to 599", code)
	default:
		answer := []pair{{"status", status}}
		if strings.Contains(text, "$") {
			n.d.note(dir.at, "return %s: weir has no variables in a body", strings.Join(dir.args, " "))
		}
		if text != "" {
			answer = append(answer, pair{"body", text}, pair{"headers", []pair{{"Content-Type", cmp.Or(s.value("default_type"), "text/plain")}}})
		}
		r.set("respond", answer)
	}
}

// rewrites adds the rules of return, if and rewrite that answer by themselves. It returns true if nothing else
// of the block counts.
func (n *nginxImport) rewrites(rs *rules, s *scope, m match) (ended bool) {
	for i := range s.list {
		dir := &s.list[i]
		switch dir.name {
		case "return":
			r := route{section: section{at: dir.at}}
			n.setReturn(s, &r, dir)
			n.headers(s, &r)
			if r.closed == nil && !nginxProtects([]directive{*dir}) { // what is refused stays so
				n.refuseClosed(s, &r)
			}
			rs.add([]match{m}, r)
			return true
		case "if":
			n.condition(rs, s, m, dir)
		case "rewrite":
			if n.redirects(rs, s, m, dir) {
				return true
			}
		}
	}
	return false
}

var (
	nginxEquals  = regexp.MustCompile(`^\(\s*\$(\w+)\s*(=|!=)\s*"?([^"\s]*)"?\s*\)$`)
	nginxPresent = regexp.MustCompile(`^\(\s*\$(http|arg)_(\w+)\s*\)$`)
	nginxMethods = regexp.MustCompile(`^\(\s*\$request_method\s*(!?)~\s*"?\^\(([A-Z|]+)\)\$?"?\s*\)$`)
)

// conditionMatch translates what an if asks for.
func conditionMatch(text string) (m match, ok bool) {
	if p := nginxMethods.FindStringSubmatch(text); p != nil && p[1] == "" {
		return match{methods: strings.Split(p[2], "|")}, true
	}
	if p := nginxPresent.FindStringSubmatch(text); p != nil {
		one := map[string]string{strings.ReplaceAll(p[2], "_", "-"): "*"}
		if p[1] == "arg" {
			return match{query: map[string]string{p[2]: "*"}}, true
		}
		return match{header: one}, true
	}
	p := nginxEquals.FindStringSubmatch(text)
	if p == nil {
		return m, false
	}
	name, not, value := p[1], p[2] == "!=", p[3]
	field, isField := strings.CutPrefix(name, "http_")
	arg, isArg := strings.CutPrefix(name, "arg_")
	switch {
	case name == "scheme" && (value == "http" || value == "https"):
		if not {
			value = map[string]string{"http": "https", "https": "http"}[value]
		}
		return match{scheme: value}, true
	case not || value == "":
		return m, false
	case name == "host" || name == "http_host":
		return match{host: strings.ToLower(value)}, true
	case name == "request_method":
		return match{methods: []string{value}}, true
	case name == "uri" || name == "document_uri":
		return match{path: path{value, true}}, true
	case isField:
		return match{header: map[string]string{strings.ReplaceAll(field, "_", "-"): value}}, true
	case isArg:
		return match{query: map[string]string{arg: value}}, true
	}
	return m, false
}

// condition translates an if. One that is not translated, and may refuse requests, closes all routes that
// it is for.
func (n *nginxImport) condition(rs *rules, s *scope, m match, dir *directive) {
	text := strings.Join(dir.args, " ")
	inner := &scope{dir.block, s}
	refuses := nginxProtects(dir.block) || slices.ContainsFunc(dir.block, leadsAway)
	if p := nginxMethods.FindStringSubmatch(text); p != nil && p[1] == "!" && refuses && len(m.path.text) == 0 && inner.own("return") != nil {
		rs.guard([]match{m}, func(r *route) { r.match.methods, _ = common(strings.Split(p[2], "|"), r.match.methods) })
		other := route{section: section{at: dir.at}, priority: 1 << 30}
		n.setReturn(inner, &other, &inner.own("return")[0])
		rs.insert(other)
		return
	}
	also, ok := conditionMatch(text)
	both, some := m.and(also)
	simple := !slices.ContainsFunc(dir.block, func(d directive) bool { return d.name != "return" && d.name != "rewrite" && d.name != "break" })
	switch {
	case ok && !some:
		return
	case ok && simple && n.rewrites(rs, inner, both):
		return
	case refuses:
		rs.guard([]match{m}, func(r *route) {
			r.refuse(n.d, dir.at, forbidden, "if %s may refuse requests and is not translated", text)
		})
	default:
		n.d.note(dir.at, "if %s: not translated", text)
	}
}

// leadsAway says whether a directive redirects to one place, such as to a page for logins, whatever was asked for.
func leadsAway(d directive) bool {
	switch d.name {
	case "return":
		to := d.args[len(d.args)-1]
		return (d.arg(0) >= "301" && d.arg(0) <= "308" || len(d.args) == 1 && strings.Contains(to, "/")) && !strings.ContainsAny(to, "$")
	case "rewrite":
		return (d.arg(2) == "redirect" || d.arg(2) == "permanent") && !strings.Contains(d.arg(1), "$")
	}
	return false
}

var (
	rewriteAll    = regexp.MustCompile(`^(\^|\^\(\.\*\)\$?|\^/\(\.\*\)\$?|\.\*|\(\.\*\))$`)
	rewriteExact  = regexp.MustCompile(`^\^(/[A-Za-z0-9/_.-]*)\$$`)
	rewritePrefix = regexp.MustCompile(`^\^(/[A-Za-z0-9/_.-]*?)(/\?)?\((/?)\.\*\)\$?$`)
)

// redirects translates a rewrite that redirects. It returns true if that is for all requests of m.
func (n *nginxImport) redirects(rs *rules, s *scope, m match, dir *directive) bool {
	pattern, to, flag := dir.arg(0), dir.arg(1), dir.arg(2)
	status := map[string]int{"permanent": 301, "redirect": 302}[flag]
	if status == 0 && (strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "$scheme")) {
		status = 302
	}
	if status == 0 {
		if s.outer == n.http { // of a server: it changes which location is taken
			paths, _ := regexpPaths(pattern, false)
			const why = "rewrite %s: weir has no rewrite before a route is chosen"
			if paths == nil {
				n.d.note(dir.at, why, strings.Join(dir.args, " "))
			}
			for _, p := range paths { // another location could refuse them
				rs.guard(both([]match{m}, []match{{path: p}}), func(r *route) { r.refuse(n.d, dir.at, notImplemented, why, strings.Join(dir.args, " ")) })
			}
		}
		return false
	}
	r := route{section: section{at: dir.at}}
	n.refuseClosed(s, &r)
	ended := false
	search := "{search}"
	if cut, ok := strings.CutSuffix(to, "?"); ok {
		to, search = cut, ""
	}
	switch exact, prefix := rewriteExact.FindStringSubmatch(pattern), rewritePrefix.FindStringSubmatch(pattern); {
	case rewriteAll.MatchString(pattern):
		if strings.HasPrefix(pattern, "^/") {
			to = strings.ReplaceAll(to, "/$1", "$uri")
		}
		to, ended = strings.ReplaceAll(to, "$1", "$uri"), true
	case exact != nil && !strings.Contains(to, "$1"):
		m.path = path{exact[1], true}
	case prefix != nil && prefix[2] == "" && strings.HasSuffix(prefix[1]+prefix[3], "/"):
		m.path, r.capture = path{prefix[1] + prefix[3], false}, true
		to = strings.ReplaceAll(to, "$1", prefix[3]+"\x00")
	default:
		r.refuse(n.d, dir.at, notImplemented, "rewrite %s is not translated", strings.Join(dir.args, " "))
	}
	out, unknown := expand(to)
	if unknown != "" {
		r.refuse(n.d, dir.at, notImplemented, "rewrite %s: weir has no %s", strings.Join(dir.args, " "), unknown)
	}
	out = strings.ReplaceAll(out, "\x00", "{rest}")
	if !strings.Contains(out, "?") && !strings.HasSuffix(out, "{search}") {
		out += search
	}
	if r.closed == nil {
		setRedirect(&r, out, status)
	}
	rs.add([]match{m}, r)
	return ended
}

// passwords translates auth_basic.
func (n *nginxImport) passwords(s *scope, r *route) {
	realm := s.last("auth_basic")
	if realm == nil || realm.arg(0) == "off" {
		return
	}
	file := s.value("auth_basic_user_file")
	if file == "" || strings.Contains(file+realm.arg(0), "$") {
		r.refuse(n.d, realm.at, forbidden, "auth_basic needs auth_basic_user_file, and weir no variables")
		return
	}
	setPasswordFile(n.d, r, s.last("auth_basic_user_file").at, realm.arg(0), n.file(file))
}

// headers translates add_header and expires.
func (n *nginxImport) headers(s *scope, r *route) {
	for _, dir := range s.all("add_header") {
		name := dir.arg(0)
		value, unknown := expand(dir.arg(1))
		key := keyed("response_headers", "add", name)
		switch {
		case unknown != "":
			n.d.note(dir.at, "add_header %s: weir has no %s", name, unknown)
		case dir.arg(1) == "": // adds nothing
		case strings.EqualFold(name, "Content-Type"):
			n.d.note(dir.at, "add_header Content-Type: weir would replace it, by response_headers.set")
		case r.get(key) != nil:
			n.d.note(dir.at, "add_header %s: the second of this name", name)
		default:
			r.set(key, value)
		}
	}
	dir := s.last("expires")
	if dir == nil || dir.arg(0) == "off" {
		return
	}
	control := map[string]string{"epoch": "no-cache", "-1": "no-cache", "max": "max-age=315360000"}[dir.arg(0)]
	if m := regexp.MustCompile(`^(\d+)([smhdwMy]?)$`).FindStringSubmatch(dir.arg(0)); m != nil {
		seconds, _ := strconv.Atoi(m[1])
		control = fmt.Sprintf("max-age=%d", seconds*map[string]int{"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}[m[2]])
	}
	if control == "" {
		n.d.note(dir.at, "expires %s: not translated", strings.Join(dir.args, " "))
		return
	}
	r.set("response_headers.set.Cache-Control", control)
}

// errorPages translates error_page where it names a file.
func (n *nginxImport) errorPages(s *scope, r *route) {
	translated := false
	for _, dir := range s.all("error_page") {
		last := len(dir.args) - 1
		file := ""
		if last > 0 && strings.HasPrefix(dir.args[last], "/") && !strings.Contains(dir.args[last], "$") {
			file = n.errorFile(s, dir.args[last])
		}
		for _, code := range dir.args[:max(last, 0)] {
			if status, err := strconv.Atoi(code); err != nil || status < 400 || status > 599 {
				file = "" // "=200" gives the page another status, and other codes are nginx's own
			}
		}
		if file == "" {
			n.d.note(dir.at, "error_page %s: weir has error_pages for statuses from 400 to 599, and files for them", strings.Join(dir.args, " "))
			continue
		}
		for _, code := range dir.args[:last] {
			r.set(keyed("error_pages", "files", code), file)
			translated = true
		}
	}
	if dir := s.last("proxy_intercept_errors"); dir != nil && dir.arg(0) == "on" && translated {
		if s.value("proxy_cache") != "" && s.value("proxy_cache") != "off" {
			n.d.note(dir.at, "proxy_intercept_errors on: weir passes on the errors of targets where it caches")
			return
		}
		r.set("error_pages.targets", true)
	}
}

// errorFile is the file that an error_page leads to; empty if that is no file, or one that not everybody may see. s is the
// location with the error_page.
func (n *nginxImport) errorFile(s *scope, uri string) string {
	for s.outer != nil && s.outer != n.http {
		s = s.outer
	}
	if l := n.chosen(uri); l != nil {
		open := slices.DeleteFunc(slices.Clone(l.scope.list), func(d directive) bool { return d.name == "internal" })
		if l.passes() || nginxProtects(open) || l.scope.own("return") != nil || l.scope.own("rewrite") != nil || l.scope.own("try_files") != nil {
			return ""
		}
		if alias := l.scope.own("alias"); alias != nil {
			if strings.Contains(alias[0].arg(0), "$") {
				return ""
			}
			return n.file(alias[0].arg(0) + strings.TrimPrefix(uri, l.path.text))
		}
		s = l.scope
	}
	root := s.value("root")
	if root == "" || strings.Contains(root, "$") || strings.HasSuffix(uri, "/") || strings.Contains(uri, "/.") {
		return ""
	}
	return n.file(strings.TrimSuffix(root, "/") + uri)
}

// common translates what holds for all kinds of content.
func (n *nginxImport) common(s *scope, r *route) {
	n.protect(s, r)
	n.headers(s, r)
	n.errorPages(s, r)
	if s.value("gzip") == "on" {
		r.set("compress.enabled", true)
		if types := s.last("gzip_types"); types != nil && !slices.Contains(types.args, "*") {
			r.set("compress.types", append(list{"text/html"}, slices.DeleteFunc(slices.Clone(types.args), func(t string) bool { return t == "text/html" })...))
		} else if types == nil {
			r.set("compress.types", list{"text/html"})
		}
		if size := nginxSize(s.value("gzip_min_length")); size != "" {
			r.set("compress.min_size", size)
		}
	}
}

// content translates what a location answers with.
func (n *nginxImport) content(s *scope, r *route, p path) {
	for _, dir := range s.own("rewrite") {
		if r.change = rewriteSwap(&dir, p); r.change == nil && dir.arg(2) != "permanent" && dir.arg(2) != "redirect" {
			r.refuse(n.d, dir.at, notImplemented, "rewrite %s is not translated", strings.Join(dir.args, " "))
		}
	}
	for _, kind := range []string{"proxy_pass", "grpc_pass"} {
		if pass := s.own(kind); pass != nil {
			n.pass(s, r, p, &pass[0])
			return
		}
	}
	for _, kind := range []string{"fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"} {
		if pass := s.own(kind); pass != nil {
			r.refuse(n.d, pass[0].at, notImplemented, "%s: weir speaks HTTP to targets", kind)
			return
		}
	}
	n.files(s, r, p)
}

// rewriteSwap is the change of the path that a rewrite makes; nil if weir has none like it.
func rewriteSwap(dir *directive, p path) *swap {
	m := rewritePrefix.FindStringSubmatch(dir.arg(0))
	put, one := strings.CutSuffix(dir.arg(1), "$1")
	if m == nil || !one || strings.ContainsAny(put, "$?") || p.exact {
		return nil
	}
	c := &swap{cut: m[1], put: put}
	if m[2] != "" {
		c.cut += "/"
	}
	if m[3] != "" && strings.HasPrefix(p.text, c.cut+"/") {
		c.cut, c.put = c.cut+"/", c.put+"/"
	}
	if !strings.HasPrefix(p.text, c.cut) {
		return nil
	}
	return c
}

// files translates root and alias.
func (n *nginxImport) files(s *scope, r *route, p path) {
	root := s.last("root")
	if alias := s.own("alias"); alias != nil {
		root = &alias[0]
		if p.exact || !strings.HasSuffix(p.text, "/") {
			r.refuse(n.d, root.at, notImplemented, "alias: want a location that ends with a slash")
			return
		}
		r.set("strip_prefix", true)
	}
	switch {
	case root == nil:
		r.comment("nginx serves files of the folder that it was built with.")
		r.set("respond", []pair{{"status", 404}})
		return
	case strings.Contains(root.arg(0), "$"):
		r.refuse(n.d, root.at, notImplemented, "%s %s: weir has no variables here", root.name, root.arg(0))
		return
	}
	r.set("files.root", n.file(root.arg(0)))
	if index := s.last("index"); index != nil {
		r.set("files.index", list(index.args))
	}
	for level := s; level != nil; level = level.outer {
		for _, dir := range level.own(closesFiles) {
			r.refuse(n.d, dir.at, notImplemented, "%s runs a program, and weir cannot tell its requests from those for files", dir.arg(0))
		}
	}
	for _, name := range s.arguments("index") {
		n.refuseInside(s, r, "index", p.text+name)
	}
	try := s.last("try_files")
	if try == nil {
		return
	}
	last := try.args[len(try.args)-1]
	switch {
	case strings.HasPrefix(last, "="):
	case strings.HasPrefix(last, "/") && !strings.ContainsAny(last, "$?"):
		r.set("files.fallback", last)
		n.refuseInside(s, r, "try_files", last)
	default:
		r.refuse(n.d, try.at, notImplemented, "try_files %s is not translated", strings.Join(try.args, " "))
	}
}

// refuseInside closes a route of files whose index or fallback another location takes: nginx goes there, and weir would
// answer with the file.
func (n *nginxImport) refuseInside(s *scope, r *route, name, to string) {
	if chosen := n.chosen(to); chosen != nil && chosen.scope != s && chosen.passes() {
		r.refuse(n.d, chosen.at, notImplemented, "%s leads to location %s, and weir would answer with the file %s", name, chosen.original, to)
	}
}

// chosen is the location for a path, among those that weir can look for; nil if there is none.
func (n *nginxImport) chosen(to string) (chosen *nginxLocation) {
	for _, l := range n.locations {
		if l.regular || !l.path.covers(path{to, true}) {
			continue
		}
		if chosen == nil || l.path.exact || !chosen.path.exact && len(l.path.text) > len(chosen.path.text) {
			chosen = l
		}
	}
	return chosen
}
