package importer

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// refusals are statements that refuse requests, besides http-request; HAProxy had most of them before version 2.1.
var refusals = []string{"block", "reqdeny", "reqideny", "reqtarpit", "reqitarpit", "rate-limit"}

// refuses says whether the statement is one of refusals.
func (s *statement) refuses() bool {
	return s.word(0) == "tcp-request" && s.has("reject") || slices.Contains(refusals, s.word(0))
}

// requestRules translates what a section and its defaults do with requests and responses, in their order.
func (h *haproxyImport) requestRules(rs *rules, p *proxySection, acls map[string]test) {
	words := append([]string{"http-request", "http-response", "http-after-response", "redirect", "tcp-request"}, refusals...)
	for _, st := range p.inherited(words...) {
		switch {
		case st.refuses():
			h.closes(rs, &st, h.condition(&st, acls), "what it does")
		case st.word(0) == "redirect":
			h.redirect(rs, &st, st.words[1:], acls)
		case st.word(0) != "tcp-request":
			h.rule(rs, &st, acls)
		}
	}
}

// limits are samples that limits on rates and connections ask for.
var limits = regexp.MustCompile(`\b(sc\d?_|src_|table_|be_|fe_|srv_)\w*(rate|_cur|conn|_cnt)\b|\bqueue\(`)

// closes makes the routes for the requests of a condition refuse them.
func (h *haproxyImport) closes(rs *rules, st *statement, c condition, why string) {
	matches := c.matches
	if c.inexact != "" || len(matches) == 0 {
		matches = []match{{}} // it may be for more requests than its matches tell
	}
	rs.guard(matches, func(r *route) {
		if st.word(0) == "rate-limit" || limits.MatchString(st.String()) {
			r.limit(h.d, st.at, "%s is not translated (%s)", st.String(), why)
		} else {
			r.refuse(h.d, st.at, forbidden, "%s is not translated (%s)", st.String(), why)
		}
	})
}

// rule translates one http-request or http-response.
func (h *haproxyImport) rule(rs *rules, st *statement, acls map[string]test) {
	c := h.condition(st, acls)
	h.afterChange(rs, st, c)
	action := st.word(1)
	name, _, _ := strings.Cut(action, "(")
	switch name {
	case "deny", "reject", "tarpit", "silent-drop":
		if st.word(0) == "http-response" {
			h.closes(rs, st, c, "weir does not refuse responses")
			return
		}
		h.deny(rs, st, c)
	case "auth":
		h.auth(rs, st, c)
	case "allow":
		h.closes(rs, st, c, "it passes by the rules after it")
	case "redirect":
		h.redirect(rs, st, st.words[2:], acls)
	case "return":
		h.answer(rs, st, c)
	case "set-header", "add-header", "del-header", "set-path", "replace-path", "set-uri", "replace-uri", "replace-header":
		h.change(rs, st, c)
	case "set-log-level", "capture", "set-nice", "set-priority-class", "set-var", "set-var-fmt", "cache-use", "cache-store", "normalize-uri", "disable-l7-retry", "wait-for-body", "wait-for-handshake", "set-timeout", "unset-var":
		h.d.note(st.at, "%s: not translated", st.String())
	default:
		if strings.HasPrefix(name, "track-sc") || strings.HasPrefix(name, "sc-") || name == "set-src" || name == "set-mark" || name == "set-tos" {
			h.d.note(st.at, "%s: not translated", st.String())
			h.otherSource = h.otherSource || name == "set-src"
			return
		}
		h.closes(rs, st, c, "what it does")
	}
}

// afterChange closes the requests whose path was changed before a rule that asks for paths: it sees the changed one.
func (h *haproxyImport) afterChange(rs *rules, st *statement, c condition) {
	overlap := func(a, b path) bool { return a.covers(b) || b.covers(a) }
	for _, changed := range h.changed {
		if slices.ContainsFunc(c.matches, func(m match) bool {
			return m.path.text != "" && (overlap(m.path, changed.match.path) || overlap(m.path, changed.to))
		}) {
			rs.guard([]match{changed.match}, func(r *route) {
				r.refuse(h.d, st.at, notImplemented, "%s asks for a path that a rule before it may have changed", st.String())
			})
		}
	}
}

// deny translates a refusal: of requests, or of addresses.
func (h *haproxyImport) deny(rs *rules, st *statement, c condition) {
	switch {
	case c.unknown != "":
		h.closes(rs, st, c, c.unknown)
	case c.inexact != "":
		h.closes(rs, st, c, c.inexact)
	case c.userlist != "":
		h.closes(rs, st, c, "a deny by user")
	case c.addresses != nil && h.otherSource:
		h.closes(rs, st, c, "set-src changes the address")
	case c.addresses != nil:
		rs.guard(c.matches, func(r *route) {
			access := c.addresses
			if c.outside { // all others are refused
				access = append(access[:len(access):len(access)], accessRule{at: st.at})
			} else {
				access = nil
				for _, a := range c.addresses {
					access = append(access, accessRule{text: a.text, at: a.at})
				}
			}
			if r.get("allow") != nil || r.get("deny") != nil {
				r.refuse(h.d, st.at, forbidden, "%s: weir has one list of addresses for a route", st.String())
				return
			}
			setAccess(h.d, r, access)
		})
	default:
		r := route{section: section{at: st.at}}
		status := 403
		if n, err := strconv.Atoi(cmp.Or(st.option("deny_status"), st.option("status"))); err == nil {
			status = n
		}
		r.set("respond", []pair{{"status", status}})
		rs.add(c.matches, r)
	}
}

// auth translates the question for a password.
func (h *haproxyImport) auth(rs *rules, st *statement, c condition) {
	if c.unknown != "" || c.userlist == "" || !c.anonymous || c.addresses != nil || c.inexact != "" {
		h.closes(rs, st, c, cmp.Or(c.unknown, c.inexact, "the condition"))
		return
	}
	users := h.users(c.userlist)
	rs.guard(c.matches, func(r *route) {
		if len(users) == 0 || r.get("basic_auth.realm") != nil {
			r.refuse(h.d, st.at, forbidden, "%s: there is no userlist %q, or there are two", st.String(), c.userlist)
			return
		}
		setPasswords(h.d, r, st.at, cmp.Or(st.option("realm"), "weir"), users)
	})
}

// answer translates a return.
func (h *haproxyImport) answer(rs *rules, st *statement, c condition) {
	r := route{section: section{at: st.at}}
	status, err := strconv.Atoi(cmp.Or(st.option("status"), "200"))
	switch why := c.beyond(); {
	case why != "" && status >= 400:
		h.closes(rs, st, c, why)
		return
	case why != "":
		h.d.note(st.at, "%s: the condition is not translated (%s), so its requests go on to the next rule", st.String(), why)
		return
	}
	if err != nil || st.has("file") || st.has("lf-string") || st.has("errorfile") {
		r.refuse(h.d, st.at, notImplemented, "%s is not translated", st.String())
	}
	answer := []pair{{"status", status}}
	if text := st.option("string"); text != "" {
		answer = append(answer, pair{"body", text})
	}
	if kind := st.option("content-type"); kind != "" {
		answer = append(answer, pair{"headers", []pair{{"Content-Type", kind}}})
	}
	r.set("respond", answer)
	rs.add(c.matches, r)
}

// redirect translates a redirect; words are its options, in any order.
func (h *haproxyImport) redirect(rs *rules, st *statement, words []string, acls map[string]test) {
	at := slices.IndexFunc(words, func(w string) bool { return w == "location" || w == "prefix" || w == "scheme" })
	if at >= 0 {
		words = words[at:]
	}
	if at < 0 || len(words) < 2 {
		h.d.note(st.at, "%s: want where it leads, so there is no redirect", st.String())
		return
	}
	c := h.condition(st, acls)
	if why := c.beyond(); why != "" {
		if words[0] == "location" && !strings.Contains(words[1], "%[") { // such as to a page for logins
			h.closes(rs, st, c, why)
			return
		}
		h.d.note(st.at, "%s: the condition is not translated (%s), so there is no redirect", st.String(), why)
		return
	}
	status := 302
	if n, err := strconv.Atoi(st.option("code")); err == nil {
		status = n
	}
	to, search := words[1], "{search}"
	if st.has("drop-query") {
		search = ""
	}
	r := route{section: section{at: st.at}}
	for _, option := range []string{"append-slash", "set-cookie", "clear-cookie"} {
		if st.has(option) {
			h.d.note(st.at, "%s: %s is not translated", st.String(), option)
		}
	}
	switch {
	case strings.Contains(to, "%["):
		r.refuse(h.d, st.at, notImplemented, "%s: weir has other variables", st.String())
	case words[0] == "scheme":
		setRedirect(&r, literal(to)+"://{host}{path}"+search, status)
		if to == "https" {
			setRedirect(&r, "https://{hostname}{path}"+search, status)
		}
	case words[0] == "prefix":
		setRedirect(&r, literal(strings.TrimSuffix(to, "/"))+"{path}"+search, status)
	default:
		setRedirect(&r, literal(to), status)
	}
	rs.add(c.matches, r)
}

// formats are the parts of HAProxy's log format that weir has variables for.
var formats = map[string]string{
	"%[src]": "{client_addr}", "%ci": "{client_addr}", "%cp": "{client_port}", "%[req.hdr(host)]": "{host}", "%[req.hdr(Host)]": "{host}", "%[hdr(host)]": "{host}", "%[path]": "{path}",
	"%[query]": "{query}", "%[method]": "{method}", "%[unique-id]": "{request_id}", "%ID": "{request_id}",
}

var format = regexp.MustCompile(`%\[[^\]]*\]|%[A-Za-z]+`)

// formatted is a text with variables; the first that weir does not have is returned too.
func formatted(text string) (out, unknown string) {
	end := 0 // of the last variable, after which "%%" is "%"
	for _, m := range format.FindAllStringIndex(text, -1) {
		end = m[1]
	}
	text = text[:end] + strings.ReplaceAll(text[end:], "%%", "%")
	return substitute(text, format, func(variable string) (string, bool) {
		value, known := formats[variable]
		return value, known
	})
}

// change translates changes of fields and of the path.
func (h *haproxyImport) change(rs *rules, st *statement, c condition) {
	action, name, text := st.word(1), st.word(2), st.word(3)
	table := map[string]string{"http-request": "request_headers", "http-response": "response_headers", "http-after-response": "response_headers"}[st.word(0)]
	if c.beyond() != "" {
		h.d.note(st.at, "%s: the condition is not translated", st.String())
		return
	}
	value, unknown := formatted(text)
	lower := strings.ToLower(name)
	switch {
	case strings.HasSuffix(action, "-header") && unknown != "", action == "replace-header", strings.HasSuffix(action, "-uri"):
		h.d.note(st.at, "%s: not translated", st.String())
	case action == "del-header":
		rs.guard(c.matches, func(r *route) { r.add(table+".remove", name) })
	case lower == "host" && table == "request_headers":
		rs.guard(c.matches, func(r *route) { r.set("host_header", value) })
	case lower == "x-forwarded-for" || lower == "x-forwarded-proto" || lower == "x-forwarded-host":
		// weir does it.
	case strings.HasSuffix(action, "-header"):
		kind := strings.TrimSuffix(action, "-header")
		rs.guard(c.matches, func(r *route) { r.set(keyed(table, kind, name), value) })
	default:
		h.path(rs, st, c)
	}
}

// changes notes that the path of requests begins with to from here on.
func (h *haproxyImport) changes(matches []match, to string) {
	for _, m := range matches {
		h.changed = append(h.changed, changedPath{m, path{text: to}})
	}
}

var replacePath = regexp.MustCompile(`^\^?(/[A-Za-z0-9/_.-]*?)(/\?)?\((/?)\.\*\)\$?$`)

// path translates set-path and replace-path.
func (h *haproxyImport) path(rs *rules, st *statement, c condition) {
	if st.word(1) == "set-path" {
		to, ok := strings.CutSuffix(st.word(2), "%[path]")
		rs.guard(c.matches, func(r *route) {
			if !ok || strings.Contains(to, "%") {
				r.refuse(h.d, st.at, notImplemented, "%s is not translated", st.String())
				return
			}
			r.change = &swap{"", to}
		})
		h.changes(c.matches, to)
		return
	}
	m := replacePath.FindStringSubmatch(st.word(2))
	put, one := strings.CutSuffix(st.word(3), `\1`)
	if m == nil || !one || strings.Contains(put, `\`) {
		rs.guard(c.matches, func(r *route) { r.refuse(h.d, st.at, notImplemented, "%s is not translated", st.String()) })
		return
	}
	change := &swap{cut: m[1], put: put}
	switch {
	case m[3] != "":
		change.cut, change.put = change.cut+"/", change.put+"/"
	case m[2] != "":
		change.cut += "/"
	}
	// The rule changes the paths that its expression fits.
	changes := both(c.matches, []match{{path: path{text: change.cut}}})
	h.changes(changes, change.put)
	rs.guard(changes, func(r *route) {
		if r.get("upstream") != nil {
			r.change = change
		}
	})
}
