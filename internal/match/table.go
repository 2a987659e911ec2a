package match

import (
	"github.com/valyala/fasthttp"

	"weir/config"
)

// Request is what routes are matched against. All slices are borrowed for the
// time of one Match.
type Request struct {
	// Host is the request's host as it was sent, with or without a port.
	Host []byte
	// Path is the canonical path; see Canonical. "*" (of OPTIONS) fits only
	// routes without a path.
	Path []byte
	// Query is the raw query without its "?"; nil if there is none.
	Query []byte
	// Method is the request's method.
	Method []byte
	// Header is read only when a candidate route has header conditions.
	Header *fasthttp.RequestHeader
}

// Table is a compiled list of routes. It is never changed after New and may be
// used by any number of goroutines.
type Table struct{}

// New compiles routes. An error is always of type Problems and names every
// fault, not only the first.
func New(routes []config.Route) (*Table, error) { return &Table{}, nil }

// Match finds the most specific route that fits r and fills c with what its
// path captured. route is the index in the list given to New, pattern the index
// of the fitting path in that route's Path (0 if it has none). If no route fits,
// ok is false and c is empty. It never allocates.
func (t *Table) Match(r *Request, c *Captures) (route, pattern int, ok bool) { return 0, 0, false }

// Captures returns the names that every path of a route captures: those that
// the route's templates may use. route is an index in the list given to New.
func (t *Table) Captures(route int) []string { return nil }
