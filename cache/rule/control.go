package rule

import "weir/internal/field"

// absent is the value of a directive with seconds that is not there.
const absent int64 = -1

// MaxDelta is the longest time that counts; larger ones are cut to it (RFC
// 9111 section 1.2.2).
const MaxDelta int64 = 1 << 31

// Control is what a response's Cache-Control (RFC 9111 section 5.2.2) or
// targeted field (RFC 9213) says. Slices are borrowed from the field.
//
// What permits something must be well-formed to count; what forbids something
// counts wherever its name stands in a malformed member, because an origin that
// wrote it meant it.
type Control struct {
	NoStore, NoCache, Private       bool
	MustRevalidate, ProxyRevalidate bool

	// Public and MustUnderstand permit, and are well-formed.
	Public, MustUnderstand bool
	// Shared says that a well-formed public or s-maxage gives the response to
	// all clients; Authorized that one of these, or a well-formed must-revalidate,
	// does so although the request had Authorization (RFC 9111 section 3.5).
	Shared, Authorized bool
	// Malformed says that a member is not one that RFC 9111 section 5.2 allows:
	// what it should have said is not known.
	Malformed bool

	vague bool // an s-maxage has no number: it permits nothing

	// Hint says why the response is not fresh as it comes in although the origin may
	// have meant it to be; it may be stored all the same. JudgeResponse sets it.
	Hint Reason

	// NoCacheFields and PrivateFields are the names that qualify no-cache and
	// private; the unqualified forms set NoCache and Private instead.
	NoCacheFields, PrivateFields []byte

	// In seconds, capped; absent if not there. One that is no number is 0: what
	// cannot be read is not fresh, and opens no window.
	MaxAge, SMaxAge, StaleWhileRevalidate, StaleIfError int64
}

// noControl says nothing.
var noControl = Control{MaxAge: absent, SMaxAge: absent, StaleWhileRevalidate: absent, StaleIfError: absent}

// ParseControl reads the joined lines of a Cache-Control field. Unknown
// directives are ignored, of repeated ones the first counts.
func ParseControl(list []byte) Control {
	c := noControl
	for {
		item, rest, more := field.Next(list)
		if !more {
			c.permit()
			return c
		}
		list = rest
		if len(item) > 0 && !c.take(parseDirective(item)) {
			c.Malformed = true
			c.forbid(item)
		}
	}
}

// take records a directive. It reports false if the directive is not as RFC 9111 has it.
func (c *Control) take(d directive) (sound bool) {
	sound = !d.malformed
	switch {
	case d.is("no-store"):
		c.NoStore = true
	case d.is("public"):
		sound = d.bare()
		c.Public = c.Public || sound
	case d.is("must-revalidate"):
		c.MustRevalidate = true
		c.Authorized = c.Authorized || d.bare()
	case d.is("proxy-revalidate"):
		c.ProxyRevalidate = true
	case d.is("must-understand"):
		sound = d.bare()
		c.MustUnderstand = c.MustUnderstand || sound
	case d.is("no-cache"):
		qualify(&c.NoCache, &c.NoCacheFields, d.arg)
	case d.is("private"):
		qualify(&c.Private, &c.PrivateFields, d.arg)
	case d.is("max-age"):
		return number(&c.MaxAge, d)
	case d.is("s-maxage"):
		sound = number(&c.SMaxAge, d)
		c.vague = c.vague || !sound
	case d.is("stale-while-revalidate"):
		return number(&c.StaleWhileRevalidate, d)
	case d.is("stale-if-error"):
		return number(&c.StaleIfError, d)
	}
	return sound
}

// permit works out whom the response may be given to.
func (c *Control) permit() {
	c.Shared = c.Public || c.SMaxAge != absent && !c.vague
	c.Authorized = c.Authorized || c.Shared
}

// forbid takes note of each directive that forbids something, or bounds a lifetime, and
// whose name stands anywhere in text, which is not well-formed.
func (c *Control) forbid(text []byte) {
	for len(text) > 0 {
		n := word(text)
		switch name := text[:n]; {
		case field.EqualFold(name, "no-store"):
			c.NoStore = true
		case field.EqualFold(name, "private"):
			c.Private = true
		case field.EqualFold(name, "no-cache"):
			c.NoCache = true
		case field.EqualFold(name, "must-revalidate"):
			c.MustRevalidate = true
		case field.EqualFold(name, "proxy-revalidate"):
			c.ProxyRevalidate = true
		case field.EqualFold(name, "max-age"):
			number(&c.MaxAge, directive{})
		case field.EqualFold(name, "s-maxage"):
			c.vague = true
			number(&c.SMaxAge, directive{})
		}
		text = text[min(n+1, len(text)):]
	}
}

// add takes over what other forbids.
func (c *Control) add(other *Control) {
	c.NoStore = c.NoStore || other.NoStore
	c.Private = c.Private || other.Private
	c.NoCache = c.NoCache || other.NoCache
	c.MustRevalidate = c.MustRevalidate || other.MustRevalidate
	c.ProxyRevalidate = c.ProxyRevalidate || other.ProxyRevalidate
	c.Malformed = c.Malformed || other.Malformed
}

// qualify records a no-cache or private with its field names. Two qualified
// ones, and names that are none, add up to the unqualified one: rather too strict
// than too lax.
func qualify(whole *bool, names *[]byte, arg []byte) {
	if *names != nil || !fieldNames(arg) {
		*whole, *names = true, nil
		return
	}
	if *whole {
		return
	}
	*names = arg
}

// fieldNames says whether list names at least one field, and nothing else.
func fieldNames(list []byte) bool {
	some := false
	for name := range field.Tokens(list) {
		if !field.IsToken(name) {
			return false
		}
		some = true
	}
	return some
}

// number records the seconds of a directive, unless one was there before. It reports
// false if there is none.
func number(at *int64, d directive) (ok bool) {
	n, ok := parseDelta(d.arg)
	if *at == absent {
		*at = n
	}
	return ok
}

// directive is a member of a Cache-Control field.
type directive struct {
	name []byte
	// arg is the argument, a quoted string without its quotes; nil if there is none
	// that can be read.
	arg []byte
	// malformed says that the member is neither a name alone nor a name with "=" and a
	// token or quoted string, or that the name is no word.
	malformed bool
	hasArg    bool
}

// is says whether the directive has that name.
func (d *directive) is(name string) bool { return field.EqualFold(d.name, name) }

// bare says whether the directive is well-formed and has no argument.
func (d *directive) bare() bool { return !d.malformed && !d.hasArg }

// parseDirective splits a member into its name and its argument.
func parseDirective(item []byte) directive {
	n := 0
	for n < len(item) && field.TokenByte(item[n]) {
		n++
	}
	d := directive{name: item[:n], malformed: word(item) < max(n, 1)}
	if n == len(item) {
		return d
	}
	d.hasArg = true
	arg := item[n+1:]
	switch {
	case item[n] != '=' || len(arg) == 0:
		d.malformed = true // "max-age =1": the name is clear, its argument is not
	case arg[0] == '"':
		d.arg = field.Unquoted(arg)
		d.malformed = d.malformed || d.arg == nil
	case field.IsToken(arg):
		d.arg = arg
	default:
		d.malformed = true
	}
	return d
}

// word is how many bytes at the beginning of text are letters, digits, "-" or "_". No directive
// is known whose name has another byte, though a token may: 'no-store' in apostrophes and
// "private|max-age=60" are mistakes.
func word(text []byte) (n int) {
	for n < len(text) && isWord(text[n]) {
		n++
	}
	return n
}

func isWord(c byte) bool {
	lower := field.Lower(c)
	return 'a' <= lower && lower <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// parseDelta reads 1*DIGIT, capped at MaxDelta; anything else is 0.
func parseDelta(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > MaxDelta {
			n = MaxDelta
		}
	}
	return n, len(b) > 0
}

// RequestControl is what a request's Cache-Control says (RFC 9111 section
// 5.2.1).
type RequestControl struct {
	NoCache, NoStore, OnlyIfCached bool
	// In seconds, absent if not there. MaxStale without a value is MaxDelta.
	MaxAge, MaxStale, MinFresh int64
}

// NoRequestControl says nothing.
func NoRequestControl() RequestControl {
	return RequestControl{MaxAge: absent, MaxStale: absent, MinFresh: absent}
}

// ParseRequestControl reads the joined lines of a request's Cache-Control.
func ParseRequestControl(list []byte) RequestControl {
	c := NoRequestControl()
	for {
		item, rest, more := field.Next(list)
		if !more {
			return c
		}
		list = rest
		d := parseDirective(item)
		switch {
		case d.is("no-cache"):
			c.NoCache = true
		case d.is("no-store"):
			c.NoStore = true
		case d.is("only-if-cached"):
			c.OnlyIfCached = true
		case d.is("max-age"):
			c.MaxAge = firstDelta(c.MaxAge, d.arg)
		case d.is("min-fresh"):
			c.MinFresh = firstDelta(c.MinFresh, d.arg)
		case d.is("max-stale"):
			if c.MaxStale == absent && d.bare() {
				c.MaxStale = MaxDelta
			} else {
				c.MaxStale = firstDelta(c.MaxStale, d.arg)
			}
		}
	}
}

// firstDelta is old if there already was one, else the seconds of arg; what is
// no number counts as 0.
func firstDelta(old int64, arg []byte) int64 {
	if old != absent {
		return old
	}
	n, _ := parseDelta(arg)
	return n
}
