package head

import (
	"bytes"
	"iter"
	"strconv"

	"weir/internal/prefetch"
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

// Head is the head of one message, or a trailer section. The zero value is an
// empty one. Methods that change a Head exclude all others; several goroutines may
// call the other methods at once, but not on a Head of LendResponse, which makes
// its index when it is first read.
//
// The bytes that the methods return belong to the Head and must not be changed. They are
// valid until Reset, a Start method, LendResponse or the scan of another head, each of which
// uses the memory again; Set, Add, Append and the Del methods leave them valid. Values that are
// passed in are copied, and may be bytes of the same Head except for the Start methods.
type Head struct {
	// Version is the version that carried the message; AppendTo writes HTTP/1.1
	// whatever it says.
	Version Version
	// Status is the status code of a response; 0 in a request. SetStatus changes it.
	Status int
	// Length is what the framing fields say that were scanned or filled: a number of
	// bytes, LengthChunked or LengthNone. Edits do not change it.
	Length int64
	// Size is the number of bytes that the scanned head takes, with empty lines
	// before it and the empty line at its end; 0 for all other heads.
	Size int

	// base is the head as it came: nothing changes it, and it may belong to a stored entry
	// or to the Head that this one is a copy of. own follows it in the numbering of spans and
	// holds what was added. raw is room for a base of the Head's own.
	base, own, raw []byte
	// fields are the lines in their order, dead ones included; not there as long as the
	// head is unindexed.
	fields []field
	// scanned is about the last response that was scanned; nil if none ever was. scanAgain and scanSame use it.
	scanned *scanned
	parts
}

// parts is what Reset forgets: all of a Head that holds no memory.
type parts struct {
	// method and target are the parts of a request's first line, phrase that of a
	// response's.
	method, target, phrase span
	// first is the first line if AppendTo may copy it as it came.
	first span
	// linesAt is where the lines begin of a head that came from LendResponse; unindexed says that
	// fields was not made of them yet.
	linesAt   int32
	unindexed bool
	// asScanned says that no line was added or changed since the scan, so that Options returns options, which are those of the
	// lines that were scanned.
	asScanned bool
	options   Options
	present   Set
	repeated  Set
	scan      scanner
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

// Set is the set that the field's name is in: at most one member.
func (f Field) Set() Set { return f.id.bit() }

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
	h.Version, h.Status, h.Length, h.Size = 0, 0, 0, 0
	h.base = nil
	h.own = h.own[:0]
	h.raw = h.raw[:0]
	h.fields = h.fields[:0]
	h.parts = parts{}
}

// CopyTo makes dst, which is another Head, what h is. Edits of one do not show in the
// other, but the two share the bytes that were scanned or lent: dst is good only until h is
// Reset or scanned again, or until what was lent to h goes.
func (h *Head) CopyTo(dst *Head) {
	dst.Version, dst.Status, dst.Length, dst.Size = h.Version, h.Status, h.Length, h.Size
	dst.base, dst.own, dst.fields = h.base, append(dst.own[:0], h.own...), append(dst.fields[:0], h.fields...)
	dst.parts = h.parts
	dst.forget()
}

// Clone makes dst a copy of h that shares nothing with h.
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

// put appends text that is no line to the Head's own bytes. Without an index they would be taken
// for lines.
func put[T string | []byte](h *Head, text T) span {
	h.index()
	start := int32(len(h.base) + len(h.own))
	h.own = append(h.own, text...)
	return span{start, start + int32(len(text))}
}

// StartRequest makes h a request without fields. method and target are not checked:
// FinishRequest does that for what clients sent.
func (h *Head) StartRequest(version Version, method, target []byte) {
	h.Reset()
	h.Version, h.Length = version, LengthNone
	h.method, h.target = put(h, method), put(h, target)
}

// StartResponse makes h a response without fields, of HTTP/1.1 and with the usual
// phrase for the status.
func (h *Head) StartResponse(status int) {
	h.Reset()
	h.Status, h.Length = status, LengthNone
}

// Fetch asks the processor for the memory that looking for fields needs.
func (h *Head) Fetch() {
	prefetch.Slice(h.base)
	prefetch.Slice(h.fields)
}

// Method is the method of a request; empty as long as the head has no method.
func (h *Head) Method() []byte { return h.bytesOf(h.method) }

// Target is the target of a request: in origin-form, or "*".
func (h *Head) Target() []byte { return h.bytesOf(h.target) }

// Phrase is the reason phrase of a response as it came; empty if none came, in which case
// AppendTo writes the usual one.
func (h *Head) Phrase() []byte { return h.bytesOf(h.phrase) }

// SetMethod changes the method of a request. The caller sees to it that method is a
// token.
func (h *Head) SetMethod(method []byte) { h.method, h.first = put(h, method), span{} }

// SetTarget changes the target of a request. The caller sees to it that target has
// neither space nor control bytes.
func (h *Head) SetTarget(target []byte) { h.target, h.first = put(h, target), span{} }

// SetStatus changes the status of a response and drops its phrase.
func (h *Head) SetStatus(status int) { h.Status, h.phrase, h.first = status, span{}, span{} }

// Present is the set of the fields that the head has now, as far as a Set can
// name them.
func (h *Head) Present() Set { return h.present }

// Has says whether the head has any field of the set.
func (h *Head) Has(s Set) bool { return h.present&s != 0 }

// Repeated is the set of the fields that were scanned or filled more than once, as far as a
// Set can name them; edits do not change it. Two different names that share a member of the set, such
// as X-Forwarded-Port and X-Forwarded-User, count as one field.
func (h *Head) Repeated() Set { return h.repeated }

// absent says that there is certainly no line of this name.
func (h *Head) absent(n Name) bool { return n.id != other && h.present&n.id.bit() == 0 }

// Get is the value of the first line of that name, without the space around it: nil
// if there is no such line, empty but not nil if the line has no value.
func (h *Head) Get(n Name) []byte {
	if h.absent(n) {
		return nil
	}
	h.index()
	for i := range h.fields {
		if f := &h.fields[i]; f.id == n.id && h.is(f, n) {
			return h.value(f)
		}
	}
	return nil
}

// is says whether a line is there and has that name.
func (h *Head) is(f *field, n Name) bool {
	return f.id == n.id && !f.dead && n.matches(f.id, h.name(f))
}

func (h *Head) name(f *field) []byte { return h.bytesOf(span{f.line.start, f.nameEnd}) }

// value is never nil.
func (h *Head) value(f *field) []byte { return h.bytesOf(f.value) }

// Lines yields the values of all lines of that name, in their order. The head may be
// edited meanwhile; lines that are added then are not yielded.
func (h *Head) Lines(n Name) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if h.absent(n) {
			return
		}
		h.index()
		for i := range h.fields {
			if f := &h.fields[i]; h.is(f, n) && !yield(h.value(f)) {
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

// All yields all fields in their order. The head may be edited meanwhile; lines that are
// added then are not yielded.
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

// appendLine appends a line to the Head's own bytes. Its value is list and value, with a
// comma between them if list is not empty. It returns where the line and the value begin.
func appendLine[T string | []byte](h *Head, name T, list, value []byte) (start, from int) {
	h.asScanned = false
	start = len(h.own)
	own := append(append(h.own, name...), ": "...)
	from = len(own)
	if len(list) > 0 {
		own = append(append(own, list...), ", "...)
	}
	own = append(own, value...)
	if v := own[from:]; !sound(v) {
		blank(v)
	}
	h.own = append(own, "\r\n"...)
	return start, from
}

// newField adds a field to the index, to be written in place: a copy of a field that was just
// written is slow, because the processor has to wait for the parts.
func (h *Head) newField() *field {
	h.overwrite()
	h.fields = append(h.fields, field{})
	return &h.fields[len(h.fields)-1]
}

// overwrite is called before a field is added: from there on, fields is not as a scan has left it.
func (h *Head) overwrite() {
	if s := h.scanned; s != nil {
		s.fields = min(s.fields, len(h.fields))
	}
}

// indexLine makes f the line that appendLine appended last.
func (h *Head) indexLine(f *field, start, from int) {
	at := int32(len(h.base))
	f.line = span{at + int32(start), at + int32(len(h.own))}
	f.nameEnd = at + int32(from-len(": "))
	f.value = trimmed(h.own[:len(h.own)-len("\r\n")], at, from)
}

// blank makes spaces of control bytes.
func blank(v []byte) {
	for i, c := range v {
		if control[c] {
			v[i] = ' '
		}
	}
}

// Add adds a line after all others. Control bytes in value become spaces; space around
// value is no part of it.
func (h *Head) Add(n Name, value []byte) {
	start, from := appendLine(h, n.text, nil, value)
	h.present |= n.id.bit()
	if h.unindexed {
		return
	}
	f := h.newField()
	h.indexLine(f, start, from)
	f.id = n.id
}

// Set makes value that of the only line of that name: the first line keeps its
// place and its spelling of the name, the others are removed. Without such a line, Set is
// Add.
func (h *Head) Set(n Name, value []byte) {
	if h.absent(n) {
		h.Add(n, value)
		return
	}
	h.index()
	set := false
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case !h.is(f, n):
		case set:
			f.dead = true
		default:
			h.change(f, nil, value)
			set = true
		}
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

// change gives a line another value.
func (h *Head) change(f *field, list, value []byte) {
	start, from := appendLine(h, h.name(f), list, value)
	h.indexLine(f, start, from)
}

// Append makes element the last one of the list that the lines of that name
// are: on the only line, or on a line of its own if there is no line or several.
func (h *Head) Append(n Name, element []byte) {
	if h.Count(n) != 1 {
		h.Add(n, element)
		return
	}
	for i := range h.fields {
		if f := &h.fields[i]; h.is(f, n) {
			h.change(f, h.value(f), element)
			return
		}
	}
}

// Del removes all lines of that name.
func (h *Head) Del(n Name) {
	if h.absent(n) {
		return
	}
	h.index()
	left := Set(0) // only xForwarded is the id of several names
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case f.id != n.id || f.dead:
		case n.matches(f.id, h.name(f)):
			f.dead = true
		default:
			left = f.id.bit()
		}
	}
	h.present = h.present&^n.id.bit() | left
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

// Underscored says whether the name of a field has "_" in it. No name of this package's
// variables has.
func (h *Head) Underscored() bool {
	h.index()
	for i := range h.fields {
		f := &h.fields[i]
		if (f.id == other || f.id == xForwarded) && !f.dead && bytes.IndexByte(h.name(f), '_') >= 0 {
			return true
		}
	}
	return false
}

// DelFunc removes the lines for which remove returns true. remove must not change the head.
func (h *Head) DelFunc(remove func(Field) bool) {
	h.asScanned = false
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
