package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// traceparentLength is the length of a traceparent of version 00.
const traceparentLength = 55

// Parse parses a traceparent (W3C Trace Context, section 3.2). One of a later version is read by the
// fields that version 00 has. ok is false for one that is to be ignored.
func Parse(text []byte) (c Context, ok bool) {
	if len(text) < traceparentLength || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return c, false
	}
	var version, flags [1]byte
	if !digits(version[:], text[:2]) || !digits(c.TraceID[:], text[3:35]) || !digits(c.SpanID[:], text[36:52]) || !digits(flags[:], text[53:55]) {
		return Context{}, false
	}
	switch {
	case version[0] == 0xff, c.TraceID == TraceID{}, c.SpanID == SpanID{}:
		return Context{}, false
	case version[0] == 0 && len(text) != traceparentLength, len(text) > traceparentLength && text[traceparentLength] != '-':
		return Context{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, true
}

// digits reads hexadecimal digits, which the standard wants in lower case.
func digits(dst, text []byte) bool {
	for _, c := range text {
		if 'A' <= c && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, text)
	return err == nil
}

// Append appends c as a traceparent.
func (c *Context) Append(dst []byte) []byte {
	dst = hex.AppendEncode(append(dst, "00-"...), c.TraceID[:])
	dst = hex.AppendEncode(append(dst, '-'), c.SpanID[:])
	if c.Sampled {
		return append(dst, "-01"...)
	}
	return append(dst, "-00"...)
}

// NewTraceID returns the id of a trace that begins.
func NewTraceID() (id TraceID) {
	for id == (TraceID{}) {
		binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

// NewSpanID returns the id of a span that begins.
func NewSpanID() (id SpanID) {
	for id == (SpanID{}) {
		binary.LittleEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// The bounds of a tracestate (section 3.3.1).
const (
	maxMembers = 32
	maxKey     = 256
	maxValue   = 256
	// maxState bounds a whole one; the standard wants at least 512 to pass.
	maxState = 8 << 10
)

// ValidState says whether a list, all lines of tracestate joined by commas, is a tracestate (section 3.3). One
// that is not must not be sent on.
func ValidState(list []byte) bool {
	if len(list) > maxState {
		return false
	}
	var keys [maxMembers][]byte
	members := 0
	for member := range bytes.SplitSeq(list, comma) {
		if member = bytes.Trim(member, " \t"); len(member) == 0 {
			continue // empty members are allowed
		}
		key, ok := memberKey(member)
		if !ok || members == maxMembers {
			return false
		}
		for _, other := range keys[:members] {
			if string(other) == string(key) {
				return false
			}
		}
		keys[members] = key
		members++
	}
	return true
}

var comma = []byte{','}

// memberKey returns the key of a member, and whether key and value are allowed (section 3.3.2.2).
func memberKey(member []byte) (key []byte, ok bool) {
	at := -1
	for i, c := range member {
		if c == '=' {
			at = i
			break
		}
		lower, digit := 'a' <= c && c <= 'z', '0' <= c && c <= '9'
		other := c == '_' || c == '-' || c == '*' || c == '/' || c == '@'
		if !lower && !digit && (!other || i == 0) {
			return nil, false
		}
	}
	if at < 1 || at > maxKey {
		return nil, false
	}
	value := member[at+1:]
	if len(value) == 0 || len(value) > maxValue {
		return nil, false
	}
	for _, c := range value {
		if c < ' ' || c > '~' || c == '=' {
			return nil, false
		}
	}
	return member[:at], true
}
