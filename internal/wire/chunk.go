package wire

import "bytes"

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

// AppendLastChunk appends the last chunk and the trailer section, a block of
// field lines as Body.Trailer returns it, without the fields that RFC 9110
// section 6.5.1 does not allow there.
func AppendLastChunk(dst, trailer []byte) []byte {
	dst = append(dst, "0\r\n"...)
	for len(trailer) > 0 {
		end := bytes.IndexByte(trailer, '\n') + 1
		if end == 0 {
			panic("BUG: trailer section does not end in a line feed")
		}
		line := trailer[:end]
		trailer = trailer[end:]
		colon := bytes.IndexByte(line, ':')
		if colon > 0 && !forbiddenTrailer(line[:colon]) {
			dst = append(dst, line...)
		}
	}
	return append(dst, '\r', '\n')
}

// forbiddenTrailer names the fields that must not be merged late: framing,
// routing, authentication, request modifiers, content description, and what
// weir itself vouches for.
func forbiddenTrailer(name []byte) bool {
	if len(name) > 11 && equalFold(name[:12], "x-forwarded-") {
		return true
	}
	for _, f := range forbiddenTrailers {
		if equalFold(name, f) {
			return true
		}
	}
	return false
}

var forbiddenTrailers = [...]string{
	"transfer-encoding", "content-length", "host", "trailer", "te", "connection", "keep-alive",
	"proxy-connection", "upgrade", "expect", "max-forwards", "range", "cache-control", "pragma",
	"authorization", "proxy-authorization", "proxy-authenticate", "www-authenticate", "cookie",
	"set-cookie", "content-type", "content-encoding", "content-range", "location", "age", "date",
	"expires", "vary", "retry-after", "warning", "forwarded", "x-real-ip", "via",
}
