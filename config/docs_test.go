package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of keys in docs/configuration.md")

// TestDocumentation keeps docs/configuration.md true: its table of keys is made
// from the Go types, and its complete files parse.
func TestDocumentation(t *testing.T) {
	const start, end = "<!-- keys: written by go test ./config -update -->\n", "<!-- end of keys -->\n"
	path := filepath.Join("..", "docs", "configuration.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), start)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the line %q or %q", path, start, end)
	}
	d := documentation{comments: comments()}
	d.table("", reflect.ValueOf(Default()).Elem())
	if want := d.text.String(); table != want {
		if !*update {
			t.Fatalf("the table of keys in %s is out of date: run go test ./config -update", path)
		}
		if err := os.WriteFile(path, []byte(before+start+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	t.Setenv("APP_TOKEN", "secret")
	n := 0
	for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(before+after, -1) {
		if !strings.Contains(block[1], "[[listeners]]") {
			continue
		}
		n++
		if _, err := Parse("example", []byte(block[1])); err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
	if n == 0 {
		t.Error("there is no complete example")
	}
}

// Texts about keys name other keys as files do, and leave all other words alone.
func TestKeysInComments(t *testing.T) {
	all := comments()
	for field, want := range map[string]string{
		"RouteCache.Uncacheable":   "one that took longer than wait. Each",
		"ListenerTimeouts.MinRate": "0 means grace alone",
		"Certificates.CA":          "ca is the URL of the CA's directory",
		"Forwarding.XForwarded":    "x_forwarded sends X-Forwarded-For",
	} {
		if !strings.Contains(all[field], want) {
			t.Errorf("%s: found %q, want %q in it", field, all[field], want)
		}
	}
}

type documentation struct {
	comments map[string]string
	text     strings.Builder
}

// table writes the keys of a table, and then those of the tables inside it.
func (d *documentation) table(path string, v reflect.Value) {
	name := v.Type().Name()
	if path == "" {
		d.text.WriteString("\n### The file\n\n")
	} else {
		fmt.Fprintf(&d.text, "\n### `%s`\n\n%s\n\n", path, d.comments[name])
	}
	type inner struct {
		path  string
		value reflect.Value
	}
	var tables []inner
	d.text.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, f := range fields(v.Type()) {
		value, kind := v.Field(f.index), ""
		path := child(path, f.name)
		switch t := value.Type(); t.Kind() {
		case reflect.Slice, reflect.Map, reflect.Pointer:
			if e := t.Elem(); e.Kind() == reflect.Struct && len(fields(e)) > 0 {
				element := reflect.New(e).Elem()
				layouts(nil).initialise(element)
				path += map[reflect.Kind]string{reflect.Slice: "[]", reflect.Map: ".NAME", reflect.Pointer: ""}[t.Kind()]
				tables = append(tables, inner{path, element})
				kind = map[reflect.Kind]string{reflect.Slice: "list of tables", reflect.Map: "tables", reflect.Pointer: "none"}[t.Kind()]
			} else if t.Kind() == reflect.Map {
				kind = "none"
			}
		case reflect.Struct:
			if len(fields(t)) > 0 {
				tables, kind = append(tables, inner{path, value}), "table"
			}
		}
		if kind == "" {
			b, err := json.Marshal(must(plain(value)))
			if err != nil {
				panic(err)
			}
			kind = "`" + string(b) + "`"
		}
		meaning := strings.ReplaceAll(d.comments[name+"."+v.Type().Field(f.index).Name], "|", `\|`)
		fmt.Fprintf(&d.text, "| `%s` | %s | %s |\n", f.name, kind, meaning)
	}
	for _, t := range tables {
		d.table(t.path, t.value)
	}
}

func must(v any, ok bool) any {
	if !ok {
		panic("BUG: a key without a default of its own")
	}
	return v
}
