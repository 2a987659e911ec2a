package rule

import (
	"bytes"

	"weir/internal/field"
)

// ParseTargeted reads a targeted cache control field (RFC 9213): the same
// directives as a structured-field dictionary (RFC 9651). ok is false if the
// field is empty, does not parse, or gives a known directive a value of the
// wrong type; it must then be ignored as a whole, but for what Control.forbid
// finds in it, which is all that c then says.
func ParseTargeted(b []byte) (c Control, ok bool) {
	c = noControl
	if len(field.Trim(b)) == 0 {
		return c, false
	}
	if !field.Dictionary(b, c.set) {
		c = noControl
		c.Malformed = true
		c.forbid(b)
		return c, false
	}
	c.Authorized = c.MustRevalidate
	if i := bytes.IndexByte(b, ';'); i >= 0 {
		c.forbid(b[i:]) // parameters: "max-age=60; private" has the wrong separator
	}
	c.permit()
	return c, true
}

// set takes one member of the dictionary; the last of a name counts. It says
// false for a type that the directive does not have.
func (c *Control) set(key []byte, v field.Item) bool {
	var flag *bool
	var seconds *int64
	var names *[]byte
	switch string(key) {
	case "no-store":
		flag = &c.NoStore
	case "public":
		flag = &c.Public
	case "must-revalidate":
		flag = &c.MustRevalidate
	case "proxy-revalidate":
		flag = &c.ProxyRevalidate
	case "must-understand":
		flag = &c.MustUnderstand
	case "no-cache":
		flag, names = &c.NoCache, &c.NoCacheFields
	case "private":
		flag, names = &c.Private, &c.PrivateFields
	case "max-age":
		seconds = &c.MaxAge
	case "s-maxage":
		seconds = &c.SMaxAge
	case "stale-while-revalidate":
		seconds = &c.StaleWhileRevalidate
	case "stale-if-error":
		seconds = &c.StaleIfError
	default:
		return word(key) == len(key)
	}
	switch {
	case seconds != nil && v.Kind == field.Integer && v.Number >= 0:
		*seconds = min(v.Number, MaxDelta)
	case names != nil && v.Kind == field.String:
		*names, *flag = nil, false
		qualify(flag, names, v.Text)
	case flag != nil && v.Kind == field.Boolean:
		*flag = v.Truth
		if names != nil {
			*names = nil
		}
	default:
		return false
	}
	return true
}

// ParseGroups reads a structured-field list of strings, as Cache-Groups and
// Cache-Group-Invalidation are (RFC 9875). Anything else gives none. Both
// fields may name at most 32 groups of 32 characters; more are cut off.
func ParseGroups(b []byte) []string {
	var groups []string
	ok := field.List(b, func(v field.Item) {
		if v.Kind == field.String && len(v.Text) <= 128 && len(groups) < 128 {
			groups = append(groups, string(v.Text))
		}
	})
	if !ok {
		return nil
	}
	return groups
}
