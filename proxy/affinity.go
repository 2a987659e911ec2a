package proxy

import (
	"weir/internal/field"
	"weir/internal/head"
	"weir/lb"
)

// setAffinity tells the balancer what of the request it goes by: the key to hash, and
// the sticky cookie.
func (x *Exchange) setAffinity() {
	u := x.Upstream
	if u.hash.Kind != "" {
		x.setHashKey(u.hash)
	}
	if s := u.Set.Sticky(); s != nil {
		x.sticky = append(x.sticky[:0], x.cookie(s.Name())...)
		x.pick.Sticky = x.sticky
	}
}

// setHashKey sets the pick's key; an exchange without one goes to any target.
func (x *Exchange) setHashKey(source lb.HashSource) {
	var key []byte
	switch source.Kind {
	case "client_address":
		if x.ClientAddr.IsValid() {
			address := x.ClientAddr.As16()
			x.pick.SetKey(address[:])
		}
		return
	case "path":
		key = x.Canonical
	case "header":
		key = x.Request.Get(x.Upstream.hashHeader)
	case "cookie":
		key = x.cookie(source.Name)
	case "query":
		key = field.Parameter(x.Query, source.Name)
	default:
		panic("BUG: a hash source that lb knows and proxy does not: " + source.Kind)
	}
	if len(key) > 0 {
		x.pick.SetKey(key)
	}
}

// cookie returns the value of the client's first cookie of this name, or nil. It
// may stand in any Cookie line: gateways from HTTP/2 are to join them (RFC 9113
// section 8.2.3), and not all do.
func (x *Exchange) cookie(name string) []byte {
	for line := range x.Request.Lines(head.Cookie) {
		if v := field.Cookie(line, name); v != nil {
			return v
		}
	}
	return nil
}

// addStickyCookie makes the client come back to the target that answered, unless it does
// so already.
func (x *Exchange) addStickyCookie() {
	s, t := x.Upstream.Set.Sticky(), x.Result.Target
	if s == nil || string(x.sticky) == t.Cookie() {
		return
	}
	x.room.scratch = s.AppendSetCookie(x.room.scratch[:0], t, string(x.Scheme) == "https")
	x.Response.Add(head.SetCookie, x.room.scratch)
}
