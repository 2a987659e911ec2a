package rule

import (
	"bytes"

	"weir/internal/field"
	"weir/internal/head"
)

// Verdict is what a client's own conditions say about an entry.
type Verdict uint8

const (
	GoOn        Verdict = iota // answer as if there were none
	NotModified                // 304
	AskOrigin                  // the origin must judge
)

// Conditions are the fields by which a client asks for an answer only under a
// condition.
func Conditions() [4]head.Name { return conditions }

// Precondition judges the conditions of a request (RFC 9110 section 13.2.2,
// RFC 9111 section 4.3.2) against what is stored.
//
// If-Match and If-Unmodified-Since are for origins: where they hold for the
// entry it answers, where they do not only the origin may say 412, because
// what it has may be newer.
func (s *Stored) Precondition(q *Request) Verdict {
	if !q.Conditional() {
		return GoOn
	}
	h := q.Head
	if list := h.Joined(head.IfMatch); list != nil {
		if !matchTags(list, s.ETag, true) {
			return AskOrigin
		}
	} else if since := h.Get(head.IfUnmodifiedSince); len(since) > 0 {
		if at, ok := field.ParseDate(since, q.At/1e9); ok && !(s.HasModified && s.Modified <= at) {
			return AskOrigin
		}
	}
	if list := h.Joined(head.IfNoneMatch); list != nil {
		// If-None-Match makes If-Modified-Since void (RFC 9110 section 13.1.3).
		if s.Status == 200 && matchTags(list, s.ETag, false) {
			return NotModified
		}
		return GoOn
	}
	if since := h.Get(head.IfModifiedSince); len(since) > 0 && s.Status == 200 {
		at, ok := field.ParseDate(since, q.At/1e9)
		if !ok {
			return GoOn
		}
		modified := s.Modified
		if !s.HasModified {
			// RFC 9111 section 4.3.2: Date stands in for it.
			modified = s.Date
		}
		if modified <= at {
			return NotModified
		}
	}
	return GoOn
}

// ForOrigin says whether the request has a condition that only the origin can
// judge to be false.
func (q *Request) ForOrigin() bool {
	return HasValue(q.Head, head.IfMatch) || HasValue(q.Head, head.IfUnmodifiedSince)
}

// matchTags says whether a list of entity tags, or "*", names tag. strong asks
// for strong comparison (RFC 9110 section 8.8.3.2). A tag is compared byte for
// byte, whatever it looks like; "W/" alone sets a weak one apart.
func matchTags(list, tag []byte, strong bool) bool {
	if string(field.Trim(list)) == "*" {
		return true
	}
	if len(tag) == 0 || strong && weak(tag) {
		return false
	}
	want := opaque(tag)
	for {
		item, rest, more := field.NextTag(list)
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

func weak(tag []byte) bool { return len(tag) >= 2 && tag[0] == 'W' && tag[1] == '/' }

func opaque(tag []byte) []byte {
	if weak(tag) {
		return tag[2:]
	}
	return tag
}

// ValidatedBy says whether a 304 is about what is stored: their entity tags are the same,
// weak or not, or one of them has none.
func (s *Stored) ValidatedBy(r *Response) bool {
	tag := r.Fields.Get("ETag")
	return len(tag) == 0 || len(s.ETag) == 0 || bytes.Equal(opaque(tag), opaque(s.ETag))
}

// StronglyValidatedBy says whether a 304 is about the bytes that are stored: no entity tag
// is weak.
func (s *Stored) StronglyValidatedBy(r *Response) bool {
	return len(s.ETag) > 0 && !weak(s.ETag) && !weak(r.Fields.Get("ETag")) && s.ValidatedBy(r)
}

// Strong says whether there is a strong validator (RFC 9110 section 8.8): an
// entity tag, or without one a Last-Modified well before Date.
func (s *Stored) Strong() bool {
	if n := len(s.ETag); n > 0 {
		return n > 1 && s.ETag[0] == '"' && s.ETag[n-1] == '"'
	}
	return s.HasModified && s.Date-s.Modified >= 1
}

// SameStrong says whether parts of a and b are parts of one representation
// (RFC 9110 section 15.3.7.3).
func SameStrong(a, b *Stored) bool {
	return a.Strong() && b.Strong() && a.Length == b.Length && bytes.Equal(a.ETag, b.ETag) &&
		(len(a.ETag) > 0 || a.Modified == b.Modified)
}

// ifRange says whether a Range counts (RFC 9110 section 13.1.5): there is no
// If-Range, or its validator is the stored one and strong.
func (s *Stored) ifRange(q *Request) bool {
	if !q.Conditional() {
		return true
	}
	v := field.Trim(q.Head.Get(head.IfRange))
	if len(v) == 0 {
		return true
	}
	if v[0] == '"' || weak(v) {
		return !weak(v) && bytes.Equal(v, s.ETag)
	}
	at, ok := field.ParseDate(v, q.At/1e9)
	// A date is a strong validator only if it lies well before Date (RFC 9110
	// section 8.8.2.2).
	return ok && s.HasModified && at == s.Modified && s.Date-s.Modified >= 1
}

// inNotModified says which fields a 304 carries (RFC 9110 section 15.4.5):
// those that update what the client has, and the ones that steer caches.
func (p *Policy) inNotModified(name []byte) bool {
	switch {
	case field.EqualFold(name, "ETag"), field.EqualFold(name, "Date"), field.EqualFold(name, "Vary"),
		field.EqualFold(name, "Cache-Control"), field.EqualFold(name, "Expires"), field.EqualFold(name, "Content-Location"),
		field.EqualFold(name, "Last-Modified"):
		return true
	}
	for _, t := range p.c.Targeted {
		if field.EqualFold(name, t) {
			return true
		}
	}
	return false
}
