package head

import "bytes"

// MayTrail says whether a field may stand in a trailer section (RFC 9110 section 6.5.1):
// not the fields that must not be merged late, which are those of framing, routing,
// authentication, request modifiers, content description, and what weir itself vouches
// for.
func MayTrail(name []byte) bool {
	if lookup(name).bit()&neverTrail != 0 {
		return false
	}
	if bytes.IndexByte(name, '_') >= 0 && Lookup(bytes.ReplaceAll(name, []byte("_"), []byte("-")))&neverForged != 0 {
		return false
	}
	for _, n := range moreNeverTrail {
		if len(name) == len(n) && equalFold(name, n) {
			return false
		}
	}
	return true
}

var neverTrail = AllXForwarded | Framing | SetOf(
	Host, Trailer, TE, Connection, KeepAlive, ProxyConnection, Upgrade, HTTP2Settings, Expect, Range, CacheControl, Pragma,
	Authorization, ProxyAuthorization, ProxyAuthenticate, Cookie, SetCookie, ContentType, ContentEncoding, ContentRange, Location,
	Age, Date, Expires, Vary, RetryAfter, Forwarded, Via, ClientCert, ClientCertChain,
)

// neverForged may not be in a trailer section under names with "_" for "-" either, which CGI and the like
// take for the same.
var neverForged = AllXForwarded | Framing | SetOf(ProxyAuthorization, Forwarded, ClientCert, ClientCertChain)

var moreNeverTrail = [...]string{"max-forwards", "www-authenticate", "warning"}

// checkAnnounced refuses a Trailer field that announces what may not stand in a trailer
// section.
func checkAnnounced(list []byte) error {
	for name := range bytes.SplitSeq(list, []byte(",")) {
		if name = bytes.Trim(name, " \t"); len(name) > 0 && !MayTrail(name) {
			return DefectAnnounced
		}
	}
	return nil
}
