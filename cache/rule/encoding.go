package rule

import (
	"weir/internal/field"
	"weir/internal/head"
)

// codings are the content codings (RFC 9110 section 8.4.1, RFC 8878, RFC 9842) that origins
// choose from, in the order in which AppendEncodings writes them. "deflate" and "compress" are
// not among them: no origin prefers them.
var codings = [...]string{"gzip", "br", "zstd", "dcb", "dcz"}

// AppendEncodings adds what the Accept-Encoding of a request (RFC 9110 section 12.5.3) accepts, in
// one form: of all spellings with which an origin would answer the same. "identity" stands for
// a request that accepts no coding, and for one without the field. Weights but 0 do not
// count; "*" accepts nothing, for clients that have it do not mean each coding there is.
func AppendEncodings(dst []byte, h *head.Head) []byte {
	accepted, refused, identity := acceptedCodings(h)
	start := len(dst)
	for i, name := range codings {
		if accepted&^refused&(1<<i) != 0 {
			dst = append(appendSeparator(dst, start), name...)
		}
	}
	switch {
	case !identity:
		dst = append(appendSeparator(dst, start), "identity;q=0"...)
	case len(dst) == start:
		dst = append(dst, "identity"...)
	}
	return dst
}

func appendSeparator(dst []byte, start int) []byte {
	if len(dst) > start {
		return append(dst, ", "...)
	}
	return dst
}

// acceptedCodings reads Accept-Encoding: which codings it accepts and refuses, a bit for
// each, and whether a plain answer is welcome.
func acceptedCodings(h *head.Head) (accepted, refused uint, identity bool) {
	any, plain := true, true
	named := false // identity is
	for line := range h.Lines(head.AcceptEncoding) {
		for name, weight := range field.Weighted(line) {
			zero := weight == 0
			switch {
			case string(name) == "*":
				any = !zero
				continue
			case field.EqualFold(name, "identity"):
				plain, named = !zero, true
				continue
			case field.EqualFold(name, "x-gzip"):
				name = []byte("gzip") // RFC 9110 section 8.4.1.3
			}
			for i := range codings {
				if field.EqualFold(name, codings[i]) {
					if zero {
						refused |= 1 << i
					} else {
						accepted |= 1 << i
					}
				}
			}
		}
	}
	return accepted, refused, plain && (any || named)
}
