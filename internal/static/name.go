package static

import (
	"bytes"
	"strings"
)

// Name returns the name, relative to a folder, of the file that a path names, and whether the
// path ends in a slash, which asks for a folder. path begins with a slash and may be encoded
// (RFC 3986 section 2.1); the name of the folder itself is ".". ok is false for a path that no
// file may have: with encoded slashes, backslashes, control bytes, "." and ".." segments,
// empty segments, and, unless hidden is set, with segments that begin with a dot. Of these
// "/.well-known/" is allowed at the start (RFC 8615).
func Name(path []byte, hidden bool) (name string, slash, ok bool) {
	if len(path) == 0 || path[0] != '/' {
		return "", false, false
	}
	path = path[1:]
	if len(path) == 0 {
		return ".", true, true
	}
	if path, slash = bytes.CutSuffix(path, []byte("/")); len(path) == 0 {
		return "", false, false
	}
	var b strings.Builder
	for first := true; ; first = false {
		segment, rest, more := bytes.Cut(path, []byte("/"))
		text, good := decode(segment)
		if !good || text == "" || text == "." || text == ".." || text[0] == '.' && !hidden && !(first && text == ".well-known") {
			return "", false, false
		}
		b.WriteString(text)
		if !more {
			return b.String(), slash, true
		}
		b.WriteByte('/')
		path = rest
	}
}

// decode decodes a segment. It is false for one with bytes that a name may not have.
func decode(segment []byte) (string, bool) {
	b := make([]byte, 0, len(segment))
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == '%' {
			if i+2 >= len(segment) {
				return "", false
			}
			high, low := digit(segment[i+1]), digit(segment[i+2])
			if high > 15 || low > 15 {
				return "", false
			}
			c = high<<4 | low
			i += 2
		}
		if c < ' ' || c == 0x7f || c == '/' || c == '\\' {
			return "", false
		}
		b = append(b, c)
	}
	return string(b), true
}

// digit is the value of a hexadecimal digit, more than 15 for another byte.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
