package header

import (
	"github.com/valyala/fasthttp"

	"weir/internal/wire"
)

// CleanRequest removes the fields that end at this hop (RFC 9110 section 7.6.1)
// and those that Connection names. present is what the scan of the raw head saw.
// "TE: trailers" survives as exactly that. Trailer, Expect and Content-Length
// stay: they belong to whoever frames the message.
func CleanRequest(h *fasthttp.RequestHeader, present wire.Fields) {}

// CleanResponse does the same for responses.
func CleanResponse(h *fasthttp.ResponseHeader, present wire.Fields) {}

// UpgradeRequest puts back what an upgrade needs and CleanRequest removed:
// "Connection: Upgrade" and Upgrade with the client's own value.
func UpgradeRequest(h *fasthttp.RequestHeader, protocol []byte) {}

// UpgradeResponse does the same for a 101.
func UpgradeResponse(h *fasthttp.ResponseHeader, protocol []byte) {}
