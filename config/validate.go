package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"weir/internal/field"
)

// Validate checks what can be checked without the rest of weir: required keys,
// ranges, syntax, references, files that exist. It does not know the names of
// balancing algorithms or of template variables, which the packages that
// implement them check. Load and Parse call it; a program that builds a Config in
// Go calls it before use. The error is Errors with all problems.
func (c *Config) Validate() error { return c.problems().Err() }

func (c *Config) problems() Errors {
	check := &check{config: c, layouts: layouts{}, metrics: map[string]metricShape{}}
	keyPath{check, ""}.walk(reflect.ValueOf(c).Elem())
	return check.problems
}

// Locate returns the problems that other packages found in c, with their places
// in the file. Their keys are whole paths.
func (c *Config) Locate(found Errors) Errors {
	list := slices.Clone(found)
	for i := range list {
		list[i].File, list[i].Line = c.Position(list[i].Key)
		if c.source != nil {
			list[i] = c.source.hide(list[i])
		}
	}
	return list
}

// check is one run of Validate.
type check struct {
	config   *Config
	problems Errors
	layouts  layouts
	// upstreams are the names of the upstreams, once a route has asked for them.
	upstreams *nameList
	// metrics are the metrics of routes so far, by name.
	metrics map[string]metricShape
	// rules, if not nil, gets the rules of the keys that are checked, for the schema.
	rules *rules
}

// keyPath is the key path of a value that is being checked. Its methods report
// problems of the keys below it; the empty name stands for the value itself.
type keyPath struct {
	check *check
	path  string
}

// validator is implemented by tables that have more to check than their types
// say. It is called once for each value, before those inside it.
type validator interface{ validate(at keyPath) }

func (p keyPath) key(name string) keyPath { return keyPath{p.check, child(p.path, name)} }

func (p keyPath) index(i int) keyPath { return keyPath{p.check, element(p.path, i)} }

// wrong reports what was found at a key, and what is allowed.
func (p keyPath) wrong(name, found, want string) { p.unknown(name, found, want, "") }

// unknown is wrong with a hint.
func (p keyPath) unknown(name, found, want, hint string) {
	if name != "" {
		p = p.key(name)
	}
	file, line := p.check.config.Position(p.path)
	p.check.problems = append(p.check.problems, Problem{
		File: file, Line: line, Key: p.path, Found: found, Want: want, Hint: hint,
	})
}

// absent reports a file or folder that is not there.
func (p keyPath) absent(name, path string, err error, want string) {
	p.wrong(name, strconv.Quote(path)+" ("+reason(err)+")", want)
	p.check.problems[len(p.check.problems)-1].Absent = true
}

// needs reports an empty string.
func (p keyPath) needs(name, value, want string) { p.required(name, value == "", want) }

// foundNothing is what problems of missing keys have found.
const foundNothing = "nothing"

// required reports a key that is missing.
func (p keyPath) required(name string, missing bool, want string) {
	if missing {
		p.note(func(r *rules) { r.required = append(r.required, name) })
		p.wrong(name, foundNothing, want)
	}
}

// oneOf reports a string that is not allowed.
func (p keyPath) oneOf(name, value string, allowed ...string) {
	p.note(func(r *rules) { r.enums[name] = anyOf(allowed) })
	if !slices.Contains(allowed, value) {
		p.unknown(name, strconv.Quote(value), OneOf(allowed), Nearest(value, allowed))
	}
}

func anyOf[T any](list []T) []any {
	values := make([]any, len(list))
	for i, v := range list {
		values[i] = v
	}
	return values
}

// between reports a whole number that is out of range.
func (p keyPath) between(name string, value, least, most int) {
	p.note(func(r *rules) { r.bounds[name] = [2]float64{float64(least), float64(most)} })
	if value < least || value > most {
		p.wrong(name, strconv.Itoa(value), fmt.Sprintf("%d to %d", least, most))
	}
}

// upTo reports a number that is not from 0 to most.
func (p keyPath) upTo(name string, value, most float64) {
	p.note(func(r *rules) { r.bounds[name] = [2]float64{0, most} })
	if !(value >= 0 && value <= most) { // so that NaN is wrong too
		p.wrong(name, fmt.Sprint(value), fmt.Sprintf("0 to %v", most))
	}
}

// bytes reports a size that is out of range.
func (p keyPath) bytes(name string, value, least, most Size) {
	if value >= 0 && (value < least || value > most) {
		p.wrong(name, strconv.Quote(value.String()), fmt.Sprintf("%q to %q", least, most))
	}
}

// positive reports a duration of 0.
func (p keyPath) positive(name string, value Duration) {
	p.note(func(r *rules) { r.positive[name] = true })
	if value == 0 {
		p.wrong(name, `"0s"`, "more than 0, because without a bound this could last for ever")
	}
}

// file reports a file that cannot be read.
func (p keyPath) file(name, path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		p.absent(name, path, err, "a file")
	case !info.Mode().IsRegular():
		p.wrong(name, strconv.Quote(path)+", which is no regular file", "a file")
	default:
		f, err := os.Open(path)
		if err != nil {
			p.absent(name, path, err, "a file that may be read")
			return
		}
		f.Close()
	}
}

// reason is an error of package os without the operation and the path.
func reason(err error) string {
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:][1:]
}

// unique reports a text that an earlier key has. seen holds the texts and their
// keys.
func (p keyPath) unique(name, text string, seen map[string]string) {
	if first, ok := seen[text]; ok {
		p.wrong(name, strconv.Quote(text), "another than at "+first)
		return
	}
	seen[text] = child(p.path, name)
	if name == "" {
		seen[text] = p.path
	}
}

// walk checks v and everything in it.
func (p keyPath) walk(v reflect.Value) {
	switch value := v.Addr().Interface().(type) {
	case validator:
		value.validate(p)
	case interface{ check() error }:
		if err := value.check(); err != nil {
			p.wrong("", strconv.Quote(fmt.Sprint(v.Interface())), err.Error())
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range p.check.layouts.of(v.Type()) {
			p.key(f.name).walk(v.Field(f.index))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			p.walk(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			p.index(i).walk(v.Index(i))
		}
	case reflect.Map:
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, name := range names {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(name))
			p.key(name.String()).walk(value)
		}
	case reflect.Int:
		if v.Int() < 0 {
			p.wrong("", strconv.FormatInt(v.Int(), 10), "0 or more")
		}
	}
}

func (c *Config) validate(at keyPath) {
	// An embedder may bring listeners of its own.
	at.required("listeners", len(c.Listeners) == 0 && c.source != nil, "at least one [[listeners]]")
	at.required("routes", len(c.Routes) == 0, "at least one [[routes]]")
	seen, names := addresses{}, map[string]string{}
	for i, l := range c.Listeners {
		at := at.key("listeners").index(i)
		at.address(l.Address, seen)
		c.validateDomains(&l, at)
		if l.Name != "" {
			at.unique("name", l.Name, names)
		}
	}
	at.key("metrics").pageAddress(c.Metrics.Address, seen)
	at.key("admin").pageAddress(c.Admin.Address, seen)

	names = map[string]string{}
	for i := range c.Routes {
		at.key("routes").index(i).unique("name", c.Routes[i].Label(i), names)
	}
	c.validateObjectives(at)
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		if name == "" || hasControl(name) {
			at.wrong("upstreams", strconv.Quote(name), "a name without control characters")
		}
	}
}

// addresses are those of the listeners and pages so far, by network and port.
type addresses map[string][]usedAddress

// usedAddress is an address that a key has. Of TCP, any says that it stands for all
// addresses of the machine; else host is one of them.
type usedAddress struct {
	key, host string
	any       bool
}

// address reports an address that an earlier listener has, or that the kernel would not
// open beside that listener's.
func (p keyPath) address(a Address, seen addresses) {
	network, text := a.Split()
	if a == "" {
		return
	}
	used := usedAddress{key: child(p.path, "address"), host: text}
	if network == "tcp" {
		host, port, err := net.SplitHostPort(text)
		number, portErr := strconv.Atoi(port)
		if err != nil || portErr != nil || number == 0 {
			return // a wrong address is reported already, and for port 0 the kernel chooses
		}
		network += ":" + strconv.Itoa(number)
		used.host, used.any = sameHost(host)
	}
	for _, before := range seen[network] {
		switch {
		case before.host == used.host && before.any == used.any:
			p.wrong("address", strconv.Quote(string(a)), "another than at "+before.key)
			return
		case before.any || used.any:
			p.wrong("address", strconv.Quote(string(a)), "another port than at "+before.key+": an address without a host takes the port of all addresses")
			return
		}
	}
	seen[network] = append(seen[network], used)
}

// sameHost returns a host of an address in one spelling, and whether it stands for all
// addresses of the machine.
func sameHost(host string) (text string, any bool) {
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	}
	a, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && a.IsUnspecified():
		return "", true
	case err != nil:
		return strings.ToLower(host), false
	}
	return a.Unmap().String(), false
}

// pageAddress is address for the pages of operators, which cannot use a socket
// of the service manager.
func (p keyPath) pageAddress(a Address, seen addresses) {
	if network, _ := a.Split(); network == "systemd" {
		p.wrong("address", strconv.Quote(string(a)), `"host:port", ":port" or "unix:/path"`)
		return
	}
	p.address(a, seen)
}

func (l *Listener) validate(at keyPath) {
	at.needs("address", string(l.Address), wantAddress)
	at.parameters(l.MinTLS, l.MaxTLS, l.Ciphers, l.Curves)
	l.validateProtocols(at)
	at.oneOf("tls", l.Issuer, "", IssuerACME, IssuerInternal)
	l.validateClientCertificates(at)
	if !l.Secure() {
		l.validatePlain(at)
	}
	for i, path := range l.ECH {
		at.key("ech").index(i).file("", path)
	}
	l.validatePassThrough(at)
	validateAccess(at, l.Allow, l.Deny)
	if l.HTTPSRedirect && l.Secure() {
		at.wrong("https_redirect", "true beside certificates", "it on the listener that speaks plain HTTP")
	}
}

func (l *Listener) validateProtocols(at keyPath) {
	for i, protocol := range l.Protocols {
		at := at.key("protocols").index(i)
		at.oneOf("", protocol, ProtocolH1, ProtocolH2, ProtocolH2C)
		switch {
		case protocol == ProtocolH2 && !l.Secure():
			at.wrong("", `"h2" without certificates`, `"h2c", which is HTTP/2 without TLS, or certificates`)
		case protocol == ProtocolH2C && l.Secure():
			at.wrong("", `"h2c" beside certificates`, `"h2", which is HTTP/2 by TLS`)
		}
	}
}

func (l *Listener) validateClientCertificates(at keyPath) {
	at.oneOf("client_auth", l.ClientAuth, ClientAuthRequire, ClientAuthOptional, ClientAuthRequest)
	if l.ClientCA != "" {
		at.file("client_ca", l.ClientCA)
	}
	if l.ClientCRL != "" {
		at.file("client_crl", l.ClientCRL)
		if l.ClientCA == "" {
			at.wrong("client_crl", "it without client_ca", "it beside client_ca, the authorities whose lists these are")
		}
	}
	if len(l.ClientAllow) > 0 && l.ClientCA == "" {
		at.wrong("client_allow", "it without client_ca", "it beside client_ca, which verifies what certificates say")
	}
}

// validatePlain reports keys that mean nothing on a listener without TLS.
func (l *Listener) validatePlain(at keyPath) {
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"client_ca", l.ClientCA != ""},
		{"strict_sni", l.StrictSNI},
		{"client_auth", l.ClientAuth == ClientAuthRequest},
		{"hsts", l.HSTS.Value() != ""},
		{"ech", len(l.ECH) > 0},
	} {
		if key.set {
			at.wrong(key.name, "it without certificates", "it on a listener with certificates, which speaks TLS")
		}
	}
}

func (l *ListenerLimits) validate(at keyPath) {
	at.bytes("header_bytes", l.HeaderBytes, 256, 16<<20)
}

func (t *ListenerTimeouts) validate(at keyPath) {
	at.positive("handshake", t.Handshake)
	at.positive("header", t.Header)
	at.positive("idle", t.Idle)
	at.positive("grace", t.Grace)
}

func (c *Certificate) validate(at keyPath) { at.certificate(c.Cert, c.Key, true) }

// certificate reports a certificate without a key, a key without a certificate,
// and files that cannot be read.
func (p keyPath) certificate(cert, key string, needed bool) {
	for _, file := range []struct{ name, path, other string }{{"cert", cert, key}, {"key", key, cert}} {
		switch {
		case file.path != "":
			p.file(file.name, file.path)
		case needed || file.other != "":
			p.required(file.name, true, "a PEM file, because cert and key belong together")
		}
	}
}

func (u *Upstream) validate(at keyPath) {
	at.required("targets", len(u.Targets) == 0 && !at.isOfServices(), "at least one URL")
	at.needs("balance", u.Balance, "the name of a balancing algorithm")
	if u.Connections.Pipeline > 1 && u.Retry.Hedge != 0 {
		at.key("connections").wrong("pipeline", strconv.Itoa(u.Connections.Pipeline), "0, because what is hedged has a connection of its own (retry.hedge)")
	}
	urls := map[string]string{}
	for i, t := range u.Targets {
		if t.URL != "" {
			at.key("targets").index(i).unique("", t.Origin(), urls)
		}
	}
}

func (t *Target) validate(at keyPath) {
	if t.URL == "" {
		at.required("url", true, targetWant(t.Origin()))
	} else if t.IsSource() {
		at.source("url", t.URL)
	} else if found, want := t.URLProblem(); want != "" {
		at.wrong("url", found, want)
	}
	at.oneOf("resolve", t.Resolve, ResolveAll, ResolveOne)
	at.between("weight", t.Weight, 1, MaxWeight)
	at.between("priority", t.Priority, 0, 15)
}

// MaxWeight is the largest weight of a target.
const MaxWeight = 1_000_000

// URLProblem says what the target's URL is and what is allowed in its place; want is
// empty if the URL is good. Targets that are found at run time must be good in the same way.
func (t *Target) URLProblem() (found, want string) {
	switch want = targetWant(t.Origin()); {
	case t.URL == "":
		found = "nothing"
	case strings.Contains(t.URL, "@"):
		found = "a URL with a user" // and perhaps a password, which no log should have
	default:
		found = strconv.Quote(t.URL)
	}
	return found, want
}

// targetWant says what is allowed in place of a target's URL; empty if the URL is good.
func targetWant(url string) string {
	scheme, rest, ok := strings.Cut(url, ":")
	switch {
	case !ok:
		return wantTarget
	case slices.Contains(nameSchemes[:], scheme):
		authority, ok := strings.CutPrefix(rest, "//")
		authority, address, pinned := strings.Cut(authority, "#")
		switch {
		case !ok || !validAuthority(authority):
			return fmt.Sprintf("%q or %q, and no path (a route's add_prefix does that)", scheme+"://host", scheme+"://host:port")
		case pinned && (!validAddress(address) || !isName(hostOf(authority))):
			return fmt.Sprintf("%q, a host name and one of its addresses", scheme+"://host:port#address")
		}
	case scheme == "unix":
		if !strings.HasPrefix(rest, "/") || len(rest) > 107 || hasControl(rest) {
			return `"unix:" and an absolute path of at most 107 bytes`
		}
	case scheme == "demo" || scheme == "handler":
		if !bareKey(rest) {
			return fmt.Sprintf(`%q and a name of letters, digits, "_" and "-"`, scheme+":")
		}
	default:
		return wantTarget
	}
	return ""
}

const wantTarget = `"http://host:port", "https://host:port", "h2c://host:port", "unix:/path", "demo:NAME" or "handler:NAME"`

// validAuthority says whether s is a host with an optional port.
func validAuthority(s string) bool {
	if strings.HasPrefix(s, "[") {
		host, port, ok := strings.Cut(s[1:], "]")
		addr, err := netip.ParseAddr(host)
		return ok && err == nil && addr.Is6() && (port == "" || port[0] == ':' && validTargetPort(port[1:]))
	}
	host, port, ok := strings.Cut(s, ":")
	if _, err := netip.ParseAddr(host); err != nil && isNumeric(host) {
		return false
	}
	return IsHostName(host) && (!ok || validTargetPort(port))
}

func validTargetPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (t *UpstreamTLS) validate(at keyPath) {
	if t.CA != "" {
		at.file("ca", t.CA)
	}
	if t.CRL != "" {
		at.file("crl", t.CRL)
		if t.InsecureSkipVerify {
			at.wrong("crl", "it with insecure_skip_verify", "it without, because only certificates that are verified can be looked up")
		}
	}
	at.certificate(t.Cert, t.Key, false)
	at.parameters(t.MinTLS, t.MaxTLS, t.Ciphers, t.Curves)
	if t.ServerName != "" && !IsHostName(t.ServerName) {
		at.wrong("server_name", strconv.Quote(t.ServerName), "a host name")
	}
}

func (t *UpstreamTimeouts) validate(at keyPath) {
	if t.DeadlineHeader != "" {
		at.settable("deadline_header", t.DeadlineHeader, map[string]string{})
	}
}

func (c *Connections) validate(at keyPath) {
	at.positive("idle", c.Idle)
	at.bytes("header_bytes", c.HeaderBytes, 256, 16<<20)
	at.oneOf("protocol", c.Protocol, "auto", ProtocolH1, ProtocolH2)
	at.between("streams", c.Streams, 1, 1000)
	at.between("pipeline", c.Pipeline, 0, 64)
	at.oneOf("proxy_protocol", c.ProxyProtocol, "", "v1", "v2")
	if c.Pipeline > 1 && c.Max == 1 {
		at.wrong("pipeline", strconv.Itoa(c.Pipeline), "0, because max = 1 leaves no connection for what cannot share one")
	}
}

func (f *Forwarding) validate(at keyPath) {
	if f.Via != "" && !field.IsToken(f.Via) && !validAuthority(f.Via) {
		at.wrong("via", strconv.Quote(f.Via), "a name of letters, digits and -._~, or a host with a port (RFC 9110 section 7.6.3)")
	}
	if f.RequestID != "" {
		at.field("request_id", f.RequestID)
	}
}

func (l *Log) validate(at keyPath) {
	at.needs("output", l.Output, `"stderr", "stdout", "syslog:" and an address, or a file`)
	at.oneOf("facility", l.Facility, SyslogFacilities()...)
	at.oneOf("level", l.Level, "debug", "info", "warn", "error")
	at.oneOf("format", l.Format, "text", "json")
}

func (a *AccessLog) validate(at keyPath) {
	at.needs("output", a.Output, `"stdout", "stderr", "off", "syslog:" and an address, or a file`)
	at.oneOf("facility", a.Facility, SyslogFacilities()...)
	for _, list := range []struct {
		key, inTemplate string
		names           []string
	}{{"request_headers", "{request_header:NAME}", a.RequestHeaders}, {"response_headers", "{response_header:NAME}", a.ResponseHeaders}} {
		for i, name := range list.names {
			at.key(list.key).index(i).field("", name)
		}
		if len(list.names) > 0 && a.Format != "json" {
			at.wrong(list.key, "it beside a format that is not JSON", fmt.Sprintf("%q in the format", list.inTemplate))
		}
	}
	if a.Format == "json" || a.Format == "combined" {
		return
	}
	const want = `"json", "combined" or a template such as "{client} {method} {request_target} {status}"`
	if t, err := ParseTemplate(a.Format); err != nil {
		at.wrong("format", strconv.Quote(a.Format), err.Error())
	} else if t.Names() == nil {
		at.unknown("format", strconv.Quote(a.Format), want, Nearest(a.Format, []string{"json", "combined"}))
	}
}

// SyslogFacilities are the names of facilities, in the order of their numbers (RFC 5424
// section 6.2.1).
func SyslogFacilities() []string {
	return []string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
}

func (l *Lifecycle) validate(at keyPath) {
	at.positive("drain", l.Drain)
	at.positive("upgrade", l.Upgrade)
}
