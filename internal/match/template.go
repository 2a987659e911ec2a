package match

import (
	"fmt"
	"strings"
)

// pattern is one parsed path of a route.
type pattern struct {
	// segments are what stands between the slashes, without the last, empty one
	// of a prefix and without "{rest...}".
	segments []segment
	// tail says that anything may follow the segments and a slash.
	tail bool
	// names are the names of the captures in their order; the last one takes
	// the tail if rest is set.
	names []string
	rest  bool
	// slashes is how many slashes the pattern has.
	slashes int
}

// segment is a literal, or a capture between two literals that may be empty.
type segment struct {
	capture bool
	before  string // or the whole literal
	after   string
}

// parsePath compiles one path of a route: "/exact", "/prefix/", or a template.
func parsePath(text string) (*pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf(`path %q: want %s`, text, wantPath)
	}
	parts := strings.Split(text[1:], "/")
	p := &pattern{slashes: len(parts)}
	last := len(parts) - 1
	for i, part := range parts {
		if i == last && part == "" {
			p.tail = true
			break
		}
		if name, ok := restName(part); ok {
			if i != last {
				return nil, fmt.Errorf(`path %q: %q takes everything, so nothing may follow it`, text, part)
			}
			if err := p.addName(name); err != nil {
				return nil, fmt.Errorf(`path %q: %w`, text, err)
			}
			p.tail, p.rest = true, true
			break
		}
		s, name, err := parseSegment(part)
		if err == nil && s.capture {
			err = p.addName(name)
		}
		if err != nil {
			return nil, fmt.Errorf(`path %q: %w`, text, err)
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

const wantPath = `"/exact", "/prefix/" or a template such as "/{service}/{version}/"`

// restName returns the name in "{name...}".
func restName(part string) (string, bool) {
	if !strings.HasPrefix(part, "{") || !strings.HasSuffix(part, "...}") || strings.HasPrefix(part, "{{") {
		return "", false
	}
	return part[1 : len(part)-len("...}")], true
}

func (p *pattern) addName(name string) error {
	if !validName(name) {
		return fmt.Errorf("capture %q: want letters, digits and underscores, a letter first", name)
	}
	for _, n := range p.names {
		if n == name {
			return fmt.Errorf("capture %q stands there twice", name)
		}
	}
	if len(p.names) == MaxCaptures {
		return fmt.Errorf("more captures than the %d that are allowed", MaxCaptures)
	}
	p.names = append(p.names, name)
	return nil
}

func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// parseSegment compiles what stands between two slashes.
func parseSegment(part string) (s segment, name string, err error) {
	var literal []byte
	for i := 0; i < len(part); i++ {
		switch c := part[i]; {
		case c != '{' && c != '}':
			literal = append(literal, c)
		case i+1 < len(part) && part[i+1] == c:
			literal = append(literal, c)
			i++
		case c == '}':
			return s, "", fmt.Errorf(`want "}}" for a literal "}"`)
		case s.capture:
			return s, "", fmt.Errorf("segment %q: want at most one capture between two slashes", part)
		default:
			end := strings.IndexByte(part[i:], '}')
			if end < 0 {
				return s, "", fmt.Errorf(`want a capture such as "{service}", or "{{" for a literal "{"`)
			}
			s.capture, name = true, part[i+1:i+end]
			if s.before, err = canonicalLiteral(literal); err != nil {
				return s, "", err
			}
			literal = nil
			i += end
		}
	}
	text, err := canonicalLiteral(literal)
	if err != nil {
		return s, "", err
	}
	if s.capture {
		s.after = text
		return s, name, nil
	}
	if hasDotSegment([]byte("/" + text)) {
		return s, "", fmt.Errorf("segment %q can never match: matching removes dot segments from requests", part)
	}
	s.before = text
	return s, "", nil
}

// canonicalLiteral brings literal text into the form of canonical paths.
func canonicalLiteral(text []byte) (string, error) {
	if i := strings.IndexAny(string(text), `?#\`); i >= 0 {
		return "", fmt.Errorf("%q can never match: want %q, or no query", text[i], fmt.Sprintf("%%%02X", text[i]))
	}
	encoded := strings.ReplaceAll(string(text), " ", "%20")
	out, refusal := decode(nil, []byte(encoded))
	if refusal == Accepted {
		for _, b := range out {
			if classes[b]&classControl != 0 {
				refusal = ControlByte
			}
		}
	}
	if refusal != Accepted {
		return "", fmt.Errorf("%q can never match: requests with that are refused (%s)", text, refusal)
	}
	return string(out), nil
}

// match says whether seg fits and what it captures. A capture takes at least
// one byte and never half of an encoded one.
func (s *segment) match(seg []byte) (value []byte, ok bool) {
	if len(seg) <= len(s.before)+len(s.after) ||
		string(seg[:len(s.before)]) != s.before || string(seg[len(seg)-len(s.after):]) != s.after {
		return nil, false
	}
	value = seg[len(s.before) : len(seg)-len(s.after)]
	if n := len(value); s.after != "" && (value[n-1] == '%' || n >= 2 && value[n-2] == '%') {
		return nil, false
	}
	return value, true
}
