// Package page is the web page of the admin address: files that browsers load, built from
// src by "make page" and embedded. It knows nothing of weir but the paths of the admin API,
// which the page asks like any other client.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// Root is the path below which the page is.
const Root = "/ui/"

//go:embed built
var built embed.FS

// file is a file as it is sent.
type file struct {
	body      []byte
	kind, tag string
}

// Handler answers requests below Root. Paths without a dot are the page itself. It sets
// the fields about the content only: what else browsers may do is said by its caller.
func Handler() http.Handler {
	files := make(map[string]file)
	entries, err := fs.ReadDir(built, "built")
	if err != nil {
		panic("BUG: the page is not embedded: " + err.Error())
	}
	for _, e := range entries {
		body, err := built.ReadFile("built/" + e.Name())
		if err != nil {
			panic("BUG: cannot read an embedded file: " + err.Error())
		}
		sum := sha256.Sum256(body)
		files[e.Name()] = file{body: body, kind: kindOf(e.Name()), tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, Root)
		if !strings.Contains(name, ".") {
			name = "index.html"
		}
		f, ok := files[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", f.kind)
		w.Header().Set("Cache-Control", "no-cache") // the tag tells whether weir has another page now
		w.Header().Set("ETag", f.tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.body))
	})
}

// kindOf is the media type of a file, which does not depend on the machine's tables.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}
