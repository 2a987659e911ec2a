package head

import "bytes"

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
