package config

import (
	"bytes"
	"embed"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"unicode"
)

// The files whose doc comments describe keys, so that each text exists once.
//
//go:embed config.go access.go admin.go balance.go cache.go certificates.go client.go compress.go cors.go files.go errorpages.go inspect.go route_metric.go discovery.go statistics.go objective.go tls.go tracing.go
var sources embed.FS

// Schema returns a JSON Schema (draft 2020-12) of the configuration for editors:
// the types, descriptions, defaults, values and bounds of all keys. Validate checks more
// than the schema says. names are the values of keys that other packages know, by the
// path of the key without indexes and names: "upstreams.balance". Maps are sorted, so
// that the bytes change only with the keys.
func Schema(names map[string][]string) []byte {
	s := schema{comments: comments(), names: names}
	c := Default()
	c.source = new(source) // what a file must have
	root := s.describe("", reflect.ValueOf(c).Elem())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "weir configuration"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic("BUG: cannot encode the schema: " + err.Error())
	}
	return b.Bytes()
}

// schema is what the description of keys is made of.
type schema struct {
	comments map[string]string   // of types ("Route") and fields ("Route.Path")
	names    map[string][]string // by path
}

// comments reads the doc comments of all struct types and their fields.
func comments() map[string]string {
	list := map[string]string{}
	files, err := sources.ReadDir(".")
	if err != nil {
		panic("BUG: cannot list the embedded source: " + err.Error())
	}
	for _, file := range files {
		text, err := sources.ReadFile(file.Name())
		if err != nil {
			panic("BUG: cannot read the embedded source: " + err.Error())
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file.Name(), text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			panic("BUG: cannot parse the embedded source: " + err.Error())
		}
		for _, decl := range tree.Decls {
			if types, ok := decl.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				addComments(list, types)
			}
		}
	}
	return list
}

func addComments(list map[string]string, types *ast.GenDecl) {
	for _, spec := range types.Specs {
		t := spec.(*ast.TypeSpec)
		list[t.Name.Name] = flat(types.Doc)
		if s, ok := t.Type.(*ast.StructType); ok {
			last := ""
			for _, f := range s.Fields.List {
				if f.Doc != nil { // without a comment the one of the field before is about both
					last = flat(f.Doc)
				}
				for _, name := range f.Names {
					list[t.Name.Name+"."+name.Name] = inKeys(last, s)
				}
			}
		}
	}
}

// inKeys replaces names of fields, which users of a file do not know, by names
// of keys: the name that the text starts with, all names in mixed case
// ("MinRate"), which cannot be ordinary words, and other names within a sentence.
func inKeys(text string, s *ast.StructType) string {
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			if f.Tag == nil {
				continue
			}
			key := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("toml")
			if rest, ok := strings.CutPrefix(text, name.Name); ok && strings.HasPrefix(strings.TrimPrefix(rest, ","), " ") {
				text = key + rest
			}
			switch {
			case !strings.ContainsFunc(name.Name, unicode.IsLower): // an abbreviation, such as URL
			case strings.ContainsFunc(name.Name[1:], unicode.IsUpper):
				text = strings.ReplaceAll(text, name.Name, key)
			default:
				within := regexp.MustCompile(`([a-z0-9,;] )` + name.Name + `\b`)
				text = within.ReplaceAllString(text, "${1}"+key)
			}
		}
	}
	return text
}

// flat returns a comment as one line.
func flat(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }

// fromEnvironment is the pattern of a text that the environment makes anything of.
const fromEnvironment = `\$\{`

// describe returns the schema of v, which has its defaults, at a path without indexes and
// names.
func (s *schema) describe(path string, v reflect.Value) map[string]any {
	switch value := v.Addr().Interface().(type) {
	case textual:
		text := map[string]any{"type": "string"}
		if p, ok := value.(interface{ pattern() string }); ok {
			text["pattern"] = "^(" + p.pattern() + `)$|` + fromEnvironment
		}
		return text
	case shorthand:
		short := reflect.New(reflect.TypeOf(value.short()).Elem()).Elem()
		full := reflect.New(v.Type()).Elem()
		layouts(nil).initialise(full)
		return map[string]any{"anyOf": []any{s.describe(path, short), s.structure(path, full)}}
	}
	return s.structure(path, v)
}

// structure is describe for types without a form of their own.
func (s *schema) structure(path string, v reflect.Value) map[string]any {
	inner := func(t reflect.Type) map[string]any {
		element := reflect.New(t).Elem()
		layouts(nil).initialise(element)
		return s.describe(path, element)
	}
	switch v.Kind() {
	case reflect.Struct:
		return s.table(path, v)
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": inner(v.Type().Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": inner(v.Type().Elem())}
	case reflect.Pointer:
		return inner(v.Type().Elem())
	case reflect.Interface: // anything
		return map[string]any{}
	case reflect.String:
		text := map[string]any{"type": "string"}
		if known := s.names[path]; known != nil {
			return oneOf(text, anyOf(known))
		}
		return text
	case reflect.Bool:
		return orText("boolean")
	case reflect.Int:
		number := orText("integer")
		number["minimum"] = 0
		return number
	case reflect.Float64:
		return orText("number")
	}
	panic(fmt.Sprintf("BUG: no schema for the type %s", v.Type()))
}

// orText is the schema of a type that a text from the environment may stand for.
func orText(kind string) map[string]any {
	return map[string]any{"type": []string{kind, "string"}, "pattern": fromEnvironment}
}

// table is structure for a struct.
func (s *schema) table(path string, v reflect.Value) map[string]any {
	r := new(rules)
	if checked, ok := v.Addr().Interface().(validator); ok {
		r = rulesOf(checked)
	}
	keys := map[string]any{}
	for _, f := range fields(v.Type()) {
		key := s.describe(child(path, f.name), v.Field(f.index))
		r.apply(f.name, key)
		key["description"] = s.comments[v.Type().Name()+"."+v.Type().Field(f.index).Name]
		if value, ok := plain(v.Field(f.index)); ok {
			key["default"] = value
		}
		keys[f.name] = key
	}
	table := map[string]any{"type": "object", "additionalProperties": false, "properties": keys}
	if r.required != nil {
		table["required"] = r.required
	}
	if r.choice != nil {
		var one []any
		for _, name := range r.choice {
			one = append(one, map[string]any{"required": []string{name}})
		}
		table["oneOf"] = one
	}
	return table
}

// apply adds the rules of a key to its schema.
func (r *rules) apply(name string, key map[string]any) {
	if values := r.enums[name]; values != nil {
		oneOf(key, values)
	}
	if b, ok := r.bounds[name]; ok {
		key["minimum"], key["maximum"] = b[0], b[1]
	}
	if r.positive[name] {
		key["not"] = map[string]any{"pattern": "^[0.]+(ns|us|µs|ms|s|m|h)?$"}
	}
}

// oneOf makes values the only ones that a schema allows, besides texts from the
// environment.
func oneOf(schema map[string]any, values []any) map[string]any {
	schema["anyOf"] = []any{map[string]any{"enum": values}, map[string]any{"type": "string", "pattern": fromEnvironment}}
	return schema
}

// plain returns the default of a key as TOML and JSON would write it; false for
// tables, and lists and maps of tables, whose keys have the defaults.
func plain(v reflect.Value) (any, bool) {
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := text.MarshalText()
		if err != nil {
			panic("BUG: cannot write a default: " + err.Error())
		}
		return string(b), true
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return nil, false
	case reflect.Slice:
		list := []any{}
		if e := v.Type().Elem(); e.Kind() == reflect.Struct && len(fields(e)) > 0 {
			return nil, false
		}
		for i := range v.Len() {
			value, _ := plain(v.Index(i))
			list = append(list, value)
		}
		return list, true
	}
	return v.Interface(), true
}

func (*Duration) pattern() string { return `0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+` }
func (*Size) pattern() string     { return `[0-9]+([KMGT]i?B|B)?` }
