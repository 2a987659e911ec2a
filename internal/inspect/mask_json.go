package inspect

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// looksLikeJSON says whether text, or the beginning of one, seems to be JSON.
func looksLikeJSON(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n\xef\xbb\xbf")
	if bytes.HasPrefix(text, []byte(")]}'")) { // keeps scripts from reading it
		return true
	}
	if len(text) < 2 || text[0] != '{' && text[0] != '[' {
		return false
	}
	rest := bytes.TrimLeft(text[1:], " \t\r\n")
	if len(rest) == 0 {
		return false
	}
	switch c := rest[0]; text[0] {
	case '{':
		return c == '"' || c == '}'
	default:
		return c == '{' || c == '[' || c == '"' || c == ']' || '0' <= c && c <= '9'
	}
}

// jsonMasker walks through JSON, or what is nearly that: a document that was cut, several
// documents, or damaged ones.
type jsonMasker struct {
	*masker
	src, dst []byte
	at       int
	// open are the open lists and objects, the innermost last; root is outside of all.
	open []container
	root container
	// last is the word or string that came last, as it is written; nil after a colon or a comma. What stands before a
	// colon is a name, in damaged documents too.
	last []byte
}

// container is an open list or object.
type container struct {
	object bool
	// key says that a name comes next; secret that the value that comes next is one.
	key, secret bool
	// name is the member before the colon. paired says that a member such as "name" has named a
	// secret, whose value is in a member such as "value".
	name   []byte
	paired bool
	// value is where in dst such a value is that came before its name; its end is 0 until it is known.
	value [2]int
}

// maxDepth bounds the open containers that are followed. Deeper ones are masked whole.
const maxDepth = 200

// appendJSON masks the values of members with the names of secrets.
func (m *masker) appendJSON(dst, text []byte) []byte {
	j := jsonMasker{masker: m, src: text, dst: dst}
	for j.at < len(j.src) {
		j.step()
	}
	return j.dst
}

// top is the innermost container.
func (j *jsonMasker) top() *container {
	if len(j.open) == 0 {
		return &j.root
	}
	return &j.open[len(j.open)-1]
}

// step takes one token.
func (j *jsonMasker) step() {
	c, top := j.src[j.at], j.top()
	switch c {
	case ' ', '\t', '\r', '\n':
		j.copy(1)
	case ':':
		j.copy(1)
		j.named(top)
	case ',':
		if top.value[0] > 0 && top.value[1] == 0 {
			top.value[1] = len(j.dst)
		}
		top.key, top.secret, j.last = top.object, false, nil
		j.copy(1)
	case '{', '[':
		if top.secret || len(j.open) >= maxDepth {
			j.hideContainer()
			return
		}
		j.copy(1)
		j.open, j.last = append(j.open, container{object: c == '{', key: c == '{'}), nil
	case '}', ']':
		j.copy(1)
		if j.last = nil; len(j.open) > 0 {
			j.open = j.open[:len(j.open)-1]
		}
		j.top().secret = false
	case '"':
		j.text(top)
	default:
		j.literal(top)
	}
}

func (j *jsonMasker) copy(n int) {
	j.dst = append(j.dst, j.src[j.at:j.at+n]...)
	j.at += n
}

// named takes what came before a colon as the name of a member.
func (j *jsonMasker) named(top *container) {
	if top.key = false; j.last == nil {
		return
	}
	top.name, j.last = unescaped(j.last), nil
	top.secret = j.names.has(top.name) || top.paired && isValueName(top.name)
	if !top.secret && isValueName(top.name) {
		top.value = [2]int{len(j.dst), 0}
	}
}

// text takes a string: a name or a value.
func (j *jsonMasker) text(top *container) {
	end := endOfString(j.src, j.at)
	raw := j.src[j.at:end]
	j.last = raw
	switch {
	case top.key:
		top.key = false
		j.copy(len(raw))
	case top.secret:
		j.hide(top, end)
	default:
		if top.object && isNameName(top.name) {
			if top.paired = j.names.has(unescaped(raw)); top.paired {
				j.hideBefore(top)
			}
		}
		inner := bytes.TrimSuffix(raw[1:], []byte{'"'})
		j.dst = append(j.dst, '"')
		j.dst = j.appendText(j.dst, inner)
		if len(inner)+2 == len(raw) {
			j.dst = append(j.dst, '"')
		}
		j.at = end
	}
}

// literal takes a number, true, false, null, or what does not belong there.
func (j *jsonMasker) literal(top *container) {
	end := j.at + 1
	for end < len(j.src) && strings.IndexByte(" \t\r\n:,{}[]\"", j.src[end]) < 0 {
		end++
	}
	j.last = j.src[j.at:end]
	if top.secret && string(j.last) != "null" {
		j.hide(top, end)
		return
	}
	j.copy(end - j.at)
}

// hide masks the value up to end.
func (j *jsonMasker) hide(top *container, end int) {
	j.note(top.name)
	j.dst = append(append(append(j.dst, '"'), hidden...), '"')
	j.at = end
}

// hideBefore masks the value that came before its name.
func (j *jsonMasker) hideBefore(top *container) {
	if start, end := top.value[0], top.value[1]; end > 0 {
		j.note(top.name)
		j.dst = slices.Replace(j.dst, start, end, []byte(`"`+hidden+`"`)...)
		top.value = [2]int{}
	}
}

// hideContainer masks the list or object that begins here, to its end.
func (j *jsonMasker) hideContainer() {
	depth, end := 0, j.at
	for end < len(j.src) {
		switch j.src[end] {
		case '"':
			end = endOfString(j.src, end)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		end++
		if depth == 0 {
			break
		}
	}
	top := j.top()
	j.hide(top, end)
	top.secret = false
}

// endOfString is the place after the string that begins at start, or the end of a text that was cut
// in it.
func endOfString(src []byte, start int) int {
	for i := start + 1; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(src)
}

// unescaped is a string of JSON, with its quotes, without its escapes; or a word, which may have other quotes.
func unescaped(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return bytes.Trim(raw, "\"'`")
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return bytes.Trim(raw, "\"'`")
	}
	return []byte(text)
}

// isNameName says whether a member says what another one, isValueName, has the value of, as in
// {"name": "password", "value": "..."}.
func isNameName(name []byte) bool {
	switch string(bytes.ToLower(name)) {
	case "name", "key", "field", "id":
		return true
	}
	return false
}

func isValueName(name []byte) bool {
	switch string(bytes.ToLower(name)) {
	case "value", "val", "content", "text", "data":
		return true
	}
	return false
}
