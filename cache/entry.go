package cache

import (
	"bufio"
	"bytes"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Entry is a stored response, or one that is being stored. Everything in it is
// a copy of its own and never changes, but for the atomics; so any number
// of exchanges may write its bytes to their clients at once, and the garbage
// collector takes it when the last of them is done.
type Entry struct {
	key     string
	hash    uint64
	vary    []string // request fields that select it, lower case and sorted
	variant string   // what its request said in them
	terms
	status int
	// head is the status line, the fields and Content-Length, a line each and
	// no empty line after them; line and fields are where its parts end.
	head         []byte
	line, fields int
	// length is that of the body, -1 as long as it is not known.
	length      int64
	body        []byte
	blob        Blob   // has the body instead, if it is too large for memory
	etag        []byte // in head
	modified    int64  // Last-Modified in s since the epoch
	hasModified bool
	groups      []string // cache groups and surrogate keys
	// hitForMiss marks a key whose answers may not be stored, until freshUntil;
	// such an entry has no response.
	hitForMiss bool
	// partial says that pieces are all there is of the body, and length is that
	// of the whole; the pieces are in order and do not touch.
	partial bool
	pieces  []piece

	// purged is when a soft purge ended the lifetime, in ns; 0 means never.
	purged atomic.Int64
	// prepared is the head as fasthttp has it, made when first asked for.
	prepared atomic.Pointer[fasthttp.ResponseHeader]

	// copied is a second copy of body, asked how often there might have been one.
	copied atomic.Pointer[bodyCopy]
	asked  atomic.Uint32
}

// entryOverhead is what an entry costs beside its bytes: the struct, its node,
// its place in the maps, and what the allocator rounds up. TestMemoryCost
// compares it with the heap.
const entryOverhead = 640

// preparedOverhead, and preparedLine for each line, are what the prepared head
// costs beside its bytes. It is counted from the beginning, because an entry
// that is worth its place is asked for.
const preparedOverhead, preparedLine = 384, 64

// cost is the memory that the entry holds.
func (e *Entry) cost() int64 {
	n := entryOverhead + cap(e.head) + cap(e.body) + len(e.key) + len(e.variant)
	if len(e.head) > 0 {
		n += preparedOverhead + preparedLine*bytes.Count(e.head, []byte{'\n'}) + len(e.head)
	}
	for _, s := range e.vary {
		n += 16 + len(s)
	}
	for _, s := range e.groups {
		n += 160 + len(s)
	}
	for _, p := range e.pieces {
		n += 32 + cap(p.data)
	}
	return int64(n)
}

// Status is the stored status code.
func (e *Entry) Status() int { return e.status }

// Length is the number of body bytes, -1 as long as it is not known.
func (e *Entry) Length() int64 { return e.length }

// Key is the entry's key, for Cache-Status and the inspector.
func (e *Entry) Key() string { return e.key }

// until is when the entry stops being fresh, in ns since the epoch.
func (e *Entry) until() int64 {
	until := e.freshUntil()
	if p := e.purged.Load(); p != 0 && p < until {
		return p
	}
	return until
}

// expire ends the entry's lifetime. The first time counts.
func (e *Entry) expire(now int64) { e.purged.CompareAndSwap(0, now) }

// Copy fills h with the head: status and fields, with the Content-Length if
// there is one and without Age. empty is the head to start from, which decides
// what fasthttp adds by itself. It allocates only the first time.
func (e *Entry) Copy(h, empty *fasthttp.ResponseHeader) {
	p := e.prepared.Load()
	if p == nil {
		p = new(fasthttp.ResponseHeader)
		empty.CopyTo(p)
		text := append(bytes.Clone(e.head), "\r\n"...)
		if err := p.Read(bufio.NewReaderSize(bytes.NewReader(text), len(text))); err != nil {
			// What fasthttp refuses cannot have come from it: a damaged disk
			// or a hostile far tier. The status is all that is safe to repeat.
			empty.CopyTo(p)
			p.SetStatusCode(e.status)
		}
		parsed := p
		p = new(fasthttp.ResponseHeader)
		parsed.CopyTo(p) // which takes no more room than it needs
		e.prepared.Store(p)
	}
	p.CopyTo(h)
}

// newEntry copies what may be stored of a response. groups are cache groups
// and surrogate keys.
func (p *Policy) newEntry(key string, hash uint64, r *Response, t terms, c *Control) *Entry {
	names, _ := varyNames(r.Fields)
	e := &Entry{
		key: key, hash: hash, vary: names, terms: t, status: r.Status, length: r.Length,
	}
	e.groups = p.groups(r.Fields)

	head := make([]byte, 0, len(r.Fields)+len("HTTP/1.1 200 \r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1234567890\r\n")+32)
	head = appendStatusLine(head, r.Status, r.Phrase)
	e.line = len(head)
	connection := r.Fields.joined("Connection")
	hasDate := false
	for f := r.Fields; ; {
		name, value, rest := f.next()
		if name == nil {
			break
		}
		f = rest
		if !storable(name) || connection != nil && listed(connection, string(name)) {
			continue
		}
		if (c.NoCacheFields != nil || c.PrivateFields != nil) && dropped(c, string(name)) {
			continue
		}
		hasDate = hasDate || equalFold(name, "Date")
		head = AppendField(head, name, value)
	}
	if !hasDate {
		// RFC 9110 section 6.6.1: who stores a response without Date adds it.
		head = append(appendDate(append(head, "Date: "...), t.date), "\r\n"...)
	}
	e.fields = len(head)
	e.finish(head)
	return e
}

// finish puts the Content-Length, if it is known, behind the fields in head
// and takes the result.
func (e *Entry) finish(head []byte) {
	if e.length >= 0 && framed(e.status) {
		head = append(head, "Content-Length: "...)
		head = strconv.AppendInt(head, e.length, 10)
		head = append(head, "\r\n"...)
	}
	e.head = bytes.Clone(head)
	f := Fields(e.head[e.line:e.fields])
	e.etag = f.get("ETag")
	e.modified, e.hasModified = parseDate(f.get("Last-Modified"), e.received/1e9)
}

// framed says whether answers of that status have a body.
func framed(status int) bool { return status >= 200 && status != 204 && status != 304 }

// withBody is the entry with its whole body, which it keeps.
func (e *Entry) withBody(body []byte) *Entry {
	n := e.bare()
	n.length, n.body = int64(len(body)), body
	n.finish(append(make([]byte, 0, e.fields+32), e.head[:e.fields]...))
	return n
}

// withBlob is the entry with its whole body on disk.
func (e *Entry) withBlob(b Blob) *Entry {
	n := e.bare()
	n.length, n.blob = b.Length(), b
	n.finish(append(make([]byte, 0, e.fields+32), e.head[:e.fields]...))
	return n
}

// bare is a copy of the entry without body, pieces and atomics.
func (e *Entry) bare() *Entry {
	return &Entry{
		key: e.key, hash: e.hash, vary: e.vary, variant: e.variant, terms: e.terms, status: e.status,
		head: e.head, line: e.line, fields: e.fields, length: e.length,
		etag: e.etag, modified: e.modified, hasModified: e.hasModified, groups: e.groups, hitForMiss: e.hitForMiss,
	}
}

// updated is the entry with the fields of a 304 in place of its own (RFC 9111
// section 3.2), or why it may no longer be stored. Even then the entry answers
// the request that brought the 304.
func (p *Policy) updated(e *Entry, q asked, r *Response) (*Entry, Reason) {
	connection := r.Fields.joined("Connection")
	var fresh []byte // the fields of the 304 that count
	for f := r.Fields; ; {
		name, value, rest := f.next()
		if name == nil {
			break
		}
		f = rest
		if storable(name) && !keptOn304(name) && (connection == nil || !listed(connection, string(name))) {
			fresh = AppendField(fresh, name, value)
		}
	}
	var merged []byte
	for f := Fields(e.head[e.line:e.fields]); ; {
		name, value, rest := f.next()
		if name == nil {
			break
		}
		f = rest
		// Repeated fields stand where the first one stood: all of a name are
		// replaced by all of a name.
		if !Fields(fresh).has(string(name)) {
			merged = AppendField(merged, name, value)
		}
	}
	merged = append(merged, fresh...)
	stored := merged
	if age := r.Fields.joined("Age"); age != nil {
		merged = AppendField(slices.Clone(merged), []byte("Age"), age)
	}
	if !r.Fields.has("Date") {
		// The stored Date would make the entry as old as it was.
		merged = without(merged, "Date")
		stored = without(stored, "Date")
	}
	line := e.head[:e.line]
	whole := Response{
		Status: e.status, Phrase: phraseOf(line), Fields: merged, Length: e.length,
		Requested: r.Requested, Received: r.Received,
	}
	q.contentLocation = true // it was, when the entry was stored
	t, c, reason := p.judgeResponse(q, &whole)
	whole.Fields = stored
	n := p.newEntry(e.key, e.hash, &whole, t, &c)
	n.variant, n.body, n.blob = e.variant, e.body, e.blob
	if reason == ReasonNone && r.Fields.has("Set-Cookie") && !dropped(&c, "set-cookie") {
		// Whether others may get it is for the response to say that brings it.
		if own, targeted := p.control(r.Fields); !p.storesCookies(&own, targeted) {
			reason = ReasonSetCookie
		}
	}
	if !slices.Equal(n.vary, e.vary) {
		// The 304 changed Vary; what the entry was selected by is not known
		// for the new names.
		if reason == ReasonNone {
			reason = ReasonVaryMiss
		}
	}
	return n, reason
}

// without is a copy of f but for the fields of that name.
func without(f Fields, unwanted string) Fields {
	var out []byte
	for {
		name, value, rest := f.next()
		if name == nil {
			return out
		}
		f = rest
		if !equalFold(name, unwanted) {
			out = AppendField(out, name, value)
		}
	}
}

// phraseOf is the reason phrase of a status line.
func phraseOf(line []byte) []byte {
	const before = len("HTTP/1.1 200 ")
	if len(line) < before {
		return nil
	}
	return bytes.TrimRight(line[before:], "\r\n")
}

func appendStatusLine(dst []byte, status int, phrase []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if len(phrase) == 0 && status < 600 && status >= 100 {
		if text := fasthttp.StatusMessage(status); text != "Unknown Status Code" {
			dst = append(dst, text...)
		}
	}
	dst = appendClean(dst, phrase)
	return append(dst, "\r\n"...)
}

// storable says whether a field is stored at all: not those that belong to one
// connection or one hop (RFC 9111 section 3.1), nor those that are made anew
// for each answer.
func storable(name []byte) bool {
	switch len(name) {
	case 2:
		return !equalFold(name, "TE")
	case 3:
		return !equalFold(name, "Age")
	case 7:
		return !equalFold(name, "Upgrade") && !equalFold(name, "Trailer")
	case 10:
		return !equalFold(name, "Connection") && !equalFold(name, "Keep-Alive")
	case 14:
		return !equalFold(name, "Content-Length")
	case 16:
		return !equalFold(name, "Proxy-Connection")
	case 17:
		return !equalFold(name, "Transfer-Encoding")
	case 18:
		return !equalFold(name, "Proxy-Authenticate")
	case 19:
		return !equalFold(name, "Proxy-Authorization")
	case 25:
		return !equalFold(name, "Proxy-Authentication-Info")
	}
	return true
}

// keptOn304 are the fields that describe the stored bytes; what a 304 says in
// them is not about those.
func keptOn304(name []byte) bool {
	return equalFold(name, "Content-Encoding") || equalFold(name, "Content-Range")
}

// groups are the names by which an entry can be purged or invalidated together
// with others: its cache groups (RFC 9875) and the words of surrogate keys.
func (p *Policy) groups(f Fields) []string {
	list := parseGroups(f.joined("Cache-Groups"))
	for _, name := range p.c.SurrogateKeys {
		for _, word := range bytes.FieldsFunc(f.joined(name), func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
			if len(word) <= 256 && len(list) < 256 {
				list = append(list, string(word))
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
