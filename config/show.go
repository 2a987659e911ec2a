package config

import (
	"encoding"
	"reflect"
	"regexp"
	"strings"
)

// hidden stands for a secret.
const hidden = "(hidden)"

// Show returns the configuration as the libraries of TOML and JSON take it, for people: the
// keys that differ from their defaults, or all. Secrets are not in it: texts that the
// environment has filled are as the file has them, and passwords are hidden.
func (c *Config) Show(all bool) map[string]any {
	s := show{all: all}
	if c.source != nil {
		s.expanded = c.source.expanded
	}
	table := s.table("", reflect.ValueOf(c).Elem(), reflect.ValueOf(Default()).Elem())
	delete(table, "include") // what was included is in the table
	return table
}

// show is one run of Show.
type show struct {
	all      bool
	expanded map[string]expansion
}

// table returns the keys of a struct, whose defaults proto has.
func (s *show) table(path string, v, proto reflect.Value) map[string]any {
	table := map[string]any{}
	for _, f := range fields(v.Type()) {
		path, value := child(path, f.name), v.Field(f.index)
		if !s.all && reflect.DeepEqual(value.Interface(), proto.Field(f.index).Interface()) {
			continue
		}
		shown := s.value(path, value, proto.Field(f.index))
		if v.Type().Field(f.index).Tag.Get("secret") != "" {
			shown = s.hide(path, shown)
		}
		if shown != nil {
			table[f.name] = shown
		}
	}
	return table
}

// hide returns a shown value, a text or a table of texts, with its texts hidden.
func (s *show) hide(path string, shown any) any {
	if table, ok := shown.(map[string]any); ok {
		for name, value := range table {
			table[name] = s.hide(child(path, name), value)
		}
	} else if shown != nil && shown != "" {
		shown = s.written(path, hidden)
	}
	return shown
}

// value returns a value; nil for nothing to show.
func (s *show) value(path string, v, proto reflect.Value) any {
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := text.MarshalText()
		if err != nil {
			panic("BUG: cannot write a value: " + err.Error())
		}
		return s.text(path, string(b))
	}
	switch v.Kind() {
	case reflect.Struct:
		return s.table(path, v, proto)
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return s.element(path, v.Elem())
	case reflect.Slice:
		return s.list(path, v)
	case reflect.Map:
		return s.dictionary(path, v)
	case reflect.String:
		return s.text(path, v.String())
	}
	return v.Interface()
}

// element returns an element of a list or map, or what a pointer points to. A table of
// which only the key is there that may stand for the whole is that key's value.
func (s *show) element(path string, v reflect.Value) any {
	proto := reflect.New(v.Type()).Elem()
	layouts(nil).initialise(proto)
	shown := s.value(path, v, proto)
	table, ok := shown.(map[string]any)
	if !ok || len(table) != 1 || !v.CanAddr() {
		return shown
	}
	if short, ok := v.Addr().Interface().(shorthand); ok {
		for _, f := range fields(v.Type()) {
			if v.Field(f.index).Addr().Interface() == short.short() && table[f.name] != nil {
				return table[f.name]
			}
		}
	}
	return shown
}

func (s *show) list(path string, v reflect.Value) any {
	list := make([]any, v.Len())
	tables := make([]map[string]any, 0, v.Len())
	for i := range list {
		list[i] = s.element(element(path, i), v.Index(i))
		if table, ok := list[i].(map[string]any); ok {
			tables = append(tables, table)
		}
	}
	if len(list) > 0 && len(tables) == len(list) {
		return tables // TOML has [[tables]] for that
	}
	return list
}

func (s *show) dictionary(path string, v reflect.Value) any {
	if v.Len() == 0 {
		return nil
	}
	table := map[string]any{}
	for _, name := range v.MapKeys() {
		path, value := child(path, name.String()), reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(name))
		if value.Kind() == reflect.Interface {
			value = value.Elem() // of a Table, what the TOML library made of it
		}
		shown := s.element(path, value)
		if _, table := shown.(map[string]any); !table && sensitive.MatchString(name.String()) {
			shown = s.written(path, hidden)
		}
		table[name.String()] = shown
	}
	return table
}

// sensitive are names of header fields, cookies and parameters whose values are likely
// secrets.
var sensitive = regexp.MustCompile(`(?i)auth|cookie|passw|secret|token|credential|(^|[-_])(api)?[-_]?key$|session|signature`)

// text returns a text without passwords, and with values of the environment as they were
// written.
func (s *show) text(path, text string) string {
	if e, ok := s.expanded[parent(path)]; ok && e.text == text { // the text stands for the whole table or list
		return e.written
	}
	if passwordHash.MatchString(text) {
		return s.written(path, hidden)
	}
	return s.written(path, password.ReplaceAllString(strings.ReplaceAll(text, "${", "$${"), "${1}:"+hidden+"@"))
}

// passwordHash finds hashes of passwords as crypt(5) has them: bcrypt, argon2 and others.
var passwordHash = regexp.MustCompile(`^\$(1|2[abxy]?|5|6|7|y|apr1|argon2id?|scrypt)\$`)

// password finds the password of a URL.
var password = regexp.MustCompile(`(://[^/?#@:]*):[^/?#@]*@`)

// written returns what the file has at a path if the environment has filled it, else text.
func (s *show) written(path, text string) string {
	if e, ok := s.expanded[path]; ok {
		return e.written
	}
	return text
}
