package rule

import (
	"bytes"
	"iter"
)

// Fields is a field section: lines of "Name: value" that end in CRLF each, in
// the order they came in. nil is the empty one. It may be borrowed; stored.go
// copies what is kept of it.
type Fields []byte

// All are the fields in their order, each with a name.
func (f Fields) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for rest := f; len(rest) > 0; {
			line := []byte(rest)
			if end := bytes.IndexByte(rest, '\n'); end >= 0 {
				line, rest = rest[:end], rest[end+1:]
			} else {
				rest = nil
			}
			if colon := bytes.IndexByte(line, ':'); colon > 0 && !yield(line[:colon], trim(line[colon+1:])) {
				return
			}
		}
	}
}

// Get is the value of the first line of that name, nil if there is none.
func (f Fields) Get(name string) []byte {
	for n, v := range f.All() {
		if equalFold(n, name) {
			return v
		}
	}
	return nil
}

// Joined is all lines of that name, joined as RFC 9110 section 5.3 has it, nil
// if there is none. It allocates only if there are several.
func (f Fields) Joined(name string) []byte {
	var all []byte
	for n, v := range f.All() {
		switch {
		case !equalFold(n, name):
		case all == nil:
			all = v[:len(v):len(v)] // append copies it
		default:
			all = append(append(all, ", "...), v...)
		}
	}
	return all
}

// Has says whether there is a line of that name.
func (f Fields) Has(name string) bool { return f.Get(name) != nil }

// without is a copy of f but for the fields of that name.
func (f Fields) without(unwanted string) Fields {
	var out Fields
	for name, value := range f.All() {
		if !equalFold(name, unwanted) {
			out = AppendField(out, name, value)
		}
	}
	return out
}

// AppendField adds a field to a section. A line break or NUL in it, which no
// parser should have let through, becomes a space: a stored answer is sent to
// many.
func AppendField(dst, name, value []byte) []byte {
	dst = appendClean(dst, name)
	dst = append(dst, ": "...)
	dst = appendClean(dst, value)
	return append(dst, "\r\n"...)
}

func appendClean(dst, b []byte) []byte {
	start := len(dst)
	dst = append(dst, b...)
	for i, c := range dst[start:] {
		if c == '\r' || c == '\n' || c == 0 {
			dst[start+i] = ' '
		}
	}
	return dst
}

// equalFold compares ASCII letters without case. want may be in any case.
func equalFold(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i := range len(want) {
		if b[i] != want[i] && lower(b[i]) != lower(want[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// trim cuts optional whitespace (and a CR) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// nextItem cuts the first member off a comma-separated list. Commas in quoted
// strings do not count. more is false when nothing was left.
func nextItem(list []byte) (item, rest []byte, more bool) {
	if len(list) == 0 {
		return nil, nil, false
	}
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), nil, true
}

// isToken says whether b is a token (RFC 9110 section 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if !isTchar(c) {
			return false
		}
	}
	return len(b) > 0
}

func isTchar(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}
