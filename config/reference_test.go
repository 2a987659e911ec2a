package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

var referenceFile = filepath.Join("..", "config.toml")

// uncommented returns the reference file with all keys active, also those on lines
// that start with "#" and no space.
func uncommented(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^#([^ \n])`).ReplaceAllString(string(data), "$1")
}

func TestReferenceFileRunsAsItStands(t *testing.T) {
	c, err := Load(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, target := range c.Upstreams["demo"].Targets {
		got = append(got, target.URL)
	}
	if want := []string{"demo:one", "demo:two", "demo:three"}; !reflect.DeepEqual(got, want) {
		t.Errorf("targets are %q, want %q", got, want)
	}
	if c.Listeners[0].Address != "127.0.0.1:8080" || c.Metrics.Address != "127.0.0.1:9110" {
		t.Errorf("addresses are %q and %q", c.Listeners[0].Address, c.Metrics.Address)
	}
}

// TestReferenceFileIsComplete fails if a key of the Go types is missing from
// the reference file, or if a value in it that is not marked as an example
// differs from the default.
func TestReferenceFileIsComplete(t *testing.T) {
	text := uncommented(t)
	c, problems := read("config.toml", []byte(text))
	for _, p := range problems {
		t.Error(p)
	}
	if c == nil {
		return
	}
	for _, p := range c.problems() {
		// client_ca has its default, which conditions on certificates of clients cannot do with.
		if !strings.HasSuffix(p.Found, "(no such file or directory)") && !strings.Contains(p.Want, "client_ca") {
			t.Errorf("with all keys active: %s", p)
		}
	}
	var file map[string]any
	if err := toml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	r := reference{t: t, lines: strings.Split(text, "\n"), source: c.source, shown: map[string]bool{}}
	r.compare("", reflect.ValueOf(Default()).Elem(), file)
	for _, key := range keys("", reflect.TypeFor[Config]()) {
		if !r.shown[key] {
			t.Errorf("config.toml does not show the key %s", key)
		}
	}
	if len(r.shown) < 60 {
		t.Errorf("only %d keys were compared", len(r.shown))
	}
}

type reference struct {
	t      *testing.T
	lines  []string
	source *source
	shown  map[string]bool // by key without indexes and names
}

// tables says whether a type is a list or map of tables, or a pointer to a table,
// and returns the table's type.
func tables(t reflect.Type) (reflect.Type, bool) {
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		e := t.Elem()
		return e, e.Kind() == reflect.Struct && len(fields(e)) > 0
	}
	return nil, false
}

// keys lists the keys of a type: "routes.redirect.to" in any route.
func keys(path string, t reflect.Type) []string {
	var list []string
	for _, f := range fields(t) {
		inner, path := t.Field(f.index).Type, child(path, f.name)
		if e, ok := tables(inner); ok {
			inner = e
		}
		list = append(list, path)
		if inner.Kind() == reflect.Struct {
			list = append(list, keys(path, inner)...)
		}
	}
	return list
}

var indexes = regexp.MustCompile(`\[\d+\]|^(upstreams)\.\w+`)

// compare compares what the file has with proto, which has the defaults.
func (r *reference) compare(path string, proto reflect.Value, src any) {
	r.shown[indexes.ReplaceAllString(path, "$1")] = true
	inner := func(path string, src any) {
		e, _ := tables(proto.Type())
		v := reflect.New(e).Elem()
		layouts(nil).initialise(v)
		r.compare(path, v, src)
	}
	_, many := tables(proto.Type())
	switch src := src.(type) {
	case map[string]any:
		switch {
		case proto.Kind() == reflect.Struct:
			for _, f := range fields(proto.Type()) {
				if value, ok := src[f.name]; ok {
					r.compare(child(path, f.name), proto.Field(f.index), value)
				}
			}
			return
		case many && proto.Kind() == reflect.Pointer:
			inner(path, src)
			return
		case many:
			for name, value := range src {
				inner(child(path, name), value)
			}
			return
		}
		for name := range src { // a map of plain values has no defaults
			r.example(child(path, name))
		}
		return
	case []map[string]any:
		for i, value := range src {
			inner(element(path, i), value)
		}
		return
	}
	got := reflect.New(proto.Type()).Elem()
	(&decoder{source: r.source}).decode(path, got, src)
	a, _ := plain(got)
	b, _ := plain(proto)
	if many || !reflect.DeepEqual(a, b) {
		r.example(path)
	}
}

// example fails unless the line of a key says that its value is an example.
func (r *reference) example(path string) {
	line := r.source.place(path).line
	if line == 0 {
		r.t.Errorf("%s: the line was not found", path)
		return
	}
	if !strings.Contains(r.lines[line-1], "# example") {
		r.t.Errorf("config.toml:%d: %s differs from its default and is not marked as an example: %s", line, path, r.lines[line-1])
	}
}

// TestReferenceFileExplains fails if a key has no comment above it.
func TestReferenceFileExplains(t *testing.T) {
	key := regexp.MustCompile(`^[a-z_]+ = `)
	lines := strings.Split(uncommented(t), "\n")
	n := 0
	for i, line := range lines {
		if !key.MatchString(line) {
			continue
		}
		n++
		above := lines[i-1]
		if !strings.HasPrefix(above, "# ") && !key.MatchString(above) && !strings.HasPrefix(above, "[") {
			t.Errorf("config.toml:%d: no comment: %s", i+1, line)
		}
	}
	if n < 60 {
		t.Errorf("only %d keys were seen", n)
	}
}
