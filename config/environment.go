package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// envPrefix begins the environment variables that set keys, and envSeparator stands between
// the parts of a key's path.
const (
	envPrefix    = "WEIR_"
	envSeparator = "__"
)

// shortNames are variables for what is set most often. In the path, "*" stands for all
// upstreams or routes, and "1" for the only upstream.
var shortNames = map[string][]string{
	"LISTEN":    {"listeners", "0", "address"},
	"TARGETS":   {"upstreams", "1", "targets"},
	"RETRIES":   {"upstreams", "*", "retry", "attempts"},
	"CACHE_TTL": {"routes", "*", "cache", "default_ttl"},
	"METRICS":   {"metrics", "address"},
}

// withoutFile is the configuration that WEIR_LISTEN and WEIR_TARGETS complete where there is no
// file.
const withoutFile = "[[listeners]]\n[[routes]]\nupstream = \"to\"\n[upstreams.to]\n"

// variable says whether a variable of that short name is set.
func (l *Loader) variable(short string) bool {
	return slices.ContainsFunc(l.Environ, func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		return name == envPrefix+short && value != ""
	})
}

// environment puts what variables set into the table, over what files have.
func (r *reading) environment(environ []string) {
	environ = slices.Sorted(slices.Values(environ)) // short names do not depend on the order
	top := reflect.TypeFor[Config]()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || value == "" {
			continue
		}
		v := variableSetting{r: r, name: name, value: value}
		switch parts, short := shortNames[rest]; {
		case short:
			for _, parts := range r.spread(&v, parts) {
				v.set(parts)
			}
		case strings.Contains(rest, envSeparator):
			v.set(strings.Split(rest, envSeparator))
		case slices.ContainsFunc(fields(top), func(f tagged) bool { return strings.ToUpper(f.name) == rest && f.name != "include" }):
			v.set([]string{rest})
		}
	}
}

// spread returns the paths that a short name stands for.
func (r *reading) spread(v *variableSetting, parts []string) (list [][]string) {
	if parts[1] != "*" && parts[1] != "1" {
		return [][]string{parts}
	}
	with := func(second string) { list = append(list, slices.Concat(parts[:1], []string{second}, parts[2:])) }
	if parts[0] == "routes" {
		for i, route := range asList(r.table["routes"]) {
			if table, ok := route.(map[string]any); ok && table["cache"] != nil && table["cache"] != false {
				with(strconv.Itoa(i))
			}
		}
		return list
	}
	upstreams, _ := r.table["upstreams"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		with(name)
	}
	if parts[1] == "1" && len(list) != 1 {
		v.problem("upstreams", fmt.Sprintf("found %d upstreams: %s is for one; say which by %sUPSTREAMS%sNAME%sTARGETS", len(list), v.name, envPrefix, envSeparator, envSeparator))
		return nil
	}
	if v.name == envPrefix+"RETRIES" {
		n, err := strconv.Atoi(v.value)
		if err != nil || n < 0 {
			v.problem("", fmt.Sprintf("found %q: want the number of further attempts, 0 or more", v.value))
			return nil
		}
		v.value = strconv.Itoa(n + 1)
	}
	return list
}

// variableSetting is one variable on its way into the table.
type variableSetting struct {
	r           *reading
	name, value string
}

func (v *variableSetting) problem(key, message string) {
	v.r.problems = append(v.r.problems, Problem{File: "environment variable " + v.name, Key: key, Message: message})
}

// set sets the key at a path.
func (v *variableSetting) set(parts []string) {
	v.r.table, _ = v.put(v.r.table, reflect.TypeFor[Config](), parts, "").(map[string]any)
}

// put returns old, the value at path, with the key at parts below it set; t is what the
// decoder makes of it. nil is no value, after a problem.
func (v *variableSetting) put(old any, t reflect.Type, parts []string, path string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(parts) == 0 {
		v.r.source.set(path, "environment variable "+v.name)
		return v.read(t, v.value, path)
	}
	_, text := reflect.New(t).Interface().(textual)
	switch kind := t.Kind(); {
	case !text && kind == reflect.Struct:
		return v.putField(old, t, parts, path)
	case kind == reflect.Map && t.Elem().Kind() != reflect.Interface:
		table, _ := old.(map[string]any)
		if table == nil {
			table = make(map[string]any)
		}
		name := matching(slices.Sorted(maps.Keys(table)), parts[0])
		if value := v.put(table[name], t.Elem(), parts[1:], child(path, name)); value != nil {
			table[name] = value
		}
		return table
	case !text && kind == reflect.Slice:
		list := slices.Clone(asList(old))
		i, err := strconv.Atoi(parts[0])
		if err != nil || i < 0 || i > len(list) {
			v.problem(path, fmt.Sprintf("found element %q: want a number from 0 to %d", parts[0], len(list)))
			return old
		}
		if i == len(list) {
			list = append(list, nil)
		}
		if list[i] = v.put(list[i], t.Elem(), parts[1:], element(path, i)); list[i] == nil {
			return old
		}
		return list
	}
	v.problem(path, fmt.Sprintf("found %q below it: it has no keys of its own", strings.Join(parts, envSeparator)))
	return old
}

// putField is put for a struct. What stands for its table becomes one.
func (v *variableSetting) putField(old any, t reflect.Type, parts []string, path string) any {
	table, isTable := old.(map[string]any)
	if !isTable {
		table = make(map[string]any)
		value := reflect.New(t)
		if short, ok := value.Interface().(shorthand); ok && old != nil {
			for _, f := range fields(t) {
				if value.Elem().Field(f.index).Addr().Interface() == short.short() {
					table[f.name] = old
				}
			}
		}
	}
	var names []string
	known := fields(t)
	for _, f := range known {
		names = append(names, f.name)
	}
	name := matching(names, parts[0])
	key := child(path, name)
	i := slices.Index(names, name)
	if i < 0 { // the decoder says so
		v.r.source.set(key, "environment variable "+v.name)
		table[name] = v.value
		return table
	}
	if value := v.put(table[name], t.Field(known[i].index).Type, parts[1:], key); value != nil {
		table[name] = value
	}
	return table
}

// matching returns the one of names that a part of a variable's name stands for; without one it
// is a new name, in lower case.
func matching(names []string, part string) string {
	plain := func(name string) string {
		return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name))
	}
	for _, name := range names {
		if plain(name) == plain(part) {
			return name
		}
	}
	return strings.ToLower(part)
}

// read returns a value as the TOML library would, from the text that a variable has. Lists are
// in brackets as in TOML, or have commas between them; tables are in braces.
func (v *variableSetting) read(t reflect.Type, text, path string) any {
	value := reflect.New(t).Interface()
	if _, ok := value.(textual); ok {
		return text
	}
	if structure := strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{"); structure && t.Kind() != reflect.String {
		var read struct{ V any }
		if err := toml.Unmarshal([]byte("v = "+text), &read); err != nil {
			v.problem(path, fmt.Sprintf("found %q: want it as in TOML: %v", text, err))
			return nil
		}
		return read.V
	}
	if short, ok := value.(shorthand); ok && t.Kind() == reflect.Struct {
		return v.read(reflect.TypeOf(short.short()).Elem(), text, path)
	}
	switch t.Kind() {
	case reflect.Slice:
		var list []any
		for part := range strings.SplitSeq(text, ",") {
			list = append(list, v.read(t.Elem(), strings.TrimSpace(part), path))
		}
		return list
	case reflect.Bool:
		if text == "true" || text == "false" {
			return text == "true"
		}
	case reflect.Int, reflect.Int64:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case reflect.Float64:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	}
	return text
}

// set notes that something else than a line of a file has set the key, and all below it.
func (s *source) set(key, by string) {
	for known := range s.lines {
		if within(known, key) {
			delete(s.lines, known)
		}
	}
	s.lines[key] = place{file: by}
}
