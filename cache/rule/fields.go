package rule

import (
	"bytes"
	"iter"

	"weir/internal/field"
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
				line, rest = bytes.TrimSuffix(rest[:end], []byte{'\r'}), rest[end+1:]
			} else {
				rest = nil
			}
			if colon := bytes.IndexByte(line, ':'); colon > 0 && !yield(line[:colon], field.Trim(line[colon+1:])) {
				return
			}
		}
	}
}

// Get is the value of the first line of that name, nil if there is none.
func (f Fields) Get(name string) []byte {
	for n, v := range f.All() {
		if field.EqualFold(n, name) {
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
		case !field.EqualFold(n, name):
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
		if !field.EqualFold(name, unwanted) {
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
