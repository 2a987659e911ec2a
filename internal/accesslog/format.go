package accesslog

import (
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// Format is a compiled form of a line: JSON or a template. The zero Format is
// not usable: see ParseFormat. A Format is never changed, so several goroutines
// may use copies.
type Format struct {
	// parts are those of the template; nil means JSON.
	parts []part
}

// part is a literal text and the field after it; the last part has no field.
type part struct {
	literal string
	field   field // fieldCount for no field
}

// ParseFormat compiles config.AccessLog.Format: "json", or a template of the
// names that Fields returns, such as "{client} {method} {request_target} {status}".
// The error is a config.Problem without a key.
func ParseFormat(text string) (Format, error) {
	if text == "json" {
		return Format{}, nil
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
		return wrong(strconv.Quote(text), `"json", or a template with fields of `+strings.Join(names, ", "), "")
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
		id := slices.Index(names, name)
		if id < 0 && unknown == "" {
			unknown = name
		}
		f.parts = append(f.parts, part{field: field(id)})
		return []byte{0}
	})
	if unknown != "" {
		return wrong("{"+unknown+"}", "fields of "+strings.Join(names, ", "), config.Nearest(unknown, names))
	}
	f.parts = append(f.parts, part{field: fieldCount})
	for i, literal := range strings.Split(string(marked), "\x00") {
		f.parts[i].literal = literal
	}
	return f, nil
}

func fieldNames() []string {
	names := make([]string, fieldCount)
	for i := range fields {
		names[i] = fields[i].Name
	}
	return names
}

// Append appends the line of r with its line feed. It allocates only if dst is
// too short.
func (f Format) Append(dst []byte, r *Record) []byte {
	if len(f.parts) == 0 {
		return appendObject(dst, r)
	}
	for i := range f.parts {
		p := &f.parts[i]
		dst = append(dst, p.literal...)
		if p.field != fieldCount {
			dst = p.field.append(dst, r, styleText)
		}
	}
	return append(dst, '\n')
}

// keys are the names of fields as an object has them. The comma of the first one is
// replaced by the brace.
var keys = func() (k [fieldCount]string) {
	for i := range fields {
		k[i] = `,"` + fields[i].Name + `":`
	}
	return k
}()

// appendObject appends r as a JSON object without its empty fields.
func appendObject(dst []byte, r *Record) []byte {
	start := len(dst)
	for id := range fieldCount {
		key := len(dst)
		dst = append(dst, keys[id]...)
		value := len(dst)
		dst = id.append(dst, r, styleJSON)
		if len(dst) == value {
			dst = dst[:key]
		}
	}
	dst[start] = '{'
	return append(dst, '}', '\n')
}
