// Package match finds the route of a request: it makes the canonical path that
// routes are compared with, compiles the table of routes, and returns the captures
// of a match. Package config parses what routes ask for. match knows nothing of
// upstreams and forwards nothing; proxy calls it once per exchange.
//
// Of all routes that fit a request the most specific wins: by host, then by
// path, then by the number of method, header and query conditions, then by
// the order in the file.
package match
