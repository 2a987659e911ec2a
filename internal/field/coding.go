package field

import "bytes"

// AcceptsCoding says whether an Accept-Encoding (RFC 9110 section 12.5.3) takes a content
// coding: it names it, or "*" without naming it, and not with weight 0.
func AcceptsCoding(list []byte, coding string) bool {
	others := false
	for rest := list; len(rest) > 0; {
		var member []byte
		member, rest, _ = bytes.Cut(rest, []byte{','})
		name, weight, _ := bytes.Cut(member, []byte{';'})
		name = Trim(name)
		switch {
		case EqualFold(name, coding):
			return !refuses(weight)
		case string(name) == "*":
			others = !refuses(weight)
		}
	}
	return others
}

// refuses says whether a weight is "q=0", with any number of zeros after the point.
func refuses(weight []byte) bool {
	name, value, ok := bytes.Cut(weight, []byte{'='})
	value = Trim(value)
	return ok && EqualFold(Trim(name), "q") && len(value) > 0 && len(bytes.Trim(value, "0.")) == 0
}
