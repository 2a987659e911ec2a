package head

import "bytes"

// Options are what Connection names (RFC 9110 section 7.6.1), in any case of its letters.
type Options uint8

const (
	// OptionClose is "close".
	OptionClose Options = 1 << iota
	// OptionKeepAlive is "keep-alive".
	OptionKeepAlive
	// OptionUpgrade is "upgrade".
	OptionUpgrade
	// OptionOther stands for all others, which may be names of fields.
	OptionOther
)

// Options is what Connection names; 0 if there is no such line. Edits of Connection count.
func (h *Head) Options() (o Options) {
	switch {
	case h.absent(Connection):
		return 0
	case h.asScanned:
		return h.options
	}
	h.index()
	for i := range h.fields {
		if f := &h.fields[i]; f.id == connection && !f.dead {
			o |= optionsOf(h.value(f))
		}
	}
	return o
}

func optionsOf(list []byte) (o Options) {
	if o = optionOf(list); o != OptionOther {
		return o // most lists have one element
	}
	o = 0
	for len(list) > 0 {
		var option []byte
		option, list, _ = bytes.Cut(list, []byte(","))
		o |= optionOf(bytes.Trim(option, " \t"))
	}
	return o
}

func optionOf(option []byte) Options {
	switch {
	case len(option) == 0:
		return 0
	case isWord(option, "keep-alive"):
		return OptionKeepAlive
	case isWord(option, "close"):
		return OptionClose
	case isWord(option, "upgrade"):
		return OptionUpgrade
	}
	return OptionOther
}

// Persistent says whether the message lets its connection go on after it (RFC 9112
// section 9.3): in HTTP/1.0 only with the option "keep-alive", later unless
// Connection names "close". Edits of Connection count.
func (h *Head) Persistent() bool {
	o := h.Options()
	return o&OptionClose == 0 && (h.Version != HTTP10 || o&OptionKeepAlive != 0)
}

// Upgrades says whether Connection names "upgrade" (RFC 9110 section 7.8).
func (h *Head) Upgrades() bool { return h.Options()&OptionUpgrade != 0 }

// SetFraming makes the framing fields say that the body has length bytes, or, if length is
// LengthChunked, that it comes in chunks; LengthNone removes them. A line that says so
// already, in the form in which no program reads anything else, stays where it is.
func (h *Head) SetFraming(length int64) {
	switch {
	case length >= 0:
		h.Del(TransferEncoding)
		lent := h.unindexed && h.Length == length && h.present&(1<<contentLength) != 0
		if !lent && !isDecimal(h.Get(ContentLength), length) {
			h.SetInt(ContentLength, length)
		}
	case length == LengthChunked:
		h.Del(ContentLength)
		if string(h.Get(TransferEncoding)) != "chunked" {
			h.Set(TransferEncoding, []byte("chunked"))
		}
	default:
		h.DelSet(Framing)
	}
	h.Length = length
}

// isDecimal says whether text is n, which is not negative, in the form that strconv writes.
func isDecimal(text []byte, n int64) bool {
	if len(text) == 0 || text[0] == '0' && len(text) > 1 {
		return false
	}
	value, ok := parseLength(text)
	return ok && value == n
}
