package forward

import (
	"weir/config"
	"weir/internal/head"
)

var cookieField = head.SetOf(head.Cookie)

// Rules are the compiled header rules of one route for one direction. nil are no
// rules. They are never changed and may be used by any number of goroutines.
type Rules struct {
	remove []head.Name
	set    []rule
	add    []rule
}

// rule is a field with its value.
type rule struct {
	name  head.Name
	value config.Template
	// line is the whole line if the value has no variables; then it is used instead
	// of the value.
	line *head.Lines
	// cookie says that the field is Cookie in a request, which has one line (RFC 6265
	// section 5.4): a value is added to it with "; ".
	cookie bool
}

// Apply removes, sets and adds fields, in this order. lookup returns the value
// of a variable; control bytes in it become spaces. A field whose value turns
// out empty is not sent: "set" removes it, "add" does nothing.
func (r *Rules) Apply(h *head.Head, lookup func(name string) []byte) {
	if r == nil {
		return
	}
	for _, name := range r.remove {
		h.Del(name)
	}
	for i := range r.set {
		h.Del(r.set[i].name)
		r.set[i].add(h, lookup)
	}
	for i := range r.add {
		r.add[i].add(h, lookup)
	}
}

// add adds the rule's line to h if its value is not empty.
func (r *rule) add(h *head.Head, lookup func(name string) []byte) {
	if r.line != nil {
		h.AddLines(r.line)
		return
	}
	var buf [512]byte
	value := r.expand(buf[:0], lookup)
	switch {
	case len(value) == 0:
	case r.cookie && h.Has(cookieField):
		joinCookie(h, r.name, value)
	default:
		h.Add(r.name, value)
	}
}

// expand appends the value to dst and trims it. Head.Add makes spaces of the control
// bytes inside it.
func (r *rule) expand(dst []byte, lookup func(name string) []byte) []byte {
	dst = r.value.Append(dst, lookup)
	for len(dst) > 0 && blank(dst[0]) {
		dst = dst[1:]
	}
	for len(dst) > 0 && blank(dst[len(dst)-1]) {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// blank says whether a byte at an end of a value is left out: space, tab or a
// control byte.
func blank(c byte) bool { return c <= ' ' || c == 0x7f }

// joinCookie makes value the end of the one Cookie line of a request. If there are
// several lines, which HTTP/2 allows (RFC 9113 section 8.2.3), their cookies move
// to that line.
func joinCookie(h *head.Head, n head.Name, value []byte) {
	var buf [1024]byte
	all := buf[:0]
	for line := range h.Lines(head.Cookie) {
		if len(line) > 0 {
			all = append(append(all, line...), "; "...)
		}
	}
	replace(h, n, append(all, value...))
}
