package proxy

import (
	"weir/internal/field"
	"weir/internal/wire"
	"weir/lb"
)

// steer tells the balancer what of the request it goes by: the key to hash, and
// the sticky cookie. It comes before anything changes the request.
func (x *Exchange) steer(u *Upstream) {
	if u.hash.Kind != "" {
		x.hashKey(u.hash)
	}
	x.sticky = x.sticky[:0]
	if s := u.Set.Sticky(); s != nil && x.Head.Fields&wire.FieldCookie != 0 {
		// A copy: the head changes before the second attempt.
		x.sticky = append(x.sticky, x.cookie(s.Name())...)
		x.pick.Sticky = x.sticky
	}
}

// hashKey sets the pick's key; an exchange without one goes to any target.
func (x *Exchange) hashKey(source lb.HashSource) {
	var key []byte
	switch source.Kind {
	case "client_address":
		if x.Client.IsValid() {
			address := x.Client.As16()
			x.pick.SetKey(address[:])
		}
		return
	case "path":
		key = x.Canonical
	case "header":
		key = x.Request.Peek(source.Name)
	case "cookie":
		if x.Head.Fields&wire.FieldCookie != 0 {
			key = x.cookie(source.Name)
		}
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
// section 8.2.3), and not all do. fasthttp would take the lines apart and send
// them on rewritten.
func (x *Exchange) cookie(name string) []byte {
	for _, line := range x.Request.PeekAll("Cookie") {
		if v := field.Cookie(line, name); v != nil {
			return v
		}
	}
	return nil
}

// stick makes the client come back to the target that answered, unless it does
// so already.
func (x *Exchange) stick() {
	s := x.Upstream.Set.Sticky()
	if s == nil || string(x.sticky) == x.Chosen.Cookie() {
		return
	}
	x.scratch = s.AppendSetCookie(x.scratch[:0], x.Chosen, x.TLS)
	x.Response.AddBytesV("Set-Cookie", x.scratch)
}
