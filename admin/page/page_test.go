package page_test

import (
	"bytes"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"

	"weir/admin/page"
)

var update = flag.Bool("update", false, "write what is built instead of comparing it")

// build returns the files of the page by name, made from the sources.
func build(t *testing.T) map[string][]byte {
	t.Helper()
	modules, err := filepath.Abs("third-party")
	if err != nil {
		t.Fatal(err)
	}
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{"src/main.jsx", "src/app.css"},
		EntryNames:  "[name]",
		Outdir:      "built",
		Bundle:      true,
		Format:      api.FormatESModule,
		Target:      api.ES2022,
		JSXFactory:  "createElement",
		JSXFragment: "Fragment",
		Inject:      []string{"src/jsx.js"},
		Alias: map[string]string{
			"preact":       modules + "/preact/preact.mjs",
			"preact/hooks": modules + "/preact/hooks.mjs",
			"uplot":        modules + "/uplot/uPlot.esm.js",
		},
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		LegalComments:     api.LegalCommentsNone, // licences.txt has them
		Supported:         map[string]bool{"nesting": false},
		Charset:           api.CharsetUTF8,
	})
	for _, m := range append(result.Errors, result.Warnings...) {
		t.Errorf("esbuild: %s (%+v)", m.Text, m.Location)
	}
	files := make(map[string][]byte)
	for _, f := range result.OutputFiles {
		name := filepath.Base(f.Path)
		if name == "main.js" {
			name = "app.js"
		}
		files[name] = f.Contents
	}
	for _, name := range []string{"index.html", "icon.svg"} {
		files[name] = read(t, "src/"+name)
	}
	var licences bytes.Buffer
	for _, name := range []string{"preact", "uplot"} {
		licences.WriteString("The page of weir has parts of " + name + ":\n\n")
		licences.Write(read(t, "third-party/"+name+"/LICENSE"))
		licences.WriteString("\n\n")
	}
	files["licences.txt"] = licences.Bytes()
	return files
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The built files are those of the sources.
func TestBuilt(t *testing.T) {
	t.Parallel()
	files := build(t)
	if t.Failed() {
		return
	}
	for name, want := range files {
		path := "built/" + name
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !bytes.Equal(read(t, path), want) {
			t.Errorf("%s is not what the sources make: run make page", path)
		}
	}
	entries, err := os.ReadDir("built")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()] == nil {
			t.Errorf("built/%s is not made by anything", e.Name())
		}
	}
}

// The page loads nothing from elsewhere and has no script or style of its own in its HTML.
func TestHandler(t *testing.T) {
	t.Parallel()
	h := page.Handler()
	get := func(path, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for path, kind := range map[string]string{
		"/ui/": "text/html; charset=utf-8", "/ui/index.html": "text/html; charset=utf-8", "/ui/some/where": "text/html; charset=utf-8",
		"/ui/app.js": "text/javascript; charset=utf-8", "/ui/app.css": "text/css; charset=utf-8", "/ui/icon.svg": "image/svg+xml",
	} {
		w := get(path, "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		if w := get(path, w.Header().Get("ETag")); w.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/ui/main.jsx", "/ui/../page.go", "/ui/built/app.js"} {
		if w := get(path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	html := get("/ui/", "").Body.String()
	for _, bad := range []string{"<style", "style=", "<script>", "onload", "http:", "https:", "\"//"} {
		if strings.Contains(html, bad) {
			t.Errorf("index.html has %s", bad)
		}
	}
}
