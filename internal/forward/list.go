package forward

import (
	"bytes"

	"weir/internal/head"
)

// nextElement splits a comma-separated list (RFC 9110 section 5.6.1) after its
// first element, and returns that element without the space around it.
func nextElement(list []byte) (element, rest []byte) {
	element = list
	if i := bytes.IndexByte(list, ','); i >= 0 {
		element, rest = list[:i], list[i+1:]
	}
	return trim(element), rest
}

// lists says whether a lower-case token is an element of the list that the lines
// of the name make.
func lists(h *head.Head, n head.Name, token string) bool {
	for list := range h.Lines(n) {
		for len(list) > 0 {
			var element []byte
			if element, list = nextElement(list); equalFold(element, token) {
				return true
			}
		}
	}
	return false
}

// trim removes spaces and tabs on both sides.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold says whether b is the lower-case want but for the case of its letters.
func equalFold(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i := range len(want) {
		if lower(b[i]) != want[i] {
			return false
		}
	}
	return true
}

// compareFold orders names by length, then by their bytes in lower case.
func compareFold(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	for i := range a {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return 0
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
