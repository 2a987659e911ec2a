package statistics

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands in a template in place of what requests have.
const (
	anID    = "{id}"      // a segment that looks like an identifier
	anySeg  = "{any}"     // a segment that differs from request to request
	theRest = "{rest...}" // what follows the deepest segment
)

const (
	// maxDepth is how many segments after the route's own a template has.
	maxDepth = 8
	// maxWord is the longest segment that is taken for a word.
	maxWord = 40
	// maxExtension is the longest extension that is kept of a file whose name is an identifier.
	maxExtension = 5
	// manyDigits is how many digits make a segment an identifier.
	manyDigits = 4
)

// fold returns the segment of a template that stands for a segment of a path: the segment itself if
// it seems to be a word, or {id}, with the extension of a file. It appends to buf.
func fold(buf, segment []byte) []byte {
	name, extension := segment, []byte(nil)
	if dot := bytes.LastIndexByte(segment, '.'); dot > 0 && isExtension(segment[dot+1:]) {
		name, extension = segment[:dot], segment[dot:]
	}
	if l := look(name); l.isWord(name) && !l.isID() {
		return segment
	}
	return append(append(buf, anID...), extension...)
}

func isExtension(text []byte) bool {
	if len(text) == 0 || len(text) > maxExtension {
		return false
	}
	for i, c := range text {
		if (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// letters are how many bytes of which kind a segment has.
type letters struct{ digits, hex, joints, foreign, bad, others int }

func look(segment []byte) (l letters) {
	for _, c := range segment {
		switch {
		case c >= '0' && c <= '9':
			l.digits++
		case c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			l.hex++
		case c == '-', c == '_', c == '.', c == ':', c == ',', c == '~', c == '+', c == '@':
			l.joints++
		// What is still encoded in a canonical path is a reserved byte, or no text.
		case c == '{', c == '}', c == '"', c == '\\', c == '%', c <= ' ', c == 0x7f:
			l.bad++
		case c >= 0x80:
			l.foreign++
		default:
			l.others++
		}
	}
	return l
}

// isID says whether a segment looks like an identifier: a number, a date, a UUID, a hash, a token.
func (l *letters) isID() bool {
	words := l.foreign + l.others
	return l.digits >= manyDigits || l.digits > 0 && l.hex+words == 0 || l.digits > 0 && words == 0 && l.digits+l.hex >= 8
}

// isWord says whether a segment may stand in a template, and in the label of a metric.
func (l *letters) isWord(segment []byte) bool {
	if len(segment) > maxWord || l.bad > 0 {
		return false
	}
	return l.foreign == 0 || utf8.Valid(segment) && !strings.ContainsFunc(string(segment), func(r rune) bool { return !unicode.IsPrint(r) })
}
