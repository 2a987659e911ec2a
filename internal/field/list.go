package field

import (
	"bytes"
	"iter"
)

// Comma-separated lists (RFC 9110 section 5.6.1) differ in what a quotation mark
// means.

// Next cuts the first member off a list and returns it without the space around
// it; it may be empty. more is false when nothing was left. It is for members
// that may hold quoted strings, whose commas do not count.
func Next(list []byte) (member, rest []byte, more bool) { return next(list, true) }

// NextTag is Next for entity tags (RFC 9110 section 8.8.3): unlike in quoted
// strings, a backslash in one is a byte like any other.
func NextTag(list []byte) (tag, rest []byte, more bool) { return next(list, false) }

func next(list []byte, escapes bool) (member, rest []byte, more bool) {
	if len(list) == 0 {
		return nil, nil, false
	}
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && escapes && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return Trim(list[:i]), list[i+1:], true
		}
	}
	return Trim(list), nil, true
}

// Unquoted is what stands in a quoted string (RFC 9110 section 5.6.4), escapes as they
// are; nil if b is not one quoted string, whole.
func Unquoted(b []byte) []byte {
	if len(b) < 2 || b[0] != '"' {
		return nil
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			if i+1 < len(b) {
				return nil
			}
			return b[1:i:i]
		}
	}
	return nil
}

// Tokens are the members of a list that are not empty, without the space around them. Every comma
// counts, so that a quotation mark cannot hide a name, as in Connection.
func Tokens(list []byte) iter.Seq[[]byte] {
	return func(yield func(token []byte) bool) {
		for rest := list; len(rest) > 0; {
			var token []byte
			token, rest, _ = bytes.Cut(rest, []byte{','})
			if token = Trim(token); len(token) > 0 && !yield(token) {
				return
			}
		}
	}
}

// HasToken says whether a list of tokens has one, in any case of its letters.
func HasToken(list []byte, want string) bool {
	for token := range Tokens(list) {
		if EqualFold(token, want) {
			return true
		}
	}
	return false
}
