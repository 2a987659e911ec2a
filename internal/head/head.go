package head

import (
	"iter"
	"strconv"
)

// Version is the version of HTTP that carried a message.
type Version uint8

// The versions. The zero value is HTTP11, so that a Head that weir makes itself
// needs none.
const (
	HTTP11 Version = iota
	HTTP10
	HTTP2
	HTTP3
)

var versionTexts = [...]string{HTTP11: "HTTP/1.1", HTTP10: "HTTP/1.0", HTTP2: "HTTP/2.0", HTTP3: "HTTP/3.0"}

// String is the version as logs have it, such as "HTTP/1.1".
func (v Version) String() string { return versionTexts[v] }

// Lengths that are no number of bytes.
const (
	// LengthNone means that the head names no length.
	LengthNone = -2
	// LengthChunked means chunked transfer coding.
	LengthChunked = -1
)

// Head is the head of one message. The zero value is an empty one. A Head
// that was scanned or filled may be read by several goroutines as long as none
// changes it.
//
// What the methods return points into the Head: it is valid until the Head is
// changed by Reset, by another scan, or by a Start method. Set, Add and Del leave it
// valid.
type Head struct {
	// Version is the version that carried the message; AppendTo writes HTTP/1.1
	// whatever it says.
	Version Version
	// Status is the status code of a response; 0 in a request.
	Status int
	// Length is what the framing fields of a scanned head say: a number of bytes,
	// LengthChunked or LengthNone. Edits do not change it.
	Length int64
	// Size is the number of bytes that the scanned head takes, with empty lines
	// before it and the empty line at its end.
	Size int

	// base is the head as it came; it is read only and may be another's. own follows it
	// in the numbering of spans and holds what was added. raw is room for a base of the
	// Head's own.
	base, own, raw []byte
	// method and target are the parts of a request's first line, phrase that of a
	// response's.
	method, target, phrase span
	// fields are the lines in their order, dead ones included. They are not there as long
	// as indexed is false, which only a Head of LendResponse can be.
	fields []field
	// firstLine is where the field lines of an unindexed base begin.
	firstLine int32
	unindexed bool
	present   Set
	repeated  Set

	scan scanner
}

// span is a part of base and own together.
type span struct{ start, end int32 }

func (s span) empty() bool { return s.start == s.end }

// field is one line. Its name begins where the line does.
type field struct {
	line, value span
	nameEnd     int32
	id          id
	dead        bool
}

// Field is one field line. Its bytes belong to the Head.
type Field struct {
	Name, Value []byte
	id          id
}

// In says whether the field's name is one of the set.
func (f Field) In(s Set) bool { return s&f.id.bit() != 0 }

// Is says whether the field has this name.
func (f Field) Is(n Name) bool { return n.matches(f.id, f.Name) }

// matches says whether a line with this id and name is the field n.
func (n Name) matches(i id, name []byte) bool {
	if i != n.id {
		return false
	}
	return i != other && i != xForwarded || len(name) == len(n.text) && equalFold(name, n.text)
}

// equalFold compares a name with a text of the same length without regard to
// case.
func equalFold(name []byte, text string) bool {
	for i := range len(text) {
		if a, b := name[i], text[i]; a != b && (a|0x20 != b|0x20 || a|0x20 < 'a' || a|0x20 > 'z') {
			return false
		}
	}
	return true
}

// Reset makes h empty. It keeps its buffers.
func (h *Head) Reset() {
	*h = Head{own: h.own[:0], raw: h.raw[:0], fields: h.fields[:0]}
}

// CopyTo makes dst what h is. The two share the bytes that were scanned, which
// never change, and must not outlive what lends them.
func (h *Head) CopyTo(dst *Head) {
	own, raw, fields := append(dst.own[:0], h.own...), dst.raw, append(dst.fields[:0], h.fields...)
	*dst = *h
	dst.own, dst.raw, dst.fields = own, raw, fields
}

// Clone makes dst an independent copy of h.
func (h *Head) Clone(dst *Head) {
	h.CopyTo(dst)
	dst.raw = append(dst.raw[:0], h.base...)
	dst.base = dst.raw
}

// bytesOf returns the bytes of a span.
func (h *Head) bytesOf(s span) []byte {
	if n := int32(len(h.base)); s.start >= n {
		return h.own[s.start-n : s.end-n : s.end-n]
	}
	return h.base[s.start:s.end:s.end]
}

// put appends text to the Head's own bytes.
func put[T string | []byte](h *Head, text T) span {
	start := int32(len(h.base) + len(h.own))
	h.own = append(h.own, text...)
	return span{start, start + int32(len(text))}
}

// StartRequest makes h a request without fields. A target in absolute-form is the
// caller's to take apart.
func (h *Head) StartRequest(version Version, method, target []byte) {
	h.Reset()
	h.Version, h.Length = version, LengthNone
	h.method, h.target = put(h, method), put(h, target)
}

// StartResponse makes h a response without fields. Without a phrase it gets the
// usual one for the status.
func (h *Head) StartResponse(status int) {
	h.Reset()
	h.Status, h.Length = status, LengthNone
}

// Method is the method of a request.
func (h *Head) Method() []byte { return h.bytesOf(h.method) }

// Target is the target of a request: in origin-form, or "*".
func (h *Head) Target() []byte { return h.bytesOf(h.target) }

// Phrase is the reason phrase of a response as it came; it may be empty.
func (h *Head) Phrase() []byte { return h.bytesOf(h.phrase) }

// SetMethod changes the method of a request.
func (h *Head) SetMethod(method []byte) { h.method = put(h, method) }

// SetTarget changes the target of a request.
func (h *Head) SetTarget(target []byte) { h.target = put(h, target) }

// SetStatus changes the status of a response and drops its phrase.
func (h *Head) SetStatus(status int) { h.Status, h.phrase = status, span{} }

// Present is the set of the fields that the head has, as far as a Set can name
// them.
func (h *Head) Present() Set { return h.present }

// Has says whether the head has any field of the set.
func (h *Head) Has(s Set) bool { return h.present&s != 0 }

// Repeated says which fields of a Set stood in the scanned head more than once.
func (h *Head) Repeated() Set { return h.repeated }

// absent says that there is certainly no line of this name.
func (h *Head) absent(n Name) bool { return n.id != other && h.present&n.id.bit() == 0 }

// Get is the value of the first line of that name; nil if there is no such line.
func (h *Head) Get(n Name) []byte {
	if h.absent(n) {
		return nil
	}
	h.index()
	for i := range h.fields {
		if f := &h.fields[i]; f.id == n.id && !f.dead && n.matches(f.id, h.name(f)) {
			return h.value(f)
		}
	}
	return nil
}

func (h *Head) name(f *field) []byte { return h.bytesOf(span{f.line.start, f.nameEnd}) }

// value is never nil.
func (h *Head) value(f *field) []byte { return h.bytesOf(f.value) }

// Lines yields the values of all lines of that name, in their order.
func (h *Head) Lines(n Name) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if h.absent(n) {
			return
		}
		h.index()
		for i := range h.fields {
			if f := &h.fields[i]; f.id == n.id && !f.dead && n.matches(f.id, h.name(f)) && !yield(h.value(f)) {
				return
			}
		}
	}
}

// Count is the number of lines of that name.
func (h *Head) Count(n Name) (count int) {
	for range h.Lines(n) {
		count++
	}
	return count
}

// Joined is the list that the lines of that name make together (RFC 9110 section
// 5.3): the value itself if there is one line, nil if there is no line. It
// allocates only if there are several.
func (h *Head) Joined(n Name) []byte {
	var list []byte
	count := 0
	for v := range h.Lines(n) {
		switch count++; count {
		case 1:
			list = v
		default:
			list = append(append(list[:len(list):len(list)], ", "...), v...)
		}
	}
	return list
}

// All yields all fields in their order.
func (h *Head) All() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		h.index()
		for i := range h.fields {
			if f := &h.fields[i]; !f.dead && !yield(Field{h.name(f), h.value(f), f.id}) {
				return
			}
		}
	}
}

// line appends a line to the Head's own bytes.
func line[T string | []byte](h *Head, name T, value []byte) field {
	start := int32(len(h.base) + len(h.own))
	h.own = append(h.own, name...)
	h.own = append(h.own, ": "...)
	from := len(h.own)
	h.own = append(h.own, value...)
	for i, c := range h.own[from:] {
		if control[c] {
			h.own[from+i] = ' '
		}
	}
	h.own = append(h.own, "\r\n"...)
	nameEnd := start + int32(len(name))
	valueEnd := nameEnd + 2 + int32(len(value))
	return field{line: span{start, valueEnd + 2}, value: span{nameEnd + 2, valueEnd}, nameEnd: nameEnd}
}

// Add adds a line after all others. Control bytes in value become spaces.
func (h *Head) Add(n Name, value []byte) {
	f := line(h, n.text, value)
	f.id = n.id
	h.present |= n.id.bit()
	if !h.unindexed {
		h.fields = append(h.fields, f)
	}
}

// Set makes value that of the only line of that name: the first line keeps its
// place, the others are removed; without any, it is added as Add does.
func (h *Head) Set(n Name, value []byte) {
	if h.absent(n) {
		h.Add(n, value)
		return
	}
	h.index()
	set := false
	for i := range h.fields {
		f := &h.fields[i]
		if f.id != n.id || f.dead || !n.matches(f.id, h.name(f)) {
			continue
		}
		if set {
			f.dead = true
			continue
		}
		changed := line(h, h.name(f), value)
		changed.id = f.id
		*f, set = changed, true
	}
	if !set {
		h.Add(n, value)
	}
}

// SetInt is Set with a decimal number.
func (h *Head) SetInt(n Name, value int64) {
	var buf [20]byte
	h.Set(n, strconv.AppendInt(buf[:0], value, 10))
}

// Append makes element the last one of the list that the lines of that name
// are: on the only line, or on a line of its own if there is no line or several.
func (h *Head) Append(n Name, element []byte) {
	if h.Count(n) != 1 {
		h.Add(n, element)
		return
	}
	list := h.Get(n)
	if len(list) == 0 {
		h.Set(n, element)
		return
	}
	var buf [512]byte
	h.Set(n, append(append(append(buf[:0], list...), ", "...), element...))
}

// Del removes all lines of that name.
func (h *Head) Del(n Name) {
	if h.absent(n) {
		return
	}
	h.index()
	for i := range h.fields {
		if f := &h.fields[i]; f.id == n.id && n.matches(f.id, h.name(f)) {
			f.dead = true
		}
	}
	if n.id != xForwarded {
		h.present &^= n.id.bit()
	}
}

// DelSet removes all lines of all names of the set.
func (h *Head) DelSet(s Set) {
	if h.present&s == 0 {
		return
	}
	h.index()
	for i := range h.fields {
		if f := &h.fields[i]; s&f.id.bit() != 0 {
			f.dead = true
		}
	}
	h.present &^= s
}

// DelFunc removes the lines for which remove returns true.
func (h *Head) DelFunc(remove func(Field) bool) {
	h.index()
	h.present = 0
	for i := range h.fields {
		f := &h.fields[i]
		if f.dead {
			continue
		}
		if remove(Field{h.name(f), h.value(f), f.id}) {
			f.dead = true
			continue
		}
		h.present |= f.id.bit()
	}
}

// AppendTo appends the head as HTTP/1.1 has it on the wire, first line and empty
// line included, to dst.
func (h *Head) AppendTo(dst []byte) []byte {
	if h.Status == 0 {
		dst = append(dst, h.Method()...)
		dst = append(dst, ' ')
		dst = append(dst, h.Target()...)
		dst = append(dst, " HTTP/1.1\r\n"...)
	} else {
		dst = AppendStatusLine(dst, h.Status, h.Phrase())
	}
	return append(h.AppendFields(dst), "\r\n"...)
}

// AppendFields appends the field lines, without first line and empty line, to
// dst.
func (h *Head) AppendFields(dst []byte) []byte {
	if h.unindexed {
		return append(append(dst, h.base[h.firstLine:]...), h.own...)
	}
	run := span{}
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case f.dead:
		case f.line.start == run.end && int(run.end) != len(h.base):
			run.end = f.line.end
		default:
			dst = append(dst, h.bytesOf(run)...)
			run = f.line
		}
	}
	return append(dst, h.bytesOf(run)...)
}

// AppendStatusLine appends the first line of a response. Without a phrase it
// writes the usual one for the status (RFC 9110 section 15).
func AppendStatusLine(dst []byte, status int, phrase []byte) []byte {
	if len(phrase) == 0 {
		if status >= 100 && status < 600 && statusLines[status-100] != "" {
			return append(dst, statusLines[status-100]...)
		}
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, phrase...)
	return append(dst, "\r\n"...)
}
