package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/internal/field"
)

// Pattern is what a route asks for, parsed. Package config checks only what users
// write; internal/match compares patterns with requests and knows their paths'
// canonical form.
type Pattern struct {
	// Hosts and Paths are alternatives; an empty list fits all requests.
	Hosts []HostPattern
	Paths []PathPattern
	// Methods are alternatives, as they were written; an empty list fits all.
	Methods []string
	// Listeners are alternatives, by their labels; an empty list fits all.
	Listeners []string
	// Scheme is "http", "https", or empty for any.
	Scheme string
	// Headers and Queries must all fit. They are sorted by name.
	Headers []Condition
	Queries []Condition
	// Client is what the client's certificate must say; nil fits all.
	Client *ClientPattern
}

// HostPattern is one host of a route.
type HostPattern struct {
	// Name is in lower case: "www.example.org", "[::1]", or ".example.org" if
	// Wildcard is set.
	Name string
	// Wildcard says that at least one label must stand before Name.
	Wildcard bool
}

// PathPattern is one path of a route.
type PathPattern struct {
	// Segments are the parts between the slashes, without the empty part after
	// the last slash of a prefix and without "{name...}". That of "{$}" is empty.
	Segments []PathSegment
	// Prefix says that anything may follow the segments and a slash.
	Prefix bool
	// End says that the path ends with a slash, after which nothing may follow: "/a/{$}".
	End bool
	// Captures are the names of the captures in their order, at most MaxCaptures.
	Captures []string
	// Rest says that the last capture takes what follows a prefix.
	Rest bool
	// Slashes is the number of slashes in the path.
	Slashes int
}

// pathEnd stands for the end of a path after a slash.
const pathEnd = "{$}"

// literal says whether the path is one that stands for itself.
func (p *PathPattern) literal() bool { return !p.Prefix && !p.End && p.Captures == nil }

// PathSegment is a literal, or a capture between two literals that may be empty.
// Literals keep their percent-encoding.
type PathSegment struct {
	// Before is the text before the capture, or the whole literal.
	Before string
	// Capture is the name of the capture; empty for a literal.
	Capture string
	// After is the text after the capture.
	After string
}

// Condition is a header field or query parameter that a request must have.
type Condition struct {
	Name string
	// Value is the value it must have, unless Any says that every value fits.
	Value string
	Any   bool
}

// MaxCaptures is how many captures one path may have.
const MaxCaptures = 8

// Pattern parses what the route asks for. The problems have keys below the
// route's own; with problems the Pattern is not complete.
func (r *Route) Pattern() (Pattern, Errors) {
	check := &check{config: new(Config)}
	return r.pattern(keyPath{check, ""}), check.problems
}

// Captures returns the names that every path of the route captures, in the
// order of the first path. The route's templates may use them.
func (r *Route) Captures() []string {
	pattern, _ := r.Pattern()
	return pattern.captures()
}

func (p *Pattern) captures() []string {
	var common []string
	for i, path := range p.Paths {
		if i == 0 {
			common = slices.Clone(path.Captures)
			continue
		}
		common = slices.DeleteFunc(common, func(name string) bool { return !slices.Contains(path.Captures, name) })
	}
	return common
}

// pattern parses what the route asks for and reports what is wrong.
func (r *Route) pattern(at keyPath) (p Pattern) {
	for i, text := range r.Host {
		host, want := parseHost(text)
		if want == "" && slices.Contains(p.Hosts, host) {
			want = "each host once"
		}
		if want != "" {
			at.key("host").index(i).wrong("", strconv.Quote(text), want)
			continue
		}
		p.Hosts = append(p.Hosts, host)
	}
	for i, text := range r.Path {
		path, want := parsePath(text)
		if want != "" {
			at.key("path").index(i).wrong("", strconv.Quote(text), want)
			continue
		}
		p.Paths = append(p.Paths, path)
	}
	for i, method := range r.Method {
		switch at, upper := at.key("method").index(i), strings.ToUpper(method); {
		case !field.IsToken(method):
			at.wrong("", strconv.Quote(method), `a method such as "GET"`)
		case upper != method && slices.Contains(commonMethods[:], upper):
			at.unknown("", strconv.Quote(method), "a method as clients send it: upper and lower case differ", upper)
		case slices.Contains(p.Methods, method):
			at.wrong("", strconv.Quote(method), "each method once")
		default:
			p.Methods = append(p.Methods, method)
		}
	}
	for i, listener := range r.Listener {
		if slices.Contains(p.Listeners, listener) {
			at.key("listener").index(i).wrong("", strconv.Quote(listener), "each listener once")
			continue
		}
		p.Listeners = append(p.Listeners, listener)
	}
	p.Scheme, p.Client = r.Scheme, r.Client
	at.oneOf("scheme", p.Scheme, "", "http", "https")
	p.Headers = headerConditions(at.key("header"), r.Header)
	for _, name := range slices.Sorted(maps.Keys(r.Query)) {
		if name == "" {
			at.wrong("query", `""`, "the name of a parameter")
		}
		p.Queries = append(p.Queries, newCondition(name, r.Query[name]))
	}
	return p
}

// commonMethods are the methods that a user may have written in lower case.
var commonMethods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "TRACE"}

func newCondition(name, value string) Condition {
	return Condition{Name: name, Value: value, Any: value == "*"}
}

func headerConditions(at keyPath, fields map[string]string) (list []Condition) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		at.field(name, name)
		value := fields[name]
		at.text(name, value)
		if strings.Trim(value, " \t") != value {
			at.wrong(name, strconv.Quote(value), "a value without spaces around it, which fields never have")
		}
		if i := slices.IndexFunc(list, func(c Condition) bool { return strings.EqualFold(c.Name, name) }); i >= 0 {
			at.wrong(name, strconv.Quote(name), "each field once, and here is "+strconv.Quote(list[i].Name))
		}
		list = append(list, newCondition(name, value))
	}
	return list
}

const wantHost = `a host such as "www.example.org" or "*.example.org" (international names in their "xn--" form)`

// parseHost parses one host of a route; want says what is allowed in place of a
// wrong one.
func parseHost(text string) (h HostPattern, want string) {
	name, wildcard := strings.CutPrefix(text, "*.")
	switch {
	case strings.HasSuffix(name, "]"):
		if wildcard || !validAuthority(name) {
			return h, wantHost
		}
	case strings.Contains(name, ":") && validAuthority(name):
		return h, `a host without its port: "` + name[:strings.LastIndexByte(name, ':')] + `"`
	case !IsHostName(name) || strings.HasSuffix(name, "."):
		return h, wantHost
	}
	if wildcard {
		name = "." + name
	}
	return HostPattern{Name: strings.ToLower(name), Wildcard: wildcard}, ""
}

const wantCapture = `at most one capture between two slashes, such as "/{service}/" or "/v{major}/", with letters, digits and underscores, and "{{" for a literal "{"`

// parsePath parses one path of a route: "/exact", "/prefix/", or a template.
// want says what is allowed in place of a wrong one.
func parsePath(text string) (p PathPattern, want string) {
	relative, ok := strings.CutPrefix(text, "/")
	if !ok {
		return p, `a path that starts with "/"`
	}
	parts := strings.Split(relative, "/")
	p.Slashes = len(parts)
	for i, part := range parts {
		last := i == len(parts)-1
		if last && part == "" {
			p.Prefix = true
			break
		}
		if last && part == pathEnd {
			p.End = true
			p.Segments = append(p.Segments, PathSegment{})
			break
		}
		segment, want := parseSegment(part)
		if want != "" {
			return p, want
		}
		if segment.Capture != "" {
			if segment.Before == "" && segment.After == "" {
				segment.Capture, p.Rest = strings.CutSuffix(segment.Capture, "...")
			}
			if p.Rest && !last {
				return p, `nothing after "` + part + `", which takes everything`
			}
			if want := p.addCapture(segment.Capture); want != "" {
				return p, want
			}
		}
		if p.Rest {
			p.Prefix = true
			break
		}
		p.Segments = append(p.Segments, segment)
	}
	return p, ""
}

func (p *PathPattern) addCapture(name string) (want string) {
	switch {
	case !validCapture(name):
		return "captures with names of letters, digits and underscores, a letter first"
	case slices.Contains(p.Captures, name):
		return "each capture once"
	case len(p.Captures) == MaxCaptures:
		return "at most " + strconv.Itoa(MaxCaptures) + " captures"
	}
	p.Captures = append(p.Captures, name)
	return ""
}

func validCapture(s string) bool {
	for i := 0; i < len(s); i++ {
		if !field.Alphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return s != "" && s[0] > '9' && s[0] != '_'
}

// parseSegment parses the text between two slashes.
func parseSegment(part string) (s PathSegment, want string) {
	if part == "." || part == ".." {
		return s, `a path without "." and "..": matching removes them from requests`
	}
	var literal []byte
	for i := 0; i < len(part); i++ {
		switch c := part[i]; {
		case c != '{' && c != '}':
			literal = append(literal, c)
		case i+1 < len(part) && part[i+1] == c:
			literal = append(literal, c)
			i++
		default:
			length := strings.IndexByte(part[i:], '}')
			if length < 2 || s.Capture != "" {
				return s, wantCapture
			}
			s.Before, s.Capture = string(literal), part[i+1:i+length]
			literal = nil
			i += length
		}
	}
	if strings.HasPrefix(part, "*") || strings.HasSuffix(part, "*") {
		return s, `a path without "*", which stands for itself: a "/" at the end fits everything below, and "{name}" fits one segment`
	}
	if s.Capture == "" {
		s.Before = string(literal)
	} else {
		s.After = string(literal)
	}
	if want = literalWant(s.Before); want == "" {
		want = literalWant(s.After)
	}
	return s, want
}

// literalWant says what is allowed in place of a wrong literal of a path; it is
// empty for a good one.
func literalWant(text string) string {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c <= ' ' || c == 0x7f || strings.IndexByte(`?#\`, c) >= 0:
			return `a path without "?", "#", "\", spaces and control characters`
		case c == '%' && (len(text)-i < 3 || field.Unhex(text[i+1]) > 15 || field.Unhex(text[i+2]) > 15):
			return `two hexadecimal digits after each "%"`
		}
	}
	return ""
}
