package cache

import (
	"bufio"
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// Answer is how to answer a request from an entry. Its bytes belong to the
// entry, which never changes, or to the Request it was made for.
type Answer struct {
	// Entry is what answers.
	Entry *Entry
	// Status is the entry's, 206, 304 or 416.
	Status int
	// Body is what to send after the head; nil for HEAD, 304 and 416, and when
	// Reader has it.
	Body []byte
	// Reader delivers a body that is still being fetched, or lies on disk; the
	// caller closes it. nil if Body is all there is.
	Reader Reader
	// Length is the number of body bytes that the head announces, -1 if that
	// is not known yet. A HEAD gets the head of a GET.
	Length int64
	// Bodyless says that no body follows, whatever the head announces.
	Bodyless bool
	// Age is what the Age field must say, in seconds.
	Age int64

	stored bool   // Body is in the entry's body
	head   []byte // if it is not the entry's own
	runs   []run  // what to send of a body on disk
}

// Head is the status line and the fields, a line each, without Age and without
// the empty line at the end.
func (a *Answer) Head() []byte {
	if a.head != nil {
		return a.head
	}
	return a.Entry.head
}

// Copy fills h with the head, as Entry.Copy does.
func (a *Answer) Copy(h, empty *fasthttp.ResponseHeader) error {
	if a.head == nil {
		a.Entry.Copy(h, empty)
		return nil
	}
	text := append(a.head, "\r\n"...)
	empty.CopyTo(h)
	return h.Read(bufio.NewReaderSize(bytes.NewReader(text), len(text)))
}

// ages are the bounds of what Age may say (RFC 9111 section 1.2.2).
func (e *Entry) seconds(now int64) int64 { return min(e.ageAt(now)/int64(time.Second), maxDelta) }

// Answer makes the answer to q from e: all of it, a part, or 304. ok is false
// if only the origin can judge the client's condition. e must be fresh or
// allowed to answer.
func (q *Request) Answer(e *Entry) (a Answer, ok bool) {
	switch precondition(e, q) {
	case verdictOrigin:
		return Answer{}, false
	case verdictNotModified:
		q.head = q.Policy.appendNotModified(q.head[:0], e)
		return Answer{Entry: e, Status: 304, Bodyless: true, Age: e.seconds(q.now), head: q.head}, true
	}
	a = Answer{Entry: e, Status: e.status, Body: e.body, stored: e.body != nil, Length: e.length, Age: e.seconds(q.now)}
	if e.blob != nil {
		a.runs = []run{{nil, span{0, e.length - 1}}}
	}
	if list, whole := spans(e, q); !whole {
		q.part(&a, list)
	}
	if q.method == methodHead || !framed(e.status) {
		a.Body, a.Bodyless = nil, true
		if !framed(e.status) {
			a.Length = 0
		}
	}
	return a, true
}

// part makes a the answer with these parts.
func (q *Request) part(a *Answer, list []span) {
	e := a.Entry
	if len(list) == 0 {
		h := appendStatusLine(q.head[:0], 416, nil)
		h = append(h, "Content-Range: bytes */"...)
		h = strconv.AppendInt(h, e.length, 10)
		h = append(h, "\r\n"...)
		if date := Fields(e.head[e.line:e.fields]).get("Date"); date != nil {
			h = AppendField(h, []byte("Date"), date)
		}
		h = append(h, "Content-Length: 0\r\n"...)
		q.head, a.head = h, h
		a.Status, a.Body, a.Length = 416, nil, 0
		return
	}
	h := appendStatusLine(q.head[:0], 206, nil)
	a.Status = 206
	if len(list) == 1 {
		s := list[0]
		h = append(h, e.head[e.line:e.fields]...)
		h = appendContentRange(h, s, e.length)
		a.Length = s.size()
		switch {
		case e.blob != nil:
			a.runs[0].span = s
		case e.body != nil || e.partial:
			a.Body = e.cut(s)
		}
	} else {
		runs, length, kind := multipart(e, list)
		for f := Fields(e.head[e.line:e.fields]); ; {
			name, value, rest := f.next()
			if name == nil {
				break
			}
			f = rest
			if !equalFold(name, "Content-Type") {
				h = AppendField(h, name, value)
			}
		}
		h = AppendField(h, []byte("Content-Type"), kind)
		a.Length = length
		if e.blob != nil {
			a.runs = runs
		} else {
			a.Body, a.stored = make([]byte, 0, length), false
			for _, r := range runs {
				a.Body = append(append(a.Body, r.text...), e.body[r.first:r.last+1]...)
			}
		}
	}
	h = append(h, "Content-Length: "...)
	h = strconv.AppendInt(h, a.Length, 10)
	h = append(h, "\r\n"...)
	q.head, a.head = h, h
}

// appendNotModified adds the head of a 304 made from e.
func (p *Policy) appendNotModified(dst []byte, e *Entry) []byte {
	dst = appendStatusLine(dst, 304, nil)
	for f := Fields(e.head[e.line:e.fields]); ; {
		name, value, rest := f.next()
		if name == nil {
			return dst
		}
		f = rest
		if p.inNotModified(name) {
			dst = AppendField(dst, name, value)
		}
	}
}
