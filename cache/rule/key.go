package rule

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"weir/internal/field"
	"weir/internal/head"
)

// The key of an entry is text: the method class, the scheme, the host in one form
// and the target as the client wrote it,
//
//	GET https://www.example.org/a?b=c
//
// and then a line for what of the query counts, if the origin says so (Variation; the URL is
// in one form then), for the conditions under which its route was taken, if they
// are about more than that, and for each header field and cookie that the route
// adds, for what targets get to know of other hosts and schemes, and for the content of a QUERY. No part can hold a line break, so no two requests share a key that
// differ in any of them. Answers to HEAD come from GET's entries.

// AppendKey adds the key of a request to dst. sees returns a head that has the field of that
// name, in lower case, as a target would see it. It may be nil if the policy adds neither
// headers nor cookies, and so may p.
func (p *Policy) AppendKey(dst, scheme, host, target []byte, sees func(name string) *head.Head) []byte {
	dst = append(dst, "GET "...)
	dst = append(dst, scheme...)
	dst = append(dst, "://"...)
	dst = appendHost(dst, scheme, host)
	if p == nil {
		return append(dst, target...)
	}
	start := len(dst)
	if len(p.ignoreQuery)|len(p.keepQuery) == 0 && !p.c.Key.SortQuery {
		dst = append(dst, target...)
	} else {
		dst = p.appendTarget(dst, target)
	}
	if p.c.Key.IgnoreCase {
		for i := start; i < len(dst) && dst[i] != '?'; i++ {
			dst[i] = field.Lower(dst[i])
		}
	}
	if p.conditions != "" {
		dst = append(append(dst, "\n?"...), p.conditions...)
	}
	for _, name := range p.keyHeaders {
		at := len(dst) + 1 + len(name)
		dst = appendKeyLine(dst, name, ':')
		present := false
		if dst, present = appendRequestField(dst, sees(name), name); !present {
			dst[at] = '!' // not the same as an empty one
		}
	}
	for _, name := range p.keyCookies {
		dst = appendKeyLine(dst, name, '=')
		dst = appendCookie(dst, sees("cookie"), name)
	}
	return dst
}

// appendHost adds an authority in one form: in lower case, without the port that the scheme
// has by default (RFC 9110 section 4.2.3) or an empty one, and without the dot that ends a
// full name. Without a scheme the ports of both count as default ones.
func appendHost(dst, scheme, host []byte) []byte {
	name, port := host, []byte(nil)
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		name, port = host[:i], host[i:]
	}
	switch string(port) {
	case ":":
		port = nil
	case ":80":
		if string(scheme) != "https" {
			port = nil
		}
	case ":443":
		if string(scheme) != "http" {
			port = nil
		}
	}
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	start := len(dst)
	dst = append(dst, name...)
	for i, c := range dst[start:] {
		dst[start+i] = field.Lower(c)
	}
	return append(dst, port...)
}

// HostKey is how keys have a host that clients write so.
func HostKey(host string) string { return string(appendHost(nil, nil, []byte(host))) }

// appendQuery adds what makes two QUERY requests for one URL the same: their content and
// the fields that say what it means (RFC 10008, on caching). The content is in it as a
// hash, byte for byte.
func appendQuery(dst []byte, h *head.Head, content []byte) []byte {
	sum := sha256.Sum256(content)
	dst = appendKeyLine(dst, "query", '=')
	dst = hex.AppendEncode(dst, sum[:])
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language"} {
		dst = appendKeyLine(dst, name, '=')
		dst, _ = appendRequestField(dst, h, name)
	}
	return dst
}

func appendKeyLine(dst []byte, name string, sep byte) []byte {
	dst = append(dst, '\n')
	dst = append(dst, name...)
	return append(dst, sep)
}

// appendTarget adds the target without the parameters that do not count, in
// order if the route wants that.
func (p *Policy) appendTarget(dst, target []byte) []byte {
	path, query, has := bytes.Cut(target, []byte{'?'})
	dst = append(dst, path...)
	if !has {
		return dst
	}
	var scratch []byte
	var list [][]byte
	for has {
		var pair []byte
		pair, query, has = bytes.Cut(query, []byte{'&'})
		name, _, _ := bytes.Cut(pair, []byte{'='})
		// Some origins end a parameter at ";" as well: what follows might count.
		if bytes.IndexByte(pair, ';') < 0 {
			if field.MatchAny(p.ignoreQuery, name) {
				continue
			}
			if len(p.keepQuery) > 0 {
				// The origin sees through another spelling of a name.
				if scratch = field.AppendDecoded(scratch[:0], name); !field.MatchAny(p.keepQuery, scratch) {
					continue
				}
			}
		}
		list = append(list, pair)
	}
	if p.c.Key.SortQuery {
		// By name only: the order of values of one name often has a meaning.
		slices.SortStableFunc(list, func(a, b []byte) int {
			an, _, _ := bytes.Cut(a, []byte{'='})
			bn, _, _ := bytes.Cut(b, []byte{'='})
			return bytes.Compare(an, bn)
		})
	}
	for i, pair := range list {
		if i == 0 {
			dst = append(dst, '?')
		} else {
			dst = append(dst, '&')
		}
		dst = append(dst, pair...)
	}
	return dst
}

// appendRequestField adds the normalised value of a request field: lines
// joined, whitespace around commas removed. present is false, and nothing is
// added, if there is no such field.
func appendRequestField(dst []byte, h *head.Head, name string) (out []byte, present bool) {
	for line := range h.Lines(head.NewName(name)) {
		if present {
			dst = append(dst, ',')
		}
		dst, present = appendNormalised(dst, line), true
	}
	return dst, present
}

// appendNormalised adds a value without the whitespace around its commas, but
// for that in quoted strings.
func appendNormalised(dst, value []byte) []byte {
	if bytes.IndexByte(value, ',') < 0 {
		return append(dst, field.Trim(value)...)
	}
	first := true
	for {
		item, rest, more := field.Next(value)
		if !more {
			return dst
		}
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, item...)
		first = false
		value = rest
	}
}

// appendCookie adds the values of all cookies of that name, a ';' before each:
// which one of several counts is the origin's choice.
func appendCookie(dst []byte, h *head.Head, name string) []byte {
	for n, v := range cookies(h) {
		if string(n) == name {
			dst = append(append(dst, ';'), v...)
		}
	}
	return dst
}

// bypasses says whether one of the route's bypass rules names the request.
func (p *Policy) bypasses(h *head.Head, target []byte) bool {
	if len(p.bypassHeaders) > 0 {
		for f := range h.All() {
			if slices.ContainsFunc(p.bypassHeaders, func(b field.Pattern) bool { return b.MatchFold(f.Name) }) {
				return true
			}
		}
	}
	if len(p.bypassCookies) > 0 {
		for name := range cookies(h) {
			if field.MatchAny(p.bypassCookies, name) {
				return true
			}
		}
	}
	if len(p.bypassQuery) > 0 {
		_, query, _ := bytes.Cut(target, []byte{'?'})
		for name := range field.Parameters(query) {
			if field.MatchAny(p.bypassQuery, name) {
				return true
			}
		}
	}
	return false
}

// KeyURL is the part of a key that names the URL: without the conditions and
// the values that the route adds.
func KeyURL(key []byte) []byte {
	url, _, _ := bytes.Cut(key, []byte{'\n'})
	return url
}

// URLKey is the key that a URL has if its route adds nothing to it. A URL
// that ends with its host means the path "/", so that the prefix "https://a.org"
// is not that of "https://a.org.example".
func URLKey(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return "GET " + url
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if path == "" || path[0] == '?' {
		path = "/" + path
	}
	scheme = strings.ToLower(scheme)
	return "GET " + scheme + "://" + string(appendHost(nil, []byte(scheme), []byte(host))) + path
}

// KeyHost is the host part of a key.
func KeyHost(key string) string {
	_, rest, _ := strings.Cut(key, "://")
	if i := strings.IndexAny(rest, "/?\n*"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}

// KeyOrigin is scheme and host of a key.
func KeyOrigin(key string) string {
	i := strings.Index(key, "://")
	if i < 0 {
		return key
	}
	return key[:i+3] + KeyHost(key)
}
