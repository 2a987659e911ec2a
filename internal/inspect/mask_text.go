package inspect

import (
	"bytes"
	"unicode/utf8"

	"weir/internal/field"
)

// isText says whether bytes, which may be cut within a character, are text.
func isText(b []byte) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return false
	}
	for i := 0; i < utf8.UTFMax-1 && !utf8.Valid(b) && len(b) > 0; i++ {
		if r, _ := utf8.DecodeLastRune(b); r != utf8.RuneError {
			return false
		}
		b = b[:len(b)-1]
	}
	return utf8.Valid(b)
}

// textMasker looks for secrets in any text: name=value, name: value, "name": "value" (quotes may
// be escaped), <name>value</name>, name="NAME" value="VALUE" of HTML, Bearer and Basic credentials, and
// passwords in URLs.
type textMasker struct {
	*masker
	src, dst []byte
	// done is how much of src is in dst.
	done int
	// open is the place after the last "<"; 0 if its ">" has come.
	open int
	// paired says that the tag of HTML that is looked at names a secret, or has named one.
	paired bool
	// unclosed are the quotes that come no more.
	unclosed [2]bool
}

// marks are the bytes at which a secret may begin, or end the name of one.
var marks = [256]bool{'=': true, ':': true, '<': true, '>': true, ' ': true}

// appendText masks a text of no known form. It takes time in proportion to the text, whatever that is.
func (m *masker) appendText(dst, text []byte) []byte {
	t := textMasker{masker: m, src: text, dst: dst}
	for i := 0; i < len(text); {
		if marks[text[i]] {
			i = t.look(i)
		} else {
			i++
		}
	}
	return append(t.dst, text[t.done:]...)
}

// look looks at the mark at i and returns where to go on.
func (t *textMasker) look(i int) int {
	switch c := t.src[i]; c {
	case '<':
		t.open = i + 1
		t.paired = t.tagNamesSecret(i + 1)
	case '=', ':':
		if c == ':' && bytes.HasPrefix(t.src[i:], []byte("://")) {
			return t.address(i + 3)
		}
		return t.assignment(i)
	case '>':
		t.paired = false
		return t.element(i)
	case ' ':
		return t.credentials(i)
	}
	return i + 1
}

// hide masks src from start to end, the value of name.
func (t *textMasker) hide(name []byte, start, end int) int {
	if start >= end || string(t.src[start:end]) == hidden {
		return max(end, t.done)
	}
	t.note(name)
	t.dst = append(append(t.dst, t.src[t.done:start]...), hidden...)
	t.done = end
	return end
}

// nameByte says whether c may be in a name.
func nameByte(c byte) bool {
	return field.Alphanumeric(c) || c == '_' || c == '-' || c == '.' || c == '%' || c >= 0x80
}

// nameBefore returns the name that ends before i, without quotes, and where it begins.
func (t *textMasker) nameBefore(i int) (name []byte, start int) {
	end := i
	for end > t.done && bytes.IndexByte([]byte(" \t\"'\\]"), t.src[end-1]) >= 0 {
		end--
	}
	start = end
	for start > t.done && nameByte(t.src[start-1]) {
		start--
	}
	name = t.src[start:end]
	if bytes.IndexByte(name, '%') >= 0 {
		_, name = innermost(field.AppendDecoded(nil, name))
	}
	return name, start
}

// assignment masks what follows "=" or ":" at i if the name before that is one of a secret.
func (t *textMasker) assignment(i int) int {
	name, start := t.nameBefore(i)
	attribute := t.src[i] == '=' && t.paired && isValueName(name)
	if !attribute && !t.names.has(name) {
		t.pair(name, i)
		return i + 1
	}
	from := i + 1
	for from < len(t.src) && (t.src[from] == ' ' || t.src[from] == '\t') {
		from++
	}
	slashes := 0
	for from+slashes < len(t.src) && t.src[from+slashes] == '\\' {
		slashes++
	}
	if at := from + slashes; at < len(t.src) && (t.src[at] == '"' || t.src[at] == '\'') {
		return t.hide(name, at+1, t.endOfQuoted(at+1, t.src[at], slashes))
	}
	if t.src[i] == ':' && t.beginsLine(start) {
		end := len(t.src)
		if n := bytes.IndexAny(t.src[from:], "\r\n"); n >= 0 {
			end = from + n
		}
		return t.hide(name, from, end)
	}
	end := t.endOfWord(from)
	if s := scheme(t.src[from:]); s != nil {
		end = t.endOfWord(from + len(s))
	}
	return t.hide(name, from, end)
}

// pair notes that the tag of HTML that "=" at i is in names a secret: name="csrf_token".
func (t *textMasker) pair(name []byte, i int) {
	if t.src[i] != '=' || !isNameName(name) || i+1 >= len(t.src) || t.src[i+1] != '"' && t.src[i+1] != '\'' {
		return
	}
	if t.names.has(t.src[i+2 : t.endOfQuoted(i+2, t.src[i+1], 0)]) {
		t.paired = true
	}
}

// tagNamesSecret says whether the tag of HTML that begins at i names a secret, before or after its value.
func (t *textMasker) tagNamesSecret(i int) bool {
	for from := i; i < len(t.src); i++ {
		switch c := t.src[i]; c {
		case '<', '>':
			return false
		case '"', '\'':
			i = t.skipQuoted(i)
		case '=':
			name := bytes.TrimRight(t.src[from:i], " \t\r\n")
			from = i + 1
			if n := bytes.LastIndexAny(name, " \t\r\n\"'/"); !isNameName(name[n+1:]) {
				continue
			}
			value := bytes.TrimLeft(t.src[i+1:], " \t\r\n")
			start := len(t.src) - len(value)
			end := t.endOfWord(start)
			if len(value) > 0 && (value[0] == '"' || value[0] == '\'') {
				start, end = start+1, t.skipQuoted(start)
			}
			if end >= start && t.names.has(t.src[start:end]) {
				return true
			}
			i = max(i, end-1)
		}
	}
	return false
}

// skipQuoted returns where the text ends that the quote at i begins; i if nothing ends it.
func (t *textMasker) skipQuoted(i int) int {
	unclosed := &t.unclosed[0]
	if t.src[i] == '\'' {
		unclosed = &t.unclosed[1]
	}
	if *unclosed {
		return i
	}
	n := bytes.IndexByte(t.src[i+1:], t.src[i])
	if *unclosed = n < 0; n < 0 {
		return i
	}
	return i + 1 + n
}

// beginsLine says whether a name that begins at start is the first word of its line.
func (t *textMasker) beginsLine(start int) bool {
	for i := start - 1; i >= 0; i-- {
		switch t.src[i] {
		case '\n', '\r':
			return true
		case ' ', '\t', '-', '"', '\'', '#':
		default:
			return false
		}
	}
	return true
}

// endOfQuoted is where a value ends that is quoted by quote, before which that many backslashes
// stood.
func (t *textMasker) endOfQuoted(from int, quote byte, slashes int) int {
	for i := from; i < len(t.src); i++ {
		if t.src[i] != quote {
			continue
		}
		run := 0
		for i-run > from && t.src[i-run-1] == '\\' {
			run++
		}
		if slashes == 0 && run%2 == 0 || slashes > 0 && run <= slashes {
			return i - min(run, slashes)
		}
	}
	return len(t.src)
}

// endOfWord is where a value without quotes ends.
func (t *textMasker) endOfWord(from int) int {
	if n := bytes.IndexAny(t.src[from:], " \t\r\n&;,<>\"'`|)}]"); n >= 0 {
		return from + n
	}
	return len(t.src)
}

// element masks the content of the element of XML or HTML whose tag ends at i.
func (t *textMasker) element(i int) int {
	if t.open == 0 {
		return i + 1
	}
	tag := t.src[t.open:i]
	t.open = 0
	if n := bytes.IndexAny(tag, " \t\r\n"); n >= 0 {
		tag = tag[:n]
	}
	name := tag
	if n := bytes.LastIndexByte(name, ':'); n >= 0 {
		name = name[n+1:] // of a name space
	}
	if len(name) == 0 || tag[0] == '/' || t.src[i-1] == '/' || !t.names.has(name) {
		return i + 1
	}
	end, content := []byte{'<'}, bytes.TrimLeft(t.src[i+1:], " \t\r\n")
	if bytes.HasPrefix(content, end) { // more elements, or CDATA
		end = append([]byte("</"), tag...)
	}
	n := bytes.Index(t.src[i+1:], end)
	if n < 0 {
		return t.hide(name, i+1, len(t.src))
	}
	return t.hide(name, i+1, i+1+n)
}

// credentials masks those that follow the word "Bearer" or "Basic" before the space at i.
func (t *textMasker) credentials(i int) int {
	if i == 0 || t.src[i-1]|0x20 != 'r' && t.src[i-1]|0x20 != 'c' {
		return i + 1
	}
	name, _ := t.nameBefore(i)
	if !field.EqualFold(name, "bearer") && !field.EqualFold(name, "basic") {
		return i + 1
	}
	from := i + 1
	for from < len(t.src) && t.src[from] == ' ' {
		from++
	}
	end := t.endOfWord(from)
	if end-from < 8 && end < len(t.src) { // too short for credentials: the word is one of a sentence
		return i + 1
	}
	return t.hide(name, from, end)
}

// address masks the password of a URL, whose authority begins at i.
func (t *textMasker) address(i int) int {
	end := i
	for end < len(t.src) && bytes.IndexByte([]byte("/?# \t\r\n\"'<>"), t.src[end]) < 0 {
		end++
	}
	at := bytes.LastIndexByte(t.src[i:end], '@')
	colon := bytes.IndexByte(t.src[i:end], ':')
	switch {
	case at < 0 && end == len(t.src) && colon >= 0 && !isPort(t.src[i+colon+1:end]):
		at = end - i // the text was cut before it
	case at < 0 || colon < 0 || colon > at:
		return end
	}
	return t.hide([]byte("password"), i+colon+1, i+at)
}

// isPort says whether text can be the port of a URL.
func isPort(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) <= 5
}
