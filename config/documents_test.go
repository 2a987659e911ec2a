package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/config"
)

// Documents at the URL of a source count like files, but have routes and upstreams alone.
func TestDocuments(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "weir.toml")
	load := func(include, persist string, fetch func(url, kept string) (int64, []config.Document, error)) (*config.Config, error) {
		t.Helper()
		text := fmt.Sprintf("include = %s\n[[listeners]]\naddress = ':80'\n[[routes]]\nupstream = 'origin'\n[discovery]\npersist = %q\n", include, persist)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return (&config.Loader{Fetch: fetch}).Load(path)
	}
	const origin = "[upstreams.origin]\ntargets = ['demo:one']\n"
	documents := func(texts ...string) func(url, kept string) (int64, []config.Document, error) {
		return func(url, kept string) (int64, []config.Document, error) {
			if url != "etcd://u:secret@a/b" || kept != "/kept" {
				t.Errorf("fetched %s, %s", url, kept)
			}
			var list []config.Document
			for i, text := range texts {
				list = append(list, config.Document{Name: fmt.Sprint("key", i), Text: []byte(text)})
			}
			return 7, list, nil
		}
	}
	const include = "'etcd://u:secret@a/b'"
	c, err := load(include, "/kept", documents(origin, "[[routes]]\npath = '/a'\nupstream = 'origin'\n"))
	if err != nil || len(c.Routes) != 2 || c.Upstreams["origin"].Targets[0].URL != "demo:one" {
		t.Fatalf("%v", err)
	}
	if d := c.Documents(); len(d) != 1 || d[0].Name != "etcd://u:xxxxx@a/b" || d[0].Version != 7 || len(c.Included()) != 0 {
		t.Errorf("documents: %+v, files: %v", d, c.Included())
	}
	if file, line := c.Position("routes[1].path"); file != "key1" || line != 2 {
		t.Errorf("the second route is at %s:%d", file, line)
	}
	bad := func(what string, fetch func(url, kept string) (int64, []config.Document, error), want ...string) {
		t.Helper()
		_, err := load(include, "/kept", fetch)
		for _, want := range want {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: got %v, want %s", what, err, want)
			}
		}
	}
	bad("none", nil, `weir.toml:1: include: found "etcd://u:xxxxx@a/b": want a file`)
	bad("failure", func(string, string) (int64, []config.Document, error) { return 0, nil, errors.New("not there") }, `cannot read "etcd://u:xxxxx@a/b": not there`)
	bad("syntax", documents(origin, "[[routes]\n"), "key1:2: cannot parse TOML")
	bad("other keys", documents(origin, "[admin]\naddress = ':1'\n"), "key1: admin: found a key that only files may have")
	bad("a route", documents(origin+"[[routes]]\npath = 'a'\nupstream = 'no'\n"), "key0:4: routes[1].path", "key0:5: routes[1].upstream")
	bad("twice", documents(origin, origin), "key1:2: upstreams.origin.targets: found a second value: the first is at key0:2")
}
