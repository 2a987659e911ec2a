package forward

import (
	"slices"

	"weir/internal/field"
	"weir/internal/head"
)

// hopByHop are the fields that end at this hop whether or not Connection names
// them (RFC 9110 sections 7.6.1 and 11.7, RFC 7540 section 3.2.1).
var hopByHop = head.SetOf(head.Connection, head.KeepAlive, head.ProxyConnection, head.TE, head.Upgrade, head.HTTP2Settings,
	head.ProxyAuthenticate, head.ProxyAuthorization, head.ProxyAuthenticationInfo)

// protected are the fields that Connection cannot remove: those that frame or
// address the message and those that say who sent it. A client must not be able to
// make them disappear between weir and a target that relies on them; RFC 9110
// section 7.6.1 allows no such option for end-to-end fields anyway.
var protected = forwardingFields | certificateFields | head.Framing | head.SetOf(head.Host, head.Trailer, head.Expect, head.Via, head.Date)

// Clean removes the fields that end at this hop (RFC 9110 section 7.6.1) and
// those that Connection names from a request or a response. In a request
// "TE: trailers" survives as exactly that. Content-Length, Transfer-Encoding,
// Trailer and Expect stay, because the code that frames the message decides about
// them; Connection cannot remove them, nor Host, Date, Via, Forwarded, X-Real-IP and
// X-Forwarded-*. A head without such fields is left as it is.
func Clean(h *head.Head) {
	if !h.Has(hopByHop) {
		return
	}
	trailers := h.Status == 0 && takesTrailers(h)
	if h.Options()&head.OptionOther != 0 {
		removeNamed(h)
	}
	h.DelSet(hopByHop)
	if trailers {
		h.Add(head.TE, []byte("trailers"))
	}
}

// takesTrailers says whether the client has said that it reads trailer sections.
func takesTrailers(h *head.Head) bool {
	for list := range h.Lines(head.TE) {
		if field.HasToken(list, "trailers") {
			return true
		}
	}
	return false
}

// removeNamed removes the fields that Connection names. A list of thousands of
// names must not be compared with each of thousands of fields, so the names are
// sorted.
func removeNamed(h *head.Head) {
	var buf [8][]byte
	names := buf[:0]
	for list := range h.Lines(head.Connection) {
		for name := range field.Tokens(list) {
			if removable(name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return
	}
	slices.SortFunc(names, compareFold)
	h.DelFunc(func(f head.Field) bool {
		_, named := slices.BinarySearchFunc(names, f.Name, compareFold)
		return named
	})
}

// NamesFields says whether Connection names fields that Clean would remove because of
// that.
func NamesFields(h *head.Head) bool {
	if h.Options()&head.OptionOther == 0 {
		return false
	}
	for list := range h.Lines(head.Connection) {
		for name := range field.Tokens(list) {
			if removable(name) {
				return true
			}
		}
	}
	return false
}

// removable says whether a connection option is the name of a field that has to
// be removed because of it.
func removable(option []byte) bool {
	return head.Lookup(option)&(protected|hopByHop) == 0 && !field.EqualFold(option, "close")
}

// compareFold orders names by length, then by their bytes in lower case.
func compareFold(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	for i := range a {
		if x, y := field.Lower(a[i]), field.Lower(b[i]); x != y {
			return int(x) - int(y)
		}
	}
	return 0
}

// Upgrade puts back what an upgrade needs and Clean removed: "Connection: Upgrade",
// and Upgrade with the protocol that the sender of the message named.
func Upgrade(h *head.Head, protocol []byte) {
	h.Set(head.Connection, []byte("Upgrade"))
	h.Set(head.Upgrade, protocol)
}
