package rule

import (
	"strconv"

	"weir/internal/field"
	"weir/internal/head"
)

// The heads of answers: a status line and fields, a line each, without an empty
// line at the end.

// AppendNotModified adds the head of a 304 made from what is stored.
func (p *Policy) AppendNotModified(dst []byte, s *Stored) []byte {
	dst = head.AppendStatusLine(dst, 304, nil)
	for name, value := range s.Fields().All() {
		if p.inNotModified(name) {
			dst = AppendField(dst, name, value)
		}
	}
	return dst
}

// AppendUnsatisfiable adds the head of a 416.
func (s *Stored) AppendUnsatisfiable(dst []byte) []byte {
	dst = head.AppendStatusLine(dst, 416, nil)
	dst = append(dst, "Content-Range: bytes */"...)
	dst = strconv.AppendInt(dst, s.Length, 10)
	dst = append(dst, "\r\n"...)
	if date := s.Fields().Get("Date"); date != nil {
		dst = AppendField(dst, []byte("Date"), date)
	}
	return appendContentLength(dst, 0)
}

// AppendPartial adds the head of a 206 with one part.
func (s *Stored) AppendPartial(dst []byte, part Span) []byte {
	dst = head.AppendStatusLine(dst, 206, nil)
	dst = append(dst, s.Fields()...)
	dst = appendContentRange(dst, part, s.Length)
	return appendContentLength(dst, part.Size())
}

// Run is a piece of a body: text, and then a part of what is stored.
type Run struct {
	Text []byte
	Span
}

// AppendMultipart adds the head of a 206 with several parts, which id tells
// from those of other entries. runs are its body, length bytes together.
func (s *Stored) AppendMultipart(dst []byte, parts []Span, id uint64) (answer []byte, runs []Run, length int64) {
	mark := boundary(id)
	kind := s.Fields().Get("Content-Type")
	for _, p := range parts {
		text := make([]byte, 0, len(mark)+len(kind)+128)
		text = append(append(append(text, "\r\n--"...), mark...), "\r\n"...)
		if len(kind) > 0 {
			text = AppendField(text, []byte("Content-Type"), kind)
		}
		text = append(appendContentRange(text, p, s.Length), "\r\n"...)
		runs = append(runs, Run{text, p})
		length += int64(len(text)) + p.Size()
	}
	end := append(append([]byte("\r\n--"), mark...), "--\r\n"...)
	runs = append(runs, Run{end, Span{0, -1}})
	length += int64(len(end))

	dst = head.AppendStatusLine(dst, 206, nil)
	for name, value := range s.Fields().All() {
		if !field.EqualFold(name, "Content-Type") {
			dst = AppendField(dst, name, value)
		}
	}
	dst = AppendField(dst, []byte("Content-Type"), append([]byte("multipart/byteranges; boundary="), mark...))
	return appendContentLength(dst, length), runs, length
}

// boundary separates the parts of a multipart answer. It must not occur in
// them; a random one would make the answers of one entry differ, so it is made
// from the entry's number and is long enough.
func boundary(id uint64) []byte {
	return strconv.AppendUint([]byte("weir-parts-"), id|1<<63, 36)
}

func appendContentRange(dst []byte, s Span, length int64) []byte {
	dst = append(dst, "Content-Range: bytes "...)
	dst = strconv.AppendInt(dst, s.First, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, s.Last, 10)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, length, 10)
	return append(dst, "\r\n"...)
}

func appendContentLength(dst []byte, length int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, length, 10)
	return append(dst, "\r\n"...)
}
