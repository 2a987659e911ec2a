package forward

import (
	"bytes"

	"weir/config"
	"weir/internal/field"
	"weir/internal/head"
)

// Cookies says which cookies of requests go on. nil keeps all. It is never changed and may be
// used by any number of goroutines.
type Cookies struct {
	keep, remove []field.Pattern // one of them
}

// NewCookies compiles rules, which config has checked. Without any it returns nil.
func NewCookies(c config.CookieRules) *Cookies {
	if len(c.Keep)+len(c.Remove) == 0 {
		return nil
	}
	return &Cookies{keep: field.Patterns(c.Keep), remove: field.Patterns(c.Remove)}
}

// drops says whether the cookie of that name does not go on.
func (c *Cookies) drops(name []byte) bool {
	if len(c.keep) > 0 {
		return !field.MatchAny(c.keep, name)
	}
	return field.MatchAny(c.remove, name)
}

// Apply removes cookies from a request. A request that has none of those stays as it is, byte
// for byte; any other has one Cookie line afterwards, or none. scratch is memory for that; what
// became of it is returned.
func (c *Cookies) Apply(h *head.Head, scratch []byte) []byte {
	if c == nil || !h.Has(cookieField) || !c.concerns(h) {
		return scratch
	}
	kept := scratch[:0]
	for line := range h.Lines(head.Cookie) {
		for pair := range bytes.SplitSeq(line, []byte{';'}) {
			name, _, _ := bytes.Cut(pair, []byte{'='})
			if pair = field.Trim(pair); len(pair) == 0 || c.drops(field.Trim(name)) {
				continue
			}
			if len(kept) > 0 {
				kept = append(kept, "; "...)
			}
			kept = append(kept, pair...)
		}
	}
	h.Del(head.Cookie)
	if len(kept) > 0 {
		h.Add(head.Cookie, kept)
	}
	return kept
}

// concerns says whether a request has cookies that do not go on.
func (c *Cookies) concerns(h *head.Head) bool {
	for line := range h.Lines(head.Cookie) {
		for name := range field.Cookies(line) {
			if c.drops(name) {
				return true
			}
		}
	}
	return false
}
