package head

import "bytes"

// Walk goes through the lines of a head in their order. It makes no index of a lent head. The head must not be
// changed meanwhile.
type Walk struct {
	h *Head
	// next is where the next line is: in the index, or in lines, which are those of base and then those of own, if there is no index.
	next  int
	lines []byte
	inOwn bool
}

// Walk begins at the first line.
func (h *Head) Walk() Walk {
	w := Walk{h: h}
	if h.unindexed {
		w.lines = h.base[h.linesAt:]
	}
	return w
}

// Pass passes the next line if it is this one, to its line end.
func (w *Walk) Pass(line string) bool {
	if w.h.unindexed {
		ok := w.here() && len(w.lines) >= len(line) && string(w.lines[:len(line)]) == line
		if ok {
			w.lines = w.lines[len(line):]
		}
		return ok
	}
	f := w.field()
	ok := f != nil && string(w.h.bytesOf(f.line)) == line
	if ok {
		w.next++
	}
	return ok
}

// Next passes the next line and returns it, with its line end; ok is false after the last line.
func (w *Walk) Next() (f Field, line []byte, ok bool) {
	if w.h.unindexed {
		if !w.here() {
			return Field{}, nil, false
		}
		end, colon := cutLine(w.lines)
		line, w.lines = w.lines[:end], w.lines[end:]
		value := trimmed(line[:end-len("\r\n")], 0, colon+1)
		return Field{line[:colon], line[value.start:value.end], lookup(line[:colon])}, line, true
	}
	at := w.field()
	if at == nil {
		return Field{}, nil, false
	}
	w.next++
	return Field{w.h.name(at), w.h.value(at), at.id}, w.h.bytesOf(at.line), true
}

// here says, without an index, whether there are lines left.
func (w *Walk) here() bool {
	if len(w.lines) == 0 && !w.inOwn {
		w.lines, w.inOwn = w.h.own, true
	}
	return len(w.lines) > 0
}

// field is the next one in the index; nil after the last.
func (w *Walk) field() *field {
	for w.next < len(w.h.fields) && w.h.fields[w.next].dead {
		w.next++
	}
	if w.next == len(w.h.fields) {
		return nil
	}
	return &w.h.fields[w.next]
}

// cutLine says where the first of lines that were found sound ends, and where its colon is.
func cutLine(lines []byte) (end, colon int) {
	end = bytes.IndexByte(lines, '\n') + 1
	colon = bytes.IndexByte(lines[:max(end, 0)], ':')
	if end == 0 || colon < 0 {
		panic("BUG: a stored head has a line that is no field")
	}
	return end, colon
}
