package field

import "strings"

// tokenByte marks the bytes of a token (RFC 9110 section 5.6.2).
var tokenByte = func() (t [256]bool) {
	for c := range t {
		t[c] = Alphanumeric(byte(c)) || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()

// Alphanumeric says whether c is an ASCII letter or digit.
func Alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// TokenByte says whether c may stand in a token.
func TokenByte(c byte) bool { return tokenByte[c] }

// IsToken says whether s is a token.
func IsToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

// Lower is c, in lower case if it is an ASCII letter.
func Lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// LowerAll puts the ASCII letters of b in lower case.
func LowerAll(b []byte) {
	for i, c := range b {
		b[i] = Lower(c)
	}
}

// EqualFold says whether b is want but for the case of ASCII letters.
func EqualFold(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i := range len(want) {
		if b[i] != want[i] && Lower(b[i]) != Lower(want[i]) {
			return false
		}
	}
	return true
}

// Trim is b without the spaces and tabs at its ends.
func Trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// Unhex is the value of a hexadecimal digit, 255 if c is not one.
func Unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
