package accesslog

import (
	"slices"
	"strconv"
	"strings"

	"weir/config"
	"weir/internal/head"
)

// Format is a compiled form of a line: JSON or a template. The zero Format is JSON. A
// Format is never changed, so several goroutines may use copies.
type Format struct {
	// parts are those of the template; nil means JSON.
	parts []part
	// request and response are the header fields that a JSON line also has.
	request, response headers
}

// part is a literal text and the field after it; the last part has no field.
type part struct {
	literal string
	field   field     // noField for no field
	header  head.Name // of fieldRequestHeader and fieldResponseHeader
}

// headers are the members of an object with header fields.
type headers []member

// member is a member of a JSON object; key is its name with quotes and colon.
type member struct {
	key    string
	header head.Name
}

// combined is what the format of this name stands for.
const combined = `{client} - - [{time_clf}] "{method} {request_target} {proto}" {status} {bytes_out} "{referer}" "{user_agent}"`

// formats are the formats that have a name.
var formats = [...]string{"json", "combined"}

// ParseFormat compiles config.AccessLog.Format: "json", "combined", or a template of the
// names that Fields returns, such as "{client} {method} {request_target} {status}".
// The error is a config.Problem without a key.
func ParseFormat(text string) (Format, error) {
	switch text {
	case "json":
		return Format{}, nil
	case "combined":
		text = combined
	}
	wrong := func(found, want, hint string) (Format, error) {
		return Format{}, config.Problem{Found: found, Want: want, Hint: hint}
	}
	template, err := config.ParseTemplate(text)
	if err != nil {
		return wrong(strconv.Quote(text), err.Error(), "")
	}
	names := fieldNames()
	if len(template.Names()) == 0 {
		return wrong(strconv.Quote(text), `"json", "combined", or a template with fields of `+strings.Join(names, ", "), config.Nearest(text, formats[:]))
	}
	// A line break or another control byte would let one exchange look like two.
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return wrong(strconv.Quote(text), "no control characters but tabs", "")
		}
	}

	// The template is split into parts here, so that appending a line needs no
	// look-ups by name. A NUL, which the template cannot contain, marks the
	// positions of its variables.
	var f Format
	unknown := ""
	marked := template.Append(nil, func(name string) []byte {
		p, ok := parsePart(name, names)
		if !ok && unknown == "" {
			unknown = name
		}
		f.parts = append(f.parts, p)
		return []byte{0}
	})
	if unknown != "" {
		return wrong("{"+unknown+"}", "fields of "+strings.Join(names, ", "), config.Nearest(unknown, names))
	}
	f.parts = append(f.parts, part{field: noField})
	for i, literal := range strings.Split(string(marked), "\x00") {
		f.parts[i].literal = literal
	}
	return f, nil
}

// parsePart returns the part for a variable of a template, and whether there is such a
// field.
func parsePart(name string, names []string) (part, bool) {
	p := part{}
	if kind, header, ok := strings.Cut(name, ":"); ok {
		if header == "" {
			return p, false
		}
		name, p.header = kind+":NAME", head.NewName(header)
	}
	id := slices.Index(names, name)
	p.field = field(id)
	return p, id >= 0 && (p.field == fieldRequestHeader || p.field == fieldResponseHeader) == (p.header != head.Name{})
}

// withHeaders returns f with header fields in addition, if f is JSON.
func (f Format) withHeaders(request, response []string) Format {
	f.request, f.response = newHeaders(request), newHeaders(response)
	return f
}

func newHeaders(names []string) headers {
	var h headers
	for _, name := range names {
		h = append(h, member{strconv.Quote(name) + ":", head.NewName(name)})
	}
	return h
}

func fieldNames() []string {
	names := make([]string, fieldCount)
	for i := range allFields {
		names[i] = allFields[i].Name
	}
	return names
}

// Append appends the line of r with its line feed. It allocates only if dst is
// too short.
func (f Format) Append(dst []byte, r *Record) []byte {
	if len(f.parts) == 0 {
		return f.appendObject(dst, r)
	}
	for i := range f.parts {
		p := &f.parts[i]
		dst = append(dst, p.literal...)
		switch p.field {
		case noField:
		case fieldRequestHeader:
			dst = appendHeader(dst, r.Request, p.header)
		case fieldResponseHeader:
			dst = appendHeader(dst, r.Response, p.header)
		default:
			dst = p.field.appendText(dst, r)
		}
	}
	return append(dst, '\n')
}

// longestKey is room for the key of any field.
const longestKey = len(`,"client_fingerprint":"`)

// key is the name of a field as an object has it. The quote that begins a text is a part of it; the comma of the
// first one is replaced by the brace.
type key struct {
	text   [longestKey]byte
	length uint8
}

// keys are those of all fields. A line needs most of them, and the processor has forgotten them since the last line:
// together they are a few lines of its cache, while texts of their own would be one each.
var keys = func() (list [inJSON]key) {
	for f := range inJSON {
		text := `,"` + allFields[f].Name + `":`
		switch f {
		case fieldAttempts, fieldStatus, fieldBytesIn, fieldBytesOut, fieldDuration, fieldFirstByte:
		default:
			text += `"`
		}
		list[f].length = uint8(copy(list[f].text[:], text))
		if int(list[f].length) < len(text) {
			panic("BUG: longestKey is too short for " + text)
		}
	}
	return list
}()

// appendKey appends the key of f. It copies the room of all keys, which takes fewer steps than copying so many bytes.
func (f field) appendKey(dst []byte) []byte {
	start := len(dst)
	if cap(dst)-start < longestKey {
		dst = slices.Grow(dst, longestKey)
	}
	*(*[longestKey]byte)(dst[start : start+longestKey]) = keys[f].text
	return dst[:start+int(keys[f].length)]
}

// appendObject appends r as a JSON object without its empty fields.
func (f Format) appendObject(dst []byte, r *Record) []byte {
	start := len(dst)
	dst = r.appendMembers(dst)
	dst = f.request.append(dst, `,"request_headers":{`, r.Request)
	dst = f.response.append(dst, `,"response_headers":{`, r.Response)
	dst[start] = '{'
	return append(dst, '}', '\n')
}

// append appends a member with the header fields that are there.
func (h headers) append(dst []byte, open string, from *head.Head) []byte {
	if len(h) == 0 || from == nil {
		return dst
	}
	start := len(dst)
	dst = append(dst, open...)
	empty := len(dst)
	for i := range h {
		if value := from.Joined(h[i].header); value != nil {
			dst = append(dst, h[i].key...)
			dst = append(appendJSON(append(dst, '"'), value), '"', ',')
		}
	}
	if len(dst) == empty {
		return dst[:start]
	}
	dst[len(dst)-1] = '}' // in place of the last comma
	return dst
}
