// Package wire is the HTTP/1.1 message framing that fasthttp does not give a
// proxy: strict checks of a raw head before it is parsed, one body reader for
// both directions that tells a proven end from a lost one, and chunk encoding.
// It knows nothing of sockets, routes, upstreams or configuration; internal/http1
// calls it for clients, proxy and internal/transport for targets.
package wire
