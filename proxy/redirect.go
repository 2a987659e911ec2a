package proxy

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"weir/config"
	"weir/internal/forward"
	"weir/internal/head"
	"weir/internal/match"
)

// redirect is the redirect of a route.
type redirect struct {
	status int
	to     location
}

// redirectAsRouted answers with the route's redirect.
func (x *Exchange) redirectAsRouted() verdict {
	r := x.Route.redirect
	x.redirect(r.status, &r.to)
	return ended
}

// toHTTPS is where clients of a listener with https_redirect are sent.
var toHTTPS = newLocation(config.MustTemplate("https://{hostname}{path}"))

// redirectToHTTPS sends the client to the same URL with https. Methods that change
// something stay the same only with status 308 (RFC 9110 section 15.4.9).
func (x *Exchange) redirectToHTTPS() {
	status := 308
	if method := string(x.Request.Method()); method == "GET" || method == "HEAD" {
		status = 301
	}
	x.Route = nil // its rules are for responses that it gives
	x.redirect(status, &toHTTPS)
}

var errNoSite = errors.New("the request names no host and path to redirect to")

func (x *Exchange) redirect(status int, to *location) {
	text, ok := to.expand(x)
	if !ok {
		x.Result.Err = errNoSite
		x.fail(400, CauseBadRequest)
		return
	}
	x.ownHead(status)
	x.Response.Add(head.Location, text)
	x.Result.Cause = CauseRedirect
	x.send(nil)
}

// location is the compiled template of a Location.
type location struct {
	to config.Template
	// sameSite says that the text begins with one slash, or with a variable that does,
	// so that it must not become the address of another site.
	sameSite bool
	// hasQuery says that the template says itself what becomes of the query.
	hasQuery bool
}

func newLocation(to config.Template) location {
	text := to.String()
	return location{
		to:       to,
		sameSite: !strings.HasPrefix(text, "//"),
		hasQuery: strings.Contains(text, "?") || slices.Contains(to.Names(), forward.Search),
	}
}

// expand returns the Location for an exchange, in the exchange's memory. It is false if
// the request does not say enough: no host where the template asks for one, or no path.
func (l *location) expand(x *Exchange) (text []byte, ok bool) {
	if string(x.Path) == "*" {
		return nil, false
	}
	b := l.to.Append(x.room.scratch[:0], x.room.lookup)
	if l.sameSite {
		b = squeezeSlashes(b)
	}
	if !l.hasQuery && len(x.Query) > 0 {
		b = insertBeforeFragment(b, x.Query)
	}
	b = match.Encode(dropBareMark(b))
	x.room.scratch = b
	return b, !lacksHost(b)
}

// squeezeSlashes makes one slash of those that b begins with. A URI reference that begins
// with two names another site (RFC 3986 section 4.2), and for browsers a backslash is a
// slash.
func squeezeSlashes(b []byte) []byte {
	if len(b) == 0 || b[0] != '/' {
		return b
	}
	n := 1
	for n < len(b) && (b[n] == '/' || b[n] == '\\') {
		n++
	}
	return slices.Delete(b, 1, n)
}

// insertBeforeFragment puts "?" and a query where the query of a URI reference stands.
func insertBeforeFragment(b, query []byte) []byte {
	at := bytes.IndexByte(b, '#')
	if at < 0 {
		return append(append(b, '?'), query...)
	}
	return slices.Insert(b, at, append([]byte{'?'}, query...)...)
}

// dropBareMark removes a "?" that no query follows.
func dropBareMark(b []byte) []byte {
	if i := bytes.IndexByte(b, '?'); i >= 0 && (i+1 == len(b) || b[i+1] == '#') {
		return slices.Delete(b, i, i+1)
	}
	return b
}

// lacksHost says whether a Location has a "//" of an address without a host after it.
func lacksHost(b []byte) bool {
	scheme, rest, ok := bytes.Cut(b, []byte("//"))
	if !ok || bytes.ContainsAny(scheme, "/?#") {
		return false
	}
	return len(rest) == 0 || bytes.IndexByte([]byte("/?#:"), rest[0]) >= 0
}

// hostname is a host without its port.
func hostname(host []byte) []byte {
	if len(host) > 0 && host[0] == '[' {
		return host[:bytes.IndexByte(host, ']')+1]
	}
	name, _, _ := bytes.Cut(host, []byte{':'})
	return name
}
