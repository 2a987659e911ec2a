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
