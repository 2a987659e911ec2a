// Package frames is what both sides of HTTP/2 share, the front end and the transport: reading
// frames, gathering frames and writing them at once, header compression, and the bytes of
// bodies that have arrived and are not wanted yet. It knows neither exchanges nor streams. The
// Framer and the decoder of header blocks are those of golang.org/x/net.
//
// Whatever a connection has of this package is guarded by the connection's own lock, but for
// what its reader alone uses.
package frames
