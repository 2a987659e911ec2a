// Package body delivers the bytes of message bodies, wherever they come from: a
// connection of HTTP/1.1 (by length, in chunks, or until the connection closes),
// memory, a file, or a pipe that another goroutine fills. All of them are a
// Source, so that code that sends a body on needs one loop. The package also writes
// chunked transfer coding.
//
// It knows neither requests nor connections. The front ends, the transports, the
// cache and proxy use it.
package body
