package head

// Lines are field lines that are made once and added to many heads. The zero
// value has no line. Lines that are not changed any more may be added by several
// goroutines at the same time.
type Lines struct {
	text   []byte
	fields []field // their spans are offsets in text
	names  Set
}

// Add adds a line after all others, by the rules of Head.Add.
func (l *Lines) Add(n Name, value []byte) {
	if l.text == nil {
		l.text, l.fields = make([]byte, 0, 96), make([]field, 0, 2) // two short lines
	}
	h := Head{own: l.text}
	h.Add(n, value)
	l.text, l.fields, l.names = h.own, append(l.fields, h.fields...), l.names|n.id.bit()
}

// AddLines adds prepared lines after all others.
func (h *Head) AddLines(l *Lines) {
	at := int32(len(h.base) + len(h.own))
	h.own = append(h.own, l.text...)
	h.present |= l.names
	h.asScanned = false
	if h.unindexed {
		return
	}
	first := len(h.fields)
	h.overwrite()
	h.fields = append(h.fields, l.fields...)
	for i := first; i < len(h.fields); i++ {
		f := &h.fields[i]
		f.line.start += at
		f.line.end += at
		f.value.start += at
		f.value.end += at
		f.nameEnd += at
	}
}
