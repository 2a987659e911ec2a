package proxy

import (
	"fmt"
	"mime"
	"path/filepath"
	"strconv"

	"weir/config"
	"weir/internal/head"
)

// errorPages are the pages of a route, by status ("404") and class ("5xx"). They are never
// changed. nil are none.
type errorPages struct {
	pages   map[string]errorPage
	targets bool
}

// errorPage is a page with its type.
type errorPage struct{ text, kind []byte }

// newErrorPages reads the files of a configuration. Those of general, which may be nil, are for
// what the configuration has no file for.
func newErrorPages(c *config.ErrorPages, general *errorPages) (*errorPages, error) {
	e := &errorPages{pages: make(map[string]errorPage), targets: c.Targets}
	if general != nil {
		for status, page := range general.pages {
			e.pages[status] = page
		}
	}
	for status, path := range c.Files {
		text, err := config.ReadFile(path)
		switch {
		case err != nil:
			return nil, fmt.Errorf("error_pages: %w", err)
		case int64(len(text)) > config.MaxErrorPage:
			return nil, fmt.Errorf("error_pages: %q has %d bytes, want at most %d", path, len(text), config.MaxErrorPage)
		}
		kind := mime.TypeByExtension(filepath.Ext(path))
		if kind == "" {
			kind = "text/plain; charset=utf-8"
		}
		e.pages[status] = errorPage{text, []byte(kind)}
	}
	if len(e.pages) == 0 {
		return nil, nil
	}
	return e, nil
}

// of returns the page for a status; ok is false if there is none.
func (e *errorPages) of(status int) (page errorPage, ok bool) {
	if e == nil || status < 400 {
		return errorPage{}, false
	}
	text := strconv.Itoa(status)
	if page, ok = e.pages[text]; !ok {
		page, ok = e.pages[text[:1]+"xx"]
	}
	return page, ok
}

// errorPages are those for x.
func (x *Exchange) errorPages() *errorPages {
	if x.Route != nil {
		return x.Route.errorPages
	}
	return x.proxy.errorPages
}

// ofContent are the fields that tell of the content that a page replaces.
var ofContent = []head.Name{
	head.ContentEncoding, head.ETag, head.LastModified, head.NewName("Content-Range"), head.NewName("Accept-Ranges"),
	head.NewName("Content-Language"), head.NewName("Content-Location"), head.NewName("Content-Disposition"),
	head.NewName("Content-MD5"), head.NewName("Digest"), head.NewName("Content-Digest"), head.NewName("Repr-Digest"), head.Trailer,
}

// relayPage sends a page in place of the body of the attempt's response, if there is one for its
// status and the route asks for that. It reports whether it did.
func (x *Exchange) relayPage(a *attempt, closes bool) bool {
	pages := x.Route.errorPages
	if pages == nil || !pages.targets || x.Route.cache != nil {
		return false
	}
	page, ok := pages.of(x.Response.Status)
	if !ok {
		return false
	}
	// What has come already is read, so that the connection can be used again.
	var buf buffer
	buf.take(copyBuffer)
	for !a.body.Done() && a.body.Whole() {
		if _, err := a.body.Next(buf.bytes); err != nil {
			break
		}
	}
	buf.release()
	whole := a.body.Done()
	for _, name := range ofContent {
		x.Response.Del(name)
	}
	x.Response.Set(head.ContentType, page.kind)
	a.succeed(whole && !closes)
	x.send(page.text)
	return true
}
