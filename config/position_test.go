package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	check := func(text string, want ...string) {
		t.Helper()
		lines := scan([]byte(text))
		for _, w := range want {
			at := strings.LastIndexByte(w, ' ')
			if got := fmt.Sprint(lines[w[:at]]); got != w[at+1:] {
				t.Errorf("in\n%s\n%s stands at line %s, want %s; all: %v", text, w[:at], got, w[at+1:], lines)
			}
		}
	}
	// pairs, comments, line ends of Windows
	check("# one\na = 1 # [x]\r\n\n  b=\"#\"\nc = 1", "a 2", "b 4", "c 5")
	// dotted and quoted keys
	check("a.b . \"c.d\" = 1\n'e f' = 2\n\"\\u0041\" = 3", "a 1", "a.b 1", `a.b."c.d" 1`, `"e f" 2`, "A 3")
	// tables, arrays of tables, tables in their last element
	check("[a]\nx = 1\n[[b]]\nx = 1\n[b.c]\nx = 1\n[[b]]\n[[b.d]]\n[[b.d]]\nx = 1\n[ b . e ]\ny = 1",
		"a.x 2", "b 3", "b[0].x 4", "b[0].c.x 6", "b[1] 7", "b[1].d[0] 8", "b[1].d[1].x 10", "b[1].e.y 12")
	check("[[u.\"a/b\".t]] # x\nx = 1\n[\"[x]\"]\ny = 1", `u."a/b".t[0].x 2`, `"[x]".y 4`)
	// arrays over several lines, nested
	check("a = [\n 1, # ]\n [2,\n 3],\n]\nb = 1", "a[0] 2", "a[1] 3", "a[1][0] 3", "a[1][1] 4", "b 6")
	// inline tables
	check("a = { b = 1, c.d = [ { e = 1 },\n{ e = '}' } ] }\nf = 1", "a.b 1", "a.c.d[0].e 1", "a.c.d[1].e 2", "f 3")
	// strings that look like something else
	check("a = \"\\\"]\\\\\"\nb = '\\'\nc = \"\"\"\n[x]\\\n\\\"\"\"\"\"\nd = '''\n'x'''''\ne = 1", "b 2", "c 3", "d 6", "e 8")
	// dates and floats
	check("a = 1979-05-27 07:32:00\nb = [-inf, 1e5]\nc = 1", "b[1] 2", "c 3")
}

// TestPosition covers keys that are not in the file.
func TestPosition(t *testing.T) {
	c, _ := read("f", []byte("[[routes]]\n\n[upstreams]\n\n[upstreams.\"a.[b\"]\n"))
	check := func(want int, key string) {
		t.Helper()
		if _, got := c.Position(key); got != want {
			t.Errorf("%s: got line %d, want %d", key, got, want)
		}
	}
	// a key of the file
	check(1, Key("routes", 0))
	check(5, Key("upstreams", "a.[b"))
	// the nearest table around it
	check(1, Key("routes", 0, "upstream"))
	check(5, Key("upstreams", "a.[b", "targets", 0, "url"))
	check(3, Key("upstreams", "c.[d", "targets", 0))
	// nothing around it
	check(0, "lifecycle.drain")
	check(0, "")

	if file, line := new(Config).Position("routes[0]"); file != "" || line != 0 {
		t.Errorf("a Config without a file has a position: %s:%d", file, line)
	}
}

// FuzzScan makes sure that scan ends without a panic on any text, TOML or not.
func FuzzScan(f *testing.F) {
	f.Add("[[a]]\nb.c = [{d = '''x''', e = \"\\\"\"}, 1]")
	f.Add("a = [[[{")
	f.Add("\"\"\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		last := strings.Count(text, "\n") + 1
		for key, line := range scan([]byte(text)) {
			if line < 1 || line > last {
				t.Errorf("%s stands at line %d of %d", key, line, last)
			}
		}
	})
}
