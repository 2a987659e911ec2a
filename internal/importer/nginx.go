package importer

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// scope is a block of nginx and those around it, from which it inherits.
type scope struct {
	list  []directive
	outer *scope
}

// all returns the directives of a name of the nearest block that has some.
func (s *scope) all(name string) (found []directive) {
	for ; s != nil && found == nil; s = s.outer {
		found = s.own(name)
	}
	return found
}

// own returns those of this block alone.
func (s *scope) own(name string) (found []directive) {
	for _, d := range s.list {
		if d.name == name {
			found = append(found, d)
		}
	}
	return found
}

// last returns the last of them, or nil.
func (s *scope) last(name string) *directive {
	if found := s.all(name); len(found) > 0 {
		return &found[len(found)-1]
	}
	return nil
}

// arguments returns those of the last one.
func (s *scope) arguments(name string) []string {
	if d := s.last(name); d != nil {
		return d.args
	}
	return nil
}

// value returns the first argument of the last one.
func (s *scope) value(name string) string {
	if d := s.last(name); d != nil {
		return d.arg(0)
	}
	return ""
}

// nginxImport translates one configuration.
type nginxImport struct {
	d         *draft
	folder    string
	http      *scope
	upstreams map[string]*directive
	servers   []*nginxServer
	locations []*nginxLocation // of the server that is being translated
	zones     map[string]bool  // those of limit_conn that count clients' addresses
}

type nginxServer struct {
	scope   *scope
	at      Place
	names   []string
	unseen  string // a name that weir cannot look for; empty if there is none
	sockets []nginxSocket
}

type nginxSocket struct {
	address  string
	first    bool // default_server
	secure   bool
	proxied  bool // by the PROXY protocol
	h2       bool // it speaks HTTP/2, too
	listener *section
}

func nginx(d *draft, path string) error {
	folder := filepath.Dir(path)
	list, err := parseNginx(path, folder, 0)
	if err != nil {
		return err
	}
	n := &nginxImport{d: d, folder: folder, upstreams: make(map[string]*directive), zones: make(map[string]bool)}
	n.http = &scope{list: list} // a file of conf.d has no http around it
	for i := range list {
		switch dir := &list[i]; {
		case dir.name == "http":
			n.http = &scope{list: dir.block}
		case dir.name == "stream" || dir.name == "mail":
			d.note(dir.at, "%s: weir forwards HTTP only", dir.name)
		}
	}
	n.globals()
	for i := range n.http.list {
		switch dir := &n.http.list[i]; dir.name {
		case "upstream":
			n.upstreams[dir.arg(0)] = dir
		case "server":
			n.servers = append(n.servers, n.server(dir))
		case "limit_conn_zone":
			if key := strings.TrimPrefix(dir.arg(0), "$"); key == "binary_remote_addr" || key == "remote_addr" {
				zone, _, _ := strings.Cut(strings.TrimPrefix(dir.arg(1), "zone="), ":")
				n.zones[zone] = true
			}
		}
	}
	n.judge(n.http)
	n.sockets()
	n.refuseUnseen()
	for _, s := range n.servers {
		n.routes(s)
	}
	return nil
}

// globals translates what is for the whole program.
func (n *nginxImport) globals() {
	if from := n.http.all("set_real_ip_from"); from != nil {
		var trusted list
		for _, dir := range from {
			if dir.arg(0) == "unix:" || !addressRange.MatchString(dir.arg(0)) {
				n.d.note(dir.at, "set_real_ip_from %s: want an address or a range", dir.arg(0))
				continue
			}
			trusted = append(trusted, dir.arg(0))
		}
		if field := n.http.value("real_ip_header"); field == "" || strings.EqualFold(field, "X-Forwarded-For") || field == "proxy_protocol" {
			n.d.global.set("forwarding.trusted_proxies", trusted)
		} else {
			n.d.note(from[0].at, "real_ip_header %s: weir knows X-Forwarded-For, Forwarded and the PROXY protocol, so nobody is trusted", field)
		}
	}
	for _, dir := range n.http.own("server") {
		for _, from := range (&scope{list: dir.block}).own("set_real_ip_from") {
			n.d.note(from.at, "set_real_ip_from %s in a server: weir has trusted_proxies for all servers", from.arg(0))
		}
	}
	switch log := n.http.last("access_log"); {
	case log == nil || log.arg(0) == "/dev/stdout":
	case log.arg(0) == "off":
		n.d.global.set("access_log.output", "off")
	case filepath.IsAbs(log.arg(0)):
		n.d.global.set("access_log.output", log.arg(0))
		n.d.global.set("access_log.format", "combined")
	default:
		n.d.note(log.at, "access_log %s: weir logs to standard output", log.arg(0))
	}
}

var addressRange = regexp.MustCompile(`^[0-9a-fA-F:.]+(/\d+)?$`)

// server reads what a server block listens to, and its names.
func (n *nginxImport) server(dir *directive) *nginxServer {
	s := &nginxServer{scope: &scope{dir.block, n.http}, at: dir.at}
	for _, l := range s.scope.own("listen") {
		socket := nginxSocket{address: nginxAddress(l.arg(0))}
		for _, a := range l.args[1:] {
			switch {
			case a == "default_server" || a == "default":
				socket.first = true
			case a == "ssl":
				socket.secure = true
			case a == "proxy_protocol":
				socket.proxied = true
			case a == "http2":
				socket.h2 = true
			case a == "quic" || a == "http3":
				n.d.note(l.at, "listen %s %s: weir has no HTTP/3", l.arg(0), a)
				socket.address = ""
			}
		}
		same := slices.IndexFunc(s.sockets, func(o nginxSocket) bool { return o.address == socket.address })
		switch {
		case socket.address == "":
		case same < 0:
			s.sockets = append(s.sockets, socket)
		case socket.first:
			s.sockets[same].first = true
		}
	}
	if s.sockets == nil && s.scope.own("listen") == nil {
		s.sockets = []nginxSocket{{address: ":80"}}
	}
	for _, dir := range s.scope.own("server_name") {
		for _, name := range dir.args {
			switch {
			case name == "" || name == "_" || name == "localhost" && len(dir.args) == 1:
				if name == "localhost" {
					s.names = append(s.names, name)
				}
			case strings.HasPrefix(name, "~"), strings.HasSuffix(name, "*"):
				n.d.note(dir.at, "server_name %s: weir has names and *.names, so this name is left out", name)
				s.unseen = name
			case strings.HasPrefix(name, "."):
				s.names = append(s.names, name[1:], "*"+name)
			case strings.HasPrefix(name, "*."), hostName.MatchString(name):
				s.names = append(s.names, strings.ToLower(name))
			}
		}
	}
	return s
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)

// nginxAddress returns weir's form of the address of a listen directive.
func nginxAddress(text string) string {
	if strings.HasPrefix(text, "unix:") {
		return text
	}
	host, port := text, "80"
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		host, port = text[:i], text[i+1:]
	} else if strings.Trim(text, "0123456789") == "" {
		host, port = "", text
	}
	if host == "*" || host == "0.0.0.0" || host == "[::]" {
		host = ""
	}
	return host + ":" + port
}

// sockets makes the listeners.
func (n *nginxImport) sockets() {
	for _, s := range n.servers {
		for i := range s.sockets {
			k := &s.sockets[i]
			k.listener = n.d.listener(s.at, k.address)
			n.listenerKeys(s, k)
		}
	}
	for _, s := range n.servers {
		for _, k := range s.sockets {
			if (k.h2 || s.scope.value("http2") == "on") && !n.secure(k.address) {
				plainHTTP2(k.listener)
			}
		}
	}
}

// secure says whether clients speak TLS at an address.
func (n *nginxImport) secure(address string) bool {
	return slices.ContainsFunc(n.servers, func(s *nginxServer) bool {
		return slices.ContainsFunc(s.sockets, func(k nginxSocket) bool {
			return k.address == address && (k.secure || s.scope.value("ssl") == "on")
		})
	})
}

// first says whether a server answers requests on an address for names that no server has.
func (n *nginxImport) first(s *nginxServer, address string) bool {
	var found *nginxServer
	for _, other := range n.servers {
		for _, k := range other.sockets {
			if k.address == address && (found == nil || k.first) {
				if found = other; k.first {
					return found == s
				}
			}
		}
	}
	return found == s
}

func (n *nginxImport) listenerKeys(s *nginxServer, k *nginxSocket) {
	l := k.listener
	if d := nginxTime(s.scope.value("keepalive_timeout")); d != "" && l.get("timeouts.idle") == nil && d != "0s" {
		l.set("timeouts.idle", d)
	}
	if d := nginxTime(s.scope.value("client_header_timeout")); d != "" {
		l.set("timeouts.header", d)
	}
	if k.proxied && l.get("proxy_protocol") == nil {
		peers := list{"0.0.0.0/0", "::/0"}
		if from, ok := n.d.global.get("forwarding.trusted_proxies").(list); ok {
			peers = from
		} else {
			n.d.note(s.at, "listen ... proxy_protocol: weir asks who may send the PROXY header; without set_real_ip_from anybody may")
		}
		l.set("proxy_protocol", peers)
	}
	if k.secure || s.scope.value("ssl") == "on" {
		n.tls(s, k)
	}
	for _, dir := range s.scope.all("limit_conn") {
		if !n.boundsAddress(&dir) {
			continue
		}
		most, _ := strconv.Atoi(dir.arg(1))
		if old, _ := l.get("limits.connections_per_address").(int); old == 0 || most < old {
			l.set("limits.connections_per_address", most)
		}
		n.d.note(dir.at, "limit_conn %s: weir counts all connections of an address to the listener %s, idle ones too, and one of HTTP/2 once", strings.Join(dir.args, " "), k.address)
	}
}

// boundsAddress says whether a limit_conn bounds the connections of each address.
func (n *nginxImport) boundsAddress(dir *directive) bool {
	most, err := strconv.Atoi(dir.arg(1))
	return n.zones[dir.arg(0)] && err == nil && most > 0
}

// refuseUnseen closes the servers that get the requests of a server that protects something and has names
// that weir cannot look for.
func (n *nginxImport) refuseUnseen() {
	for _, s := range n.servers {
		if s.unseen == "" || !nginxProtects(s.scope.list) {
			continue
		}
		for _, other := range n.servers {
			for _, k := range other.sockets {
				if other != s && n.first(other, k.address) && slices.ContainsFunc(s.sockets, func(o nginxSocket) bool { return o.address == k.address }) {
					other.scope = &scope{append(slices.Clone(other.scope.list), directive{at: s.at, name: closesAll, args: []string{"server " + s.unseen}}), other.scope.outer}
					break
				}
			}
		}
	}
}

// nginxProtects says whether directives, or those in their blocks, refuse requests or ask who sends them.
func nginxProtects(list []directive) bool {
	return slices.ContainsFunc(list, func(d directive) bool {
		switch {
		case d.name == "return":
			return d.arg(0) >= "400" && d.arg(0) <= "599"
		case d.name == "auth_basic" || d.name == "ssl_verify_client":
			return d.arg(0) != "off"
		case d.name == "allow" || d.name == "deny" || d.name == "internal":
			return true
		}
		return isProtective(d.name) && !slices.Contains(nginxTranslated, d.name) && !slices.Contains(nginxHarmless, d.name) || nginxProtects(d.block)
	})
}

// tls translates certificates and what a listener asks of clients.
func (n *nginxImport) tls(s *nginxServer, k *nginxSocket) {
	l := k.listener
	certs, keys := s.scope.all("ssl_certificate"), s.scope.all("ssl_certificate_key")
	all, _ := l.get("certificates").([][]pair)
	for i := range certs {
		if i >= len(keys) {
			break
		}
		if strings.Contains(certs[i].arg(0)+keys[i].arg(0), "$") {
			n.d.note(certs[i].at, "ssl_certificate %s: weir takes names of files, without variables", certs[i].arg(0))
			continue
		}
		one := []pair{{"cert", n.file(certs[i].arg(0))}, {"key", n.file(keys[i].arg(0))}}
		has := slices.ContainsFunc(all, func(o []pair) bool { return slices.Equal(o, one) })
		switch {
		case has:
		case n.first(s, k.address):
			all = append([][]pair{one}, all...)
		default:
			all = append(all, one)
		}
	}
	if all == nil {
		n.d.add(Note{Place: s.at, Text: "the server speaks TLS and has no certificate: its listener is left without, and must get one"})
		l.comment("This listener speaks TLS in nginx, but its certificate is not known.")
		return
	}
	l.set("certificates", all)
	if dir := s.scope.last("ssl_protocols"); dir != nil {
		versions := []string{"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}
		names := []string{"1.0", "1.1", "1.2", "1.3"}
		low, high := len(versions), -1
		for i, v := range versions {
			if slices.Contains(dir.args, v) {
				low, high = min(low, i), max(high, i)
			}
		}
		if high >= 0 && (low != 2 || high != 3) {
			l.set("min_tls", names[low])
			l.set("max_tls", names[high])
		}
	}
	if dir := s.scope.last("ssl_ciphers"); dir != nil {
		n.d.note(dir.at, "ssl_ciphers: weir's own are used")
	}
	switch verify := s.scope.last("ssl_verify_client"); {
	case verify == nil || verify.arg(0) == "off":
	case s.scope.value("ssl_client_certificate") == "":
		n.d.note(verify.at, "ssl_verify_client without ssl_client_certificate")
	default:
		l.set("client_ca", n.file(s.scope.value("ssl_client_certificate")))
		if verify.arg(0) != "on" {
			l.set("client_auth", "optional")
		}
		if len(n.servers) > 1 {
			n.d.note(verify.at, "ssl_verify_client: weir asks all clients of the listener %s for a certificate, also those of other servers", k.address)
		}
	}
}

// file is the path of a file that is named in the configuration.
func (n *nginxImport) file(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(n.folder, name)
}

// routes translates a server: once for the addresses where it answers any name, once for those where
// it answers its own names.
func (n *nginxImport) routes(s *nginxServer) {
	var any, named []string
	for _, k := range s.sockets {
		if n.first(s, k.address) {
			any = append(any, k.address)
		} else {
			named = append(named, k.address)
		}
	}
	for _, group := range []struct {
		listeners, hosts []string
	}{{any, nil}, {named, s.names}} {
		if len(group.listeners) == 0 {
			continue
		}
		if group.hosts == nil && len(any) == 0 {
			n.d.note(s.at, "the server has no name that weir can look for, and another one answers for unknown names: left out")
			continue
		}
		for _, r := range n.serverRules(s) {
			if r.match.host != "" {
				if !slices.Contains(s.names, r.match.host) && group.hosts != nil {
					continue
				}
			} else if group.hosts != nil {
				r.hosts = group.hosts
			}
			r.match.listeners = group.listeners
			n.d.routes = append(n.d.routes, r)
		}
	}
}

// serverRules are the routes of a server, without its names.
func (n *nginxImport) serverRules(s *nginxServer) []*route {
	n.judge(s.scope)
	rs := new(rules)
	rest := route{section: section{at: s.at}}
	if n.rewrites(rs, s.scope, match{}) {
		return rs.ordered()
	}
	locations := n.findLocations(s.scope, s.scope.list)
	sortLocations(locations)
	n.refuseUnknown(rs, s, locations)
	n.locations = locations
	for _, l := range locations {
		n.location(rs, l, locations)
	}
	if s.scope.value("root") != "" {
		n.content(s.scope, &rest, path{})
		n.common(s.scope, &rest)
	} else {
		rest.set("respond", []pair{{"status", 404}})
	}
	rs.add([]match{{}}, rest)
	return rs.ordered()
}

// nginxLocation is a location, or one of the paths that its regular expression stands for.
type nginxLocation struct {
	scope    *scope
	at       Place
	path     path
	original string
	// rank is the order in which nginx looks: among those of a rank prefixes by their length, expressions by
	// their place.
	rank locationRank
	// regular is for an expression that stands for no paths that weir can look for. It may fit only paths within.
	regular bool
	within  []path
}

type locationRank int

const (
	rankExact   locationRank = iota
	rankFirst                // ^~
	rankRegular              // an expression
	rankPrefix
)

// sortLocations sorts them in the order in which nginx looks for the location of a request.
func sortLocations(all []*nginxLocation) {
	// The longest prefix counts, whether it is one with ^~ or not. So below such a prefix expressions come last:
	// they stay expressions that weir cannot look for.
	for _, first := range all {
		for _, l := range all {
			if first.rank == rankFirst && l.rank == rankPrefix && first.path.covers(l.path) {
				l.rank = rankFirst
				for _, r := range all {
					if r.rank == rankRegular && !r.regular {
						r.regular, r.within = true, []path{r.path}
					}
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *nginxLocation) int {
		if a.rank != b.rank || a.rank == rankRegular {
			return int(a.rank - b.rank)
		}
		return len(b.path.text) - len(a.path.text)
	})
}

// findLocations returns those of a block and of the locations in it. Regular expressions that mean paths or prefixes
// are these.
func (n *nginxImport) findLocations(outer *scope, list []directive) (all []*nginxLocation) {
	for i := range list {
		dir := &list[i]
		if dir.name != "location" {
			continue
		}
		l := &nginxLocation{scope: &scope{dir.block, outer}, at: dir.at, original: strings.Join(dir.args, " ")}
		kind, text := "", dir.arg(0)
		if len(dir.args) > 1 {
			kind, text = dir.arg(0), dir.arg(1)
		} else if rest, ok := strings.CutPrefix(text, "="); ok {
			kind, text = "=", rest
		}
		switch {
		case strings.HasPrefix(text, "@"):
			n.d.note(dir.at, "location %s: weir has no named locations", text)
			continue
		case kind == "=":
			l.path = path{text, true}
		case kind == "^~":
			l.path, l.rank = path{text, false}, rankFirst
		case kind == "":
			l.path, l.rank = path{text, false}, rankPrefix
		default:
			l.rank = rankRegular
			paths, exact := regexpPaths(text, kind == "~*")
			if l.regular = !exact; exact {
				n.judge(l.scope)
				for _, p := range paths {
					one := *l
					one.path = p
					all = append(all, &one)
				}
				all = append(all, n.findLocations(l.scope, dir.block)...)
				continue
			}
			l.within = paths
		}
		if !strings.HasPrefix(l.path.text, "/") && !l.regular {
			n.d.note(dir.at, "location %s: want a path", l.original)
			continue
		}
		n.judge(l.scope)
		all = append(all, l)
		all = append(all, n.findLocations(l.scope, dir.block)...)
	}
	return all
}

// refuseUnknown deals with locations that weir cannot look for: where one protects something, all
// routes of the server could lead to it, or those for the paths that its expression begins with.
func (n *nginxImport) refuseUnknown(rs *rules, s *nginxServer, locations []*nginxLocation) {
	for _, l := range locations {
		if !l.regular {
			continue
		}
		if l.within != nil && nginxProtects(l.scope.list) {
			for _, p := range l.within {
				rs.guard([]match{{path: p}}, func(r *route) { r.refuse(n.d, l.at, forbidden, untold, "location "+l.original) })
			}
			continue
		}
		mark := directive{at: l.at, name: closesAll, args: []string{"location " + l.original}}
		if !nginxProtects(l.scope.list) {
			if !l.passes() {
				n.d.note(l.at, "location %s: weir has no regular expressions, so its requests go to the locations around it", l.original)
				continue
			}
			n.d.note(l.at, "location %s: weir has no regular expressions, so its requests go to the locations around it, but not to files", l.original)
			mark.name = closesFiles
		}
		s.scope = &scope{append(slices.Clone(s.scope.list), mark), s.scope.outer}
		for _, other := range locations {
			other.scope = reouter(other.scope, s.scope)
		}
	}
}

// passes says whether the location leads to a program, and not to files.
func (l *nginxLocation) passes() bool {
	return slices.ContainsFunc(l.scope.list, func(d directive) bool { return strings.HasSuffix(d.name, "_pass") })
}

// closesAll and closesFiles are directives of the importer's own, for what is not translated: something that protects
// requests, and a location that passes requests on, where files would show the program that it runs.
const (
	closesAll   = " closes all"
	closesFiles = " closes files"
)

// untold is why closesAll closes a route.
const untold = "%s protects something, and weir cannot tell its requests from others"

// refuseClosed closes a route for such locations of the blocks around it.
func (n *nginxImport) refuseClosed(s *scope, r *route) {
	for ; s != nil; s = s.outer {
		for _, dir := range s.own(closesAll) {
			r.refuse(n.d, dir.at, forbidden, untold, dir.arg(0))
		}
	}
}

// reouter puts another server around a location.
func reouter(s, server *scope) *scope {
	if s.outer == nil || s.outer.outer == nil {
		return server
	}
	return &scope{s.list, reouter(s.outer, server)}
}

// location adds the rules of a location.
func (n *nginxImport) location(rs *rules, l *nginxLocation, all []*nginxLocation) {
	if l.regular {
		return
	}
	m := match{path: l.path}
	r := route{section: section{at: l.at}}
	if l.scope.own("internal") != nil {
		r.set("respond", []pair{{"status", 404}})
		r.comment("Internal: clients get 404, as in nginx.")
		rs.add([]match{m}, r)
		return
	}
	if n.rewrites(rs, l.scope, m) {
		return
	}
	n.common(l.scope, &r)
	n.content(l.scope, &r, l.path)
	rs.add([]match{m}, r)

	// nginx redirects to the prefix of a location that proxies.
	bare := strings.TrimSuffix(l.path.text, "/")
	passes := l.passes()
	if !l.path.exact && l.rank != rankRegular && passes && bare != l.path.text && bare != "" &&
		!slices.ContainsFunc(all, func(o *nginxLocation) bool { return o.path.text == bare }) {
		slash := route{section: section{at: l.at}}
		slash.set("redirect", []pair{{"to", literal(l.path.text)}, {"status", 301}})
		n.protect(l.scope, &slash)
		rs.add([]match{{path: path{bare, true}}}, slash)
	}
}

var nginxUnits = regexp.MustCompile(`^(\d+)(ms|s|m|h|d|)$`)

// nginxTime is a time of nginx in weir's form; empty if it is none.
func nginxTime(text string) string {
	m := nginxUnits.FindStringSubmatch(text)
	switch {
	case m == nil:
		return ""
	case m[2] == "":
		return m[1] + "s"
	case m[2] == "d":
		var days int
		fmt.Sscan(m[1], &days)
		return fmt.Sprintf("%dh", days*24)
	}
	return m[1] + m[2]
}

var nginxSizes = regexp.MustCompile(`^(\d+)([kKmMgG]?)$`)

// nginxSize is a size of nginx in weir's form; empty if it is none.
func nginxSize(text string) string {
	m := nginxSizes.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + map[string]string{"": "", "k": "KiB", "m": "MiB", "g": "GiB"}[strings.ToLower(m[2])]
}
