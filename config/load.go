package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
)

// Load reads the file at path as Parse does. The error is Errors unless the
// file could not be read.
func Load(path string, checks ...func(*Config) Errors) (*Config, error) {
	return new(Loader).Load(path, checks...)
}

// Loader reads configurations that include documents which are no files.
type Loader struct {
	// Fetch returns the documents at the URL of a source in include, and the version of all of
	// them. kept is discovery.persist of the first file; empty if it has none. nil means that
	// there may be no such URLs.
	Fetch func(url, kept string) (version int64, documents []Document, err error)
	// Environ are environment variables, as "NAME=value"; those that set keys come before the
	// file. docs/environment.md has the names.
	Environ []string
	// Optional says that the file need not be there if WEIR_LISTEN and WEIR_TARGETS are set.
	Optional bool
}

// Document is a part of a configuration that is no file.
type Document struct {
	// Name is what problems call it.
	Name string
	// Text is TOML with routes and upstreams.
	Text []byte
}

// Load reads the file at path, and what it includes, as the function Load does.
func (l *Loader) Load(path string, checks ...func(*Config) Errors) (*Config, error) {
	path, data, err := l.readFile(path)
	if err != nil {
		return nil, err
	}
	return l.parse(path, data, checks)
}

// readFile reads the file at path, and returns what problems call it.
func (l *Loader) readFile(path string) (name string, data []byte, err error) {
	data, err = ReadFile(path)
	if l.Optional && errors.Is(err, fs.ErrNotExist) && l.variable("LISTEN") && l.variable("TARGETS") {
		return "environment", []byte(withoutFile), nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return path, data, nil
}

// LoadAdmin returns [admin] of the file at path, which may be wrong in all else: a
// running weir is reached also while its file is being changed.
func LoadAdmin(path string) (*Admin, error) { return new(Loader).LoadAdmin(path) }

// LoadAdmin does what the function of that name does.
func (l *Loader) LoadAdmin(path string) (*Admin, error) {
	c, err := l.LoadParts(path, "admin")
	if err != nil {
		return nil, err
	}
	return &c.Admin, nil
}

// LoadParts returns the configuration at path, of which only the tables and keys of the highest level
// that are named need be right.
func (l *Loader) LoadParts(path string, names ...string) (*Config, error) {
	path, data, err := l.readFile(path)
	if err != nil {
		return nil, err
	}
	c, problems := l.read(path, data)
	if c != nil {
		problems = slices.DeleteFunc(problems, func(p Problem) bool {
			return !slices.ContainsFunc(names, func(name string) bool { return within(p.Key, name) })
		})
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse reads a configuration in TOML, gives every key that it lacks its
// default, and validates the whole; name is the file's name in errors. checks are
// the checks of other packages; they see configurations that are not valid too. A
// Config is returned only if nothing is wrong. The error is Errors with all
// problems, or with a syntax error alone.
func Parse(name string, data []byte, checks ...func(*Config) Errors) (*Config, error) {
	return new(Loader).parse(name, data, checks)
}

func (l *Loader) parse(name string, data []byte, checks []func(*Config) Errors) (*Config, error) {
	c, problems := l.read(name, data)
	if c == nil {
		return nil, problems
	}
	for _, p := range c.problems() {
		if !sameValue(p, problems) && !misspelt(p, problems) {
			problems = append(problems, p)
		}
	}
	own := problems
	for _, check := range checks {
		for _, p := range check(c) {
			if !sameValue(p, own) && !causedBySibling(p, own) {
				problems = append(problems, p)
			}
		}
	}
	for i, p := range problems {
		problems[i] = c.source.hide(p)
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// sameValue says whether an earlier problem is about the value of p, a part of it
// or a table around it. Then p says the same again, or is a consequence: a value
// that could not be decoded keeps its default.
func sameValue(p Problem, earlier Errors) bool {
	return slices.ContainsFunc(earlier, func(e Problem) bool { return within(e.Key, p.Key) || within(p.Key, e.Key) })
}

// misspelt says whether p is about a key that is missing because an earlier problem has found it under another
// name, and says so.
func misspelt(p Problem, earlier Errors) bool {
	return p.Found == foundNothing && slices.ContainsFunc(earlier, func(e Problem) bool {
		table, ok := strings.CutSuffix(p.Key, e.Hint)
		name, inTable := strings.CutPrefix(e.Key, table)
		return ok && e.Hint != "" && (table == "" || table[len(table)-1] == '.') && inTable && !strings.ContainsAny(name, ".[")
	})
}

// causedBySibling says whether p is about an element of a list that has an
// earlier problem. Elements are compared with each other, so p may be a
// consequence: a route whose condition has a misspelt key seems to fit all
// requests of the next route.
func causedBySibling(p Problem, earlier Errors) bool {
	list, _, ok := strings.Cut(p.Key, "[")
	return ok && slices.ContainsFunc(earlier, func(e Problem) bool { return within(e.Key, list) })
}

// read is Parse without validation. The Config is nil after a syntax error;
// what could not be decoded keeps its default.
func read(name string, data []byte) (*Config, Errors) { return new(Loader).read(name, data) }

func (l *Loader) read(name string, data []byte) (*Config, Errors) {
	r := reading{fetch: l.Fetch, source: &source{file: name, lines: make(map[string]place)}, table: make(map[string]any), done: make(map[string]place)}
	if !r.file(name, data) {
		return nil, r.problems
	}
	r.environment(l.Environ)
	c := Default()
	c.source = r.source
	d := decoder{source: c.source, layouts: layouts{}, problems: r.problems}
	d.decode("", reflect.ValueOf(c).Elem(), r.table)
	return c, d.problems
}
