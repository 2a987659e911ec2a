// Package field is the small syntax of HTTP fields (RFC 9110 section 5.6) and
// of what is found in them: tokens, lists, dates, structured fields (RFC 9651),
// cookies, and the parameters of a query. Its functions look at bytes, keep
// none and know no field by name. Every package that reads a field's value
// calls it.
package field
