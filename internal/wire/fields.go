package wire

// Fields is a set of header fields that a proxy must look at: those that end
// at the next hop, those that frame the message, those that say who the client
// was, and those that decide caching. The scan of a raw head collects it, so
// that everything after it touches only what is really there. The zero value
// is the empty set.
type Fields uint32

// One bit for each field, or for each family of fields that is always treated
// together.
const (
	// FieldConnection is Connection (RFC 9110 section 7.6.1).
	FieldConnection Fields = 1 << iota
	// FieldKeepAlive is Keep-Alive.
	FieldKeepAlive
	// FieldProxyConnection is Proxy-Connection.
	FieldProxyConnection
	// FieldTE is TE (RFC 9110 section 10.1.4).
	FieldTE
	// FieldTrailer is Trailer (RFC 9110 section 6.6.2).
	FieldTrailer
	// FieldTransferEncoding is Transfer-Encoding (RFC 9112 section 6.1).
	FieldTransferEncoding
	// FieldUpgrade is Upgrade (RFC 9110 section 7.8).
	FieldUpgrade
	// FieldExpect is Expect (RFC 9110 section 10.1.1).
	FieldExpect
	// FieldContentLength is Content-Length (RFC 9110 section 8.6).
	FieldContentLength
	// FieldHost is Host (RFC 9110 section 7.2).
	FieldHost
	// FieldForwarded is Forwarded (RFC 7239).
	FieldForwarded
	// FieldXForwarded is any field whose name starts with X-Forwarded-, and
	// X-Real-IP.
	FieldXForwarded
	// FieldVia is Via (RFC 9110 section 7.6.3).
	FieldVia
	// FieldProxyAuth is Proxy-Authenticate, Proxy-Authorization or
	// Proxy-Authentication-Info (RFC 9110 section 11.7).
	FieldProxyAuth
	// FieldDate is Date (RFC 9110 section 6.6.1).
	FieldDate
	// FieldCookie is Cookie (RFC 6265 section 5.4).
	FieldCookie
	// FieldSetCookie is Set-Cookie (RFC 6265 section 5.2).
	FieldSetCookie
	// FieldAuthorization is Authorization (RFC 9110 section 11.6.2).
	FieldAuthorization
	// FieldCacheControl is Cache-Control (RFC 9111 section 5.2).
	FieldCacheControl
	// FieldPragma is Pragma (RFC 9111 section 5.4).
	FieldPragma
	// FieldAge is Age (RFC 9111 section 5.1).
	FieldAge
	// FieldExpires is Expires (RFC 9111 section 5.3).
	FieldExpires
	// FieldVary is Vary (RFC 9110 section 12.5.5).
	FieldVary
	// FieldETag is ETag (RFC 9110 section 8.8.3).
	FieldETag
	// FieldLastModified is Last-Modified (RFC 9110 section 8.8.2).
	FieldLastModified
	// FieldConditional is If-Match, If-None-Match, If-Modified-Since,
	// If-Unmodified-Since or If-Range (RFC 9110 section 13.1).
	FieldConditional
	// FieldRange is Range (RFC 9110 section 14.2).
	FieldRange
	// FieldContentType is Content-Type (RFC 9110 section 8.3).
	FieldContentType
	// FieldContentEncoding is Content-Encoding (RFC 9110 section 8.4).
	FieldContentEncoding
)

// Lookup says which of the fields a name is, in any case of its letters, and 0
// for every other name. It looks at the length and the first letter before it
// compares anything, so names of no interest cost next to nothing.
func Lookup(name []byte) Fields {
	if len(name) < 2 || len(name) > 255 {
		return 0
	}
	// The families first: their names have no fixed length.
	switch name[0] | 0x20 {
	case 'x':
		if len(name) > len("x-forwarded-") && fold(name[:len("x-forwarded-")], "x-forwarded-") ||
			fold(name, "x-real-ip") {
			return FieldXForwarded
		}
		return 0
	case 's':
		return field(name, "set-cookie", FieldSetCookie)
	case 'a':
		switch len(name) {
		case 3:
			return field(name, "age", FieldAge)
		case 13:
			return field(name, "authorization", FieldAuthorization)
		}
	case 'c':
		switch len(name) {
		case 6:
			return field(name, "cookie", FieldCookie)
		case 10:
			return field(name, "connection", FieldConnection)
		case 12:
			return field(name, "content-type", FieldContentType)
		case 13:
			return field(name, "cache-control", FieldCacheControl)
		case 14:
			return field(name, "content-length", FieldContentLength)
		case 16:
			return field(name, "content-encoding", FieldContentEncoding)
		}
	case 'd':
		return field(name, "date", FieldDate)
	case 'e':
		switch len(name) {
		case 4:
			return field(name, "etag", FieldETag)
		case 6:
			return field(name, "expect", FieldExpect)
		case 7:
			return field(name, "expires", FieldExpires)
		}
	case 'f':
		return field(name, "forwarded", FieldForwarded)
	case 'h':
		return field(name, "host", FieldHost)
	case 'i':
		switch len(name) {
		case 8:
			return field(name, "if-match", FieldConditional) | field(name, "if-range", FieldConditional)
		case 13:
			return field(name, "if-none-match", FieldConditional)
		case 17:
			return field(name, "if-modified-since", FieldConditional)
		case 19:
			return field(name, "if-unmodified-since", FieldConditional)
		}
	case 'k':
		return field(name, "keep-alive", FieldKeepAlive)
	case 'l':
		return field(name, "last-modified", FieldLastModified)
	case 'p':
		switch len(name) {
		case 6:
			return field(name, "pragma", FieldPragma)
		case 16:
			return field(name, "proxy-connection", FieldProxyConnection)
		case 18:
			return field(name, "proxy-authenticate", FieldProxyAuth)
		case 19:
			return field(name, "proxy-authorization", FieldProxyAuth)
		case 25:
			return field(name, "proxy-authentication-info", FieldProxyAuth)
		}
	case 'r':
		return field(name, "range", FieldRange)
	case 't':
		switch len(name) {
		case 2:
			return field(name, "te", FieldTE)
		case 7:
			return field(name, "trailer", FieldTrailer)
		case 17:
			return field(name, "transfer-encoding", FieldTransferEncoding)
		}
	case 'u':
		return field(name, "upgrade", FieldUpgrade)
	case 'v':
		switch len(name) {
		case 3:
			return field(name, "via", FieldVia)
		case 4:
			return field(name, "vary", FieldVary)
		}
	}
	return 0
}

// field returns bit if name is the lower-case want.
func field(name []byte, want string, bit Fields) Fields {
	if fold(name, want) {
		return bit
	}
	return 0
}

// fold says whether name is want but for the case of its letters. want is
// lower-case letters and dashes; a dash matches nothing but itself, because
// the only other byte that would fold onto it (CR) is in no name.
func fold(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i := range len(want) {
		if name[i]|0x20 != want[i] {
			return false
		}
	}
	return true
}
