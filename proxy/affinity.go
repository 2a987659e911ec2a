package proxy

import (
	"bytes"

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
		key = parameter(x.Query, source.Name)
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
	for _, field := range x.Request.PeekAll("Cookie") {
		if v := cookieValue(field, name); v != nil {
			return v
		}
	}
	return nil
}

// cookieValue returns the value of the first cookie of this name in a Cookie
// field (RFC 6265 section 4.2.1), or nil. fasthttp would take the field apart
// and send it on rewritten.
func cookieValue(field []byte, name string) []byte {
	for len(field) > 0 {
		pair, rest, _ := bytes.Cut(field, []byte(";"))
		field = rest
		k, v, ok := bytes.Cut(bytes.Trim(pair, " \t"), []byte("="))
		if ok && string(k) == name {
			return v
		}
	}
	return nil
}

// parameter returns the value of the first parameter of this name in a query,
// as it stands there, or nil.
func parameter(query []byte, name string) []byte {
	for len(query) > 0 {
		pair, rest, _ := bytes.Cut(query, []byte("&"))
		query = rest
		if k, v, _ := bytes.Cut(pair, []byte("=")); string(k) == name {
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
