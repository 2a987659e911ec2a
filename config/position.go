package config

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// place is a line of a file; the zero place is not known.
type place struct {
	file string
	line int
}

// source remembers where the keys of a file, and of those that it includes, stand.
type source struct {
	file     string
	lines    map[string]place // by key path
	included []string         // files and patterns
	// documents are those at URLs in include.
	documents []DocumentsVersion
	// expanded are the texts with values of the environment, by key path.
	expanded map[string]expansion
}

// Position returns the file and the line of a key path as Key writes it, in the file that
// a Config was loaded from or one that it includes. A key that is not in the file has the line of the
// nearest table or array around it. Line 0 means not known; file "" means that
// the Config was built in Go.
func (c *Config) Position(key string) (file string, line int) {
	if c.source == nil {
		return "", 0
	}
	at := c.source.place(key)
	return at.file, at.line
}

// Written says whether the file that a Config was loaded from has a key of its own for a
// path as Key writes it; false for a Config built in Go.
func (c *Config) Written(key string) bool {
	if c.source == nil {
		return false
	}
	_, ok := c.source.lines[key]
	return ok
}

// place returns where a key stands, or the nearest table or array around it.
func (s *source) place(key string) place {
	for ; key != ""; key = parent(key) {
		if at, ok := s.lines[key]; ok {
			return at
		}
	}
	return place{file: s.file}
}

// parent returns the path of the table or array that the key stands in.
func parent(key string) string {
	cut, quoted := 0, false
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			cut = i
		}
	}
	return key[:cut]
}

// Lines returns the lines of all keys and array elements of a text in TOML, by key path as Key writes
// it. data must be valid TOML.
func Lines(data []byte) map[string]int { return scan(data) }

// scan finds the lines of all keys and array elements. The TOML library reports
// positions of syntax errors only. data must be valid TOML; on anything else
// scan ends too, with an incomplete result.
func scan(data []byte) map[string]int {
	s := scanner{data: data, line: 1, lines: map[string]int{}, tables: map[string]int{}}
	table := ""
	for s.skip(" \t\r\n"); s.pos < len(s.data); s.skip(" \t\r\n") {
		if s.data[s.pos] == '[' {
			table = s.header()
		} else if !s.pair(table) {
			break
		}
	}
	return s.lines
}

type scanner struct {
	data   []byte
	pos    int
	line   int
	lines  map[string]int
	tables map[string]int // number of elements of each array of tables
}

// skip skips bytes of the set, and comments.
func (s *scanner) skip(set string) {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c == '#' {
			for s.pos < len(s.data) && s.data[s.pos] != '\n' {
				s.pos++
			}
			continue
		}
		if strings.IndexByte(set, c) < 0 {
			return
		}
		s.next()
	}
}

func (s *scanner) next() {
	if s.data[s.pos] == '\n' {
		s.line++
	}
	s.pos++
}

// at says whether the text at the position starts with prefix.
func (s *scanner) at(prefix string) bool {
	return strings.HasPrefix(string(s.data[s.pos:min(len(s.data), s.pos+len(prefix))]), prefix)
}

// record stores the line where a path is seen first.
func (s *scanner) record(path string) string {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = s.line
	}
	return path
}

// header reads "[a.b]" or "[[a.b]]" and returns the table's path. An array of
// tables on the way stands for its last element.
func (s *scanner) header() string {
	array := s.at("[[")
	s.pos++
	if array {
		s.pos++
	}
	path := ""
	names := s.names()
	for i, name := range names {
		path = s.record(child(path, name))
		if array && i == len(names)-1 {
			s.tables[path]++
		}
		if n := s.tables[path]; n > 0 {
			path = s.record(element(path, n-1))
		}
	}
	for s.pos < len(s.data) && s.data[s.pos] == ']' {
		s.pos++
	}
	return path
}

// pair reads "key = value" in a table and says whether it was one.
func (s *scanner) pair(table string) bool {
	path := table
	for _, name := range s.names() {
		path = s.record(child(path, name))
	}
	if path == table || !s.at("=") {
		return false
	}
	s.pos++
	s.skip(" \t")
	s.value(path)
	return true
}

// names reads a key: bare and quoted names joined by dots.
func (s *scanner) names() []string {
	var names []string
	for {
		s.skip(" \t")
		start := s.pos
		switch {
		case s.at(`"`), s.at("'"):
			names = append(names, s.text())
		default:
			for s.pos < len(s.data) && (bareKey(string(s.data[s.pos:s.pos+1])) || s.data[s.pos] >= utf8.RuneSelf) {
				s.pos++
			}
			names = append(names, string(s.data[start:s.pos]))
		}
		if s.pos == start {
			return names[:len(names)-1]
		}
		s.skip(" \t")
		if !s.at(".") {
			return names
		}
		s.pos++
	}
}

// text reads a string of any of the four kinds and returns its value. The value
// of the two kinds that keys cannot have may be incomplete.
func (s *scanner) text() string {
	quote := string(s.data[s.pos])
	long := s.at(strings.Repeat(quote, 3))
	end := quote
	if long {
		end = strings.Repeat(quote, 3)
	}
	s.pos += len(end)
	start := s.pos
	for s.pos < len(s.data) && !s.at(end) {
		if quote == `"` && s.data[s.pos] == '\\' && s.pos+1 < len(s.data) {
			s.pos++
		}
		s.next()
	}
	text := string(s.data[start:s.pos])
	s.pos = min(len(s.data), s.pos+len(end))
	for long && s.at(quote) { // up to two quotes may stand before the closing ones
		s.pos++
	}
	if quote == `"` {
		return unescape(text)
	}
	return text
}

// unescape resolves the escapes of a basic string.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	// TOML's short escapes and \uXXXX are those of JSON. TOML also has \e, \x and
	// \U, which are very rare in keys: such a key gets the line of the table
	// around it.
	var text string
	if json.Unmarshal([]byte(`"`+s+`"`), &text) != nil {
		return s
	}
	return text
}

// value reads a value and records what stands in it.
func (s *scanner) value(path string) {
	const blank = " \t\r\n,"
	switch {
	case s.at(`"`), s.at("'"):
		s.text()
	case s.at("["):
		s.pos++
		s.skip(blank)
		for i := 0; s.pos < len(s.data) && s.data[s.pos] != ']'; i++ {
			s.value(s.record(element(path, i)))
			s.skip(blank)
		}
		s.pos++
	case s.at("{"):
		s.pos++
		s.skip(blank)
		for s.pos < len(s.data) && s.data[s.pos] != '}' {
			if !s.pair(path) {
				s.pos = len(s.data)
			}
			s.skip(blank)
		}
		s.pos++
	default: // a number, a boolean or a time
		start := s.pos
		for s.pos < len(s.data) && strings.IndexByte(",]}#\r\n", s.data[s.pos]) < 0 {
			s.pos++
		}
		if s.pos == start { // not TOML
			s.pos = len(s.data)
		}
	}
	s.pos = min(s.pos, len(s.data))
}
