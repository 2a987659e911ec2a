package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/internal/field"
)

// Label is the route's name in metrics and logs: Name, or "route-N" for the
// route at index i, with N = i+1.
func (r *Route) Label(i int) string {
	if r.Name != "" {
		return r.Name
	}
	return "route-" + strconv.Itoa(i+1)
}

func (r *Route) validate(at keyPath) {
	pattern := r.pattern(at)
	r.validateListener(at)
	r.validateClient(at)
	validateAccess(at, r.Allow, r.Deny)
	r.validateAction(at, pattern)
	r.validateMetrics(at, pattern)
	if r.AddPrefix != "" {
		path, want := parsePath(r.AddPrefix)
		if want != "" || !path.literal() {
			at.wrong("add_prefix", strconv.Quote(r.AddPrefix), `a path that starts with "/" and does not end with it, without captures`)
		}
	}
	if rewrite := r.Rewrite.String(); rewrite != "" && (rewrite[0] != '/' && rewrite[0] != '{' || hasControl(rewrite) || strings.ContainsAny(rewrite, " #")) {
		at.wrong("rewrite", strconv.Quote(rewrite), `a path that starts with "/" or a variable, without spaces and "#"`)
	}
	r.ResponseHeaders.validateDate(at.key("response_headers"))
	for i, protocol := range r.Upgrade {
		at.key("upgrade").index(i).protocol(protocol)
	}
	if r.StripPrefix && len(r.Path) == 0 {
		at.wrong("strip_prefix", "true without a path", "a path that says what to strip")
	}
	if h := r.HostHeader; h != "pass" && h != "target" && !validAuthority(h) {
		at.unknown("host_header", strconv.Quote(h), `"pass", "target" or a host with an optional port`, Nearest(h, []string{"pass", "target"}))
	}
}

// validateListener checks that the listeners that a route names exist. A program
// may bring listeners of its own.
func (r *Route) validateListener(at keyPath) {
	if len(r.Listener) == 0 || at.check.config.source == nil {
		return
	}
	var known []string
	for i := range at.check.config.Listeners {
		known = append(known, at.check.config.Listeners[i].Label())
	}
	for i, name := range r.Listener {
		if !slices.Contains(known, name) {
			at.key("listener").index(i).unknown("", strconv.Quote(name), "the name of a listener, or the address of one without a name: "+OneOf(known), Nearest(name, known))
		}
	}
}

// protocol reports what clients may not ask to switch to.
func (p keyPath) protocol(text string) {
	name, version, versioned := strings.Cut(text, "/")
	switch {
	case !field.IsToken(name) || versioned && !field.IsToken(version):
		p.wrong("", strconv.Quote(text), `a protocol such as "websocket" or "name/version"`)
	case strings.EqualFold(name, "h2c"):
		p.wrong("", strconv.Quote(text), "another protocol: requests in this one would pass by all routes (RFC 9113 section 3.1 deprecates it)")
	}
}

// validateAction checks that a route has exactly one action, and that the keys
// about forwarding are only in routes that forward.
func (r *Route) validateAction(at keyPath, pattern Pattern) {
	var found []string
	if !r.Upstream.IsZero() {
		found = append(found, "upstream")
	}
	if r.Redirect != nil {
		found = append(found, "redirect")
	}
	if r.Respond != nil {
		found = append(found, "respond")
	}
	if r.Files != nil {
		found = append(found, "files")
	}
	at.note(func(rules *rules) { rules.choice = []string{"upstream", "redirect", "respond", "files"} })
	if len(found) != 1 {
		list := "nothing"
		if len(found) > 0 {
			list = strings.Join(found, " and ")
		}
		at.wrong("", list, "exactly one of upstream, redirect, respond and files")
		return
	}
	if found[0] == "upstream" {
		r.validateUpstream(at, pattern)
		return
	}
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"strip_prefix", r.StripPrefix && r.Files == nil}, {"cache", r.Cache != nil && r.Files != nil}, {"add_prefix", r.AddPrefix != ""}, {"rewrite", !r.Rewrite.IsZero()},
		{"request_headers", !r.RequestHeaders.empty()}, {"request_cookies", len(r.RequestCookies.Keep)+len(r.RequestCookies.Remove) > 0},
		{"timeouts", r.Timeouts != RouteTimeouts{}}, {"buffer_request", r.BufferRequest > 0}, {"grpc_web", r.GRPCWeb},
		{"upgrade", len(r.Upgrade) > 0 && !slices.Equal(r.Upgrade, Strings{websocket})},
	} {
		if key.set {
			at.wrong(key.name, "it in a route with "+found[0], "it only in a route with upstream")
		}
	}
}

// validateUpstream checks that the upstream exists, or for a template that it can.
func (r *Route) validateUpstream(at keyPath, pattern Pattern) {
	known := at.check.upstreamNames()
	text := strconv.Quote(r.Upstream.String())
	if len(known) == 0 && len(r.Upstream.Names()) == 0 {
		at.wrong("upstream", text, "a table [upstreams.NAME] with targets: there is none")
		return
	}
	names := r.Upstream.Names()
	if names == nil {
		at.knownUpstream("upstream", r.Upstream.String(), r.Upstream.Literal())
		return
	}
	if len(pattern.Paths) < len(r.Path) {
		return // the captures of the wrong paths are not known
	}
	available, good := pattern.captures(), true
	for _, name := range names {
		if !slices.Contains(available, name) {
			at.unknown("upstream", strconv.Quote("{"+name+"}"), "a capture that every path of the route has: "+OneOf(available), Nearest(name, available))
			good = false
		}
	}
	if good && !at.check.fitsUpstream(r.Upstream) && !r.Upstream.fitsService() {
		at.wrong("upstream", text, "a template that fits the name of an upstream: "+OneOf(known))
	}
}

func (r *Redirect) validate(at keyPath) {
	at.needs("to", r.To.String(), `a URL or path such as "https://{host}{path}"`)
	at.text("to", r.To.String())
	at.note(func(rules *rules) { rules.enums["status"] = anyOf(redirectStatuses[:]) })
	if !slices.Contains(redirectStatuses[:], r.Status) {
		at.wrong("status", strconv.Itoa(r.Status), "301, 302, 303, 307 or 308")
	}
}

var redirectStatuses = [...]int{301, 302, 303, 307, 308}

func (r *Respond) validate(at keyPath) {
	at.between("status", r.Status, 200, 599)
	if r.Body != "" && (r.Status == 204 || r.Status == 205 || r.Status == 304) {
		at.wrong("body", "one for status "+strconv.Itoa(r.Status), "none, because such a response has no content")
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		at := at.key("headers")
		at.settable(name, name, seen)
		at.text(name, r.Headers[name])
	}
}

func (c *CookieRules) validate(at keyPath) {
	if len(c.Keep) > 0 && len(c.Remove) > 0 {
		at.wrong("remove", strconv.Quote(c.Remove[0]), "nothing beside keep, which removes all others")
	}
	at.key("keep").cookies(c.Keep)
	at.key("remove").cookies(c.Remove)
}

// cookies reports names that no cookie can have (RFC 6265 section 4.1.1).
func (p keyPath) cookies(names []string) {
	for i, name := range names {
		if start, open := strings.CutSuffix(name, "*"); !field.IsToken(start) && !(open && start == "") {
			p.index(i).wrong("", strconv.Quote(name), `the name of a cookie such as "lang", or the start of names such as "_ga*"`)
		}
	}
}

func (h *HeaderRules) empty() bool { return len(h.Set)+len(h.Add)+len(h.Remove) == 0 }

func (h *HeaderRules) validate(at keyPath) {
	set, add, remove := map[string]string{}, map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(h.Set)) {
		at.key("set").settable(name, name, set)
		at.key("set").text(name, h.Set[name].String())
	}
	for _, name := range slices.Sorted(maps.Keys(h.Add)) {
		at.key("add").settable(name, name, add)
		if strings.EqualFold(name, "Content-Type") {
			at.key("add").wrong(name, strconv.Quote(name), "it under set: of two, some recipients read the first and some the last (RFC 9110 section 8.3)")
		}
		at.key("add").text(name, h.Add[name].String())
	}
	for i, name := range h.Remove {
		at.key("remove").index(i).settable("", name, remove)
	}
}

// validateDate reports rules for responses that change Date.
func (h *HeaderRules) validateDate(at keyPath) {
	check := func(at keyPath, key, name string) {
		if strings.EqualFold(name, "Date") {
			at.wrong(key, strconv.Quote(name), "another field: this one says when the origin answered (RFC 9110 section 6.6.1)")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Set)) {
		check(at.key("set"), name, name)
	}
	for _, name := range slices.Sorted(maps.Keys(h.Add)) {
		check(at.key("add"), name, name)
	}
	for i, name := range h.Remove {
		check(at.key("remove").index(i), "", name)
	}
}

// settable reports a field name that rules may not change, and one that is in
// seen already, whatever its case.
func (p keyPath) settable(key, name string, seen map[string]string) {
	if !p.field(key, name) {
		return
	}
	lower := strings.ToLower(name)
	if slices.Contains(framingFields[:], lower) {
		p.wrong(key, strconv.Quote(name), "another field: this one belongs to the connection or to the framing of messages, which are weir's")
		return
	}
	if lower == "host" {
		p.wrong(key, strconv.Quote(name), "another field: for this one there is host_header")
		return
	}
	if first, ok := seen[lower]; ok {
		p.wrong(key, strconv.Quote(name), "each field once, and here is "+strconv.Quote(first))
		return
	}
	seen[lower] = name
}

// framingFields are the fields that frame a message or control a connection (RFC
// 9110 section 7.6.1, RFC 9112 section 6). A rule for one of them could make two
// servers see different messages.
var framingFields = [...]string{
	"connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade",
}

// field says whether a name is a field name (RFC 9110 section 5.1), and reports a
// name that is not.
func (p keyPath) field(key, name string) bool {
	if field.IsToken(name) {
		return true
	}
	found := strconv.Quote(name)
	if key == name {
		key = "" // the name itself is the key: point to the table
	}
	p.wrong(key, found, `a field name such as "X-Service"`)
	return false
}

// text reports a value with bytes that field values may not have.
func (p keyPath) text(key, value string) {
	if hasControl(value) {
		p.wrong(key, strconv.Quote(value), "a value without control characters")
	}
}

// hasControl says whether s has a control character other than a tab.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
