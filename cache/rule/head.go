package rule

import (
	"iter"

	"weir/internal/field"
	"weir/internal/head"
)

// HasValue says whether a line of that name has a value.
func HasValue(h *head.Head, n head.Name) bool { return len(h.Get(n)) > 0 }

// conditions are the fields of RFC 9110 section 13.1 that ask about what is stored.
var conditions = [...]head.Name{head.IfMatch, head.IfNoneMatch, head.IfModifiedSince, head.IfUnmodifiedSince}

// cookies yields the cookies of all lines.
func cookies(h *head.Head) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for line := range h.Lines(head.Cookie) {
			for name, value := range field.Cookies(line) {
				if !yield(name, value) {
					return
				}
			}
		}
	}
}
