// Package adapt converts heads to and from the header types of fasthttp and net/http,
// for handlers that are mounted as targets and for hooks of embedders. It is apart from
// package head so that a head depends on neither library's header types. What those types
// cannot express, such as the order of all lines or the case of names, is lost on the way;
// nothing is invented.
package adapt
