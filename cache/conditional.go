package cache

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"weir/internal/wire"
)

// verdict is what a client's own conditions say about an entry.
type verdict uint8

const (
	verdictGoOn        verdict = iota // answer as if there were none
	verdictNotModified                // 304
	verdictOrigin                     // the origin must judge
)

// precondition judges the conditions of a request (RFC 9110 section 13.2.2,
// RFC 9111 section 4.3.2) against an entry.
//
// If-Match and If-Unmodified-Since are for origins: where they hold for the
// entry it answers, where they do not only the origin may say 412, because
// what it has may be newer.
func precondition(e *Entry, q *Request) verdict {
	if !q.conditions() {
		return verdictGoOn
	}
	h := q.Header
	if list := joinLines(h.PeekAll(fasthttp.HeaderIfMatch)); list != nil {
		if !matchTags(list, e.etag, true) {
			return verdictOrigin
		}
	} else if since := h.Peek(fasthttp.HeaderIfUnmodifiedSince); len(since) > 0 {
		if at, ok := parseDate(since, q.now/1e9); ok && !(e.hasModified && e.modified <= at) {
			return verdictOrigin
		}
	}
	if list := joinLines(h.PeekAll(fasthttp.HeaderIfNoneMatch)); list != nil {
		// It makes If-Modified-Since void (RFC 9110 section 13.1.3).
		if e.status == 200 && matchTags(list, e.etag, false) {
			return verdictNotModified
		}
		return verdictGoOn
	}
	if since := h.Peek(fasthttp.HeaderIfModifiedSince); len(since) > 0 && e.status == 200 {
		at, ok := parseDate(since, q.now/1e9)
		if !ok {
			return verdictGoOn
		}
		modified := e.modified
		if !e.hasModified {
			// RFC 9111 section 4.3.2: Date stands in for it.
			modified = e.date
		}
		if modified <= at {
			return verdictNotModified
		}
	}
	return verdictGoOn
}

// forOrigin says whether the request has a condition that only the origin can
// judge to be false.
func (q *Request) forOrigin() bool {
	return len(q.Header.Peek(fasthttp.HeaderIfMatch)) > 0 || len(q.Header.Peek(fasthttp.HeaderIfUnmodifiedSince)) > 0
}

// matchTags says whether a list of entity tags, or "*", names tag. strong asks
// for strong comparison (RFC 9110 section 8.8.3.2). A tag is compared byte for
// byte, whatever it looks like; "W/" alone sets a weak one apart.
func matchTags(list, tag []byte, strong bool) bool {
	if string(trim(list)) == "*" {
		return true
	}
	if len(tag) == 0 || strong && weak(tag) {
		return false
	}
	want := opaque(tag)
	for {
		item, rest, more := nextTag(list)
		if !more {
			return false
		}
		list = rest
		if strong && weak(item) {
			continue
		}
		if len(item) > 0 && bytes.Equal(opaque(item), want) {
			return true
		}
	}
}

// nextTag cuts the first entity tag off a list. Unlike in quoted strings a
// backslash in a tag is a byte like any other.
func nextTag(list []byte) (item, rest []byte, more bool) {
	if len(list) == 0 {
		return nil, nil, false
	}
	quoted := false
	for i, c := range list {
		if c == '"' {
			quoted = !quoted
		} else if c == ',' && !quoted {
			return trim(list[:i]), list[i+1:], true
		}
	}
	return trim(list), nil, true
}

func weak(tag []byte) bool { return len(tag) >= 2 && tag[0] == 'W' && tag[1] == '/' }

func opaque(tag []byte) []byte {
	if weak(tag) {
		return tag[2:]
	}
	return tag
}

// ifRange says whether a Range counts (RFC 9110 section 13.1.5): there is no
// If-Range, or its validator is the entry's and strong.
func ifRange(e *Entry, q *Request) bool {
	if q.Fields&wire.FieldConditional == 0 {
		return true
	}
	v := trim(q.Header.Peek(fasthttp.HeaderIfRange))
	if len(v) == 0 {
		return true
	}
	if v[0] == '"' || weak(v) {
		return !weak(v) && bytes.Equal(v, e.etag)
	}
	at, ok := parseDate(v, q.now/1e9)
	// A date is a strong validator only if it lies well before Date (RFC 9110
	// section 8.8.2.2).
	return ok && e.hasModified && at == e.modified && e.date-e.modified >= 1
}

// inNotModified says which fields a 304 carries (RFC 9110 section 15.4.5):
// those that update what the client has, and the ones that steer caches.
func (p *Policy) inNotModified(name []byte) bool {
	switch {
	case equalFold(name, "ETag"), equalFold(name, "Date"), equalFold(name, "Vary"),
		equalFold(name, "Cache-Control"), equalFold(name, "Expires"), equalFold(name, "Content-Location"),
		equalFold(name, "Last-Modified"):
		return true
	}
	for _, t := range p.c.Targeted {
		if equalFold(name, t) {
			return true
		}
	}
	return false
}
