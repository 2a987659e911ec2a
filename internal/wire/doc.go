// Package wire is the HTTP/1.1 message framing that fasthttp does not give a
// proxy: strict checks of a raw head before it is parsed, one body reader for
// both directions that tells a proven end from a lost one, chunk encoding, and
// peeking at a socket. It knows nothing of routes, upstreams or configuration;
// internal/http1 calls it for clients, proxy for targets.
package wire
