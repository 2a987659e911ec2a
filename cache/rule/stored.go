package rule

import (
	"bytes"
	"slices"
	"time"

	"weir/internal/field"
	"weir/internal/head"
)

// Stored is what is kept of a response, but for its body. Everything in it is a
// copy of its own and never changes, so that any number of requests may be
// answered from it at once.
type Stored struct {
	Terms
	Status int
	// Vary are the request fields that select it, in lower case and sorted.
	Vary []string
	// Groups are its cache groups and surrogate keys, sorted.
	Groups []string
	// Head is the status line, the fields and Content-Length, a line each and
	// no empty line after them; Line and End are where the status line and the
	// fields end.
	Head      []byte
	Line, End int
	// Present are the fields of Head.
	Present head.Set
	// Length is that of the body, -1 as long as it is not known.
	Length      int64
	ETag        []byte // in Head
	Modified    int64  // Last-Modified in s since the epoch
	HasModified bool
}

// Fields are the stored fields, without Content-Length.
func (s *Stored) Fields() Fields { return Fields(s.Head[s.Line:s.End]) }

// Validatable says whether there is a validator to ask the origin with.
func (s *Stored) Validatable() bool { return len(s.ETag) > 0 || s.HasModified }

// AgeSeconds is what the Age field must say (RFC 9111 section 1.2.2).
func (t *Terms) AgeSeconds(now int64) int64 { return min(t.AgeAt(now)/int64(time.Second), MaxDelta) }

// Keep copies what may be stored of a response.
func (p *Policy) Keep(r *Response, t Terms, c *Control) Stored {
	vary, _ := p.varyNames(r.Fields)
	s := Stored{Terms: t, Status: r.Status, Vary: vary, Groups: p.groups(r.Fields)}
	lines := make([]byte, 0, len(r.Fields)+len("HTTP/1.1 200 \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1234567890\r\n")+32)
	lines = head.AppendStatusLine(lines, r.Status, r.Phrase)
	s.Line = len(lines)
	connection := r.Fields.Joined("Connection")
	hasDate := false
	for name, value := range r.Fields.All() {
		if !storable(name) || connection != nil && field.HasToken(connection, string(name)) {
			continue
		}
		if (c.NoCacheFields != nil || c.PrivateFields != nil) && dropped(c, string(name)) {
			continue
		}
		hasDate = hasDate || field.EqualFold(name, "Date")
		lines = AppendField(lines, name, value)
	}
	if !hasDate {
		// RFC 9110 section 6.6.1: a cache adds Date to a response without it.
		lines = append(field.AppendDate(append(lines, "Date: "...), t.Date), "\r\n"...)
	}
	s.End = len(lines)
	s.finish(lines, r.Length)
	return s
}

// Load is what is stored with that status line, fields and body length, as a tier
// returned them; it keeps nothing of them. ok is false if Keep cannot have made them: a
// damaged disk and a hostile tier must not decide where an answer ends.
func Load(t Terms, status int, line, fields []byte, length int64) (s Stored, ok bool) {
	present, ok := head.CheckFields(fields)
	if !ok || present&neverStored != 0 || !head.CheckStatusLine(line, status) {
		return Stored{}, false
	}
	s = Stored{Terms: t, Status: status, Line: len(line), End: len(line) + len(fields)}
	lines := make([]byte, 0, s.End+32)
	s.finish(append(append(lines, line...), fields...), length)
	return s, true
}

// WithLength is s for a body of that length.
func (s Stored) WithLength(length int64) Stored {
	s.finish(append(make([]byte, 0, s.End+32), s.Head[:s.End]...), length)
	return s
}

// finish puts the Content-Length, if it is known, after the fields in lines and
// keeps a copy of the result.
func (s *Stored) finish(lines []byte, length int64) {
	s.Length = length
	if length >= 0 && HasBody(s.Status) {
		lines = appendContentLength(lines, length)
	}
	s.Head = bytes.Clone(lines)
	s.Present, _ = head.CheckFields(s.Head[s.Line:])
	f := s.Fields()
	s.ETag = f.Get("ETag")
	s.Modified, s.HasModified = field.ParseDate(f.Get("Last-Modified"), s.Received/1e9)
}

// Phrase is the reason phrase.
func (s *Stored) Phrase() []byte {
	return bytes.TrimRight(s.Head[len("HTTP/1.1 200 "):s.Line], "\r\n")
}

// HasBody says whether answers of that status have a body.
func HasBody(status int) bool { return status >= 200 && status != 204 && status != 304 }

// Update is s with the fields of a 304 in place of its own (RFC 9111 section
// 3.2), or why it may no longer be stored. Even then the result answers the
// request that brought the 304.
func (p *Policy) Update(s *Stored, q Asked, r *Response) (Stored, Reason) {
	connection := r.Fields.Joined("Connection")
	var fresh Fields // the fields of the 304 that count
	for name, value := range r.Fields.All() {
		if storable(name) && !keptOn304(name) && (connection == nil || !field.HasToken(connection, string(name))) {
			fresh = AppendField(fresh, name, value)
		}
	}
	var merged Fields
	for name, value := range s.Fields().All() {
		// Repeated fields stand where the first one stood: all of a name are
		// replaced by all of a name.
		if !fresh.Has(string(name)) {
			merged = AppendField(merged, name, value)
		}
	}
	merged = append(merged, fresh...)
	stored := merged
	if age := r.Fields.Joined("Age"); age != nil {
		merged = AppendField(slices.Clone(merged), []byte("Age"), age)
	}
	if !r.Fields.Has("Date") {
		// The stored Date would make the entry as old as it was.
		merged = merged.without("Date")
		stored = stored.without("Date")
	}
	whole := Response{
		Status: s.Status, Phrase: s.Phrase(), Fields: merged, Length: s.Length,
		Requested: r.Requested, Received: r.Received,
	}
	q.ContentLocation = true // it was, when the entry was stored
	t, c, reason := p.JudgeResponse(q, &whole)
	whole.Fields = stored
	n := p.Keep(&whole, t, &c)
	if reason == ReasonNone && r.Fields.Has("Set-Cookie") && !dropped(&c, "set-cookie") {
		// Whether others may get it is for the response to say that brings it.
		if own, targeted := p.control(r.Fields); !p.storesCookies(&own, targeted) {
			reason = ReasonSetCookie
		}
	}
	if reason == ReasonNone && !slices.Equal(n.Vary, s.Vary) {
		// The 304 changed Vary; what the entry was selected by is not known
		// for the new names.
		reason = ReasonVaryMiss
	}
	return n, reason
}

// Describes says whether the answer to a HEAD may describe what is stored (RFC
// 9111 section 4.3.5).
func (s *Stored) Describes(r *Response) bool {
	stored := Fields(s.Head[s.Line:])
	for _, name := range []string{"ETag", "Last-Modified", "Content-Length"} {
		if v := r.Fields.Get(name); v != nil && !bytes.Equal(v, stored.Get(name)) {
			return false
		}
	}
	return true
}

// PartOf says whether what is stored may be a part of what a response shows.
func (s *Stored) PartOf(r *Response) bool {
	if r.Status != 200 && r.Status != 206 {
		return false
	}
	stored := s.Fields()
	tag, modified := r.Fields.Get("ETag"), r.Fields.Get("Last-Modified")
	return bytes.Equal(tag, stored.Get("ETag")) && (modified == nil || bytes.Equal(modified, stored.Get("Last-Modified")))
}

// Whole is the 200 of that length that a 206 is a part of.
func (r *Response) Whole(length int64) Response {
	whole := *r
	whole.Status, whole.Phrase, whole.Length = 200, nil, length
	whole.Fields = r.Fields.without("Content-Range")
	return whole
}

// Merge adds to r, the whole that a part is of, the fields that another part of
// it had and this one does not (RFC 9111 section 3.2).
func (r *Response) Merge(old *Stored) {
	var merged Fields
	for name, value := range old.Fields().All() {
		if !r.Fields.Has(string(name)) && !field.EqualFold(name, "Date") {
			merged = AppendField(merged, name, value)
		}
	}
	r.Fields = append(merged, r.Fields...)
}

// neverStored are the fields that belong to one connection or one hop (RFC 9111 section
// 3.1), and those that are made anew for each answer.
var neverStored = head.Framing | head.SetOf(
	head.Connection, head.KeepAlive, head.ProxyConnection, head.TE, head.Trailer, head.Upgrade, head.Age,
	head.ProxyAuthenticate, head.ProxyAuthorization, head.ProxyAuthenticationInfo,
)

// storable says whether a field is stored at all.
func storable(name []byte) bool { return head.Lookup(name)&neverStored == 0 }

// keptOn304 are the fields that describe the stored bytes; what a 304 says in
// them is not about those.
func keptOn304(name []byte) bool {
	return field.EqualFold(name, "Content-Encoding") || field.EqualFold(name, "Content-Range")
}

// groups are the names by which an entry can be purged or invalidated together
// with others: its cache groups (RFC 9875) and the words of surrogate keys.
func (p *Policy) groups(f Fields) []string {
	list := ParseGroups(f.Joined("Cache-Groups"))
	for _, name := range p.c.SurrogateKeys {
		list = SurrogateKeys(list, f.Joined(name))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// SurrogateKeys adds the words of a list of surrogate keys to list: all of them, for an entry
// could not be purged by one that it forgot.
func SurrogateKeys(list []string, value []byte) []string {
	for _, word := range bytes.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		list = append(list, string(word))
	}
	return list
}
