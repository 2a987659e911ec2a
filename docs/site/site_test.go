package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// TestDocumentation: all links of the documentation lead somewhere, and the site has all pages.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	s, err := read(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := s.write(folder); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("../*.md")
	if err != nil || len(pages) < 30 {
		t.Fatal(len(pages), err)
	}
	for _, page := range pages {
		made := filepath.Join(folder, "docs", strings.TrimSuffix(filepath.Base(page), ".md")+".html")
		if _, err := os.Stat(made); err != nil {
			t.Error(err)
		}
	}
	index, err := os.ReadFile(filepath.Join(folder, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`<li><a href="docs/routing.html">Routing</a></li>`, `<img src="docs/pictures/`, `href="style.css"`} {
		if !strings.Contains(string(index), part) {
			t.Errorf("the first page has no %s", part)
		}
	}
}

// tree is a small checkout without a problem.
func tree() fstest.MapFS {
	return fstest.MapFS{
		"README.md":      {Data: []byte("# weir\n\n[a](docs/a.md#two-words)\n\n## Read on\n\n- [a](docs/a.md), [files](more)\n")},
		"docs/a.md":      {Data: []byte("# The `a[].b` <page>\n\n## Two words\n\n## Two words\n\n[up](../README.md#read-on) [here](#two-words-1) [out](https://example.org/x)\n\n![p](p.svg)\n")},
		"docs/p.svg":     {Data: []byte("<svg/>")},
		"more/config.py": {Data: []byte("if 1 < 2 && 3: pass\n")},
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s, err := read(tree())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := s.write(folder); err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][]string{
		"index.html":          {`<a href="docs/a.html#two-words">a</a>`, `<a href="more/index.html">files</a>`, `<title>weir</title>`},
		"docs/a.html":         {`<h2 id="two-words-1">`, `<a href="../index.html#read-on">`, `<a href="../docs/a.html#two-words-1">`, `href="https://example.org/x"`, `<img src="../docs/p.svg"`, `aria-current="page"`, `<title>The a[].b `},
		"docs/p.svg":          {"<svg/>"},
		"more/index.html":     {`<a href="../more/config.py.html">config.py</a>`},
		"more/config.py.html": {"if 1 &lt; 2 &amp;&amp; 3"},
		"style.css":           {"prefers-color-scheme"},
	} {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(string(data), part) {
				t.Errorf("%s has no %s:\n%s", name, part, data)
			}
		}
	}
}

func TestBrokenLinks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, text, want string }{
		"no file":           {"docs/a.md", "[x](b.md)", "docs/a.md links to docs/b.md, which is not there"},
		"no heading":        {"docs/a.md", "# A\n\n[x](#there)", "docs/a.md links to docs/a.md#there, but that page has no such heading"},
		"no heading yonder": {"docs/a.md", "## Two words\n\n[x](../README.md#there)", "docs/a.md links to README.md#there"},
		"no picture":        {"docs/a.md", "![x](y.png)", "docs/a.md links to docs/y.png, which is not there"},
		"above":             {"docs/a.md", "[x](../../etc/passwd)", "links to ../etc/passwd"},
		"no link to a page": {"docs/b.md", "# B", "no link leads to docs/b.md"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := tree()
			files[c.file] = &fstest.MapFile{Data: []byte(c.text)}
			if _, err := read(files); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
