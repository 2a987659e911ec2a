// Package match finds the route of a request: the canonical path that matching
// sees, the compiled table of routes, and the captures of a match. It is told
// nothing of upstreams and forwards nothing; proxy calls it once per exchange.
//
// Of all routes that fit a request the most specific wins: by host, then by
// path, then by the number of method, header and query conditions, then by
// the order in the file.
package match
