package config

import (
	"net/netip"
	"slices"
	"strings"
)

// What a host name in the URL of a target stands for.
const (
	ResolveAll = "all"
	ResolveOne = "one"
)

// IsName says whether the URL has a host name each of whose addresses is a target.
func (t *Target) IsName() bool {
	scheme, authority, ok := strings.Cut(t.Origin(), "://")
	return t.Resolve == ResolveAll && ok && slices.Contains(nameSchemes[:], scheme) && !strings.Contains(authority, "#") && isName(hostOf(authority))
}

// Origin is the URL in the one spelling that names the target (RFC 3986 section 6.2): without a final slash and the
// scheme's default port, with scheme and host in lower case. A URL that cannot be used is returned as it is.
func (t *Target) Origin() string {
	if isOrigin(t.URL) {
		return t.URL
	}
	scheme, rest, ok := strings.Cut(t.URL, "://")
	scheme = strings.ToLower(scheme)
	authority, address, pinned := strings.Cut(strings.TrimSuffix(rest, "/"), "#")
	if !ok || !slices.Contains(nameSchemes[:], scheme) || !validAuthority(authority) {
		return t.URL
	}
	origin := scheme + "://" + normalHost(hostOf(authority), "[", "]")
	if port := normalPort(authority); port != "" && port != DefaultPort(scheme) {
		origin += ":" + port
	}
	if pinned {
		origin += "#" + normalHost(address, "", "")
	}
	return origin
}

// isOrigin says of most URLs that they are their own origin, without making another string.
func isOrigin(url string) bool {
	for i := range len(url) {
		if c := url[i]; c == '[' || c == '#' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	i := strings.LastIndexByte(url, ':') + 1
	port := url[i:]
	return !strings.HasSuffix(url, "/") && !strings.HasPrefix(port, "0") && port != "80" && port != "443"
}

// normalHost returns a host in its one spelling, an address of IPv6 between open and end.
func normalHost(host, open, end string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return open + a.String() + end
	}
	return strings.ToLower(host)
}

// normalPort returns the port of an authority without zeros in front; empty if it has none.
func normalPort(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		return strings.TrimLeft(authority[i+1:], "0")
	}
	return ""
}

// DefaultPort is the port of targets whose URL, of http, https or h2c, names none.
func DefaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// nameSchemes are the schemes of URLs with a host.
var nameSchemes = [...]string{"http", "https", ProtocolH2C}

// hostOf returns the host of an authority, without its port.
func hostOf(authority string) string {
	if strings.HasPrefix(authority, "[") {
		host, _, _ := strings.Cut(authority[1:], "]")
		return host
	}
	host, _, _ := strings.Cut(authority, ":")
	return host
}

// isName says whether a host has to be looked up: it is no address and not localhost, which is this
// machine (RFC 6761 section 6.3).
func isName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, err := netip.ParseAddr(host)
	return err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost")
}

func validAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == ""
}
