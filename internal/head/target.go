package head

import "bytes"

// SplitAbsolute splits a target in absolute-form (RFC 9112 section 3.2.2) of
// scheme http or https into its authority and the rest, which is empty or begins
// with "/", "?" or "#". ok is false for anything malformed.
func SplitAbsolute(target []byte) (authority, rest []byte, ok bool) {
	switch {
	case len(target) > 7 && isWord(target[:7], "http://"):
		rest = target[7:]
	case len(target) > 8 && isWord(target[:8], "https://"):
		rest = target[8:]
	default:
		return nil, nil, false
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest = rest[:end], rest[end:]
	return authority, rest, len(authority) > 0 && ValidHost(authority)
}

// ValidHost checks a Host value by RFC 9110 section 7.2: a registered name or
// an address in brackets, and perhaps a port. An empty value is allowed, as the RFC
// has it for targets without authority. So is an empty port (RFC 3986 section
// 3.2.3). User info, lists, quotes and percent escapes are not.
func ValidHost(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	i := 0
	if v[0] == '[' {
		end := bytes.IndexByte(v, ']')
		if end < 3 {
			return false
		}
		for _, c := range v[1:end] {
			if !hexDigit(c) && c != ':' && c != '.' {
				return false
			}
		}
		i = end + 1
	} else {
		for i < len(v) && v[i] != ':' {
			if !hostByte[v[i]] {
				return false
			}
			i++
		}
		if i == 0 {
			return false
		}
	}
	if i == len(v) {
		return true
	}
	port := v[i+1:]
	if v[i] != ':' || len(port) > 5 {
		return false
	}
	n := 0
	for _, c := range port {
		if !digit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

func hexDigit(c byte) bool { return digit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
