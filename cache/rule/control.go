package rule

import "weir/internal/field"

// absent is the value of a directive with seconds that is not there.
const absent int64 = -1

// MaxDelta is the longest time that counts; larger ones are cut to it (RFC
// 9111 section 1.2.2).
const MaxDelta int64 = 1 << 31

// Control is what a response's Cache-Control (RFC 9111 section 5.2.2) or
// targeted field (RFC 9213) says. Slices are borrowed from the field.
type Control struct {
	NoStore, NoCache, Private, Public bool
	MustRevalidate, ProxyRevalidate   bool
	MustUnderstand                    bool

	// NoCacheFields and PrivateFields are the names that qualify no-cache and
	// private; the unqualified forms set NoCache and Private instead.
	NoCacheFields, PrivateFields []byte

	// In seconds, capped; absent if not there. A MaxAge or SMaxAge that is no
	// number is 0: what cannot be read is not fresh.
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
			return c
		}
		list = rest
		name, arg, hasArg := cutDirective(item)
		switch {
		case field.EqualFold(name, "no-store"):
			c.NoStore = true
		case field.EqualFold(name, "public"):
			c.Public = true
		case field.EqualFold(name, "must-revalidate"):
			c.MustRevalidate = true
		case field.EqualFold(name, "proxy-revalidate"):
			c.ProxyRevalidate = true
		case field.EqualFold(name, "must-understand"):
			c.MustUnderstand = true
		case field.EqualFold(name, "no-cache"):
			c.qualify(&c.NoCache, &c.NoCacheFields, arg)
		case field.EqualFold(name, "private"):
			c.qualify(&c.Private, &c.PrivateFields, arg)
		case field.EqualFold(name, "max-age"):
			c.MaxAge = firstDelta(c.MaxAge, arg, hasArg)
		case field.EqualFold(name, "s-maxage"):
			c.SMaxAge = firstDelta(c.SMaxAge, arg, hasArg)
		case field.EqualFold(name, "stale-while-revalidate"):
			c.StaleWhileRevalidate = firstDelta(c.StaleWhileRevalidate, arg, hasArg)
		case field.EqualFold(name, "stale-if-error"):
			c.StaleIfError = firstDelta(c.StaleIfError, arg, hasArg)
		}
	}
}

// qualify records a no-cache or private with its field names. Two qualified
// ones add up to the unqualified one: rather too strict than too lax.
func (c *Control) qualify(whole *bool, names *[]byte, arg []byte) {
	if len(field.Trim(arg)) == 0 || *names != nil {
		*whole = true
		return
	}
	*names = arg
}

// firstDelta is old if there already was one, else the seconds of arg; what is
// no number counts as 0.
func firstDelta(old int64, arg []byte, hasArg bool) int64 {
	if old != absent {
		return old
	}
	if n, ok := parseDelta(arg); ok && hasArg {
		return n
	}
	return 0
}

// cutDirective splits a list member into its name and its argument, which may
// be a token or a quoted string (returned without quotes).
func cutDirective(item []byte) (name, arg []byte, hasArg bool) {
	i := 0
	for i < len(item) && field.TokenByte(item[i]) {
		i++
	}
	name = item[:i]
	rest := item[i:]
	if len(rest) == 0 {
		return name, nil, false
	}
	if rest[0] != '=' {
		// "max-age =1": the name is clear, its argument is not.
		return name, nil, true
	}
	arg = rest[1:]
	if len(arg) >= 2 && arg[0] == '"' && arg[len(arg)-1] == '"' {
		arg = arg[1 : len(arg)-1]
	}
	return name, arg, true
}

// parseDelta reads 1*DIGIT, capped at MaxDelta.
func parseDelta(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > MaxDelta {
			n = MaxDelta
		}
	}
	return n, true
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
		name, arg, hasArg := cutDirective(item)
		switch {
		case field.EqualFold(name, "no-cache"):
			c.NoCache = true
		case field.EqualFold(name, "no-store"):
			c.NoStore = true
		case field.EqualFold(name, "only-if-cached"):
			c.OnlyIfCached = true
		case field.EqualFold(name, "max-age"):
			c.MaxAge = firstDelta(c.MaxAge, arg, hasArg)
		case field.EqualFold(name, "min-fresh"):
			c.MinFresh = firstDelta(c.MinFresh, arg, hasArg)
		case field.EqualFold(name, "max-stale"):
			if c.MaxStale == absent && !hasArg {
				c.MaxStale = MaxDelta
			} else {
				c.MaxStale = firstDelta(c.MaxStale, arg, hasArg)
			}
		}
	}
}
