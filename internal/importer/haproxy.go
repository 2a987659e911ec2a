package importer

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

type haproxyImport struct {
	d        *draft
	sections []*proxySection
	// otherSource says that a rule before gives requests another address of the client.
	otherSource bool
	// changed are the requests of a frontend whose path a rule before changes.
	changed []changedPath
}

// changedPath are requests whose path is one of to when it was changed.
type changedPath struct {
	match match
	to    path
}

func haproxy(d *draft, file string) error {
	sections, err := parseHAProxy(file)
	if err != nil {
		return err
	}
	h := &haproxyImport{d: d, sections: sections}
	for _, p := range sections {
		switch p.kind {
		case "frontend", "listen":
			h.judge(p)
			h.frontend(p)
		case "backend", "defaults":
			h.judge(p)
		case "global", "userlist", "peers", "resolvers", "mailers", "program", "ring", "cache", "traces":
		default:
			d.note(p.at, "section %s %s: not translated", p.kind, p.name)
		}
	}
	return nil
}

func (h *haproxyImport) section(name string, kinds ...string) *proxySection {
	for _, p := range h.sections {
		if p.name == name && slices.Contains(kinds, p.kind) {
			return p
		}
	}
	return nil
}

// haproxyKnown are the beginnings of statements that are translated, or need no translation.
var haproxyKnown = []string{
	"bind", "mode http", "acl", "use_backend", "default_backend", "http-request", "http-response", "http-after-response", "redirect", "timeout", "maxconn", "balance", "server", "default-server",
	"server-template", "option httpchk", "http-check expect", "http-check send", "cookie", "retries", "retry-on", "hash-type", "compression", "option forwardfor", "option redispatch",
	"option httplog", "option tcplog", "option dontlognull", "option http-server-close", "option http-keep-alive", "option httpclose", "option forceclose", "option http-use-htx",
	"option prefer-last-server", "option log-health-checks", "option contstats", "option splice-auto", "option tcp-smart-accept", "option abortonclose", "option http-buffer-request",
	"option tcp-check", "option http-ignore-probes", "option clitcpka", "option srvtcpka", "option nolinger", "monitor-uri", "log", "log-format", "capture", "description", "fullconn", "id", "unique-id-format", "unique-id-header", "http-reuse", "stick-table", "load-server-state-from-file", "no log",
}

func (h *haproxyImport) judge(p *proxySection) {
	for _, st := range p.list {
		text := st.String() + " "
		if st.refuses() {
			continue // closes the routes
		}
		if !slices.ContainsFunc(haproxyKnown, func(known string) bool { return strings.HasPrefix(text, known+" ") }) {
			h.d.note(st.at, "%s: not translated", st.String())
		}
	}
}

// frontend translates a section that clients connect to.
func (h *haproxyImport) frontend(p *proxySection) {
	if mode := p.last("mode"); mode != nil && mode.word(1) != "http" {
		h.d.note(p.at, "%s %s in mode %s: weir forwards HTTP only", p.kind, p.name, mode.word(1))
		return
	}
	var listeners []string
	for _, st := range p.all("bind") {
		listeners = append(listeners, h.bind(p, &st)...)
	}
	rs := new(rules)
	acls := h.acls(p)
	h.otherSource, h.changed = false, nil
	if alive := p.last("monitor-uri"); alive != nil {
		r := route{section: section{at: alive.at}}
		r.set("respond", []pair{
			{"status", 200}, {"body", "<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n"}, {"headers", []pair{{"Content-Type", "text/html"}}},
		})
		rs.add([]match{{path: path{alive.word(1), true}}}, r)
	}
	h.requestRules(rs, p, acls)
	for _, st := range p.all("use_backend") {
		h.use(rs, &st, acls)
	}
	switch rest := p.last("default_backend"); {
	case rest != nil:
		h.route(rs, []match{{}}, rest.at, rest.word(1))
	case p.kind == "listen":
		h.route(rs, []match{{}}, p.at, p.name)
	default:
		none := route{section: section{at: p.at}}
		none.set("respond", []pair{{"status", 503}})
		rs.add([]match{{}}, none)
	}
	for _, r := range rs.ordered() {
		if r.match.listeners == nil {
			r.match.listeners = listeners
		}
		h.d.routes = append(h.d.routes, r)
	}
}

// bind makes the listeners of a bind statement.
func (h *haproxyImport) bind(p *proxySection, st *statement) (names []string) {
	for _, address := range strings.Split(st.word(1), ",") {
		address = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(address, "ipv4@"), "ipv6@"), "*")
		if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "unix@") {
			address = "unix:" + strings.TrimPrefix(address, "unix@")
		}
		if strings.HasPrefix(address, "0.0.0.0:") || strings.HasPrefix(address, ":::") {
			address = address[strings.LastIndexByte(address, ':'):]
		}
		l := h.d.listener(st.at, address)
		names = append(names, address)
		if d := p.last("timeout", "http-keep-alive"); d != nil {
			l.set("timeouts.idle", haproxyTime(d.word(2)))
		}
		if d := p.last("timeout", "http-request"); d != nil {
			l.set("timeouts.header", haproxyTime(d.word(2)))
		}
		if d := p.last("timeout", "client"); d != nil {
			l.set("timeouts.grace", haproxyTime(d.word(2)))
		}
		if d := p.last("timeout", "tunnel"); d != nil {
			l.set("timeouts.tunnel", haproxyTime(d.word(2)))
		}
		for _, own := range p.list {
			if n, err := strconv.Atoi(own.word(1)); own.word(0) == "maxconn" && err == nil {
				l.set("limits.connections", n)
			}
		}
		if st.has("accept-proxy") {
			l.set("proxy_protocol", list{"0.0.0.0/0", "::/0"})
			h.d.note(st.at, "bind ... accept-proxy: weir asks who may send the PROXY header, and here anybody may")
		}
		if st.has("ssl") {
			h.tls(l, st)
		} else if st.option("proto") == "h2" {
			plainHTTP2(l)
		}
	}
	return names
}

func (h *haproxyImport) tls(l *section, st *statement) {
	var all [][]pair
	for i, w := range st.words {
		if w == "crt" {
			file := st.word(i + 1)
			if strings.HasSuffix(file, "/") || !strings.Contains(file, ".") {
				h.d.note(st.at, "crt %s: weir takes files, and not a folder; the listener lacks them", file)
				continue
			}
			all = append(all, []pair{{"cert", file}, {"key", file}}) // HAProxy has both in one file
		}
		if w == "crt-list" {
			h.d.note(st.at, "crt-list %s: not translated", st.word(i+1))
		}
	}
	if all == nil {
		h.d.note(st.at, "the listener speaks TLS and has no certificate that weir can use: it is left without, and must get one")
		l.comment("This listener speaks TLS in HAProxy, but its certificate is not known.")
	} else {
		l.set("certificates", all)
	}
	if v := strings.TrimPrefix(st.option("ssl-min-ver"), "TLSv"); v != "" {
		l.set("min_tls", v)
	}
	if ca := st.option("ca-file"); ca != "" {
		l.set("client_ca", ca)
		if st.option("verify") == "optional" {
			l.set("client_auth", "optional")
		}
	}
}

var haproxyTimes = regexp.MustCompile(`^(\d+)(us|ms|s|m|h|d|)$`)

// haproxyTime is a time in weir's form; without a unit it is in milliseconds.
func haproxyTime(text string) string {
	m := haproxyTimes.FindStringSubmatch(text)
	switch {
	case m == nil:
		return "0s"
	case m[2] == "":
		return m[1] + "ms"
	case m[2] == "d":
		days, _ := strconv.Atoi(m[1])
		return strconv.Itoa(24*days) + "h"
	}
	return m[1] + m[2]
}

// use translates use_backend.
func (h *haproxyImport) use(rs *rules, st *statement, acls map[string]test) {
	c := h.condition(st, acls)
	h.afterChange(rs, st, c)
	why := c.beyond()
	if strings.Contains(st.word(1), "%[") {
		why = "weir has captures of the path as names of upstreams"
	}
	switch {
	case why != "" && h.mayRefuse(st.word(1)):
		h.closes(rs, st, c, why+", and the backend refuses requests")
	case why == byAddress:
		h.d.note(st.at, "%s: %s, so its requests go on to the next rule", st.String(), why)
	case why != "":
		h.d.note(st.at, "%s: the condition is not translated (%s), so its requests go on to the next rule", st.String(), why)
	default:
		if c.inexact != "" {
			h.d.note(st.at, "%s: %s", st.String(), c.inexact)
		}
		h.route(rs, c.matches, st.at, st.word(1))
	}
}

// mayRefuse says whether a backend refuses requests, or one of all backends if its name is made of the request.
func (h *haproxyImport) mayRefuse(name string) bool {
	return slices.ContainsFunc(h.sections, func(p *proxySection) bool {
		if p.kind != "backend" && p.kind != "listen" || p.name != name && !strings.Contains(name, "%[") {
			return false
		}
		return len(servers(p)) == 0 || slices.ContainsFunc(p.inherited(append([]string{"http-request", "tcp-request"}, refusals...)...), func(st statement) bool {
			return st.refuses() || slices.Contains([]string{"deny", "reject", "tarpit", "silent-drop", "auth", "return"}, st.word(1)) || strings.Contains(st.word(1), "lua.")
		})
	})
}

// servers are the servers of a backend.
func servers(p *proxySection) []statement {
	return append(p.all("server"), p.all("server-template")...)
}

// route adds a rule that leads to a backend, with what the backend does to requests.
func (h *haproxyImport) route(rs *rules, matches []match, at Place, name string) {
	b := h.section(name, "backend", "listen")
	r := route{section: section{at: at}}
	if b == nil {
		r.refuse(h.d, at, notImplemented, "there is no backend %q", name)
		rs.add(matches, r)
		return
	}
	if len(servers(b)) == 0 {
		r.refuse(h.d, b.at, notImplemented, "%s %s has no servers: weir has its own page and metrics, and routes that answer by themselves", b.kind, name)
		rs.add(matches, r)
		return
	}
	u := h.backend(b)
	r.set("upstream", literal(u.name))
	if size := b.last("option", "http-buffer-request"); size != nil {
		h.d.note(size.at, "option http-buffer-request: a route's buffer_request asks how much is read")
	}
	if b.last("compression", "algo") != nil {
		r.set("compress.enabled", true)
	}
	// What a backend does to requests comes after what the frontend does.
	own := &rules{}
	if b.kind == "backend" {
		source, changed := h.otherSource, h.changed
		h.requestRules(own, b, h.acls(b))
		h.otherSource, h.changed = source, changed // what a backend changes is no matter of the next rule
	}
	own.add([]match{{}}, r)
	for _, m := range matches {
		for _, part := range own.ordered() {
			if both, ok := m.and(part.match); ok {
				rs.add([]match{both}, *part)
			}
		}
	}
}

// backend returns the upstream of a backend.
func (h *haproxyImport) backend(b *proxySection) *section {
	if u := h.d.upstream(b.name); u != nil {
		return u
	}
	u := h.d.newUpstream(b.at, b.name)
	h.balance(b, u)
	h.checks(b, u)
	for _, p := range []struct{ theirs, ours string }{{"connect", "timeouts.connect"}, {"server", "timeouts.first_byte"}, {"queue", "limits.queue_timeout"}} {
		if st := b.last("timeout", p.theirs); st != nil {
			u.set(p.ours, haproxyTime(st.word(2)))
			if p.theirs == "server" {
				u.set("timeouts.idle", haproxyTime(st.word(2)))
			}
		}
	}
	if st := b.last("retries"); st != nil {
		if n, err := strconv.Atoi(st.word(1)); err == nil {
			u.set("retry.attempts", min(max(n+1, 1), 8))
		}
	}
	if st := b.last("cookie"); st != nil {
		if st.has("insert") {
			u.set("sticky.cookie", st.word(1))
		} else {
			h.d.note(st.at, "%s: weir inserts a cookie of its own, or hashes by one", st.String())
		}
	}
	var targets [][]pair
	for _, st := range b.all("server") {
		targets = append(targets, h.server(b, u, st))
	}
	for _, st := range b.all("server-template") {
		targets = append(targets, []pair{{"url", "dns:" + st.word(3)}})
	}
	u.set("targets", simple(targets))
	return u
}

func (h *haproxyImport) balance(b *proxySection, u *section) {
	st := b.last("balance")
	if st == nil {
		return
	}
	name, argument, _ := strings.Cut(strings.TrimSuffix(st.word(1), ")"), "(")
	by := ""
	switch name {
	case "roundrobin", "static-rr":
		return
	case "leastconn":
		u.set("balance", "least_connections")
		return
	case "random":
		u.set("balance", "p2c")
		return
	case "source":
		by = "client_address"
	case "uri":
		by = "path"
	case "hdr":
		by = "header:" + argument
	case "url_param":
		by = "query:" + st.word(2)
	case "hash":
		if strings.HasPrefix(st.word(2), "req.cook(") {
			by = "cookie:" + strings.TrimSuffix(strings.TrimPrefix(st.word(2), "req.cook("), ")")
		}
	}
	if by == "" {
		h.d.note(st.at, "%s: not translated", st.String())
		return
	}
	u.set("balance", "hash")
	u.set("hash.by", by)
}

// checks translates what is asked of servers.
func (h *haproxyImport) checks(b *proxySection, u *section) {
	servers := append(b.all("server"), b.all("default-server")...)
	checked := slices.IndexFunc(servers, func(st statement) bool { return st.has("check") })
	if checked < 0 {
		return
	}
	u.set("health.probe", "tcp")
	if st := b.last("option", "httpchk"); st != nil {
		u.set("health.probe", "http")
		if uri := st.word(len(st.words) - 1); strings.HasPrefix(uri, "/") {
			u.set("health.path", uri)
		} else if strings.HasPrefix(st.word(3), "/") {
			u.set("health.path", st.word(3))
		}
		if m := st.word(2); len(st.words) > 3 && m != "GET" {
			h.d.note(st.at, "%s: weir probes by GET", st.String())
		}
	}
	if st := b.last("http-check", "send"); st != nil {
		if uri := st.option("uri"); uri != "" {
			u.set("health.path", uri)
		}
		if strings.EqualFold(st.option("hdr"), "host") {
			u.set("health.host", st.word(st.after("hdr")+1))
		}
	}
	if st := b.last("http-check", "expect"); st != nil {
		switch {
		case st.word(2) == "status":
			u.set("health.status", list(strings.Split(st.word(3), ",")))
		case st.word(2) == "string":
			u.set("health.body", st.word(3))
		default:
			h.d.note(st.at, "%s: not translated", st.String())
		}
	}
	for _, st := range servers {
		if d := st.option("inter"); d != "" {
			u.set("health.interval", haproxyTime(d))
		}
		for _, name := range []string{"rise", "fall"} {
			if n, err := strconv.Atoi(st.option(name)); err == nil {
				u.set("health."+name, n)
			}
		}
	}
}

// serverWords are options of servers, and whether they have a value.
var serverWords = map[string]bool{
	"check": false, "inter": true, "rise": true, "fall": true, "weight": true, "backup": false, "disabled": false, "maxconn": true, "ssl": false, "verify": true, "ca-file": true,
	"sni": true, "cookie": true, "resolvers": true, "resolve-prefer": true, "init-addr": true, "fastinter": true, "downinter": true, "slowstart": true, "alpn": true, "proto": true, "id": true, "crt": true, "observe": true, "on-error": true, "on-marked-down": true, "error-limit": true, "maxqueue": true, "pool-max-conn": true,
}

// server translates a server.
func (h *haproxyImport) server(b *proxySection, u *section, st statement) []pair {
	options := st
	for _, d := range b.all("default-server") {
		options.words = append(slices.Clip(options.words), d.words[1:]...)
	}
	scheme, address := "http", st.word(2)
	h2 := options.option("proto") == "h2"
	if h2 {
		scheme = "h2c"
	}
	if options.has("ssl") {
		scheme = "https"
		if h2 || options.option("alpn") == "h2" {
			u.set("connections.protocol", "h2")
		}
		if options.option("verify") == "none" {
			u.set("tls.insecure_skip_verify", true)
			h.d.note(st.at, "server %s: verify none takes any certificate, here too", st.word(1))
		}
	}
	if address = strings.TrimPrefix(address, "unix@"); !strings.HasPrefix(address, "/") {
		address = scheme + "://" + strings.TrimPrefix(address, "ipv4@")
	} else {
		address = "unix:" + address
	}
	t := []pair{{"url", address}}
	for i := 3; i < len(options.words); i++ {
		w, v := options.words[i], options.word(i+1)
		valued, known := serverWords[w]
		if !known {
			h.d.note(st.at, "server %s: %s is not translated", st.word(1), w)
			continue
		}
		if valued {
			i++
		}
		n, err := strconv.Atoi(v)
		switch {
		case w == "weight" && err == nil && n == 0:
			t = append(t, pair{"drain", true})
		case w == "weight" && err == nil:
			t = append(t, pair{"weight", n})
		case w == "backup":
			t = append(t, pair{"priority", 1})
		case w == "disabled":
			t = append(t, pair{"drain", true})
		case w == "maxconn" && err == nil:
			u.set("limits.target_in_flight", n)
			u.set("limits.queue", 1024)
		case w == "ca-file" && v != "@system-ca":
			u.set("tls.ca", v)
		case w == "slowstart":
			u.set("slow_start", haproxyTime(v))
		case w == "sni" && strings.HasPrefix(v, "str("):
			u.set("tls.server_name", strings.TrimSuffix(strings.TrimPrefix(v, "str("), ")"))
		}
	}
	return t
}

// passwordCost is the cost of the hashes that are made of passwords in plain text. Quick tests lower it.
var passwordCost = bcrypt.DefaultCost

// users returns the users of a userlist, with hashes that weir takes where there are such.
func (h *haproxyImport) users(name string) (users []pair) {
	p := h.section(name, "userlist")
	if p == nil {
		return nil
	}
	for _, st := range p.all("user") {
		hash := st.option("password")
		if text := st.option("insecure-password"); text != "" {
			made, err := bcrypt.GenerateFromPassword([]byte(text), passwordCost)
			if err == nil {
				hash = string(made)
			}
		}
		users = append(users, pair{st.word(1), hash})
	}
	return users
}
