// Package head is the head of an HTTP message, of requests, responses and
// trailer sections alike, whichever version of HTTP carries it.
//
// A Head keeps the bytes of the head as they came and an index of their field
// lines. Edits stand beside those bytes: a removed line is skipped, a new one is
// appended to the Head's own buffer. Output copies runs of lines, so that the order,
// the case and the number of field lines go through as they came. Heads that
// were not parsed (HTTP/2, responses of weir itself) are filled field by field,
// by the same checks.
//
// ScanRequest and ScanResponse check a head by RFC 9112, stricter than it where
// leniency lets two programs read one message in two ways. Bodies and
// connections are the business of other packages, and package adapt converts heads to the
// types of other libraries. proxy, the front ends, the transports and the cache use this
// package.
package head
