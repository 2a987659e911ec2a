package match

import (
	"bytes"
	"fmt"
	"strings"

	"weir/internal/field"
)

// Refusal is why a request's path is not routed at all. Routes are matched with
// the canonical path while the target gets the raw one, so a path that a target
// could understand differently is answered with 400. The zero value means that the
// path is accepted.
type Refusal uint8

// The reasons for a refusal.
const (
	// Accepted means that the path is not refused.
	Accepted Refusal = iota
	// NotAbsolute is a path that does not start with a slash, or an empty one.
	NotAbsolute
	// BrokenEscape is a "%" without two hexadecimal digits after it.
	BrokenEscape
	// NullByte is "%00".
	NullByte
	// ControlByte is a control byte or a space, raw.
	ControlByte
	// EncodedControl is an encoded control byte other than "%00", which URIs may have. It
	// is for the route to judge: Canonical returns the path with it.
	EncodedControl
	// Backslash is a raw backslash, which some servers read as a slash.
	Backslash
	// Fragment is a raw "#", which ends a path and cannot be part of it.
	Fragment
	// DotSegment is a "." or ".." segment that servers understand in different
	// ways: between encoded slashes or backslashes, with parameters ("..;x"),
	// and ".." after a segment with an encoded slash or after an empty one ("//..").
	DotSegment
	// AboveRoot is a ".." segment that would leave the root.
	AboveRoot
)

var refusalNames = [...]string{
	Accepted:       "accepted",
	NotAbsolute:    "path_not_absolute",
	BrokenEscape:   "path_broken_escape",
	NullByte:       "path_null_byte",
	ControlByte:    "path_control_byte",
	EncodedControl: "path_encoded_control",
	Backslash:      "path_backslash",
	Fragment:       "path_fragment",
	DotSegment:     "path_dot_segment",
	AboveRoot:      "path_above_root",
}

// String returns the name that logs, metrics and the inspector use.
func (r Refusal) String() string {
	if int(r) >= len(refusalNames) {
		panic("BUG: no name for this refusal")
	}
	return refusalNames[r]
}

// Explain says why raw, the path that was refused, was, and which byte is at fault, where it is one.
func (r Refusal) Explain(raw []byte) string {
	at, n := 0, 0
	switch r {
	case DotSegment, AboveRoot:
		at, n = r.faultySegment(raw)
	default:
		for n == 0 && at < len(raw) {
			if n = r.fault(raw[at:]); n == 0 {
				at++
			}
		}
	}
	switch {
	case n > 0:
		return fmt.Sprintf("%s: %q at byte %d of the path", r, raw[at:at+n], at)
	case r == Fragment: // raw ends where it begins
		return fmt.Sprintf("%s: \"#\" at byte %d of the path", r, len(raw))
	}
	return r.String()
}

// faultySegment finds the first segment of raw for which the path up to it is refused: where it
// begins, and how many bytes it has.
func (r Refusal) faultySegment(raw []byte) (at, n int) {
	for begin := 1; begin <= len(raw); {
		end := len(raw)
		if i := bytes.IndexByte(raw[begin:], '/'); i >= 0 {
			end = begin + i
		}
		if _, refusal := Canonical(nil, raw[:end]); refusal == r {
			return begin, end - begin
		}
		begin = end + 1
	}
	return 0, 0
}

// fault returns how many bytes at the start of raw are what the path was refused for; 0 if
// raw starts with something else.
func (r Refusal) fault(raw []byte) int {
	class := classes[raw[0]]
	if class&classPercent == 0 {
		if r == ControlByte && class&classControl != 0 || r == Backslash && class&classBackslash != 0 || r == Fragment && class&classFragment != 0 {
			return 1
		}
		return 0
	}
	escape := raw[:min(len(raw), len("%00"))]
	if _, refusal := decode(nil, escape); refusal != r || r == Accepted {
		return 0
	}
	return len(escape)
}

// Canonical returns the path that routes are matched with for a raw path (a
// request target without its query), or why the path is refused. Percent-encoded
// bytes that need no encoding are decoded; the others stay encoded, with upper-case
// digits, so "%2F" is not "/". Repeated slashes stay. Dot segments, raw or encoded,
// are removed (RFC 3986 section 5.2.4). Canonical returns raw itself if nothing
// changes; otherwise it writes into dst[:0], which grows only if
// cap(dst) < len(raw). dst and raw must not overlap.
func Canonical(dst, raw []byte) (path []byte, refusal Refusal) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, NotAbsolute
	}
	var seen class
	for _, b := range raw {
		seen |= classes[b]
	}
	if seen&^(classDot|classDecoded) == 0 && (seen&classDot == 0 || !bytes.Contains(raw, slashDot)) {
		return raw, Accepted
	}
	switch {
	case seen&classControl != 0:
		return nil, ControlByte
	case seen&classBackslash != 0:
		return nil, Backslash
	case seen&classFragment != 0:
		return nil, Fragment
	case seen&classPercent != 0:
		if raw, refusal = decode(dst[:0], raw); refusal != Accepted && refusal != EncodedControl {
			return nil, refusal
		}
	}
	if !hasDotSegment(raw) {
		return raw, refusal
	}
	path, worse := resolve(append(dst[:0], raw...)) // copies nothing new if raw is dst
	if worse != Accepted {
		refusal = worse
	}
	return path, refusal
}

// resolve removes the dot segments of a decoded path, in place. It refuses a path
// of which servers that decode more than weir does would remove other segments.
func resolve(path []byte) ([]byte, Refusal) {
	out := path[:0]
	for i := 0; i < len(path); {
		end := i + 1
		for end < len(path) && path[end] != '/' {
			end++
		}
		switch string(path[i:end]) {
		case "/..":
			leave := bytes.LastIndexByte(out, '/')
			if leave < 0 {
				return nil, AboveRoot
			}
			if left := out[leave+1:]; len(left) == 0 || hasSeparator(left) {
				return nil, DotSegment
			}
			out = out[:leave]
			fallthrough
		case "/.":
			if end == len(path) {
				out = append(out, '/')
			}
		default:
			if hasDotSegment(path[i:end]) {
				return nil, DotSegment
			}
			out = append(out, path[i:end]...)
		}
		i = end
	}
	return out, Accepted
}

// RemoveDots removes the dot segments of a raw path that Canonical accepted and
// changes nothing else: the result has as many slashes as the canonical path.
// Without dot segments it returns raw itself.
func RemoveDots(raw []byte) []byte {
	if !bytes.Contains(raw, slashDot) && !bytes.Contains(raw, slashPercent) {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for rest := raw; len(rest) > 0; {
		end := 1
		for end < len(rest) && rest[end] != '/' {
			end++
		}
		dots := dots(rest[1:end])
		if dots == 0 {
			out = append(out, rest[:end]...)
		} else {
			if dots == 2 {
				out = out[:bytes.LastIndexByte(out, '/')]
			}
			if end == len(rest) {
				out = append(out, '/')
			}
		}
		rest = rest[end:]
	}
	return out
}

// dots returns 1 or 2 if a raw segment is that many dots, raw or encoded, and
// nothing else; otherwise 0.
func dots(segment []byte) int {
	n := 0
	for len(segment) > 0 {
		switch {
		case segment[0] == '.':
			segment = segment[1:]
		case len(segment) >= 3 && segment[0] == '%' && segment[1] == '2' && segment[2]|0x20 == 'e':
			segment = segment[3:]
		default:
			return 0
		}
		n++
	}
	if n > 2 {
		return 0
	}
	return n
}

// StripPrefix returns raw from its n-th slash on, with n = slashes counted from 1:
// there ends the part that a route's path matched. raw may be the canonical path or
// the raw one without dot segments, because both have the same slashes. A path with
// fewer slashes is returned as it is.
func StripPrefix(raw []byte, slashes int) []byte {
	if slashes == 0 {
		return raw
	}
	for i, b := range raw {
		if b == '/' {
			if slashes--; slashes == 0 {
				return raw[i:]
			}
		}
	}
	return raw
}

var slashDot, slashPercent = []byte("/."), []byte("/%")

// class is a set of the reasons why a byte of a path needs a closer look.
type class uint8

const (
	classControl class = 1 << iota
	classBackslash
	classFragment
	classPercent
	classDot
	// classDecoded is a byte whose encoded form is decoded: the unreserved
	// characters of RFC 3986 section 2.3, and those that a path may not contain
	// but that clients send raw, with the same meaning as their encoded form.
	classDecoded
)

var classes = func() (t [256]class) {
	for b := range t {
		switch {
		case b <= ' ' || b == 0x7f:
			t[b] = classControl
		case b >= 0x80, '0' <= b && b <= '9', 'A' <= b && b <= 'Z', 'a' <= b && b <= 'z',
			strings.IndexByte(`-_~"<>^{|}`+"`", byte(b)) >= 0:
			t[b] = classDecoded
		}
	}
	t['\\'], t['#'], t['%'], t['.'] = classBackslash, classFragment, classPercent, classDot|classDecoded
	return t
}()

// decode appends the canonical form of raw to dst. Encoded control bytes stay, with
// EncodedControl.
func decode(dst, raw []byte) (_ []byte, refusal Refusal) {
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b != '%' {
			dst = append(dst, b)
			continue
		}
		if i+2 >= len(raw) {
			return nil, BrokenEscape
		}
		hi, lo := field.Unhex(raw[i+1]), field.Unhex(raw[i+2])
		if hi > 15 || lo > 15 {
			return nil, BrokenEscape
		}
		b = hi<<4 | lo
		i += 2
		switch {
		case b == 0:
			return nil, NullByte
		case b < ' ' || b == 0x7f:
			refusal = EncodedControl
			dst = append(dst, '%', upperHex[hi], upperHex[lo])
		case classes[b]&classDecoded != 0:
			dst = append(dst, b)
		default:
			dst = append(dst, '%', upperHex[hi], upperHex[lo])
		}
	}
	return dst, refusal
}

// Encode percent-encodes the bytes of uri that no URI may contain (RFC 3986
// section 2) and that captures contain decoded; all others stay. Without such bytes
// it returns uri itself, otherwise a copy.
func Encode(uri []byte) []byte {
	var out []byte
	for i, b := range uri {
		switch bad := b <= ' ' || b >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", b) >= 0; {
		case bad && out == nil:
			out = append(make([]byte, 0, len(uri)+16), uri[:i]...)
			fallthrough
		case bad:
			out = append(out, '%', upperHex[b>>4], upperHex[b&15])
		case out != nil:
			out = append(out, b)
		}
	}
	if out == nil {
		return uri
	}
	return out
}

const upperHex = "0123456789ABCDEF"

// hasDotSegment says whether any kind of server sees a "." or ".." segment in a
// decoded path: encoded slashes and backslashes count as slashes, because many
// servers decode before they remove dot segments, and a segment ends where its
// parameters start, because other servers remove parameters first.
func hasDotSegment(path []byte) bool {
	for i := 0; i < len(path); {
		n := separator(path[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		rest := path[i:]
		dots := 0
		for dots < len(rest) && rest[dots] == '.' {
			dots++
		}
		if dots != 1 && dots != 2 {
			continue
		}
		if rest = rest[dots:]; len(rest) == 0 || rest[0] == ';' || separator(rest) > 0 ||
			len(rest) >= 3 && string(rest[:3]) == "%3B" {
			return true
		}
	}
	return false
}

// hasSeparator says whether a segment contains an encoded slash or backslash.
func hasSeparator(segment []byte) bool {
	for i := range segment {
		if separator(segment[i:]) > 0 {
			return true
		}
	}
	return false
}

// separator returns the length of the slash or encoded slash or backslash that path
// starts with; 0 if it starts with another byte.
func separator(path []byte) int {
	switch {
	case path[0] == '/':
		return 1
	case path[0] == '%' && len(path) >= 3 && (string(path[:3]) == "%2F" || string(path[:3]) == "%5C"):
		return 3
	}
	return 0
}
