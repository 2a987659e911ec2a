package importer

import (
	"cmp"
	"strings"
)

// service sets the upstream of a router.
func (t *traefikImport) service(r *route, router *node) {
	t.serviceNamed(r, router, router.get("service").text, 0)
}

// serviceNamed sets the service of a name; depth is how many services led to it.
func (t *traefikImport) serviceNamed(r *route, router *node, name string, depth int) {
	short, _, _ := strings.Cut(name, "@")
	if strings.HasSuffix(name, "@internal") {
		r.refuse(t.d, router.get("service").at, notImplemented, "service %s: weir has its own page and metrics", name)
		return
	}
	s := t.find("services", name)
	if !s.is() || depth > maxIncludes {
		r.refuse(t.d, router.at, notImplemented, "router %s: there is no service %q", router.key, name)
		return
	}
	if m := s.get("mirroring"); m.is() {
		t.d.note(m.at, "service %s: its mirrors get no requests", name)
		t.serviceNamed(r, router, m.get("service").text, depth+1)
		return
	}
	if w := s.get("weighted"); w.is() {
		t.weighted(r, s, short, w)
		return
	}
	lb := s.get("loadBalancer")
	if !lb.is() {
		r.refuse(t.d, s.at, notImplemented, "service %s: want a loadBalancer", name)
		return
	}
	t.judge(lb, "servers", "healthCheck", "sticky", "passHostHeader", "responseForwarding", "serversTransport", "strategy")
	r.set("upstream", literal(short))
	if lb.get("passHostHeader").text == "false" {
		r.set("host_header", "target")
	}
	if t.d.upstream(short) != nil {
		return
	}
	u := t.d.newUpstream(s.at, short)
	var targets [][]pair
	prefix := ""
	for _, server := range lb.get("servers").items {
		scheme, rest, _ := strings.Cut(server.get("url").text, "://")
		host, path, _ := strings.Cut(rest, "/")
		if path != "" {
			prefix = "/" + strings.Trim(path, "/")
			t.d.note(server.at, "service %s: the path %s of the server is not translated: use add_prefix", name, prefix)
		}
		target := []pair{{"url", scheme + "://" + host}}
		if w := number(server.get("weight").text); w > 0 {
			target = append(target, pair{"weight", w})
		}
		targets = append(targets, target)
	}
	if prefix != "" {
		r.refuse(t.d, s.at, notImplemented, "service %s has servers with a path", name)
	}
	if targets == nil {
		r.refuse(t.d, s.at, notImplemented, "service %s has no servers", name)
	}
	u.set("targets", simple(targets))
	if strings.EqualFold(lb.get("strategy").text, "p2c") {
		u.set("balance", "p2c")
	}
	t.health(u, lb.get("healthCheck"))
	if sticky := lb.get("sticky", "cookie"); sticky.is() {
		u.set("sticky.cookie", cmp.Or(sticky.get("name").text, "_weir_"+short))
	}
	if transport := lb.get("serversTransport"); transport.text != "" {
		t.transport(u, t.find("serversTransports", transport.text), transport.at)
	}
}

// weighted translates a service that shares requests among others by weight: into one upstream with all their
// servers.
func (t *traefikImport) weighted(r *route, s *node, short string, w *node) {
	type share struct {
		weight  int
		servers []*node
	}
	var shares []share
	each := 1 // what the numbers of servers divide
	for _, part := range w.get("services").items {
		lb := t.find("services", part.get("name").text).get("loadBalancer")
		servers := lb.get("servers").items
		if len(servers) == 0 || len(lb.items) > 1 || len(servers) > 8 {
			r.refuse(t.d, part.at, notImplemented, "service %s: want services with one to eight servers and nothing else, because weir has one upstream for all", short)
			return
		}
		for each%len(servers) != 0 {
			each++
		}
		weight := 1
		if part.get("weight").is() {
			weight = number(part.get("weight").text)
		}
		shares = append(shares, share{weight, servers})
	}
	r.set("upstream", literal(short))
	if t.d.upstream(short) != nil {
		return
	}
	u := t.d.newUpstream(s.at, short)
	var targets [][]pair
	for _, one := range shares {
		for _, server := range one.servers {
			url := server.get("url").text
			target := []pair{{"url", strings.TrimSuffix(url, "/")}}
			if weight := one.weight * each / len(one.servers); weight > 0 {
				target = append(target, pair{"weight", weight})
			} else {
				target = append(target, pair{"drain", true})
			}
			targets = append(targets, target)
			if server.get("weight").is() || strings.Count(strings.TrimSuffix(url, "/"), "/") > 2 {
				r.refuse(t.d, server.at, notImplemented, "service %s: want servers without a weight and a path", short)
			}
		}
	}
	u.set("targets", targets)
	if sticky := w.get("sticky", "cookie"); sticky.is() {
		u.set("sticky.cookie", cmp.Or(sticky.get("name").text, "_weir_"+short))
	}
}

func (t *traefikImport) health(u *section, h *node) {
	if !h.is() {
		return
	}
	t.judge(h, "path", "interval", "timeout", "hostname", "status", "scheme", "port", "mode", "followRedirects")
	u.set("health.probe", "http")
	u.set("health.path", cmp.Or(h.get("path").text, "/"))
	for _, key := range []string{"interval", "timeout"} {
		if v := h.get(key).text; v != "" {
			u.set("health."+key, traefikTime(v))
		}
	}
	if host := h.get("hostname").text; host != "" {
		u.set("health.host", host)
	}
	if status := h.get("status").text; status != "" && status != "0" {
		u.set("health.status", list{status})
	}
	if port := h.get("port"); port.is() {
		t.d.note(port.at, "healthCheck.port: weir probes the port of the target")
	}
}

func (t *traefikImport) transport(u *section, n *node, at Place) {
	if !n.is() {
		t.d.note(at, "there is no such serversTransport")
		return
	}
	for _, c := range n.items {
		switch strings.ToLower(c.key) {
		case "insecureskipverify":
			u.set("tls.insecure_skip_verify", c.text == "true")
			t.d.note(c.at, "insecureSkipVerify takes any certificate, here too")
		case "servername":
			u.set("tls.server_name", c.text)
		case "rootcas":
			u.set("tls.ca", strings.Join(c.texts()[:min(len(c.texts()), 1)], ""))
		default:
			t.d.note(c.at, "serversTransport: %s is not translated", c.key)
		}
	}
}

// middleware applies a middleware to a route.
func (t *traefikImport) middleware(r *route, at Place, name string, depth int) {
	m := t.find("middlewares", name)
	if !m.is() || len(m.items) != 1 || depth > maxIncludes {
		r.refuse(t.d, at, forbidden, "middleware %s is not in the files", name)
		return
	}
	kind, v := strings.ToLower(m.items[0].key), m.items[0]
	switch kind {
	case "chain":
		for _, c := range v.get("middlewares").items {
			t.middleware(r, c.at, c.text, depth+1)
		}
	case "stripprefix":
		t.strip(r, v)
	case "addprefix":
		if r.change != nil {
			r.change.put = "/" + strings.Trim(v.get("prefix").text, "/") + r.change.put
		} else {
			r.change = &swap{"", "/" + strings.Trim(v.get("prefix").text, "/")}
		}
	case "replacepath":
		r.set("rewrite", literal(v.get("path").text))
	case "redirectscheme":
		t.redirect(r, v)
	case "headers":
		t.headers(r, v)
	case "basicauth":
		t.passwords(r, v)
	case "ipallowlist", "ipwhitelist":
		var access []accessRule
		for _, a := range v.get("sourceRange").items {
			access = append(access, accessRule{allow: true, text: a.text, at: a.at})
		}
		if v.get("ipStrategy").is() {
			r.refuse(t.d, v.at, forbidden, "%s: its ipStrategy is not translated: trusted_proxies says who is believed", name)
		}
		setAccess(t.d, r, append(access, accessRule{at: v.at}))
	case "compress":
		r.set("compress.enabled", true)
	case "buffering":
		if size := v.get("maxRequestBodyBytes").text; size != "" {
			r.set("max_body", size)
		}
	case "retry":
		if u := t.d.upstream(t.upstreamOf(r)); u != nil && number(v.get("attempts").text) > 0 {
			u.set("retry.attempts", min(number(v.get("attempts").text), 8))
		}
	case "contenttype", "grpcweb", "circuitbreaker", "errors", "passtlsclientcert":
		t.d.note(v.at, "middleware %s: %s is not translated", name, v.key)
	case "stripprefixregex", "replacepathregex", "redirectregex":
		r.refuse(t.d, v.at, notImplemented, "middleware %s: %s: weir has no regular expressions", name, v.key)
	case "ratelimit", "inflightreq":
		r.limit(t.d, v.at, "middleware %s: %s is not translated", name, v.key)
	default: // forwardAuth, digestAuth, plugins
		r.refuse(t.d, v.at, forbidden, "middleware %s: %s is not translated", name, v.key)
	}
}

// upstreamOf is the name of the upstream of a route.
func (t *traefikImport) upstreamOf(r *route) string {
	name, _ := r.get("upstream").(string)
	return strings.NewReplacer("{{", "{", "}}", "}").Replace(name)
}

// strip translates stripPrefix.
func (t *traefikImport) strip(r *route, v *node) {
	for _, prefix := range v.get("prefixes").texts() {
		prefix = "/" + strings.Trim(prefix, "/")
		if strings.HasPrefix(r.match.path.text, prefix) {
			r.change = stripped(r.match.path, prefix)
			return
		}
	}
	r.refuse(t.d, v.at, notImplemented, "stripPrefix: its prefix is not the beginning of the router's path")
}

func (t *traefikImport) redirect(r *route, v *node) {
	status := 302
	if v.get("permanent").text == "true" {
		status = 301
	}
	to := cmp.Or(v.get("scheme").text, "https") + "://{hostname}"
	if port := v.get("port").text; port != "" && port != "443" && port != "80" {
		to += ":" + port
	}
	for _, key := range []string{"upstream", "host_header"} {
		r.remove(key)
	}
	setRedirect(r, to+"{path}{search}", status)
	if r.match.scheme == "" && v.get("scheme").text != "http" {
		r.match.scheme = "http" // or it would redirect to itself
	}
}

// headers translates the middleware of this name.
func (t *traefikImport) headers(r *route, v *node) {
	for _, c := range v.items {
		key := strings.ToLower(c.key)
		table := map[string]string{"customrequestheaders": "request_headers", "customresponseheaders": "response_headers"}[key]
		fixed := map[string][2]string{
			"framedeny": {"X-Frame-Options", "DENY"}, "contenttypenosniff": {"X-Content-Type-Options", "nosniff"}, "browserxssfilter": {"X-XSS-Protection", "1; mode=block"},
		}[key]
		named := map[string]string{
			"customframeoptionsvalue": "X-Frame-Options", "contentsecuritypolicy": "Content-Security-Policy", "referrerpolicy": "Referrer-Policy", "permissionspolicy": "Permissions-Policy",
		}[key]
		switch {
		case table != "":
			for _, f := range c.items {
				t.header(r, table, f)
			}
		case fixed[0] != "" && c.text == "true":
			r.set(keyed("response_headers", "set", fixed[0]), fixed[1])
		case named != "":
			r.set(keyed("response_headers", "set", named), literal(c.text))
		case key == "stsseconds":
			value := "max-age=" + c.text
			if v.get("stsIncludeSubdomains").text == "true" {
				value += "; includeSubDomains"
			}
			if v.get("stsPreload").text == "true" {
				value += "; preload"
			}
			r.set("response_headers.set.Strict-Transport-Security", value)
		case key == "stsincludesubdomains" || key == "stspreload" || c.text == "false":
		case key == "allowedhosts":
			r.refuse(t.d, c.at, forbidden, "headers: %s is not translated", c.key)
		default:
			t.d.note(c.at, "headers: %s is not translated", c.key)
		}
	}
}

func (t *traefikImport) header(r *route, table string, f *node) {
	switch {
	case strings.EqualFold(f.key, "Host") && table == "request_headers":
		r.set("host_header", f.text)
	case f.text == "":
		r.add(table+".remove", f.key)
	default:
		r.set(keyed(table, "set", f.key), literal(f.text))
	}
}

// passwords translates basicAuth.
func (t *traefikImport) passwords(r *route, v *node) {
	realm := cmp.Or(v.get("realm").text, "traefik")
	if v.get("removeHeader").text != "true" {
		r.set("basic_auth.pass_authorization", true)
	}
	if field := v.get("headerField").text; field != "" {
		r.set(keyed("request_headers", "set", field), "{auth_user}")
	}
	if file := v.get("usersFile"); file.text != "" {
		setPasswordFile(t.d, r, file.at, realm, file.text)
		return
	}
	var users []pair
	for _, u := range v.get("users").texts() {
		name, hash, _ := strings.Cut(u, ":")
		users = append(users, pair{name, strings.ReplaceAll(hash, "$$", "$")})
	}
	if users == nil {
		r.refuse(t.d, v.at, forbidden, "basicAuth has no users")
		return
	}
	setPasswords(t.d, r, v.at, realm, users)
}
