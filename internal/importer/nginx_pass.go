package importer

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var passURL = regexp.MustCompile(`^(https?|grpcs?)://(unix:[^:]+|[^/]+)(?::?(/.*))?$`)

// pass translates proxy_pass and grpc_pass.
func (n *nginxImport) pass(s *scope, r *route, p path, dir *directive) {
	text := dir.arg(0)
	if dir.name == "grpc_pass" && !strings.Contains(text, "://") {
		text = "grpc://" + text
	}
	m := passURL.FindStringSubmatch(text)
	if m == nil || strings.Contains(text, "$") {
		r.refuse(n.d, dir.at, notImplemented, "%s %s: want a URL without variables", dir.name, dir.arg(0))
		return
	}
	scheme, authority, uri := m[1], m[2], m[3]
	if uri != "" && r.change == nil {
		if strings.Contains(uri, "?") {
			r.refuse(n.d, dir.at, notImplemented, "%s %s: weir adds no query", dir.name, dir.arg(0))
			return
		}
		r.change = &swap{p.text, uri}
		if uri == "/" && !p.exact && !strings.HasSuffix(p.text, "/") {
			n.d.note(dir.at, "proxy_pass with the path / in location %s: nginx sends //x for %s/x, and weir /x", p.text, p.text)
		}
	}
	scheme = map[string]string{"http": "http", "https": "https", "grpc": "h2c", "grpcs": "https"}[scheme]
	u, grouped := n.group(authority, scheme)
	if u == nil {
		if strings.HasPrefix(authority, "unix:") {
			u = n.d.target(dir.at, authority)
		} else {
			u = n.d.target(dir.at, scheme+"://"+authority)
		}
	}
	r.set("upstream", literal(u.name))
	if m[1] == "grpcs" {
		u.set("connections.protocol", "h2")
	}
	n.requestFields(s, r, authority, grouped)
	for _, dir := range s.all("proxy_hide_header") {
		r.add("response_headers.remove", dir.arg(0))
	}
	size := "1MiB" // the default of nginx
	if dir := s.last("client_max_body_size"); dir != nil {
		size = nginxSize(dir.arg(0))
	}
	r.set("max_body", size)
	n.timeouts(s, r, u, strings.TrimSuffix(dir.name, "_pass"))
	n.retries(s, u)
	if scheme == "https" {
		n.targetTLS(s, u, dir)
	}
	n.cache(s, r)
}

// requestFields translates proxy_set_header.
func (n *nginxImport) requestFields(s *scope, r *route, authority string, grouped bool) {
	host := "target"
	if grouped {
		host = authority // nginx sends the name of the group
	}
	for _, dir := range s.all("proxy_set_header") {
		name, text := dir.arg(0), dir.arg(1)
		value, unknown := expand(text)
		switch lower := strings.ToLower(name); {
		case lower == "host":
			switch {
			case text == "$host", text == "$http_host", text == "$host:$server_port", text == "$server_name":
				host = "pass"
			case text == "$proxy_host":
			case unknown == "" && !strings.Contains(text, "$"):
				host = text
			default:
				r.refuse(n.d, dir.at, notImplemented, "proxy_set_header Host %s is not translated", text)
			}
		case lower == "connection", lower == "upgrade", lower == "x-forwarded-for" && (text == "$proxy_add_x_forwarded_for" || text == "$remote_addr"),
			lower == "x-forwarded-proto" && text == "$scheme", lower == "x-forwarded-host" && (text == "$host" || text == "$http_host"), lower == "content-length", lower == "transfer-encoding":
			// weir does it.
		case text == "":
			r.add("request_headers.remove", name)
		case unknown != "":
			n.d.note(dir.at, "proxy_set_header %s %s: weir has no %s", name, text, unknown)
		default:
			r.set(keyed("request_headers", "set", name), value)
		}
	}
	if host != "pass" {
		r.set("host_header", host)
	}
}

// timeouts translates those of a location. Some are of the upstream in weir.
func (n *nginxImport) timeouts(s *scope, r *route, u *section, module string) {
	if dir := s.last(module + "_read_timeout"); dir != nil {
		if d := nginxTime(dir.arg(0)); d != "" {
			r.set("timeouts.first_byte", d)
			r.set("timeouts.idle", d)
		}
	}
	for _, p := range []struct{ theirs, ours string }{{"_connect_timeout", "timeouts.connect"}, {"_send_timeout", "timeouts.write"}} {
		dir := s.last(module + p.theirs)
		if dir == nil {
			continue
		}
		d := nginxTime(dir.arg(0))
		if old := u.get(p.ours); old != nil && old != d {
			n.d.note(dir.at, "%s %s: weir has it for all routes of upstream %q, where it is %s", dir.name, dir.arg(0), u.name, old)
		} else if d != "" {
			u.set(p.ours, d)
		}
	}
}

func (n *nginxImport) retries(s *scope, u *section) {
	if dir := s.last("proxy_next_upstream"); dir != nil {
		var on list
		for _, a := range dir.args {
			switch code, isStatus := strings.CutPrefix(a, "http_"); {
			case a == "error":
				on = append(on, "connect", "reset")
			case a == "timeout":
				on = append(on, "timeout")
			case a == "off":
				u.set("retry.attempts", 1)
			case isStatus:
				on = append(on, code)
			case a == "non_idempotent":
				n.d.note(dir.at, "proxy_next_upstream non_idempotent: weir repeats only what is safe to repeat")
			}
		}
		if len(on) > 0 {
			u.set("retry.on", on)
		}
	}
	if dir := s.last("proxy_next_upstream_tries"); dir != nil {
		if tries, err := strconv.Atoi(dir.arg(0)); err == nil && tries >= 1 && tries <= 8 {
			u.set("retry.attempts", tries)
		}
	}
}

// targetTLS translates TLS to targets. weir verifies certificates, which nginx does not do by itself.
func (n *nginxImport) targetTLS(s *scope, u *section, pass *directive) {
	if s.value("proxy_ssl_verify") != "on" {
		n.d.note(pass.at, "%s %s: nginx takes any certificate of the target, and weir verifies it; proxy_ssl_trusted_certificate is upstreams.NAME.tls.ca", pass.name, pass.arg(0))
	}
	for _, p := range []struct{ theirs, ours string }{
		{"proxy_ssl_trusted_certificate", "tls.ca"}, {"proxy_ssl_certificate", "tls.cert"}, {"proxy_ssl_certificate_key", "tls.key"},
	} {
		if name := s.value(p.theirs); name != "" {
			u.set(p.ours, n.file(name))
		}
	}
	if name := s.value("proxy_ssl_name"); name != "" && !strings.Contains(name, "$") {
		u.set("tls.server_name", name)
	}
}

// cache translates proxy_cache.
func (n *nginxImport) cache(s *scope, r *route) {
	zone := s.last("proxy_cache")
	if zone == nil || zone.arg(0) == "off" {
		return
	}
	if key := s.last("proxy_cache_key"); key != nil {
		var fields, cookies list
		full := false
		for _, v := range nginxVariable.FindAllString(key.arg(0), -1) {
			name := strings.Trim(v[1:], "{}")
			switch {
			case name == "request_uri" || name == "args":
				full = true
			case slices.Contains([]string{"scheme", "host", "http_host", "proxy_host", "uri", "is_args", "request_method", "server_name"}, name):
			case strings.HasPrefix(name, "http_"):
				fields = append(fields, strings.ReplaceAll(name[5:], "_", "-"))
			case strings.HasPrefix(name, "cookie_"):
				cookies = append(cookies, name[7:])
			default:
				n.d.note(key.at, "proxy_cache_key %s: weir has no %s, so the route has no cache", key.arg(0), v)
				return
			}
		}
		if !full {
			n.d.note(key.at, "proxy_cache_key %s: in weir the query counts too", key.arg(0))
		}
		if fields != nil {
			r.set("cache.key.headers", fields)
		}
		if cookies != nil {
			r.set("cache.key.cookies", cookies)
		}
	}
	r.set("cache.enabled", true)
	for _, dir := range s.all("proxy_cache_valid") {
		ttl := nginxTime(dir.args[len(dir.args)-1])
		codes := dir.args[:len(dir.args)-1]
		switch {
		case ttl == "":
			n.d.note(dir.at, "proxy_cache_valid %s: not translated", strings.Join(dir.args, " "))
		case len(codes) == 0 || slices.Contains(codes, "200") || slices.Contains(codes, "any"):
			r.set("cache.default_ttl", ttl)
		case slices.Contains(codes, "404"):
			r.set("cache.negative_ttl", ttl)
		default:
			n.d.note(dir.at, "proxy_cache_valid %s: not translated", strings.Join(dir.args, " "))
		}
	}
	for _, name := range []string{"proxy_cache_bypass", "proxy_no_cache"} {
		for _, dir := range s.all(name) {
			n.bypass(r, &dir)
		}
	}
	if stale := s.last("proxy_cache_use_stale"); stale != nil && slices.Contains(stale.args, "error") {
		r.set("cache.stale_if_error", "1h")
		n.d.note(stale.at, "proxy_cache_use_stale: weir asks for how long, and 1h is a guess")
	}
}

func (n *nginxImport) bypass(r *route, dir *directive) {
	for _, v := range dir.args {
		placed := false
		for _, kind := range []struct{ prefix, key string }{{"$cookie_", "cookies"}, {"$http_", "headers"}, {"$arg_", "query"}} {
			if name, ok := strings.CutPrefix(v, kind.prefix); ok {
				if kind.key == "headers" {
					name = strings.ReplaceAll(name, "_", "-")
				}
				key := "cache.bypass." + kind.key
				if have, _ := r.get(key).(list); !slices.Contains(have, name) {
					r.add(key, name)
				}
				placed = true
			}
		}
		if !placed {
			// A response that must not be stored could be: the safe side is no cache.
			n.d.note(dir.at, "%s %s: not translated, so the route has no cache", dir.name, v)
			r.set("cache.enabled", false)
		}
	}
}

// group returns the upstream for an upstream block whose targets have this scheme, and whether there is
// such a block.
func (n *nginxImport) group(name, scheme string) (*section, bool) {
	block, ok := n.upstreams[name]
	if !ok {
		return nil, false
	}
	own := name
	if scheme != "http" {
		own = name + "-" + scheme
	}
	if u := n.d.upstream(own); u != nil {
		return u, true
	}
	u := n.d.newUpstream(block.at, own)
	var targets [][]pair
	for _, dir := range block.block {
		switch dir.name {
		case "server":
			targets = append(targets, n.member(u, &dir, scheme))
		case "least_conn":
			u.set("balance", "least_connections")
		case "random":
			u.set("balance", "random")
			if dir.arg(0) == "two" {
				u.set("balance", "p2c")
			}
		case "least_time":
			u.set("balance", "ewma")
		case "ip_hash":
			n.hash(u, &dir, "$remote_addr")
		case "hash":
			n.hash(u, &dir, dir.arg(0))
		case "sticky":
			if dir.arg(0) == "cookie" && dir.arg(1) != "" {
				u.set("sticky.cookie", dir.arg(1))
				if len(dir.args) > 2 {
					n.d.note(dir.at, "sticky cookie: its options are not translated")
				}
			} else {
				n.d.note(dir.at, "sticky %s: not translated", strings.Join(dir.args, " "))
			}
		case "keepalive", "keepalive_timeout", "keepalive_requests", "keepalive_time", "zone", "resolver":
		default:
			n.d.note(dir.at, "%s %s: not translated", dir.name, strings.Join(dir.args, " "))
		}
	}
	u.set("targets", simple(targets))
	return u, true
}

// simple writes targets that have nothing but a URL as texts.
func simple(targets [][]pair) any {
	var urls list
	for _, t := range targets {
		if len(t) > 1 {
			return targets
		}
		urls = append(urls, t[0].value.(string))
	}
	return urls
}

func (n *nginxImport) hash(u *section, dir *directive, key string) {
	by := ""
	for _, kind := range []struct{ prefix, by string }{{"$http_", "header:"}, {"$cookie_", "cookie:"}, {"$arg_", "query:"}} {
		if name, ok := strings.CutPrefix(key, kind.prefix); ok {
			if kind.by == "header:" {
				name = strings.ReplaceAll(name, "_", "-")
			}
			by = kind.by + name
		}
	}
	switch key {
	case "$remote_addr", "$binary_remote_addr":
		by = "client_address"
	case "$uri", "$request_uri":
		by = "path"
	}
	if by == "" {
		n.d.note(dir.at, "hash %s: not translated", key)
		return
	}
	u.set("balance", "hash")
	u.set("hash.by", by)
}

// member translates a server of an upstream block.
func (n *nginxImport) member(u *section, dir *directive, scheme string) []pair {
	address := dir.arg(0)
	if !strings.HasPrefix(address, "unix:") {
		address = scheme + "://" + address
	}
	t := []pair{{"url", address}}
	for _, a := range dir.args[1:] {
		name, value, _ := strings.Cut(a, "=")
		number, err := strconv.Atoi(value)
		switch {
		case name == "weight" && err == nil:
			t = append(t, pair{"weight", number})
		case name == "backup":
			t = append(t, pair{"priority", 1})
		case name == "down":
			t = append(t, pair{"drain", true})
		case name == "max_fails" && err == nil && u.get("health.passive.failures") != 0:
			u.set("health.passive.failures", number)
		case name == "max_fails":
		case name == "fail_timeout" && strings.Trim(value, "0smhd") == "": // no failure counts
			u.set("health.passive.failures", 0)
		case name == "fail_timeout" && nginxTime(value) != "":
			u.set("health.passive.eject", nginxTime(value))
		case name == "slow_start" && nginxTime(value) != "":
			u.set("slow_start", nginxTime(value))
		case name == "max_conns" && err == nil:
			if old := u.get("limits.target_in_flight"); old != nil && old != number {
				n.d.note(dir.at, "max_conns=%d: weir has one bound for all targets of an upstream", number)
			} else {
				u.set("limits.target_in_flight", number)
			}
		case name == "resolve": // weir always does
		default:
			n.d.note(dir.at, "server %s %s: not translated", dir.arg(0), a)
		}
	}
	return t
}
