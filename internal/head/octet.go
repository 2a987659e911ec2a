package head

import (
	"bytes"
	"encoding/binary"
)

// trimmed is the span of line[from:] without the space around it; at is where the line
// begins.
func trimmed(line []byte, at int32, from int) span {
	end := len(line)
	for from < end && (line[from] == ' ' || line[from] == '\t') {
		from++
	}
	for from < end && (line[end-1] == ' ' || line[end-1] == '\t') {
		end--
	}
	return span{at + int32(from), at + int32(end)}
}

// tokenEnd is the length of the token that b begins with.
func tokenEnd(b []byte) int {
	for i, c := range b {
		if !tokenByte[c] {
			return i
		}
	}
	return len(b)
}

// sound says whether a value has no control bytes but tabs.
func sound(v []byte) bool {
	last := len(v) - 8
	if last < 0 {
		return soundBytes(v)
	}
	// Eight bytes at a time; the last eight overlap those before them.
	for i := 0; i < last; i += 8 {
		if suspect(binary.LittleEndian.Uint64(v[i:]), ' ') && !soundBytes(v[i:i+8]) {
			return false
		}
	}
	return !suspect(binary.LittleEndian.Uint64(v[last:]), ' ') || soundBytes(v[last:])
}

// suspect says whether a byte of w may be below least, which is at most 0x80, or 0x7f. It
// says yes for all that are, and for a few others.
func suspect(w, least uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	// The difference sets the high bit of bytes below least, the sum that of 0x7f; &^w leaves
	// out bytes that had it before.
	return ((w-ones*least)|(w+ones))&^w&high != 0
}

func soundBytes(v []byte) bool {
	for _, c := range v {
		if control[c] {
			return false
		}
	}
	return true
}

// visible says whether a target has neither space nor control bytes.
func visible(target []byte) bool {
	for len(target) >= 8 && !suspect(binary.LittleEndian.Uint64(target), ' '+1) {
		target = target[8:]
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// isWord compares b with a lower-case word without regard to case.
func isWord(b []byte, word string) bool {
	return len(b) == len(word) && equalFold(b, word)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// tokenByte marks the bytes of a token (RFC 9110 section 5.6.2), hostByte those
// of a registered name without percent escapes (RFC 3986 section 3.2.2), with
// the underscore that real names carry and without comma, quotes and "=", control
// those that no field value may have.
var (
	tokenByte = byteTable(func(c byte) bool { return letter(c) || digit(c) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 })
	hostByte  = byteTable(func(c byte) bool { return letter(c) || digit(c) || bytes.IndexByte([]byte("-._~!$&*+;"), c) >= 0 })
	control   = byteTable(func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f })
)

func byteTable(marked func(c byte) bool) (t [256]bool) {
	for c := range t {
		t[c] = marked(byte(c))
	}
	return t
}
