package discover

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query is the options in the URL of a source. Its methods return them and note what is wrong; Err
// tells the first problem.
type Query struct {
	options url.Values
	asked   []string
	err     error
}

// ParseQuery reads the part of a URL that has the options: "OPTION=VALUE&OPTION=VALUE".
func ParseQuery(text string) *Query {
	options, err := url.ParseQuery(text)
	if err != nil {
		err = fmt.Errorf("found options %q: want NAME=VALUE, joined by \"&\": %w", text, err)
	}
	return &Query{options: options, err: err}
}

// Servers returns the servers of a URL whose host is several, joined by ",". A server that names no
// port gets this one.
func Servers(host, port string) []string {
	list := strings.Split(host, ",")
	for i, server := range list {
		if !strings.Contains(server, ":") {
			list[i] = server + ":" + port
		}
	}
	return list
}

// Err returns the first problem of the options, such as one that nothing has asked for, or nil. It is
// called last.
func (q *Query) Err() error {
	for _, name := range slices.Sorted(maps.Keys(q.options)) {
		if !slices.Contains(q.asked, name) {
			want := "no options"
			if len(q.asked) > 0 {
				want = "one of the options " + strings.Join(slices.Sorted(slices.Values(q.asked)), ", ")
			}
			q.Wrong(name, want)
		}
	}
	return q.err
}

// Wrong notes that an option has a value that is not allowed.
func (q *Query) Wrong(name, want string) {
	if q.err == nil {
		q.err = fmt.Errorf("found %q: want %s", name+"="+q.options.Get(name), want)
	}
}

// Texts returns all values of an option.
func (q *Query) Texts(name string) []string {
	q.asked = append(q.asked, name)
	return q.options[name]
}

// Text returns the value of an option, or "" if it is not given.
func (q *Query) Text(name string) string {
	if values := q.Texts(name); len(values) > 1 {
		q.Wrong(name, "this option once")
	}
	return q.options.Get(name)
}

// OneOf returns the value of an option, which must be one of these; the first one is the default.
func (q *Query) OneOf(name string, values ...string) string {
	value := q.Text(name)
	if value == "" {
		return values[0]
	}
	if !slices.Contains(values, value) {
		q.Wrong(name, strings.Join(values, " or "))
	}
	return value
}

// Flag returns the value of an option that is true or false.
func (q *Query) Flag(name string, byDefault bool) bool {
	return q.OneOf(name, strconv.FormatBool(byDefault), strconv.FormatBool(!byDefault)) == "true"
}

// Duration returns the value of an option that is a time of least to most.
func (q *Query) Duration(name string, byDefault, least, most time.Duration) time.Duration {
	text := q.Text(name)
	if text == "" {
		return byDefault
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		q.Wrong(name, fmt.Sprintf("a time of %v to %v", least, most))
	}
	return d
}
