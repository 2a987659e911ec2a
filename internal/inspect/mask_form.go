package inspect

import (
	"bytes"
	"strings"

	"weir/internal/field"
)

// pairs are the places of a form where a field such as "name" has the name of a secret, whose value is in a field such
// as "value", before or after it: fields[0][name]=password&fields[0][value]=... A place is what the names of
// both have in common. nil means no place.
type pairs map[string]bool

// add looks at one field of the form.
func (p *pairs) add(names *secretNames, name, value []byte) {
	place, last := innermost(name)
	word, number := numbered(last)
	if !isNameName(word) || !names.has(value) {
		return
	}
	if *p == nil {
		*p = make(pairs)
	}
	(*p)[string(place)+string(number)] = true
}

// has says whether name is of a field that has the value of a secret.
func (p pairs) has(name []byte) bool {
	if p == nil {
		return false
	}
	place, last := innermost(name)
	word, number := numbered(last)
	return isValueName(word) && p[string(place)+string(number)]
}

// innermost cuts a field's name before its innermost part: "user[password][0]" is "password" in "user", and "login.pin" is
// "pin" in "login". An index is no part.
func innermost(name []byte) (place, last []byte) {
	const separators = "[].:/"
	for end := len(name); ; {
		for end > 0 && strings.IndexByte(separators, name[end-1]) >= 0 {
			end--
		}
		start := bytes.LastIndexAny(name[:end], separators) + 1
		if word, _ := numbered(name[start:end]); len(word) > 0 || start == 0 {
			return name[:start], name[start:end]
		}
		end = start
	}
}

// numbered cuts the number off a name such as "value_1".
func numbered(name []byte) (word, number []byte) {
	word = bytes.TrimRight(name, "0123456789")
	number = name[len(word):]
	return bytes.TrimRight(word, "-_"), number
}

// isSecretField says whether a field of a form has the name of a secret.
func (m *masker) isSecretField(name []byte) bool {
	_, last := innermost(name)
	return m.names.has(last) || m.names.has(name)
}

// appendForm masks parameters of a query or a form (application/x-www-form-urlencoded).
func (m *masker) appendForm(dst, form []byte) []byte {
	var named pairs
	for pair := range bytes.SplitSeq(form, []byte{'&'}) {
		if name, value, ok := bytes.Cut(pair, []byte{'='}); ok {
			named.add(m.names, decoded(name), decoded(value))
		}
	}
	for i, pair := range bytes.Split(form, []byte{'&'}) {
		if i > 0 {
			dst = append(dst, '&')
		}
		name, value, ok := bytes.Cut(pair, []byte{'='})
		if !ok {
			dst = m.appendDecoded(dst, pair)
			continue
		}
		dst = append(append(dst, name...), '=')
		if plain := decoded(name); m.isSecretField(plain) || named.has(plain) {
			m.note(plain)
			dst = append(dst, hidden...)
			continue
		}
		dst = m.appendDecoded(dst, value)
	}
	return dst
}

// decoded is a name or a value of a form.
func decoded(text []byte) []byte {
	return field.AppendDecoded(nil, bytes.ReplaceAll(text, []byte{'+'}, []byte{' '}))
}

// appendDecoded masks what text is when it is decoded; without secrets it stays as it is.
func (m *masker) appendDecoded(dst, text []byte) []byte {
	plain := decoded(text)
	masked := m.appendContent(nil, plain)
	if bytes.Equal(masked, plain) {
		return append(dst, text...)
	}
	return appendEncoded(dst, masked)
}

// appendEncoded appends a value as forms have it.
func appendEncoded(dst, value []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range value {
		switch {
		case field.Alphanumeric(c), c == '-', c == '_', c == '.', c == '(', c == ')':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// boundary is that of the parameters of a multipart type (RFC 2046 section 5.1.1).
func boundary(parameters string) []byte {
	for p := range parametersOf([]byte(parameters)) {
		if field.EqualFold(p.name, "boundary") {
			return p.value
		}
	}
	return nil
}

// looksLikeMultipart returns the boundary of a text that seems to be a multipart form; nil for other texts.
func looksLikeMultipart(text []byte) []byte {
	first, rest, ok := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte{'\n'})
	b, marked := bytes.CutPrefix(bytes.TrimRight(first, " \t\r"), []byte("--"))
	if !ok || !marked || len(b) == 0 {
		return nil
	}
	if n := bytes.IndexByte(rest, '\n'); n >= 0 {
		rest = rest[:n]
	}
	const fieldName = "content-"
	if len(rest) >= len(fieldName) && !field.EqualFold(rest[:len(fieldName)], fieldName) {
		return nil
	}
	return b
}

// formPart is a part of a multipart form: the mark before it, its header section with the empty line after that, its content
// and the line end after that.
type formPart struct{ mark, header, content, end []byte }

// partsOf cuts a multipart body, or the beginning of one, into its parts. The first one is what stands before the first
// mark. Lines may end with LF alone.
func partsOf(text, mark []byte) (list []formPart) {
	var before []byte
	add := func(body []byte) {
		p := formPart{mark: before}
		p.header, p.content = cutHeader(body)
		if content, ok := bytes.CutSuffix(p.content, []byte{'\n'}); ok {
			content = bytes.TrimSuffix(content, []byte{'\r'})
			p.content, p.end = content, p.content[len(content):]
		}
		list = append(list, p)
	}
	from, at := 0, 0
	for {
		n := bytes.Index(text[at:], mark)
		if n < 0 {
			add(text[from:])
			return list
		}
		at += n
		after := text[at+len(mark):]
		if (at == 0 || text[at-1] == '\n') && (len(after) == 0 || strings.IndexByte("\r\n \t-", after[0]) >= 0) {
			add(text[from:at])
			before, from = mark, at+len(mark)
		}
		at += len(mark)
	}
}

// cutHeader cuts a part after the empty line that ends its header section. content is empty if the part has no such line.
func cutHeader(part []byte) (header, content []byte) {
	for at := 0; ; at++ {
		n := bytes.IndexByte(part[at:], '\n')
		if n < 0 {
			return part, nil
		}
		at += n
		next := bytes.TrimPrefix(part[at+1:], []byte{'\r'})
		if len(next) > 0 && next[0] == '\n' {
			next = next[1:]
			return part[:len(part)-len(next)], next
		}
	}
}

// appendMultipart masks the parts of a form (RFC 7578). A body that does not have the boundary is masked whole.
func (m *masker) appendMultipart(dst, text, boundary []byte) []byte {
	mark := append([]byte("--"), boundary...)
	list := partsOf(text, mark)
	if len(text) > 0 && (len(boundary) == 0 || len(list) == 1) {
		m.note([]byte("*"))
		return append(dst, hidden...)
	}
	var named pairs
	for _, p := range list {
		named.add(m.names, partName(p.header), p.content)
	}
	for _, p := range list {
		dst = append(dst, p.mark...)
		dst = m.appendText(dst, p.header)
		switch name := partName(p.header); {
		case len(p.content) > 0 && (m.isSecretField(name) || named.has(name)):
			m.note(name)
			dst = append(dst, hidden...)
		case isText(p.content):
			dst = m.appendContent(dst, p.content)
		default:
			dst = append(dst, p.content...)
		}
		dst = append(dst, p.end...)
	}
	return dst
}

// partName is the name in the Content-Disposition of a part.
func partName(header []byte) (name []byte) {
	const disposition = "content-disposition:"
	lines := bytes.ReplaceAll(bytes.ReplaceAll(header, []byte("\r\n"), []byte{'\n'}), []byte("\n "), []byte{' '}) // unfolded
	for line := range bytes.SplitSeq(lines, []byte{'\n'}) {
		if len(line) < len(disposition) || !field.EqualFold(line[:len(disposition)], disposition) {
			continue
		}
		for p := range parametersOf(line[len(disposition):]) {
			switch {
			case field.EqualFold(p.name, "name"):
				return p.value
			case field.EqualFold(p.name, "name*"): // RFC 8187: charset'language'value
				name = field.AppendDecoded(nil, p.value[bytes.LastIndexByte(p.value, '\'')+1:])
			}
		}
	}
	return name
}

// parameter is one of a field such as Content-Disposition or Content-Type.
type parameter struct{ name, value []byte }

// parametersOf yields what stands between semicolons, also of fields that break the rules.
func parametersOf(text []byte) func(yield func(parameter) bool) {
	return func(yield func(parameter) bool) {
		for len(text) > 0 {
			end := bytes.IndexAny(text, ";=")
			if end < 0 || text[end] == ';' {
				if end < 0 {
					return
				}
				text = text[end+1:]
				continue
			}
			p := parameter{name: bytes.TrimSpace(text[:end])}
			p.value, text = cutParameter(bytes.TrimLeft(text[end+1:], " \t"))
			if !yield(p) {
				return
			}
		}
	}
}

// cutParameter cuts off the value that text begins with, without its quotes, and the semicolon after it.
func cutParameter(text []byte) (value, rest []byte) {
	if len(text) > 0 && text[0] == '"' {
		i := 1
		for ; i < len(text) && text[i] != '"'; i++ {
			if text[i] == '\\' && i+1 < len(text) {
				i++
			}
			value = append(value, text[i])
		}
		_, rest, _ = bytes.Cut(text[min(i+1, len(text)):], []byte{';'})
		return value, rest
	}
	value, rest, _ = bytes.Cut(text, []byte{';'})
	return bytes.TrimSpace(value), rest
}
