package importer

import (
	"slices"
	"strings"
)

// directive translates one directive for requests that fit base.
func (c *caddyImport) directive(rs *rules, d *directive, base []match) {
	cond, args := c.matched(d, base)
	refuse := func(format string, a ...any) {
		rs.guard(base, func(r *route) { r.refuse(c.d, d.at, forbidden, format, a...) })
	}
	// guard changes the routes of requests that fit.
	guard := func(apply func(r *route)) {
		if why := cond.beyond(); why != "" {
			c.d.note(d.at, "%s: its matcher is not translated (%s)", d.name, why)
			return
		}
		rs.guard(cond.matches, apply)
	}
	switch d.name {
	case closesAll:
		refuse("%s is not translated", d.arg(0))
	case "root":
		if len(args) > 0 {
			c.root = args[len(args)-1]
		}
	case "header", "request_header":
		c.fields(d, args, guard)
	case "request_body":
		for _, o := range d.block {
			if o.name == "max_size" {
				guard(func(r *route) { r.set("max_body", o.arg(0)) })
			}
		}
	case "encode":
		codings := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a != "gzip" && a != "zstd" && a != "br" })
		guard(func(r *route) {
			r.set("compress.enabled", true)
			if len(codings) > 0 {
				r.set("compress.codings", list(codings))
			}
		})
	case "basic_auth", "basicauth":
		if why := cond.beyond(); why != "" {
			refuse("%s: its matcher is not translated (%s)", d.name, why)
			return
		}
		var users []pair
		for _, u := range d.block {
			users = append(users, pair{u.name, u.arg(0)})
		}
		rs.guard(cond.matches, func(r *route) { setPasswords(c.d, r, d.at, "restricted", users) })
		c.cased(d)
	case "uri", "rewrite", "try_files":
		c.rewrite(rs, d, cond, args)
	case "handle", "route":
		c.handle(rs, d, cond, base)
	case "handle_path":
		prefix := strings.TrimSuffix(strings.TrimSuffix(d.arg(0), "*"), "/")
		rs.guard(cond.matches, func(r *route) {
			if r.get("upstream") != nil || r.get("files.root") != nil {
				r.change = stripped(r.match.path, prefix)
			}
		})
		c.handle(rs, d, cond, base)
	case "redir", "respond", "error", "abort":
		c.answer(rs, d, cond, args)
	case "reverse_proxy":
		c.proxy(rs, d, cond, args)
	case "php_fastcgi":
		var r route
		r.refuse(c.d, d.at, notImplemented, "php_fastcgi: weir speaks HTTP to targets")
		c.terminal(rs, d, cond, r)
	case "file_server":
		c.files(rs, d, cond, args)
	case "tls", "log", "log_skip", "skip_log", "bind", "metrics", "tracing":
		if d.name == "bind" {
			c.d.note(d.at, "bind: not translated; the listeners have all addresses")
		}
	default:
		switch {
		case strings.HasPrefix(d.name, "@"):
		case d.name == "rate_limit":
			rs.guard(base, func(r *route) { r.limit(c.d, d.at, "rate_limit is not translated") })
		case isProtective(d.name):
			refuse("%s is not translated", d.name)
		default:
			c.d.note(d.at, "%s: not translated", d.name)
		}
	}
}

// stripped is the change that removes a prefix without its last slash.
func stripped(p path, prefix string) *swap {
	if strings.HasPrefix(p.text, prefix+"/") {
		return &swap{prefix + "/", "/"}
	}
	return &swap{prefix, ""}
}

// cased notes that paths are compared with their case, where that protects something.
func (c *caddyImport) cased(d *directive) {
	if strings.HasPrefix(d.arg(0), "/") || strings.HasPrefix(d.arg(0), "@") {
		c.d.note(d.at, "%s: Caddy compares paths without their case, and weir with it", d.name)
	}
}

// protects says whether directives refuse requests, or ask who sends them.
func protects(directives []directive) bool {
	return slices.ContainsFunc(directives, func(d directive) bool {
		refuses := slices.ContainsFunc(d.args, func(a string) bool { return number(a) >= 400 && number(a) < 600 })
		return isProtective(d.name) || d.name == "abort" || d.name == "error" || d.name == "respond" && refuses || protects(d.block)
	})
}

func (c *caddyImport) handle(rs *rules, d *directive, cond condition, base []match) {
	if why := cond.beyond(); why != "" {
		if protects(d.block) {
			rs.guard(base, func(r *route) {
				r.refuse(c.d, d.at, forbidden, "%s: its matcher is not translated (%s)", d.name, why)
			})
			return
		}
		c.d.note(d.at, "%s: its matcher is not translated (%s), so its requests go on to what follows", d.name, why)
		return
	}
	for i := range d.block {
		if m := &d.block[i]; strings.HasPrefix(m.name, "@") {
			c.matchers[m.name] = c.matcher(m)
		}
	}
	root := c.root
	c.block(rs, d.block, cond.matches, d.name != "route")
	c.root = root
}

// fields translates header and request_header.
func (c *caddyImport) fields(d *directive, args []string, guard func(func(*route))) {
	table := map[string]string{"header": "response_headers", "request_header": "request_headers"}[d.name]
	lines := d.block
	if len(args) > 0 {
		lines = append([]directive{{at: d.at, name: args[0], args: args[1:]}}, lines...)
	}
	for _, l := range lines {
		if l.name == "defer" {
			continue
		}
		apply := c.field(&l, table)
		if apply != nil {
			guard(apply)
		}
	}
}

// field translates a change of one field; nil if it is not translated.
func (c *caddyImport) field(l *directive, table string) func(*route) {
	name, kind := l.name, "set"
	if len(strings.Trim(name, "-+>?")) == 0 {
		c.d.note(l.at, "found no name of a field")
		return nil
	}
	switch name[0] {
	case '-':
		name = name[1:]
		return func(r *route) { r.add(table+".remove", name) }
	case '+':
		name, kind = name[1:], "add"
	case '>':
		name = name[1:]
	case '?':
		name = name[1:]
		c.d.note(l.at, "?%s: weir sets the field always, and not only where it is missing", name)
	}
	value, unknown := placed(l.arg(0))
	if unknown != "" || len(l.args) > 1 {
		c.d.note(l.at, "%s: not translated", strings.Join(append([]string{l.name}, l.args...), " "))
		return nil
	}
	return func(r *route) {
		if strings.EqualFold(name, "Host") {
			r.set("host_header", value)
			return
		}
		r.set(keyed(table, kind, name), value)
	}
}

// rewrite translates uri, rewrite and try_files.
func (c *caddyImport) rewrite(rs *rules, d *directive, cond condition, args []string) {
	untranslated := func() {
		rs.guard(cond.matches, func(r *route) {
			r.refuse(c.d, d.at, notImplemented, "%s %s is not translated", d.name, strings.Join(d.args, " "))
		})
	}
	forwards := func(r *route) bool { return r.get("upstream") != nil || r.get("files.root") != nil }
	if cond.beyond() != "" || len(args) == 0 {
		c.d.note(d.at, "%s: its matcher is not translated", d.name)
		return
	}
	switch {
	case d.name == "uri" && args[0] == "strip_prefix" && len(args) == 2:
		prefix := "/" + strings.Trim(args[1], "/")
		rs.guard(both(cond.matches, []match{{path: path{text: prefix}}}), func(r *route) {
			if forwards(r) {
				r.change = stripped(r.match.path, prefix)
			}
		})
	case d.name == "rewrite" && len(args) == 1 && strings.HasSuffix(args[0], "{uri}") && !strings.Contains(strings.TrimSuffix(args[0], "{uri}"), "{"):
		put := strings.TrimSuffix(args[0], "{uri}")
		rs.guard(cond.matches, func(r *route) {
			if forwards(r) {
				r.change = &swap{"", put}
			}
		})
	case d.name == "rewrite" && len(args) == 1 && strings.HasPrefix(args[0], "/") && !strings.ContainsAny(args[0], "{?"):
		rs.guard(cond.matches, func(r *route) {
			if forwards(r) {
				r.set("rewrite", literal(args[0]))
			}
		})
	case d.name == "try_files" && strings.HasPrefix(args[len(args)-1], "/") && !strings.Contains(args[len(args)-1], "{"):
		rs.guard(cond.matches, func(r *route) {
			if r.get("files.root") != nil {
				r.set("files.fallback", args[len(args)-1])
			}
		})
	default:
		untranslated()
	}
}

// answer translates redir, respond, error and abort.
func (c *caddyImport) answer(rs *rules, d *directive, cond condition, args []string) {
	var r route
	switch d.name {
	case "redir":
		status := 302
		if len(args) > 1 {
			status = map[string]int{"permanent": 301, "temporary": 302}[args[1]]
			if n := number(args[1]); n != 0 {
				status = n
			}
		}
		to, unknown := "", "no URL"
		if len(args) > 0 {
			to, unknown = placed(args[0])
		}
		if unknown != "" || status < 301 {
			r.refuse(c.d, d.at, notImplemented, "redir %s is not translated", strings.Join(args, " "))
		} else {
			setRedirect(&r, to, status)
		}
	case "abort":
		r.comment("Caddy closes the connection.")
		r.set("respond", []pair{{"status", 403}})
	default:
		status, body := 200, ""
		if d.name == "error" {
			status = 500
		}
		for i, a := range args {
			if n := number(a); n >= 200 && n < 600 && (i > 0 || len(args) == 1) {
				status = n
			} else {
				body = a
			}
		}
		for _, o := range d.block {
			if o.name == "body" {
				body = o.arg(0)
			}
		}
		answer := []pair{{"status", status}}
		if body != "" {
			answer = append(answer, pair{"body", body}, pair{"headers", []pair{{"Content-Type", "text/plain; charset=utf-8"}}})
		}
		if placeholder.MatchString(body) {
			c.d.note(d.at, "%s: weir has no variables in a body", d.name)
		}
		r.set("respond", answer)
	}
	// A redirect to one place, whatever was asked for, may be to a page for logins.
	leadsAway := d.name == "redir" && len(args) > 0 && !placeholder.MatchString(args[0])
	refuses := leadsAway && cond.unknown != "" || d.name == "abort" || d.name == "error" || d.name == "respond" && r.get("respond").([]pair)[0].value.(int) >= 400
	switch {
	case refuses && cond.addresses != nil && cond.unknown == "":
		rs.guard(cond.matches, func(r *route) {
			access := slices.Clone(cond.addresses)
			if cond.outside {
				access = append(access, accessRule{at: d.at})
			} else {
				for i := range access {
					access[i].allow = false
				}
			}
			setAccess(c.d, r, access)
		})
	case refuses && cond.unknown != "":
		rs.guard(cond.matches, func(r *route) {
			r.refuse(c.d, d.at, forbidden, "%s: its matcher is not translated (%s)", d.name, cond.unknown)
		})
		if len(cond.matches) == 0 {
			rs.guard([]match{{}}, func(r *route) {
				r.refuse(c.d, d.at, forbidden, "%s: its matcher is not translated (%s)", d.name, cond.unknown)
			})
		}
	default:
		c.terminal(rs, d, cond, r)
	}
}

func (c *caddyImport) files(rs *rules, d *directive, cond condition, args []string) {
	r := route{}
	root := c.root
	for _, o := range d.block {
		switch o.name {
		case "root":
			root = o.arg(0)
		case "index":
			r.set("files.index", list(o.args))
		case "precompressed":
		case "hide":
			r.refuse(c.d, o.at, forbidden, "file_server: hide %s is not translated", strings.Join(o.args, " "))
		default:
			c.d.note(o.at, "file_server: %s is not translated", o.name)
		}
	}
	if slices.Contains(args, "browse") {
		c.d.note(d.at, "file_server browse: weir does not list folders")
	}
	if root == "" || strings.Contains(root, "{") {
		r.refuse(c.d, d.at, notImplemented, "file_server: want a root without variables, found %q", root)
	} else {
		r.keys = append([]pair{{"files.root", root}}, r.keys...)
	}
	c.terminal(rs, d, cond, r)
}
