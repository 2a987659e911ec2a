package match

// Refusal is why a request's path is not routed at all. Matching sees the
// canonical path while the target gets the raw one, so a path that the two
// could understand differently is answered with 400. The zero value means
// that the path is accepted.
type Refusal uint8

// The reasons for a refusal.
const (
	// Accepted is no refusal.
	Accepted Refusal = iota
	// NotAbsolute is a path that does not start with a slash, or none at all.
	NotAbsolute
	// BrokenEscape is a "%" without two hexadecimal digits behind it.
	BrokenEscape
	// NullByte is "%00".
	NullByte
	// ControlByte is a control byte or a space, raw, or a control byte encoded.
	ControlByte
	// Backslash is a raw backslash, which some servers take for a slash.
	Backslash
	// Fragment is a raw "#", which ends the path for some servers.
	Fragment
	// DotSegment is a "." or ".." segment, raw or encoded, also between
	// encoded slashes or backslashes and with parameters ("..;x").
	DotSegment
)

var refusalNames = [...]string{
	Accepted:     "accepted",
	NotAbsolute:  "path_not_absolute",
	BrokenEscape: "path_broken_escape",
	NullByte:     "path_null_byte",
	ControlByte:  "path_control_byte",
	Backslash:    "path_backslash",
	Fragment:     "path_fragment",
	DotSegment:   "path_dot_segment",
}

// String returns the name that logs, metrics and the inspector use.
func (r Refusal) String() string {
	if int(r) >= len(refusalNames) {
		panic("BUG: no name for this refusal")
	}
	return refusalNames[r]
}

// Canonical returns the path that matching sees for a raw path (a request
// target without its query), or why there is none. It returns raw itself if
// nothing is to be decoded; otherwise it writes into dst[:0], which it makes
// longer only if cap(dst) < len(raw).
func Canonical(dst, raw []byte) (path []byte, refusal Refusal) { return raw, Accepted }

// StripPrefix returns the rest of raw from its slash number slashes on (counted
// from 1), because that is where the part that a route's path matched ends. Both
// the raw and the canonical path may be given: they have the same slashes. With
// fewer slashes in raw than asked for it is returned as it is.
func StripPrefix(raw []byte, slashes int) []byte { return raw }
