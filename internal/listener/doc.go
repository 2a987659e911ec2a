// Package listener is weir's one accept layer: TCP, unix and systemd-passed
// sockets, PROXY protocol, TLS with certificates chosen by SNI, and the limits
// that hold before a byte of HTTP is read. It hands a Conn, on a goroutine of
// its own, to the front end of the protocol (internal/http1 for HTTP/1.1) and
// knows nothing of requests, routes or metrics.
//
// Package server opens, updates and closes listeners; it gets its figures from
// Stats and the callbacks in Options.
package listener
