package importer

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pair is a key, dotted where it is in tables, with its value: a string, a number, a boolean, a
// list of strings, or a list of pairs, which is an inline table.
type pair struct {
	key   string
	value any
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// keyed joins parts of a key, with quotes where they need them.
func keyed(parts ...string) string {
	for i, p := range parts {
		if !bareKey.MatchString(p) {
			parts[i] = quoted(p)
		}
	}
	return strings.Join(parts, ".")
}

// quoted writes a string of TOML that weir takes for what it is.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "${", "$${") {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func tomlValue(v any) string {
	switch v := v.(type) {
	case string:
		return quoted(v)
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	case []string:
		if len(v) == 1 {
			return quoted(v[0])
		}
		return tomlList(v)
	case list:
		return tomlList(v)
	case []pair:
		var parts []string
		for _, p := range v {
			parts = append(parts, p.key+" = "+tomlValue(p.value))
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	case [][]pair:
		var b strings.Builder
		b.WriteString("[\n")
		for _, p := range v {
			b.WriteString("  " + tomlValue(p) + ",\n")
		}
		return b.String() + "]"
	}
	panic(fmt.Sprintf("BUG: no value of TOML: %T", v))
}

// list is a list that is written as one also where it has one element.
type list []string

func tomlList(v []string) string {
	var parts []string
	for _, s := range v {
		parts = append(parts, quoted(s))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// literal is a text for a key in which braces stand for variables.
func literal(s string) string { return strings.NewReplacer("{", "{{", "}", "}}").Replace(s) }

// substitute is a text with weir's variables in place of those of another program. value returns weir's for
// one; the first that it does not know is returned instead of the text.
func substitute(text string, variable *regexp.Regexp, value func(string) (string, bool)) (out, unknown string) {
	var b strings.Builder
	at := 0
	for _, m := range variable.FindAllStringIndex(text, -1) {
		b.WriteString(literal(text[at:m[0]]))
		v, known := value(text[m[0]:m[1]])
		if !known {
			return "", text[m[0]:m[1]]
		}
		b.WriteString(v)
		at = m[1]
	}
	return b.String() + literal(text[at:]), ""
}

// section is a table of the configuration that is being made.
type section struct {
	at       Place
	name     string
	keys     []pair
	comments []string
}

// set sets a key, in place of an earlier value.
func (s *section) set(key string, value any) {
	for i := range s.keys {
		if s.keys[i].key == key {
			s.keys[i].value = value
			return
		}
	}
	s.keys = append(s.keys, pair{key, value})
}

func (s *section) get(key string) any {
	for _, p := range s.keys {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// add adds a value to the list of a key.
func (s *section) add(key, value string) {
	have, _ := s.get(key).(list)
	s.set(key, append(slices.Clip(have), value))
}

// comment adds a comment that stands above the table.
func (s *section) comment(text string) {
	for _, c := range s.comments {
		if c == text {
			return
		}
	}
	s.comments = append(s.comments, text)
}

// write writes the table; prefix stands before each of its keys.
func (s *section) write(b *strings.Builder, head, prefix string) {
	b.WriteString("\n")
	for _, c := range s.comments {
		b.WriteString("# " + strings.ReplaceAll(c, "\n", "\n# ") + "\n")
	}
	if head != "" {
		b.WriteString(head + "\n")
	}
	for _, p := range s.keys {
		b.WriteString(strings.ReplaceAll(prefix+p.key+" = "+tomlValue(p.value), "\n", "\n"+prefix) + "\n")
	}
}

// remove removes a key.
func (s *section) remove(key string) {
	s.keys = slices.DeleteFunc(slices.Clone(s.keys), func(p pair) bool { return p.key == key })
}
