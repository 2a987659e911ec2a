package accesslog

import (
	"fmt"
	"strings"

	"weir/config"
)

// Format is a compiled form of a line: JSON or a template. The zero Format is
// not usable: see ParseFormat. A Format is never changed, so copies may be used
// at once.
type Format struct {
	// parts are the template's; none means JSON.
	parts []part
}

// part is some literal text followed by a field, or by nothing at the end.
type part struct {
	literal string
	field   field // fieldCount for nothing
}

// ParseFormat compiles config.AccessLog.Format: "json", or a template of the
// names that Fields returns, such as "{client} {method} {request_target} {status}".
// The error names what is wrong and what is allowed.
func ParseFormat(text string) (Format, error) {
	if text == "json" {
		return Format{}, nil
	}
	template, err := config.ParseTemplate(text)
	if err != nil {
		return Format{}, fmt.Errorf("cannot read format %q: want %w", text, err)
	}
	if len(template.Names()) == 0 {
		return Format{}, fmt.Errorf("cannot read format %q: want \"json\" or a template with at least one field of %s", text, fieldNames())
	}
	// A line break or another control byte would let one exchange look like two.
	for i := 0; i < len(text); i++ {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return Format{}, fmt.Errorf("cannot read format %q: want no control characters but tabs, found %q", text, c)
		}
	}

	// The template is taken apart once: a NUL, which it cannot hold, marks where
	// its variables stand. Appending a line then needs no look-ups by name.
	var f Format
	var unknown []string
	marked := template.Append(nil, func(name string) []byte {
		id, ok := fieldByName(name)
		if !ok {
			unknown = append(unknown, name)
		}
		f.parts = append(f.parts, part{field: id})
		return []byte{0}
	})
	if len(unknown) > 0 {
		return Format{}, fmt.Errorf("cannot read format %q: want fields of %s, found %q", text, fieldNames(), unknown)
	}
	f.parts = append(f.parts, part{field: fieldCount})
	for i, literal := range strings.Split(string(marked), "\x00") {
		f.parts[i].literal = literal
	}
	return f, nil
}

func fieldByName(name string) (field, bool) {
	for id := range fields {
		if fields[id].Name == name {
			return field(id), true
		}
	}
	return fieldCount, false
}

// fieldNames returns the names for an error: `"time", "listener", ...`.
func fieldNames() string {
	var b strings.Builder
	for i := range fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`"` + fields[i].Name + `"`)
	}
	return b.String()
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

// keys are the names of fields as they stand in an object. The first comma
// becomes the brace.
var keys = func() (k [fieldCount]string) {
	for i := range fields {
		k[i] = `,"` + fields[i].Name + `":`
	}
	return k
}()

// appendObject appends r as a JSON object; fields that hold nothing are left out.
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
