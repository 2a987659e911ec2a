package body

import "weir/internal/head"

// AppendChunkHead appends the line that opens a chunk of n bytes, n > 0.
func AppendChunkHead(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift > 15 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		dst = append(dst, digits[n>>shift&15])
	}
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the last chunk and the trailer section, without the fields
// that RFC 9110 section 6.5.1 does not allow there. trailer may be nil. It is changed.
func AppendLastChunk(dst []byte, trailer *head.Head) []byte {
	dst = append(dst, "0\r\n"...)
	if trailer != nil {
		trailer.DelFunc(func(f head.Field) bool { return !head.MayTrail(f.Name) })
		dst = trailer.AppendFields(dst)
	}
	return append(dst, '\r', '\n')
}
