package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/field"
)

// CORS says which pages of other origins may use a route from a browser (the Fetch standard, section
// 3.3). weir answers the browsers' preflight requests itself, and replaces what targets say about
// other origins.
type CORS struct {
	// Origins are the origins of the pages: "https://app.example.org", "https://*.example.org" for all
	// names below one, or "*" for all origins.
	Origins Strings `toml:"origins"`
	// Methods are what the pages may ask with.
	Methods Strings `toml:"methods"`
	// Headers are the request fields that the pages may send besides those that every page may send; "*"
	// stands for all that a page asks for.
	Headers Strings `toml:"headers"`
	// Expose are the response fields that the pages may read besides those that every page may read.
	Expose Strings `toml:"expose"`
	// Credentials lets the pages send cookies and passwords, and read what weir answers to them.
	Credentials bool `toml:"credentials"`
	// MaxAge is how long a browser keeps the answer to a preflight request.
	MaxAge Duration `toml:"max_age"`
}

func (c *CORS) setDefaults() {
	c.Methods, c.MaxAge = Strings{"GET", "HEAD", "POST"}, Duration(10*time.Minute)
}

func (c *CORS) validate(at keyPath) {
	at.required("origins", len(c.Origins) == 0, `at least one origin such as "https://app.example.org"`)
	for i, origin := range c.Origins {
		if !validOrigin(origin) {
			at.key("origins").index(i).wrong("", strconv.Quote(origin), `an origin such as "https://app.example.org" or "https://*.example.org", in lower case and without a path, or "*"`)
		}
	}
	if c.Credentials && slices.Contains(c.Origins, "*") {
		at.wrong("credentials", `true with the origin "*"`, "origins by name: any page could act for a client who is logged in")
	}
	for i, method := range c.Methods {
		if !field.IsToken(method) || method == "*" {
			at.key("methods").index(i).wrong("", strconv.Quote(method), `a method such as "PUT"`)
		}
	}
	for i, name := range c.Headers {
		if !field.IsToken(name) {
			at.key("headers").index(i).wrong("", strconv.Quote(name), `the name of a field, or "*"`)
		}
	}
	for i, name := range c.Expose {
		if !field.IsToken(name) || name == "*" && c.Credentials {
			at.key("expose").index(i).wrong("", strconv.Quote(name), `the name of a field, or, without credentials, "*"`)
		}
	}
}

// validOrigin says whether text is what browsers send as an origin, perhaps with "*." before the
// host's name.
func validOrigin(text string) bool {
	if text == "*" {
		return true
	}
	scheme, host, found := strings.Cut(text, "://")
	return found && field.IsToken(scheme) && strings.ToLower(text) == text && validAuthority(strings.TrimPrefix(host, "*."))
}
