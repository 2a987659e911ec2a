package config

import (
	"strconv"
	"strings"

	"weir/internal/field"
)

// Compress is how weir compresses responses. In the file it is a boolean or a table; a table
// means true. A nil pointer is off.
type Compress struct {
	// Enabled is what "compress = true" or a table says.
	Enabled bool `toml:"enabled"`
	// Codings are the content codings to choose from: "zstd", "br" and "gzip". Of those that
	// a client likes alike the first is used.
	Codings []string `toml:"codings"`
	// Types are the media types to compress; one may end in "*".
	Types []string `toml:"types"`
	// MinSize is the length from which a body is compressed. A body of unknown length is
	// always compressed.
	MinSize Size `toml:"min_size"`
	// Credentials compresses also what may hold a client's secrets: answers to requests with
	// Cookie or Authorization that are not stored, and those with Set-Cookie. Who can make a
	// client ask for such pages, with text of theirs in them, and sees how long the answers
	// are, can guess secrets in them (BREACH).
	Credentials bool `toml:"credentials"`
}

// DefaultCompress returns what "compress = true" means. The caller owns it.
func DefaultCompress() *Compress { return fresh[Compress]() }

func (c *Compress) setDefaults() {
	*c = Compress{
		Enabled: true,
		Codings: []string{"zstd", "br", "gzip"},
		Types: []string{
			"text/*", "application/javascript", "application/json", "application/ld+json", "application/manifest+json",
			"application/problem+json", "application/wasm", "application/xml", "application/atom+xml", "application/rss+xml",
			"application/xhtml+xml", "image/svg+xml", "image/bmp", "font/ttf", "font/otf",
		},
		MinSize: 1 << 10,
	}
}

func (c *Compress) short() any { return &c.Enabled }

func (c *Compress) validate(at keyPath) {
	if len(c.Codings) == 0 {
		at.wrong("codings", "none", `at least one of "zstd", "br" and "gzip", or compress = false`)
	}
	for i, name := range c.Codings {
		at.key("codings").index(i).oneOf("", name, "zstd", "br", "gzip")
	}
	for i, text := range c.Types {
		kind, sub, found := strings.Cut(strings.TrimSuffix(text, "*"), "/")
		if !found || !field.IsToken(kind) || sub != "" && !field.IsToken(sub) || sub == "" && !strings.HasSuffix(text, "*") {
			at.key("types").index(i).wrong("", strconv.Quote(text), `a media type such as "text/html", or the start of some, such as "text/*"`)
		}
	}
}
