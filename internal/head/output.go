package head

import "strconv"

// AppendTo appends the head as HTTP/1.1 has it on the wire, first line and empty
// line included, to dst.
func (h *Head) AppendTo(dst []byte) []byte {
	if h.first.empty() {
		dst = h.appendFirstLine(dst)
	}
	return append(h.appendLines(dst, h.first), "\r\n"...)
}

func (h *Head) appendFirstLine(dst []byte) []byte {
	if h.Status != 0 {
		return AppendStatusLine(dst, h.Status, h.Phrase())
	}
	dst = append(dst, h.Method()...)
	dst = append(dst, ' ')
	dst = append(dst, h.Target()...)
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendFields appends the field lines, without first line and empty line, to
// dst.
func (h *Head) AppendFields(dst []byte) []byte { return h.appendLines(dst, span{}) }

// appendLines appends run, which the first line may follow on the wire, and the field
// lines. Lines that follow each other in memory are copied at once.
func (h *Head) appendLines(dst []byte, run span) []byte {
	if h.unindexed {
		if run.empty() {
			run.start = h.linesAt
		}
		return append(append(dst, h.base[run.start:]...), h.own...)
	}
	own := int32(len(h.base))
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case f.dead:
		case f.line.start == run.end && run.end != own:
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
