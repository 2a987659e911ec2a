package head

import (
	"encoding/binary"
	"strings"
)

// Name is the name of a header field. Names that weir looks at by itself are
// the variables of this package; NewName makes the others, from a
// configuration or a hook. Two Names are the same field if Is says so.
type Name struct {
	text string
	id   id
}

// id numbers the names that have a bit in a Set; other stands for all names
// without one.
type id uint8

const (
	other id = iota
	connection
	keepAlive
	proxyConnection
	te
	trailer
	transferEncoding
	upgrade
	http2Settings
	expect
	contentLength
	host
	forwarded
	xForwardedFor
	xForwardedProto
	xForwardedHost
	xForwarded // any other X-Forwarded-*
	xRealIP
	via
	proxyAuthenticate
	proxyAuthorization
	proxyAuthenticationInfo
	date
	cookie
	setCookie
	authorization
	cacheControl
	pragma
	age
	expires
	vary
	etag
	lastModified
	ifMatch
	ifNoneMatch
	ifModifiedSince
	ifUnmodifiedSince
	ifRange
	rangeField
	contentType
	contentEncoding
	contentRange
	contentLocation
	location
	retryAfter
	userAgent
	referer
	origin
	acceptEncoding
	idempotencyKey
	requestID
	cacheStatus
	clientCert
	clientCertChain
	ids
)

// names holds the usual spelling of each name with an id.
var names = [ids]string{
	connection: "Connection", keepAlive: "Keep-Alive", proxyConnection: "Proxy-Connection", te: "TE", trailer: "Trailer",
	transferEncoding: "Transfer-Encoding", upgrade: "Upgrade", http2Settings: "HTTP2-Settings", expect: "Expect",
	contentLength: "Content-Length", host: "Host", forwarded: "Forwarded",
	xForwardedFor: "X-Forwarded-For", xForwardedProto: "X-Forwarded-Proto", xForwardedHost: "X-Forwarded-Host", xRealIP: "X-Real-IP",
	via: "Via", proxyAuthenticate: "Proxy-Authenticate", proxyAuthorization: "Proxy-Authorization",
	proxyAuthenticationInfo: "Proxy-Authentication-Info", date: "Date", cookie: "Cookie", setCookie: "Set-Cookie",
	authorization: "Authorization", cacheControl: "Cache-Control", pragma: "Pragma", age: "Age", expires: "Expires", vary: "Vary",
	etag: "ETag", lastModified: "Last-Modified", ifMatch: "If-Match", ifNoneMatch: "If-None-Match",
	ifModifiedSince: "If-Modified-Since", ifUnmodifiedSince: "If-Unmodified-Since", ifRange: "If-Range", rangeField: "Range",
	contentType: "Content-Type", contentEncoding: "Content-Encoding", contentRange: "Content-Range",
	contentLocation: "Content-Location", location: "Location", retryAfter: "Retry-After", userAgent: "User-Agent",
	referer: "Referer", origin: "Origin", acceptEncoding: "Accept-Encoding", idempotencyKey: "Idempotency-Key",
	requestID: "X-Request-Id", cacheStatus: "Cache-Status",
	clientCert: "Client-Cert", clientCertChain: "Client-Cert-Chain",
}

// The names that weir looks at by itself.
var (
	Connection              = named(connection)
	KeepAlive               = named(keepAlive)
	ProxyConnection         = named(proxyConnection)
	TE                      = named(te)
	Trailer                 = named(trailer)
	TransferEncoding        = named(transferEncoding)
	Upgrade                 = named(upgrade)
	HTTP2Settings           = named(http2Settings)
	Expect                  = named(expect)
	ContentLength           = named(contentLength)
	Host                    = named(host)
	Forwarded               = named(forwarded)
	XForwardedFor           = named(xForwardedFor)
	XForwardedProto         = named(xForwardedProto)
	XForwardedHost          = named(xForwardedHost)
	XRealIP                 = named(xRealIP)
	Via                     = named(via)
	ProxyAuthenticate       = named(proxyAuthenticate)
	ProxyAuthorization      = named(proxyAuthorization)
	ProxyAuthenticationInfo = named(proxyAuthenticationInfo)
	Date                    = named(date)
	Cookie                  = named(cookie)
	SetCookie               = named(setCookie)
	Authorization           = named(authorization)
	CacheControl            = named(cacheControl)
	Pragma                  = named(pragma)
	Age                     = named(age)
	Expires                 = named(expires)
	Vary                    = named(vary)
	ETag                    = named(etag)
	LastModified            = named(lastModified)
	IfMatch                 = named(ifMatch)
	IfNoneMatch             = named(ifNoneMatch)
	IfModifiedSince         = named(ifModifiedSince)
	IfUnmodifiedSince       = named(ifUnmodifiedSince)
	IfRange                 = named(ifRange)
	Range                   = named(rangeField)
	ContentType             = named(contentType)
	ContentEncoding         = named(contentEncoding)
	ContentRange            = named(contentRange)
	ContentLocation         = named(contentLocation)
	Location                = named(location)
	RetryAfter              = named(retryAfter)
	UserAgent               = named(userAgent)
	Referer                 = named(referer)
	Origin                  = named(origin)
	AcceptEncoding          = named(acceptEncoding)
	IdempotencyKey          = named(idempotencyKey)
	RequestID               = named(requestID)
	CacheStatus             = named(cacheStatus)
	ClientCert              = named(clientCert)
	ClientCertChain         = named(clientCertChain)
)

func named(i id) Name { return Name{text: names[i], id: i} }

// NewName returns the Name with this text, whose letters may be in any case. A
// field that is added under it is written as text says. The caller sees to it that text is
// a token (RFC 9110 section 5.6.2): Add and Set do not check names.
func NewName(text string) Name { return Name{text: text, id: lookup([]byte(text))} }

// IsZero says whether n is the zero Name, which is the name of no field.
func (n Name) IsZero() bool { return n == Name{} }

// String is the name as it is written.
func (n Name) String() string { return n.text }

// Is says whether both are names of the same field: names have no case (RFC
// 9110 section 5.1).
func (n Name) Is(o Name) bool {
	return n.id == o.id && (n.id != other && n.id != xForwarded || strings.EqualFold(n.text, o.text))
}

// In says whether the name is one of the set.
func (n Name) In(s Set) bool { return s&n.id.bit() != 0 }

// Set is a set of names. The zero value is the empty set. Only names that are
// variables of this package can be in a set; all other names that begin with "X-Forwarded-" are
// one member together, which AllXForwarded has; the rest is in no set, so that DelSet and
// Has never concern it.
type Set uint64

// bit is the member of a Set that stands for i: none for other. Masks are quicker here than
// branches.
func (i id) bit() Set { return 1 << (i & 63) &^ (1 << other) }

// SetOf returns the set of these names, without those that no set can have.
func SetOf(list ...Name) (s Set) {
	for _, n := range list {
		s |= n.id.bit()
	}
	return s
}

// Sets that several packages use.
const (
	// Framing are the fields that say where a message ends.
	Framing Set = 1<<contentLength | 1<<transferEncoding
	// AllXForwarded are X-Real-IP and every name that begins with "X-Forwarded-".
	AllXForwarded Set = 1<<xForwardedFor | 1<<xForwardedProto | 1<<xForwardedHost | 1<<xForwarded | 1<<xRealIP
	// Conditional are the fields of RFC 9110 section 13.1.
	Conditional Set = 1<<ifMatch | 1<<ifNoneMatch | 1<<ifModifiedSince | 1<<ifUnmodifiedSince | 1<<ifRange
)

// Lookup returns the set that a name is in: at most one bit.
func Lookup(name []byte) Set { return lookup(name).bit() }

// lookup finds the id of a name, in any case of its letters, with one probe of a
// table and one comparison.
func lookup(name []byte) id {
	n := len(name)
	if n < 2 || n > 255 {
		return other
	}
	if i := slots[slot(name)]; i != other && fold(name, lowerNames[i]) {
		return i
	}
	if n > len(xForwardedPrefix) && name[0]|0x20 == 'x' && fold(name[:len(xForwardedPrefix)], xForwardedPrefix) {
		return xForwarded
	}
	return other
}

// xForwardedPrefix is what the names begin with that xForwarded stands for.
var xForwardedPrefix = []byte("x-forwarded-")

// slot is a hash of a name that is the same for all cases of its letters and
// differs for all names with an id; the test of this file sees to that.
func slot(name []byte) uint8 {
	n := len(name)
	h := uint(n)*slotLength + uint(name[0]|0x20)*slotFirst + uint(name[n-1]|0x20)*slotLast + uint(name[n/2]|0x20)*slotMiddle
	return uint8(h ^ h>>8)
}

// The factors were found by trying; slots panics where two names meet.
const (
	slotLength = 72
	slotFirst  = 47
	slotLast   = 235
	slotMiddle = 223
)

var lowerNames = func() (l [ids][]byte) {
	for i, n := range names {
		l[i] = []byte(strings.ToLower(n))
	}
	return l
}()

var slots = func() (t [256]id) {
	for i := connection; i < ids; i++ {
		if names[i] == "" {
			continue // xForwarded is a prefix
		}
		s := slot([]byte(names[i]))
		if t[s] != other {
			panic("BUG: " + names[i] + " and " + names[t[s]] + " have one slot")
		}
		t[s] = i
	}
	return t
}()

// fold says whether name is want but for the case of its letters. want is
// lower-case letters, digits and dashes; a dash or digit matches nothing but
// itself, because the bytes that would fold onto it are in no token.
func fold(name, want []byte) bool {
	const spaces = 0x2020202020202020
	n := len(want)
	if len(name) != n {
		return false
	}
	if n < 8 {
		for i, c := range want {
			if name[i]|0x20 != c {
				return false
			}
		}
		return true
	}
	// Eight bytes at a time; the last eight overlap those before them.
	last := n - 8
	for i := 0; i < last; i += 8 {
		if binary.LittleEndian.Uint64(name[i:])|spaces != binary.LittleEndian.Uint64(want[i:]) {
			return false
		}
	}
	return binary.LittleEndian.Uint64(name[last:])|spaces == binary.LittleEndian.Uint64(want[last:])
}
