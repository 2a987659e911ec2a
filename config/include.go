package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// reading is a file and those that it includes on their way into one table.
type reading struct {
	source   *source
	table    map[string]any
	problems Errors
	// open are the files that include each other up to the one that is being read, and
	// done are all, with the places that include them.
	open []string
	done map[string]place
	// fetch is Loader.Fetch.
	fetch func(url, kept string) (version int64, documents []Document, err error)
}

// lists are the lists of tables to which each file may add.
var lists = [...]string{"listeners", "routes"}

// file reads a file's text into the table, and then those that it includes. After a
// syntax error there are problems and the table is of no use.
func (r *reading) file(name string, data []byte) (sound bool) {
	problem := func(line int, message string) bool {
		r.problems = append(r.problems, Problem{File: name, Line: line, Message: "cannot parse TOML: " + message})
		return false
	}
	if line := tooDeep(data); line > 0 {
		return problem(line, "more than "+strconv.Itoa(maxDepth)+" lists and tables within each other")
	}
	var table map[string]any
	if err := toml.Unmarshal(data, &table); err != nil {
		if syntax, ok := errors.AsType[toml.ParseError](err); ok && syntax.Message != "" {
			return problem(syntax.Position.Line, syntax.Message)
		}
		return problem(0, err.Error())
	}
	own := &source{file: name, lines: make(map[string]place)}
	offsets := make(map[string]int)
	for _, list := range lists {
		offsets[list] = reflect.ValueOf(asList(r.table[list])).Len()
	}
	for key, line := range scan(data) {
		at := place{name, line}
		own.lines[key] = at
		if key = renumbered(key, offsets); r.source.lines[key] == (place{}) {
			r.source.lines[key] = at
		}
	}
	include := table["include"]
	if len(r.open) > 0 {
		delete(table, "include")
	}
	r.merge("", r.table, table, own)
	r.open = append(r.open, name)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	return r.include(include, own)
}

// asList returns a list of the TOML library as one type; nil if v is no list.
func asList(v any) (list []any) {
	switch v := v.(type) {
	case []any:
		return v
	case []map[string]any:
		for _, table := range v {
			list = append(list, table)
		}
	}
	return list
}

// renumbered returns the path of a key of a file after the elements of its lists were put
// behind those of other files.
func renumbered(key string, offsets map[string]int) string {
	for list, offset := range offsets {
		rest, ok := strings.CutPrefix(key, list+"[")
		if !ok || offset == 0 {
			continue
		}
		number, rest, _ := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(number); err == nil {
			return element(list, offset+i) + rest
		}
	}
	return key
}

// merge puts the keys of src, a table of a file, into dst. Tables become one; the same
// key in two files is a problem, except for the lists to which each file may add.
func (r *reading) merge(path string, dst, src map[string]any, own *source) {
	for _, name := range slices.Sorted(maps.Keys(src)) {
		before, there := dst[name]
		inner, isTable := src[name].(map[string]any)
		outer, wasTable := before.(map[string]any)
		first, second := asList(before), asList(src[name])
		key := child(path, name)
		switch {
		case !there:
			dst[name] = src[name]
		case isTable && wasTable:
			r.merge(key, outer, inner, own)
		case path == "" && slices.Contains(lists[:], name) && first != nil && second != nil:
			dst[name] = append(slices.Clip(first), second...)
		default:
			at := r.source.place(key)
			r.problems = append(r.problems, Problem{
				File: own.file, Line: own.place(key).line, Key: key,
				Message: fmt.Sprintf("found a second value: the first is at %s:%d", at.file, at.line),
			})
		}
	}
}

// include reads the files that a file includes.
func (r *reading) include(value any, own *source) (sound bool) {
	if value == nil {
		return true
	}
	var patterns Strings
	d := decoder{source: own}
	d.decode("include", reflect.ValueOf(&patterns).Elem(), value)
	if len(r.open) > 1 { // those of the first file are found again with its other keys
		for _, p := range d.problems {
			r.problems = append(r.problems, own.hide(p))
		}
	}
	if len(d.problems) > 0 {
		return true
	}
	sound = true
	for i, pattern := range patterns {
		at := own.place(element("include", i))
		wrong := func(message string) {
			p := Problem{File: own.file, Line: at.line, Key: "include", Message: message}
			r.problems = append(r.problems, own.hide(p))
		}
		if IsSourceURL(pattern) {
			if problem := r.documents(pattern, &sound); problem != "" {
				wrong(problem)
			}
			continue
		}
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(own.file), pattern)
		}
		r.source.included = append(r.source.included, pattern)
		paths, err := filepath.Glob(pattern)
		switch {
		case err != nil:
			wrong(fmt.Sprintf("found %q: want a file or a pattern such as \"conf.d/*.toml\"", pattern))
		case len(paths) == 0 && !isPattern(pattern):
			wrong(fmt.Sprintf("cannot read %q: no such file or directory", pattern))
		}
		for _, path := range paths { // sorted
			if problem := r.refuse(path); problem != "" {
				wrong(problem)
				continue
			}
			r.done[identity(path)] = at
			data, err := ReadFile(path)
			if err != nil {
				wrong(fmt.Sprintf("cannot read %q: %s", path, reason(err)))
				continue
			}
			sound = r.file(path, data) && sound
		}
	}
	return sound
}

// documents reads the documents at the URL of a source. What is wrong with the URL is returned, what
// is wrong with documents is noted.
func (r *reading) documents(url string, sound *bool) (problem string) {
	name := DisplayURL(url)
	switch {
	case len(r.open) > 1:
		return fmt.Sprintf("found %q in a file that is included: want it in the first file", name)
	case r.fetch == nil:
		return fmt.Sprintf("found %q: want a file, because this program fetches no documents", name)
	}
	discovery, _ := r.table["discovery"].(map[string]any)
	kept, _ := discovery["persist"].(string)
	version, documents, err := r.fetch(url, kept)
	if err != nil {
		return fmt.Sprintf("cannot read %q: %s", name, err)
	}
	r.source.documents = append(r.source.documents, DocumentsVersion{URL: url, Name: name, Version: version})
	for _, d := range documents {
		if r.allowed(d) {
			*sound = r.file(d.Name, d.Text) && *sound
		}
	}
	return ""
}

// allowed notes the keys of a document that only files may have.
func (r *reading) allowed(d Document) bool {
	var table map[string]any
	if toml.Unmarshal(d.Text, &table) != nil {
		return true // its syntax is looked at next
	}
	good := true
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if key != "routes" && key != "upstreams" {
			r.problems = append(r.problems, Problem{File: d.Name, Key: key, Message: "found a key that only files may have: want routes and upstreams"})
			good = false
		}
	}
	return good
}

// DocumentsVersion is the version of the documents that a configuration was made of.
type DocumentsVersion struct {
	// URL is as the file has it; Name is without secrets.
	URL, Name string
	// Version grows with each change.
	Version int64
}

// Documents are the versions of the documents that the configuration includes; nil if there are none.
func (c *Config) Documents() []DocumentsVersion {
	if c.source == nil {
		return nil
	}
	return slices.Clone(c.source.documents)
}

// refuse says why a file must not be read: it includes itself, or was read before.
func (r *reading) refuse(path string) string {
	for i, open := range r.open {
		if identity(open) == identity(path) {
			return "a file must not include itself: " + strings.Join(append(slices.Clone(r.open[i:]), path), " -> ")
		}
	}
	if at, read := r.done[identity(path)]; read {
		return fmt.Sprintf("%q is included already, at %s:%d", path, at.file, at.line)
	}
	return ""
}

// identity is a path by which a file is known again.
func identity(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	return path
}

func isPattern(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// Included are the files and patterns of files that the file of a Config includes, and that
// those include; nil for a Config built in Go.
func (c *Config) Included() []string {
	if c.source == nil {
		return nil
	}
	return slices.Clone(c.source.included)
}
