package head

import (
	"bytes"
	"strconv"
)

// Persistent says whether the message lets its connection go on after it (RFC 9112
// section 9.3): in HTTP/1.0 only with the option "keep-alive", later unless
// Connection names "close". Edits of Connection count.
func (h *Head) Persistent() bool {
	if h.Version == HTTP10 {
		return h.option("keep-alive") && !h.option("close")
	}
	return !h.option("close")
}

// Upgrades says whether Connection names "upgrade" (RFC 9110 section 7.8).
func (h *Head) Upgrades() bool { return h.option("upgrade") }

// option says whether Connection names a lower-case option.
func (h *Head) option(want string) bool {
	for list := range h.Lines(Connection) {
		for len(list) > 0 {
			var option []byte
			option, list, _ = bytes.Cut(list, []byte(","))
			if isWord(bytes.Trim(option, " \t"), want) {
				return true
			}
		}
	}
	return false
}

// SetFraming makes the framing fields say that the body has length bytes, or, if length is
// LengthChunked, that it comes in chunks; LengthNone removes them. A line that says so
// already, in the form in which no program reads anything else, stays where it is.
func (h *Head) SetFraming(length int64) {
	var buf [20]byte
	switch {
	case length >= 0:
		h.Del(TransferEncoding)
		if lent := h.unindexed && h.Length == length && h.present&(1<<contentLength) != 0; !lent {
			h.setExactly(ContentLength, strconv.AppendInt(buf[:0], length, 10))
		}
	case length == LengthChunked:
		h.Del(ContentLength)
		h.setExactly(TransferEncoding, []byte("chunked"))
	default:
		h.DelSet(Framing)
	}
	h.Length = length
}

// setExactly is Set, but for a head that has this value already.
func (h *Head) setExactly(n Name, value []byte) {
	if !bytes.Equal(h.Get(n), value) {
		h.Set(n, value)
	}
}
