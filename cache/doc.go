// Package cache is weir's response cache: the store that keeps entries in memory
// and in the tiers after it, the fetches that requests for one key share, and
// purges. What may be stored and what may answer is for package cache/rule to
// say. The cache decides and remembers; it never talks to a target or a client,
// reads no clock of its own on the way of a request, and knows nothing of
// proxy, which calls it: look up, answer from what was found or fetch, and hand
// over what was fetched.
//
// Nothing borrowed from fasthttp outlives a call: head.go makes the copies.
package cache
