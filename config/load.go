package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"
)

// Load reads the file at path as Parse does. The error is Errors unless the
// file could not be read.
func Load(path string, checks ...func(*Config) Errors) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return Parse(path, data, checks...)
}

// Parse reads a configuration in TOML, gives every key that it lacks its
// default, and validates the whole; name stands for the file in errors. checks
// are what other packages have to say; they see configurations that are not
// valid too. A Config is returned only if nothing is wrong. The error is Errors:
// everything at once, but for a syntax error, which stands alone.
func Parse(name string, data []byte, checks ...func(*Config) Errors) (*Config, error) {
	c, problems := read(name, data)
	if c == nil {
		return nil, problems
	}
	for _, p := range c.problems() {
		if !explained(p, problems) {
			problems = append(problems, p)
		}
	}
	own := problems
	for _, check := range checks {
		for _, p := range check(c) {
			if !explained(p, own) && !clouded(p, own) {
				problems = append(problems, p)
			}
		}
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// clouded says whether a problem is one of a list that has problems already. The
// elements of a list are judged by each other, so it may be but a consequence: a
// route with a misspelt condition seems to stand before all others.
func clouded(p Problem, others Errors) bool {
	list, _, ok := strings.Cut(p.Key, "[")
	if !ok {
		return false
	}
	for _, o := range others {
		if within(o.Key, list) {
			return true
		}
	}
	return false
}

// read is Parse without validation. The Config is nil after a syntax error;
// what could not be decoded keeps its default.
func read(name string, data []byte) (*Config, Errors) {
	var file map[string]any
	if err := toml.Unmarshal(data, &file); err != nil {
		p := Problem{File: name, Message: "cannot parse TOML: " + err.Error()}
		if syntax, ok := errors.AsType[toml.ParseError](err); ok && syntax.Message != "" {
			p.Line, p.Message = syntax.Position.Line, "cannot parse TOML: "+syntax.Message
		}
		return nil, Errors{p}
	}
	c := Default()
	c.source = &source{file: name, lines: scan(data)}
	d := decoder{source: c.source}
	d.decode("", reflect.ValueOf(c).Elem(), file)
	return c, d.problems
}

// explained says whether a problem that validation found is but a consequence
// of one that decoding found in the same place.
func explained(p Problem, decoding Errors) bool {
	for _, d := range decoding {
		if within(d.Key, p.Key) || within(p.Key, d.Key) {
			return true
		}
	}
	return false
}
