package cache_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var modelFaults = flag.Bool("model.faults", false, "TestLeakFindsFaults runs TestLeak on the faults")

// TestLeakFindsFaults: TestLeak fails on each of these faults, any of which gives one client's
// answer to another. A fault is built into a copy of one file, which takes the file's place
// for the Go command. Without -model.faults the test only sees whether the faults can be built in.
func TestLeakFindsFaults(t *testing.T) {
	t.Parallel()
	for _, f := range []struct{ name, file, found, fault string }{
		{"a tag of a variant that the request does not select", "join.go",
			"	f.selected, f.asksWhole, f.noted = found.Entry, v.whole, found.uncacheable\n",
			`	f.selected, f.asksWhole, f.noted = found.Entry, v.whole, found.uncacheable
	if r := sh.resourceLocked(q.hash, q.Key); r != nil && f.selected == nil {
		for _, n := range r.nodes {
			if n.Value.Validatable() {
				f.selected = n.Value
			}
		}
	}
`},
		{"cookies are shared by default", "../config/cache.go", `SetCookie:         "never"`, `SetCookie:         "shared"`},
		{"what permits counts with rubbish behind it", "rule/control.go", "		sound = d.bare()\n		c.Public = c.Public || sound\n", "		c.Public = true\n"},
		{"what forbids does not count in rubbish", "rule/control.go", "			c.forbid(item)\n", ""},
		{"the scheme of the connection, not of the client", "leak_test.go",
			`func (c *client) asks() string { return c.place() + c.noise }`,
			`func (c *client) asks() string { return schemeOf(&client{tls: c.tls}) + "://h" + c.url + c.noise }`},
		{"a purge during a fetch", "cache.go", "f != nil && f.isDoomed() || moved", "moved"},
		{"a private answer", "rule/terms.go", "	case control.Private:\n		return t, control, ReasonPrivate\n", ""},
		{"an answer to credentials", "rule/terms.go", "	case q.Authorization && !control.Authorized:\n		return t, control, ReasonAuthorization\n", ""},
		{"the content of a QUERY", "rule/request.go", "		q.Key = appendQuery(q.Key, q.Head, q.Content)\n", ""},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f.file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(text), f.found) != 1 {
				t.Fatalf("%s does not have %q once: what would the fault be now?", f.file, f.found)
			}
			if !*modelFaults {
				return
			}
			folder := t.TempDir()
			copied, overlay := filepath.Join(folder, filepath.Base(f.file)), filepath.Join(folder, "overlay.json")
			file, err := filepath.Abs(f.file)
			if err != nil {
				t.Fatal(err)
			}
			list, err := json.Marshal(map[string]map[string]string{"Replace": {file: copied}})
			if err != nil {
				t.Fatal(err)
			}
			for path, text := range map[string]string{copied: strings.Replace(string(text), f.found, f.fault, 1), overlay: string(list)} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("go", "test", "-count=1", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-run", "^TestLeak$", ".", "-model.steps=1000000").CombinedOutput()
			leak := regexp.MustCompile(`step \d+: [^:]*: [^:]*`).Find(out)
			if err == nil || leak == nil {
				t.Fatalf("TestLeak does not find it:\n%s", out)
			}
			t.Logf("found: %s", leak)
		})
	}
}
