package header

import (
	"slices"

	"github.com/valyala/fasthttp"

	"weir/internal/field"
	"weir/internal/wire"
)

// hopByHop are the fields that end at this hop whether or not Connection names
// them (RFC 9110 sections 7.6.1 and 11.7).
const hopByHop = wire.FieldConnection | wire.FieldKeepAlive | wire.FieldProxyConnection |
	wire.FieldTE | wire.FieldUpgrade | wire.FieldProxyAuth

// kept are the fields that Connection cannot remove: those that frame or address
// the message and those that say who sent it. A client must not be able to make
// them disappear between us and a target that relies on them; RFC 9110 section
// 7.6.1 allows no such option for end-to-end fields anyway.
const kept = wire.FieldHost | wire.FieldContentLength | wire.FieldTransferEncoding | wire.FieldTrailer |
	wire.FieldExpect | wire.FieldForwarded | wire.FieldXForwarded | wire.FieldVia | wire.FieldDate

// The names of hop-by-hop fields, as fasthttp writes them.
const (
	nameConnection      = fasthttp.HeaderConnection
	nameKeepAlive       = fasthttp.HeaderKeepAlive
	nameProxyConnection = fasthttp.HeaderProxyConnection
	nameTE              = "Te"
	nameUpgrade         = fasthttp.HeaderUpgrade
)

// CleanRequest removes the fields that end at this hop (RFC 9110 section 7.6.1)
// and those that Connection names. present is what the scan of the raw head saw;
// without any of these fields in it nothing is done. "TE: trailers" survives as
// exactly that. Content-Length, Transfer-Encoding, Trailer and Expect stay,
// because they belong to whoever frames the message; Connection cannot remove
// them, nor Host, Date, Via, Forwarded, X-Real-IP and X-Forwarded-*. The order
// of lines with equal names stays as it was.
func CleanRequest(h *fasthttp.RequestHeader, present wire.Fields) {
	if present&hopByHop == 0 {
		return
	}
	connection, named := connectionLines(h, present)
	if present&hopByHop == wire.FieldConnection && !named {
		blank(h, connection)
		return
	}
	repeated := repeatedInRequest(h)
	trailers := present&wire.FieldTE != 0 && slices.ContainsFunc(h.PeekAll(nameTE), func(line []byte) bool { return field.HasToken(line, "trailers") })
	if named {
		removeNamed(h, h.PeekAll(nameConnection))
	}
	removeHopByHop(h, present)
	if trailers {
		h.Set(nameTE, "trailers")
	}
	if repeated != nil {
		repeated.restoreRequest(h)
	}
}

// CleanResponse does the same for responses.
func CleanResponse(h *fasthttp.ResponseHeader, present wire.Fields) {
	if present&hopByHop == 0 {
		return
	}
	connection, named := connectionLines(h, present)
	if present&hopByHop == wire.FieldConnection && !named {
		blank(h, connection)
		return
	}
	repeated := repeatedInResponse(h)
	if named {
		removeNamed(h, h.PeekAll(nameConnection))
	}
	removeHopByHop(h, present)
	if repeated != nil {
		repeated.restoreResponse(h)
	}
}

// UpgradeRequest puts back what an upgrade needs and CleanRequest removed:
// "Connection: Upgrade" and Upgrade with the client's own value.
func UpgradeRequest(h *fasthttp.RequestHeader, protocol []byte) {
	h.Set(nameConnection, nameUpgrade)
	h.SetBytesV(nameUpgrade, protocol)
}

// UpgradeResponse does the same for a 101.
func UpgradeResponse(h *fasthttp.ResponseHeader, protocol []byte) {
	h.Set(nameConnection, nameUpgrade)
	h.SetBytesV(nameUpgrade, protocol)
}

// head is what both of fasthttp's heads can.
type head interface {
	Del(name string)
	DelBytes(name []byte)
	PeekAll(name string) [][]byte
	SetConnectionClose()
	ResetConnectionClose()
}

// connectionLines returns the lines of Connection, without "close", and whether
// they name fields that are still to be removed.
func connectionLines(h head, present wire.Fields) (lines [][]byte, named bool) {
	if present&wire.FieldConnection == 0 {
		return nil, false
	}
	// Afterwards the lines are the head's own bytes: a "close" would be shared
	// by all heads.
	h.ResetConnectionClose()
	lines = h.PeekAll(nameConnection)
	for _, line := range lines {
		for name := range field.Tokens(line) {
			if removable(name) {
				return lines, true
			}
		}
	}
	return lines, false
}

// blank removes the lines of Connection and nothing else, as is enough for most
// messages. Lines that say nothing but "close" are the only ones that fasthttp
// removes without changing the order of others, so nothing is all they say.
func blank(h head, connection [][]byte) {
	for _, line := range connection {
		for i := range line {
			line[i] = ' '
		}
	}
	h.SetConnectionClose()
	h.ResetConnectionClose()
}

// removable says whether Connection can remove the field.
func removable(name []byte) bool {
	return len(name) > 0 && wire.Lookup(name)&(kept|hopByHop) == 0
}

// removeNamed removes what the lines of Connection name. The lines stay valid
// meanwhile: fasthttp moves fields, never their bytes.
func removeNamed(h head, lines [][]byte) {
	for _, line := range lines {
		for name := range field.Tokens(line) {
			if removable(name) {
				h.DelBytes(name)
			}
		}
	}
}

func removeHopByHop(h head, present wire.Fields) {
	if present&wire.FieldConnection != 0 {
		h.Del(nameConnection)
	}
	if present&wire.FieldKeepAlive != 0 {
		h.Del(nameKeepAlive)
	}
	if present&wire.FieldProxyConnection != 0 {
		h.Del(nameProxyConnection)
	}
	if present&wire.FieldTE != 0 {
		h.Del(nameTE)
	}
	if present&wire.FieldUpgrade != 0 {
		h.Del(nameUpgrade)
	}
	if present&wire.FieldProxyAuth != 0 {
		h.Del(fasthttp.HeaderProxyAuthenticate)
		h.Del(fasthttp.HeaderProxyAuthorization)
		h.Del("Proxy-Authentication-Info")
	}
}
