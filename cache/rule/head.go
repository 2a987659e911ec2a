package rule

import (
	"github.com/valyala/fasthttp"
)

// RequestHead is the head of a request. The rules read it with the functions
// of this file alone.
type RequestHead = fasthttp.RequestHeader

// First is the value of the first line of that name, empty if there is none.
func First(h *RequestHead, name string) []byte { return h.Peek(name) }

// Has says whether a line of that name has a value.
func Has(h *RequestHead, name string) bool { return len(h.Peek(name)) > 0 }

// lines are the values of all lines of that name.
func lines(h *RequestHead, name string) [][]byte { return h.PeekAll(name) }

// names are the names of all fields.
func names(h *RequestHead) [][]byte { return h.PeekKeys() }

// joined is the value of all lines of that name, nil if there are none. It
// allocates only if there are several.
func joined(h *RequestHead, name string) []byte {
	all := lines(h, name)
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	var list []byte
	for i, l := range all {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = append(list, l...)
	}
	return list
}

// AppendResponseFields adds the fields of h, as far as fasthttp kept them, in
// its order.
func AppendResponseFields(dst []byte, h *fasthttp.ResponseHeader) []byte {
	for name, value := range h.All() {
		dst = AppendField(dst, name, value)
	}
	return dst
}
