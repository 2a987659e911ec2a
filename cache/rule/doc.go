// Package rule is HTTP caching as pure functions: RFC 9111 with the range,
// conditional and Vary rules of RFC 9110, targeted fields (RFC 9213), cache
// groups (RFC 9875) and Cache-Status (RFC 9211). It judges requests, responses
// and what is stored of them, with a clock that the caller passes in. It keeps
// nothing and waits for nothing. Package cache calls it, and tiers use the
// text of its keys.
//
// head.go and fields.go are the only places that read the fields of a message.
package rule
