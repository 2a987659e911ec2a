package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/internal/field"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// File is the name given to Load or Parse; empty for a Config built in Go.
	File string
	// Line is counted from 1; 0 means not known.
	Line int
	// Key is the key's path as Key writes it, or empty for the whole file.
	Key string
	// Found is the value at Key: a quoted string, `integer 5`, `nothing`.
	Found string
	// Want is what is allowed; empty if Found says it all.
	Want string
	// Hint is the nearest known name; empty if no name is near.
	Hint string
	// Message describes the problem in place of Found, Want and Hint.
	Message string
	// Absent says that the value names a file or folder that is not on this machine, or that
	// this process may not look at; on another machine it may be right.
	Absent bool
}

// Error returns the problem as one line:
//
//	config.toml:12: routes[0].upstream: found "orgin": want one of "origin"; did you mean "origin"?
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line))
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	if p.Message != "" {
		return b.String() + p.Message
	}
	b.WriteString("found " + p.Found)
	if p.Want != "" {
		b.WriteString(": want " + p.Want)
	}
	if p.Hint != "" {
		b.WriteString("; did you mean " + strconv.Quote(p.Hint) + "?")
	}
	return b.String()
}

// Errors is everything that is wrong with a configuration, in the order of the
// file. Load, Parse and Validate return it as their error if the file could be
// read. errors.As finds it.
type Errors []Problem

// Error returns one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each problem as an error of its own.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, p := range e {
		list[i] = p
	}
	return list
}

// Err returns e sorted by file and line, or nil if e is empty.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b Problem) int { return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) })
	return e
}

// Below returns e with its keys put below the key that parts name, as for Key;
// parts are not empty.
func (e Errors) Below(parts ...any) Errors {
	table := Key(parts...)
	list := slices.Clone(e)
	for i, p := range list {
		separator := "."
		if p.Key == "" || p.Key[0] == '[' {
			separator = ""
		}
		list[i].Key = table + separator + p.Key
	}
	return list
}

// Key returns the path of a key: Key("routes", 0, "upstream") is
// `routes[0].upstream`. Names that are not bare TOML keys are quoted:
// `upstreams."a/b".targets[2]`. Every part is a string or an int.
func Key(parts ...any) string {
	key := ""
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			key = child(key, part)
		case int:
			key = element(key, part)
		default:
			panic(fmt.Sprintf("BUG: part %v of a key is neither a string nor an int", part))
		}
	}
	return key
}

// child returns the path of the key name in the table at path.
func child(path, name string) string {
	if !bareKey(name) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// element returns the path of the element i of the array at path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func bareKey(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !field.Alphanumeric(c) && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// within says whether the key path inner is outer or lies below it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (outer == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// OneOf returns the names as the Want of a Problem: `one of "a", "b"`. Of more than
// twenty it returns the first twenty and the number of the others.
func OneOf(names []string) string {
	switch len(names) {
	case 0:
		return "none, because there are none"
	case 1:
		return strconv.Quote(names[0])
	}
	const most = 20 // a list is for people
	quoted := make([]string, min(len(names), most))
	for i := range quoted {
		quoted[i] = strconv.Quote(names[i])
	}
	list := "one of " + strings.Join(quoted, ", ")
	if more := len(names) - most; more > 0 {
		list += " and " + strconv.Itoa(more) + " more"
	}
	return list
}

// NotOneOf is the Problem of a key whose value is not one of those that are allowed.
func NotOneOf(key, value string, allowed []string) Problem {
	return Problem{Key: key, Found: strconv.Quote(value), Want: OneOf(allowed), Hint: Nearest(value, allowed)}
}

// Nearest returns the known name that found was probably meant to be, or "" if
// no name is near. Near is at most one edit for each three bytes of found, and
// at most one edit for a shorter found.
func Nearest(found string, known []string) string {
	best, least := "", max(1, len(found)/3)+1
	for _, name := range known {
		if d := distance(strings.ToLower(found), strings.ToLower(name)); d < least && d < len(name) {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of edits that turn a into b: a byte inserted, removed,
// replaced, or swapped with the next byte.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
