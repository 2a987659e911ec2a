package body

import "weir/internal/head"

// AppendChunkHead appends the line that opens a chunk of n bytes, n > 0.
func AppendChunkHead(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the last chunk and the trailer section, without the fields
// that RFC 9110 section 6.5.1 does not allow there. trailer may be nil. It is changed.
func AppendLastChunk(dst []byte, trailer *head.Head) []byte {
	dst = append(dst, "0\r\n"...)
	if trailer != nil {
		trailer.DelFunc(forbiddenInTrailer)
		dst = trailer.AppendFields(dst)
	}
	return append(dst, '\r', '\n')
}

// forbiddenInTrailer names the fields that must not be merged late: framing,
// routing, authentication, request modifiers, content description, and what
// weir itself vouches for.
func forbiddenInTrailer(f head.Field) bool {
	if f.In(forbidden) {
		return true
	}
	for _, n := range moreForbidden {
		if f.Is(n) {
			return true
		}
	}
	return false
}

var forbidden = head.AllXForwarded | head.Framing | head.SetOf(
	head.Host, head.Trailer, head.TE, head.Connection, head.KeepAlive, head.ProxyConnection, head.Upgrade, head.HTTP2Settings,
	head.Expect, head.Range, head.CacheControl, head.Pragma, head.Authorization, head.ProxyAuthorization, head.ProxyAuthenticate,
	head.Cookie, head.SetCookie, head.ContentType, head.ContentEncoding, head.ContentRange, head.Location, head.Age, head.Date,
	head.Expires, head.Vary, head.RetryAfter, head.Forwarded, head.Via,
)

var moreForbidden = []head.Name{head.NewName("Max-Forwards"), head.NewName("WWW-Authenticate"), head.NewName("Warning")}
