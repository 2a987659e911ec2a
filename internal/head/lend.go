package head

import "bytes"

// LendResponse makes h a response whose first line and field lines are raw, which
// has no empty line at its end, never changes while h is used, and was found
// sound before. present is what Present said of these lines, and length is the
// Length. It is for stored responses: nothing of raw is looked at until a field
// of it is read, changed or removed.
func (h *Head) LendResponse(raw []byte, present Set, status int, length int64) {
	h.Reset()
	h.base, h.present, h.Status, h.Length = raw, present, status, length
	h.unindexed = true
	first := bytes.IndexByte(raw, '\n') + 1
	h.firstLine = int32(first)
	if before := len("HTTP/1.1 200 "); first > before+2 {
		h.phrase = span{int32(before), int32(first - 2)}
	}
}

// index makes the index of a lent head.
func (h *Head) index() {
	if !h.unindexed {
		return
	}
	h.unindexed = false
	h.indexLines(h.firstLine, h.base[h.firstLine:])
	h.indexLines(int32(len(h.base)), h.own)
}

// indexLines takes up lines that were found sound, which begin at offset at.
func (h *Head) indexLines(at int32, lines []byte) {
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n') + 1
		colon := bytes.IndexByte(lines[:max(end, 0)], ':')
		if end == 0 || colon < 0 {
			panic("BUG: a stored head has a line that is no field")
		}
		f := field{line: span{at, at + int32(end)}, nameEnd: at + int32(colon), id: lookup(lines[:colon])}
		f.value = trimmed(lines[:end-1], at, colon+1)
		h.fields = append(h.fields, f)
		at, lines = at+int32(end), lines[end:]
	}
}
