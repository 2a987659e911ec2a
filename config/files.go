package config

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Files answers with the files of a folder. The part of the path that strip_prefix leaves names the
// file.
type Files struct {
	// Root is the folder. Links in it that lead out of it are not followed.
	Root string `toml:"root"`
	// Index are the files that stand for a folder, the first that is there. Folders are never
	// listed.
	Index Strings `toml:"index"`
	// Fallback is the path of a file that is sent in place of files that are not there, with
	// status 200, for applications that run in the browser; empty means 404.
	Fallback string `toml:"fallback"`
	// Precompressed sends FILE.br, FILE.zst or FILE.gz in place of FILE to clients that take
	// that coding, if it is not older than FILE.
	Precompressed bool `toml:"precompressed"`
	// Hidden serves files and folders whose names begin with a dot, which are else only
	// served below "/.well-known/".
	Hidden bool `toml:"hidden"`
	// Types are media types by the ending of a file's name (".wasm"), before those of the system.
	Types map[string]string `toml:"types"`
}

func (f *Files) short() any { return &f.Root }

func (f *Files) setDefaults() { f.Index, f.Precompressed = Strings{"index.html"}, true }

func (f *Files) validate(at keyPath) {
	at.needs("root", f.Root, "a folder")
	if f.Root != "" {
		if info, err := os.Stat(f.Root); err != nil {
			at.absent("root", f.Root, err, "a folder")
		} else if !info.IsDir() {
			at.wrong("root", strconv.Quote(f.Root)+", which is no folder", "a folder")
		}
	}
	for i, name := range f.Index {
		if name == "" || strings.Contains(name, "/") || name == "." || name == ".." || hasControl(name) {
			at.key("index").index(i).wrong("", strconv.Quote(name), `the name of a file without "/"`)
		}
	}
	if f.Fallback != "" {
		if path, want := parsePath(f.Fallback); want != "" || !path.literal() {
			at.wrong("fallback", strconv.Quote(f.Fallback), `a path such as "/index.html"`)
		}
	}
	for _, ending := range slices.Sorted(maps.Keys(f.Types)) {
		if len(ending) < 2 || ending[0] != '.' || ending != strings.ToLower(ending) || strings.ContainsAny(ending[1:], "./") {
			at.key("types").wrong(ending, strconv.Quote(ending), `an ending in lower case such as ".wasm"`)
		}
		if value := f.Types[ending]; !strings.Contains(value, "/") || hasControl(value) {
			at.key("types").wrong(ending, strconv.Quote(value), `a media type such as "application/wasm"`)
		}
	}
}
