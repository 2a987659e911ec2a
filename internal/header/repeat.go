package header

import (
	"bytes"
	"strings"

	"github.com/valyala/fasthttp"

	"weir/internal/wire"
)

// repeated holds the lines of all names that a head has more than once. When
// fasthttp removes a field it puts the last one in its place, which would change
// the order of lines with equal names, and a proxy must not do that (RFC 9110
// section 5.3). So they are taken out and added again, in order, after fields
// were removed. Heads without such names, nearly all, have nil.
type repeated []repeatedName

type repeatedName struct {
	name   string
	values [][]byte
}

// names finds repeated names with one look at each: a table of bits by hash
// says that all are different, or that it is worth a second, exact look.
type names [16]uint64

// add returns false if a name with the same hash was there before.
func (n *names) add(name []byte) bool {
	if len(name) == 0 {
		return true
	}
	h := uint(len(name))
	h = h*31 + uint(name[0]|0x20)
	h = h*31 + uint(name[len(name)/2]|0x20)
	h = h*31 + uint(name[len(name)-1]|0x20)
	h ^= h >> 10
	word, bit := &n[h/64%uint(len(n))], uint64(1)<<(h%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// repeatedInRequest looks at the raw head, because walking over the parsed one
// would have fasthttp take cookies apart. A head that was never parsed has no
// raw one and no hop-by-hop fields either.
func repeatedInRequest(h *fasthttp.RequestHeader) repeated {
	var seen names
	raw := h.RawHeaders()
	unique := true
	for rest := raw; len(rest) > 0 && unique; {
		var name []byte
		name, rest = nextLine(rest)
		unique = seen.add(name)
	}
	if unique {
		return nil
	}
	count := map[string]int{}
	var r repeated
	for rest := raw; len(rest) > 0; {
		var name []byte
		name, rest = nextLine(rest)
		key := strings.ToLower(string(name))
		if count[key]++; count[key] == 2 {
			r = r.take(string(name), h.PeekAll(string(name)))
		}
	}
	return r
}

// repeatedInResponse looks at the parsed head; Set-Cookie is kept in order by
// fasthttp itself.
func repeatedInResponse(h *fasthttp.ResponseHeader) repeated {
	var seen names
	unique := true
	for name := range h.All() {
		if !seen.add(name) && string(name) != fasthttp.HeaderSetCookie {
			unique = false
			break
		}
	}
	if unique {
		return nil
	}
	count := map[string]int{}
	for name := range h.All() {
		count[string(name)]++
	}
	var r repeated
	for name, n := range count {
		if n > 1 && name != fasthttp.HeaderSetCookie {
			r = r.take(name, h.PeekAll(name))
		}
	}
	return r
}

// take copies the values of a name, unless it is one that is always removed.
func (r repeated) take(name string, values [][]byte) repeated {
	if len(values) < 2 || wire.Lookup([]byte(name))&hopByHop != 0 {
		return r
	}
	n := repeatedName{name: name}
	for _, v := range values {
		n.values = append(n.values, bytes.Clone(v))
	}
	return append(r, n)
}

// restoreRequest puts the names that are still there back into order.
func (r repeated) restoreRequest(h *fasthttp.RequestHeader) {
	for i := range r {
		if len(h.PeekAll(r[i].name)) == 0 {
			r[i].values = nil
		}
		h.Del(r[i].name)
	}
	// With special fields Cookie would be taken apart and merged.
	special := !h.DisableSpecialHeader()
	for i := range r {
		for _, v := range r[i].values {
			h.AddBytesV(r[i].name, v)
		}
	}
	if special {
		h.EnableSpecialHeader()
	}
}

// restoreResponse puts the names that are still there back into order.
func (r repeated) restoreResponse(h *fasthttp.ResponseHeader) {
	for i := range r {
		if len(h.PeekAll(r[i].name)) == 0 {
			r[i].values = nil
		}
		h.Del(r[i].name)
	}
	for i := range r {
		for _, v := range r[i].values {
			h.AddBytesV(r[i].name, v)
		}
	}
}

// nextLine returns the name in the first line of a raw head, and the other lines.
func nextLine(head []byte) (name, rest []byte) {
	line := head
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		line, rest = head[:i], head[i+1:]
	}
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name = line[:i]
	}
	return name, rest
}

// removeRequest removes all lines of a field.
func removeRequest(h *fasthttp.RequestHeader, name string) {
	if len(h.PeekAll(name)) == 0 {
		// An empty special field is there without a value.
		h.Del(name)
		return
	}
	repeated := repeatedInRequest(h)
	h.Del(name)
	if repeated != nil {
		repeated.restoreRequest(h)
	}
}

// removeResponse removes all lines of a field.
func removeResponse(h *fasthttp.ResponseHeader, name string) {
	if len(h.PeekAll(name)) == 0 {
		h.Del(name)
		return
	}
	repeated := repeatedInResponse(h)
	h.Del(name)
	if repeated != nil {
		repeated.restoreResponse(h)
	}
}

// setRequest makes value the only line of a field; fasthttp alone would leave a
// second one.
func setRequest(h *fasthttp.RequestHeader, name fieldName, value []byte) {
	if len(h.PeekAll(name.text)) > 1 {
		removeRequest(h, name.text)
	}
	h.SetCanonical(name.key, value)
}

// setResponse makes value the only line of a field.
func setResponse(h *fasthttp.ResponseHeader, name fieldName, value []byte) {
	if name.text == fasthttp.HeaderSetCookie || len(h.PeekAll(name.text)) > 1 {
		removeResponse(h, name.text)
	}
	h.SetCanonical(name.key, value)
}
