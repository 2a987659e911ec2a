package config_test

import (
	"strings"
	"testing"

	"weir/config"
)

func TestFilesProblems(t *testing.T) {
	check := func(route, want string) {
		t.Helper()
		_, err := config.Parse("f", []byte("[[listeners]]\naddress = \":1\"\n[[routes]]\n"+route+"\n"))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want && !(want != "" && strings.Contains(got, want)) {
			t.Errorf("%s\ngot  %s\nwant %s", route, got, want)
		}
	}
	check(`files = "."`, "")
	check(`files = { root = "..", index = "a.html", fallback = "/a/b.html", types = { ".x" = "a/b" } }`, "")
	check(`files = { }`, "f:4: routes[0].files.root: found nothing: want a folder")
	check(`files = "/nowhere"`, `routes[0].files.root: found "/nowhere" (no such file or directory): want a folder`)
	check(`files = "files_test.go"`, `routes[0].files.root: found "files_test.go", which is no folder: want a folder`)
	check(`files = { root = ".", index = ["a", "b/c"] }`, `f:4: routes[0].files.index[1]: found "b/c": want the name of a file without "/"`)
	check(`files = { root = ".", fallback = "a" }`, `f:4: routes[0].files.fallback: found "a": want a path such as "/index.html"`)
	check(`files = { root = ".", types = { wasm = "a/b" } }`, `found "wasm": want an ending in lower case such as ".wasm"`)
	check(`files = { root = ".", types = { ".wasm" = "wasm" } }`, `found "wasm": want a media type such as "application/wasm"`)
	check("files = \".\"\ncache = true", `routes[0].cache: found it in a route with files: want it only in a route with upstream`)
	check("files = \".\"\nrewrite = \"/x\"", `routes[0].rewrite: found it in a route with files: want it only in a route with upstream`)
	check("files = \".\"\npath = \"/a/\"\nstrip_prefix = true", "")
	check("files = \".\"\nrespond = { }", "found respond and files: want exactly one of upstream, redirect, respond and files")
}
