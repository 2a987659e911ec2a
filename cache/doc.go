// Package cache is weir's response cache: RFC 9111 as pure functions of an
// entry, a request and an explicit now, and the store that keeps entries, in
// memory and behind it. It decides and remembers; it never talks to a target
// or a client, reads no clock of its own on the way of a request, and knows
// nothing of proxy, which calls it: look up, answer from what was found or
// fetch, and hand over what was fetched.
//
// Nothing borrowed from fasthttp outlives a call: entry.go makes the copies.
package cache
