// Package clienttest has programs that speak HTTP/2 (curl, nghttp, h2load, Node.js, Chromium) talk to
// weir, in its tests. It has no code.
package clienttest
