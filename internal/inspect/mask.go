package inspect

import (
	"bytes"
	"strings"

	"weir/internal/field"
	"weir/internal/head"
)

// masker replaces secrets in what is to be kept, and notes where they were. It belongs to one
// goroutine.
type masker struct {
	names *secretNames
	// at is the message or the body that is masked, places are where something was masked in it.
	at     string
	places []string
}

// maxPlaces bounds the places that are noted.
const maxPlaces = 100

// note notes that the value of a name was masked.
func (m *masker) note(name []byte) {
	if len(m.places) >= maxPlaces {
		return
	}
	place := m.at + "." + strings.ToLower(string(name[:min(len(name), maxKnownLength)]))
	for _, p := range m.places {
		if p == place {
			return
		}
	}
	m.places = append(m.places, place)
}

// appendFields appends the field lines of h, each with "\n" at its end, with their secrets masked.
func (m *masker) appendFields(dst []byte, h *head.Head) []byte {
	for f := range h.All() {
		dst = m.appendField(dst, f.Name, f.Value)
	}
	return dst
}

func (m *masker) appendField(dst, name, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	switch {
	case field.EqualFold(name, "cookie"):
		dst = m.appendCookies(dst, name, value)
	case field.EqualFold(name, "set-cookie"):
		dst = m.appendSetCookie(dst, name, value)
	case m.names.has(name):
		m.note(name)
		dst = appendScheme(dst, value)
	case bytes.IndexByte(value, '=') >= 0 || bytes.IndexByte(value, ':') >= 0 || bytes.IndexByte(value, ' ') >= 0:
		dst = m.appendText(dst, value)
	default:
		dst = append(dst, value...)
	}
	return append(dst, '\n')
}

// appendCookies keeps the names of cookies alone (RFC 6265 section 4.2.1).
func (m *masker) appendCookies(dst, name, value []byte) []byte {
	m.note(name)
	for i, pair := range bytes.Split(value, []byte{';'}) {
		if i > 0 {
			dst = append(dst, "; "...)
		}
		cookie, _, ok := bytes.Cut(field.Trim(pair), []byte{'='})
		if ok {
			dst = append(append(dst, cookie...), '=')
		}
		dst = append(dst, hidden...)
	}
	return dst
}

// appendSetCookie keeps a cookie's name and attributes (RFC 6265 section 4.1.1).
func (m *masker) appendSetCookie(dst, name, value []byte) []byte {
	m.note(name)
	pair, attributes, _ := bytes.Cut(value, []byte{';'})
	cookie, _, ok := bytes.Cut(pair, []byte{'='})
	if ok {
		dst = append(append(dst, cookie...), '=')
	}
	dst = append(dst, hidden...)
	if len(attributes) > 0 {
		dst = append(append(dst, ';'), attributes...)
	}
	return dst
}

// authSchemes are those that stand before credentials (RFC 9110 section 11.4) and are no secrets.
var authSchemes = []string{"basic", "bearer", "digest", "negotiate", "ntlm", "token", "dpop", "hoba", "mutual", "aws4-hmac-sha256"}

// scheme returns the authentication scheme that value begins with, and a space; nil if there is none.
func scheme(value []byte) []byte {
	word, _, ok := bytes.Cut(value, []byte{' '})
	if !ok {
		return nil
	}
	for _, s := range authSchemes {
		if field.EqualFold(word, s) {
			return value[:len(word)+1]
		}
	}
	return nil
}

// appendScheme masks credentials but for their scheme.
func appendScheme(dst, value []byte) []byte {
	return append(append(dst, scheme(value)...), hidden...)
}

// appendTarget masks a request target, or a URL: the parameters of its query and of its path, and
// a password before its host.
func (m *masker) appendTarget(dst, target []byte) []byte {
	path, query, ok := bytes.Cut(target, []byte{'?'})
	dst = m.appendText(dst, path)
	if ok {
		dst = m.appendForm(append(dst, '?'), query)
	}
	return dst
}

// appendContent masks what may be JSON, a multipart form or any other text.
func (m *masker) appendContent(dst, text []byte) []byte {
	if looksLikeJSON(text) {
		return m.appendJSON(dst, text)
	}
	if b := looksLikeMultipart(text); b != nil {
		return m.appendMultipart(dst, text, b)
	}
	return m.appendText(dst, text)
}

// appendBody masks a body, or the beginning of one, of a media type as Content-Type has it. Types may lie: programs
// send JSON as a form because that is what they send without being told.
func (m *masker) appendBody(dst []byte, contentType string, text []byte) []byte {
	kind, parameters, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch {
	case kind == "application/x-www-form-urlencoded":
		if looksLikeJSON(text) || looksLikeMultipart(text) != nil {
			return m.appendContent(dst, text)
		}
		return m.appendForm(dst, text)
	case strings.HasPrefix(kind, "multipart/"):
		return m.appendMultipart(dst, text, boundary(parameters))
	case kind == "text/event-stream":
		return m.appendEvents(dst, text)
	case isJSONKind(kind) && !beginsWithWord(text):
		return m.appendJSON(dst, text)
	case !isText(text):
		return append(dst, text...)
	}
	return m.appendContent(dst, text)
}

func isJSONKind(kind string) bool {
	return strings.HasSuffix(kind, "json") || strings.HasSuffix(kind, "json-seq") || strings.HasSuffix(kind, "jsonl") || strings.HasSuffix(kind, "json-lines")
}

// beginsWithWord says whether text begins as no JSON does: with a letter, as forms do, with "<" or with "-".
func beginsWithWord(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n\xef\xbb\xbf")
	return len(text) > 0 && (text[0] == '<' || text[0] == '-' || field.Alphanumeric(text[0]) && text[0] > '9')
}

// appendEvents masks server-sent events. The data of an event may be spread over lines.
func (m *masker) appendEvents(dst, text []byte) []byte {
	var data [][]byte
	flush := func() {
		if len(data) == 0 {
			return
		}
		masked := m.appendContent(nil, bytes.Join(data, []byte{'\n'}))
		for line := range bytes.SplitSeq(masked, []byte{'\n'}) {
			dst = append(append(append(dst, "data: "...), line...), '\n')
		}
		data = data[:0]
	}
	for line := range bytes.Lines(text) {
		value, isData := bytes.CutPrefix(line, []byte("data:"))
		if isData {
			data = append(data, bytes.TrimPrefix(bytes.TrimRight(value, "\r\n"), []byte{' '}))
			continue
		}
		flush()
		dst = m.appendText(dst, line)
	}
	flush()
	return dst
}
