package match

import (
	"fmt"
	"strings"

	"weir/config"
)

// segment is a segment of a route's path whose literals are in the canonical
// form of request paths.
type segment config.PathSegment

// makeCanonical brings the literals of a path into the form that the paths of
// requests have when they are matched. want says what is allowed in place of a
// path that no request can have.
func makeCanonical(p *config.PathPattern) (want string) {
	for i := range p.Segments {
		s := &p.Segments[i]
		for _, literal := range []*string{&s.Before, &s.After} {
			if strings.IndexByte(*literal, '%') < 0 {
				continue
			}
			text, refusal := decode(nil, []byte(*literal))
			if refusal != Accepted {
				return fmt.Sprintf("a path that requests can have: with %q they are refused (%s)", *literal, refusal)
			}
			*literal = string(text)
		}
		if s.Capture == "" && hasDotSegment([]byte("/"+s.Before)) {
			return `a path without "." and "..", encoded ones too: matching removes them from requests`
		}
	}
	return ""
}

// match says whether seg fits and returns what it captures: at least one byte, and
// never half of an encoded one.
func (s *segment) match(seg []byte) (value []byte, ok bool) {
	if len(seg) <= len(s.Before)+len(s.After) ||
		string(seg[:len(s.Before)]) != s.Before || string(seg[len(seg)-len(s.After):]) != s.After {
		return nil, false
	}
	value = seg[len(s.Before) : len(seg)-len(s.After)]
	if n := len(value); s.After != "" && (value[n-1] == '%' || n >= 2 && value[n-2] == '%') {
		return nil, false
	}
	return value, true
}

// moreSpecific orders captures with text around them: more text first, then more
// text before the capture. Two segments that are equal in both and fit the same
// text are the same.
func (s *segment) moreSpecific(other *segment) bool {
	if a, b := len(s.Before)+len(s.After), len(other.Before)+len(other.After); a != b {
		return a > b
	}
	return len(s.Before) > len(other.Before)
}
