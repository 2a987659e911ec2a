package config

import (
	"encoding"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/field"
)

// tagged is a key that a struct has: one with a toml tag.
type tagged struct {
	name  string
	index int
}

// fields returns the keys of a struct type in the order of its source.
func fields(t reflect.Type) []tagged {
	var list []tagged
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ","); name != "" && name != "-" {
			list = append(list, tagged{name, i})
		}
	}
	return list
}

// layouts remembers the keys of struct types, for configurations with many tables. A nil
// map remembers nothing.
type layouts map[reflect.Type][]tagged

func (l layouts) of(t reflect.Type) []tagged {
	list, ok := l[t]
	if !ok {
		list = fields(t)
		if l != nil {
			l[t] = list
		}
	}
	return list
}

// shorthand is implemented by types that may be written as one string, number
// or boolean in place of their table or list.
type shorthand interface {
	// short returns a pointer to the string, number or boolean inside the value
	// that the short form sets.
	short() any
}

// textual is implemented by the text types.
type textual interface {
	encoding.TextUnmarshaler
	// want says what texts are allowed; so does the error of UnmarshalText.
	want() string
}

func (*Duration) want() string { return wantDuration }
func (*Size) want() string     { return wantSize }
func (*Address) want() string  { return wantAddress }
func (*Prefix) want() string   { return wantPrefix }
func (*Template) want() string { return "a string" }

func (s *Strings) short() any {
	*s = make(Strings, 1)
	return &(*s)[0]
}

func (t *Target) short() any { return &t.URL }

// decoder sets Go values to what a file says and collects what is wrong.
type decoder struct {
	source   *source
	layouts  layouts
	problems Errors
}

func (d *decoder) report(path, found, want, hint string) {
	at := d.source.place(path)
	d.problems = append(d.problems, Problem{
		File: at.file, Line: at.line, Key: path, Found: found, Want: want, Hint: hint,
	})
}

// decode sets dst, which has its defaults, to src, which is what the TOML
// library makes of any value.
func (d *decoder) decode(path string, dst reflect.Value, src any) {
	switch to := dst.Addr().Interface().(type) {
	case textual:
		d.text(path, to, src)
		return
	case *Table:
		table, ok := src.(map[string]any)
		if !ok {
			d.report(path, describe(src), wantOf(dst.Type()), "")
		}
		*to = table
		return
	case shorthand:
		if structured(src) {
			break
		}
		text, _ := src.(string)
		if short := reflect.ValueOf(to.short()).Elem(); reflect.TypeOf(src).Kind() == short.Kind() || strings.Contains(text, variable) {
			d.decode(path, short, src)
			return
		}
		d.report(path, describe(src), wantOf(dst.Type()), "")
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		d.table(path, dst, src)
	case reflect.Map:
		d.dictionary(path, dst, src)
	case reflect.Slice:
		d.list(path, dst, src)
	case reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		d.layouts.initialise(dst.Elem())
		d.decode(path, dst.Elem(), src)
	default:
		d.scalar(path, dst, src)
	}
}

// Table is a table whose keys another package knows, as the TOML library read it.
type Table map[string]any

// Decode sets the struct that dst points to, which has its defaults and a tag such
// as `toml:"name"` for each key, to what t says. The problems are of the same kind
// as those of Load; their keys are below t's own.
func (t Table) Decode(dst any) []Problem {
	d := decoder{source: new(source)}
	d.table("", reflect.ValueOf(dst).Elem(), map[string]any(t))
	return d.problems
}

// initialise gives a new element its defaults.
func (l layouts) initialise(v reflect.Value) {
	if v.Kind() == reflect.Struct {
		l.setDefaults(v)
	}
}

// structured says whether a decoded value is a table or a list.
func structured(src any) bool {
	switch src.(type) {
	case map[string]any, []map[string]any, []any:
		return true
	}
	return false
}

func (d *decoder) table(path string, dst reflect.Value, src any) {
	table, ok := src.(map[string]any)
	if !ok {
		d.report(path, describe(src), wantOf(dst.Type()), "")
		return
	}
	known := d.layouts.of(dst.Type())
	for _, f := range known {
		if value, ok := table[f.name]; ok {
			d.decode(child(path, f.name), dst.Field(f.index), value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !slices.ContainsFunc(known, func(f tagged) bool { return f.name == name }) {
			var names []string
			for _, f := range known {
				names = append(names, f.name)
			}
			nearest := Nearest(name, names)
			if path != "" && nearest == "" && slices.ContainsFunc(d.layouts.of(reflect.TypeFor[Config]()), func(f tagged) bool { return f.name == name }) {
				d.report(child(path, name), fmt.Sprintf("%q, which is a key of the whole file", name), "it outside this table: keys of the file stand before its first table", "")
				continue
			}
			d.report(child(path, name), "an unknown key", "one of "+strings.Join(names, ", "), nearest)
		}
	}
}

func (d *decoder) dictionary(path string, dst reflect.Value, src any) {
	table, ok := src.(map[string]any)
	if !ok {
		d.report(path, describe(src), wantOf(dst.Type()), "")
		return
	}
	dst.Set(reflect.MakeMapWithSize(dst.Type(), len(table)))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		value := reflect.New(dst.Type().Elem()).Elem()
		d.layouts.initialise(value)
		d.decode(child(path, name), value, table[name])
		dst.SetMapIndex(reflect.ValueOf(name), value)
	}
}

func (d *decoder) list(path string, dst reflect.Value, src any) {
	var values []any
	switch src := src.(type) {
	case []any:
		values = src
	case []map[string]any:
		for _, table := range src {
			values = append(values, table)
		}
	default:
		d.report(path, describe(src), wantOf(dst.Type()), "")
		return
	}
	list := reflect.MakeSlice(dst.Type(), len(values), len(values))
	for i, value := range values {
		d.layouts.initialise(list.Index(i))
		d.decode(element(path, i), list.Index(i), value)
	}
	dst.Set(list)
}

func (d *decoder) text(path string, dst textual, src any) {
	written, ok := src.(string)
	if !ok {
		d.report(path, describe(src), dst.want(), "")
		return
	}
	plain := func(value string) string { return value }
	if _, ok := dst.(*Template); ok {
		plain = doubleBraces.Replace // a value is no template
	}
	text, ok := d.expand(path, written, plain)
	if !ok {
		return
	}
	if err := dst.UnmarshalText([]byte(text)); err != nil {
		found := strconv.Quote(text)
		if text != written {
			found += " with the values of the environment"
		}
		d.report(path, found, err.Error(), "")
	}
}

var doubleBraces = strings.NewReplacer("{", "{{", "}", "}}")

func (d *decoder) scalar(path string, dst reflect.Value, src any) {
	switch src := src.(type) {
	case string:
		if dst.Kind() == reflect.String {
			if text, ok := d.expand(path, src, func(value string) string { return value }); ok {
				dst.SetString(text)
			}
			return
		}
		if strings.Contains(src, variable) {
			d.fromText(path, dst, src)
			return
		}
	case bool:
		if dst.Kind() == reflect.Bool {
			dst.SetBool(src)
			return
		}
	case int64:
		if dst.CanFloat() {
			dst.SetFloat(float64(src))
			return
		}
		if dst.CanInt() && !dst.OverflowInt(src) {
			dst.SetInt(src)
			return
		}
	case float64:
		if dst.CanFloat() {
			dst.SetFloat(src)
			return
		}
	}
	d.report(path, describe(src), wantOf(dst.Type()), "")
}

// fromText sets a number or boolean that the environment has as text.
func (d *decoder) fromText(path string, dst reflect.Value, written string) {
	text, ok := d.expand(path, written, func(value string) string { return value })
	if !ok {
		return
	}
	switch dst.Kind() {
	case reflect.Bool:
		if text == "true" || text == "false" {
			dst.SetBool(text == "true")
			return
		}
	case reflect.Int:
		if n, err := strconv.Atoi(text); err == nil {
			dst.SetInt(int64(n))
			return
		}
	case reflect.Float64:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			dst.SetFloat(f)
			return
		}
	}
	d.report(path, strconv.Quote(text)+" with the values of the environment", wantOf(dst.Type()), "")
}

// variable is how a value of the environment begins in a text.
const variable = "${"

// expand replaces "${NAME}" by what plain makes of the environment's value of NAME,
// "${NAME:-default}" by the default if that is empty or not set, "${file:PATH}" by what the
// file has without its last line end, and "$${" by "${". It says whether it could.
func (d *decoder) expand(path, written string, plain func(value string) string) (string, bool) {
	const start = variable
	var b strings.Builder
	good, rest := true, written
	values := map[string]string{}
	for {
		i := strings.Index(rest, start)
		if i < 0 {
			b.WriteString(rest)
			break
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1] + start)
			rest = rest[i+len(start):]
			continue
		}
		b.WriteString(rest[:i])
		name, after, closed := strings.Cut(rest[i+len(start):], "}")
		value, want := lookUp(name)
		if !closed {
			want = wantVariable
		}
		if want == wantVariable {
			d.report(path, strconv.Quote(rest[i:]), want, "")
			return "", false
		}
		if want != "" {
			d.report(path, strconv.Quote(start+name+"}"), want, "")
			good = false
		}
		value = plain(value)
		values[start+name+"}"] = value
		b.WriteString(value)
		rest = after
	}
	if len(values) > 0 {
		d.source.noteExpansion(path, expansion{written, b.String(), values})
	}
	return b.String(), good
}

const wantVariable = `"${NAME}" with letters, digits and underscores, "${NAME:-default}", "${file:PATH}", or "$${" for a literal "${"`

// lookUp returns the value of what stands between "${" and "}"; want is what is allowed
// in its place if it has none.
func lookUp(name string) (value, want string) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		text, err := ReadFile(path)
		if err != nil {
			return "", "a file that can be read: " + reason(err)
		}
		return strings.TrimRight(string(text), "\r\n"), ""
	}
	name, byDefault, has := strings.Cut(name, ":-")
	value, set := os.LookupEnv(name)
	switch {
	case !validEnvironmentName(name):
		return "", wantVariable
	case has && value == "":
		return byDefault, ""
	case !set:
		return "", "the name of an environment variable that is set"
	}
	return value, ""
}

func validEnvironmentName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !field.Alphanumeric(c) && c != '_' {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}

// describe says what a file has, for the Found of a Problem.
func describe(src any) string {
	switch src := src.(type) {
	case string:
		return strconv.Quote(src)
	case bool:
		return "boolean " + strconv.FormatBool(src)
	case int64:
		return "integer " + strconv.FormatInt(src, 10)
	case float64:
		return "float " + strconv.FormatFloat(src, 'g', -1, 64)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	panic(fmt.Sprintf("BUG: the TOML library returned a %T", src))
}

// wantOf says what a file may have for a Go type, for the Want of a Problem.
func wantOf(t reflect.Type) string {
	want := ""
	switch value := reflect.New(t).Interface().(type) {
	case textual:
		return value.want()
	case shorthand:
		want = wantOf(reflect.TypeOf(value.short()).Elem()) + " or "
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return want + "a table"
	case reflect.Slice:
		if e := t.Elem(); e.Kind() == reflect.Struct && len(fields(e)) > 0 {
			if _, ok := reflect.New(e).Interface().(shorthand); ok {
				return want + "a list, as in [\"...\"]"
			}
			return want + "a list of tables"
		}
		return want + "a list"
	case reflect.Pointer:
		return want + wantOf(t.Elem())
	case reflect.Bool:
		return want + "true or false"
	case reflect.String:
		return want + "a string"
	case reflect.Float64:
		return want + "a number"
	}
	return want + "a whole number"
}
