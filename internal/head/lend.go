package head

import "bytes"

// LendResponse makes h a stored response: raw is its first line, of HTTP/1.1, and its field
// lines, as AppendTo writes them but without the empty line at the end. raw was found sound
// before, belongs to the caller, and never changes while h or a copy of h is used. present is
// what Present says of these lines, and length becomes Length. Nothing of raw but the first line is
// looked at until a field of it is read, changed or removed.
func (h *Head) LendResponse(raw []byte, present Set, status int, length int64) {
	h.Reset()
	h.base, h.present, h.Status, h.Length = raw, present, status, length
	h.unindexed = true
	end := int32(bytes.IndexByte(raw, '\n') + 1)
	h.linesAt = end
	if phrase := int32(len("HTTP/1.1 200 ")); end > phrase+2 {
		h.phrase, h.first = span{phrase, end - 2}, span{0, end}
	}
}

// index makes the index of a lent head.
func (h *Head) index() {
	if !h.unindexed {
		return
	}
	h.unindexed = false
	h.indexLines(h.linesAt, h.base[h.linesAt:])
	h.indexLines(int32(len(h.base)), h.own)
}

// indexLines takes up lines that were found sound, which begin at offset at.
func (h *Head) indexLines(at int32, lines []byte) {
	for len(lines) > 0 {
		end, colon := cutLine(lines)
		f := h.newField()
		f.line, f.nameEnd, f.id = span{at, at + int32(end)}, at+int32(colon), lookup(lines[:colon])
		f.value = trimmed(lines[:end-len("\r\n")], at, colon+1)
		at, lines = at+int32(end), lines[end:]
	}
}
