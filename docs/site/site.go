package main

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

const (
	first    = "README.md" // the first page
	contents = "Read on"   // its heading above the links to all pages
)

// site is the documentation as pages that link to each other.
type site struct {
	source    fs.FS
	documents map[string]*document // by the path of what they were made of
	queue     []*document          // that are to be read
	links     int
	problems  []error
	// contents are the pages that the first one links to under "Read on", in their order.
	contents []*document
}

// document is a file or folder of the checkout, and what is made of it.
type document struct {
	path  string // slashes, relative to the checkout
	out   string // where it is in the site
	title string
	body  template.HTML
	// raw is what is copied in place of a page; nil for a page.
	raw []byte
	// anchors are the places that links may name.
	anchors map[string]bool
	// asked are the anchors that others name, and where.
	asked []reference
}

// reference is a link to an anchor, on the page of a path.
type reference struct{ anchor, from string }

// read makes a site of a checkout. The error names every link that leads nowhere, and every page of docs to
// which no link leads.
func read(source fs.FS) (*site, error) {
	s := &site{source: source, documents: make(map[string]*document)}
	s.find(first, first)
	for len(s.queue) > 0 {
		d := s.queue[0]
		s.queue = s.queue[1:]
		s.readDocument(d)
	}
	for _, d := range s.documents {
		for _, r := range d.asked {
			if d.raw == nil && !d.anchors[r.anchor] {
				s.problem("%s links to %s#%s, but that page has no such heading", r.from, d.path, r.anchor)
			}
		}
	}
	pages, err := fs.Glob(source, "docs/*.md")
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		if s.documents[page] == nil {
			s.problem("no link leads to %s", page)
		}
	}
	return s, errors.Join(s.problems...)
}

func (s *site) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Errorf(format, args...))
}

// find returns the document of a path, which is read later if it is new; nil, after a note of the problem, if
// there is no such file or folder.
func (s *site) find(name, from string) *document {
	if d := s.documents[name]; d != nil {
		return d
	}
	info, err := fs.Stat(s.source, name)
	if err != nil {
		s.problem("%s links to %s, which is not there", from, name)
		return nil
	}
	d := &document{path: name, anchors: make(map[string]bool), title: name}
	switch ext := path.Ext(name); {
	case name == first:
		d.out = "index.html"
	case info.IsDir():
		d.out = name + "/index.html"
	case ext == ".md":
		d.out = strings.TrimSuffix(name, ext) + ".html"
	case ext == ".png" || ext == ".svg":
		d.out = name
	default:
		d.out = name + ".html"
	}
	s.documents[name] = d
	s.queue = append(s.queue, d)
	return d
}

// readDocument fills in a document that was found.
func (s *site) readDocument(d *document) {
	if entries, err := fs.ReadDir(s.source, d.path); err == nil {
		d.body = s.list(d, entries)
		return
	}
	data, err := fs.ReadFile(s.source, d.path)
	switch {
	case err != nil:
		s.problems = append(s.problems, err)
	case d.out == d.path:
		d.raw = data
	case path.Ext(d.path) == ".md":
		s.markdown(d, data)
	default:
		d.body = template.HTML("<h1>" + template.HTMLEscapeString(d.path) + "</h1>\n<pre><code>" + template.HTMLEscapeString(string(data)) + "</code></pre>")
	}
}

// list is the page of a folder.
func (s *site) list(d *document, entries []fs.DirEntry) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, "<h1>%s</h1>\n<ul>\n", template.HTMLEscapeString(d.path))
	for _, e := range entries {
		if to := s.find(path.Join(d.path, e.Name()), d.path); to != nil {
			fmt.Fprintf(&b, "<li><a href=%q>%s</a></li>\n", d.linkTo(to), template.HTMLEscapeString(e.Name()))
		}
	}
	b.WriteString("</ul>")
	return template.HTML(b.String())
}

var reader = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

// markdown makes the page of a file in Markdown.
func (s *site) markdown(d *document, data []byte) {
	tree := reader.Parser().Parse(text.NewReader(data), parser.WithContext(parser.NewContext(parser.WithIDs(anchors(d.anchors)))))
	heading := ""
	err := ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			heading = plain(n, data)
			if n.Level == 1 {
				d.title = heading
			}
		case *ast.Link:
			to := s.follow(d, &n.Destination)
			if d.path == first && heading == contents && to != nil {
				s.contents = append(s.contents, to)
			}
		case *ast.Image:
			s.follow(d, &n.Destination)
		}
		return ast.WalkContinue, nil
	})
	var b bytes.Buffer
	if err := cmp.Or(err, reader.Renderer().Render(&b, data, tree)); err != nil {
		s.problem("%s: %v", d.path, err)
	}
	d.body = template.HTML(b.String())
}

// follow makes a destination that is in the checkout one in the site, and returns the document there.
func (s *site) follow(d *document, destination *[]byte) *document {
	s.links++
	u, err := url.Parse(string(*destination))
	switch {
	case err != nil:
		s.problem("%s: %v", d.path, err)
		return nil
	case u.Scheme != "" || u.Host != "":
		return nil
	}
	to := d
	if u.Path != "" {
		if to = s.find(path.Join(path.Dir(d.path), u.Path), d.path); to == nil {
			return nil
		}
	}
	if u.Fragment != "" {
		to.asked = append(to.asked, reference{u.Fragment, d.path})
	}
	u.Path = d.linkTo(to)
	*destination = []byte(u.String())
	return to
}

// linkTo is the relative link from d to another document.
func (d *document) linkTo(to *document) string {
	return strings.Repeat("../", strings.Count(d.out, "/")) + to.out
}

// plain is the text of a node without its marks.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// anchors names the places of headings as GitHub does, so that links work there too.
type anchors map[string]bool

// Generate implements parser.IDs.
func (a anchors) Generate(value []byte, _ ast.NodeKind) []byte {
	base := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, string(value))
	name := base
	for i := 1; a[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	a[name] = true
	return []byte(name)
}

// Put implements parser.IDs.
func (a anchors) Put(value []byte) { a[string(value)] = true }

//go:embed page.html style.css
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// write writes the site into a folder.
func (s *site) write(folder string) error {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	if err := create(folder, "style.css", style); err != nil {
		return err
	}
	for _, d := range s.documents {
		data := d.raw
		if data == nil {
			var b bytes.Buffer
			if err := page.Execute(&b, view{s, d}); err != nil {
				return err
			}
			data = b.Bytes()
		}
		if err := create(folder, d.out, data); err != nil {
			return err
		}
	}
	return nil
}

func create(folder, name string, data []byte) error {
	full := filepath.Join(folder, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.WriteFile(full, data, 0o644)
}

// view is what the template of a page sees.
type view struct {
	site     *site
	document *document
}

func (v view) Title() string       { return v.document.title }
func (v view) Body() template.HTML { return v.document.body }
func (v view) Root() string        { return strings.Repeat("../", strings.Count(v.document.out, "/")) }

// entry is a line of the contents.
type entry struct {
	Title, Link string
	Here        bool
}

func (v view) Contents() (list []entry) {
	for _, d := range v.site.contents {
		list = append(list, entry{d.title, v.document.linkTo(d), d == v.document})
	}
	return list
}
