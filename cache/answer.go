package cache

import (
	"weir/cache/rule"
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

	stored bool       // Body is in the entry's body
	head   []byte     // if it is not the entry's own
	runs   []rule.Run // what to send of a body on disk
}

// Head is the status line and the fields, a line each, without Age and without
// the empty line at the end.
func (a *Answer) Head() []byte {
	if a.head != nil {
		return a.head
	}
	return a.Entry.Head
}

// Answer makes the answer to q from e: all of it, a part, or 304. ok is false
// if only the origin can judge the client's condition. e must be fresh or
// allowed to answer.
func (q *Request) Answer(e *Entry) (a Answer, ok bool) {
	switch e.Precondition(&q.Request) {
	case rule.AskOrigin:
		return Answer{}, false
	case rule.NotModified:
		q.head = q.Policy.AppendNotModified(q.head[:0], &e.Stored)
		return Answer{Entry: e, Status: 304, Bodyless: true, Age: e.AgeSeconds(q.At), head: q.head}, true
	}
	a = Answer{Entry: e, Status: e.Status, Body: e.body, stored: e.body != nil, Length: e.Length, Age: e.AgeSeconds(q.At)}
	if e.blob != nil {
		a.runs = []rule.Run{{Span: rule.Span{First: 0, Last: e.Length - 1}}}
	}
	if list, whole := q.spans(e); !whole {
		q.part(&a, list)
	}
	if framed := rule.HasBody(e.Status); q.Method == rule.MethodHead || !framed {
		a.Body, a.Bodyless = nil, true
		if !framed {
			a.Length = 0
		}
	}
	return a, true
}

// part makes a the answer with these parts.
func (q *Request) part(a *Answer, list []rule.Span) {
	e := a.Entry
	switch len(list) {
	case 0:
		q.head = e.AppendUnsatisfiable(q.head[:0])
		a.Status, a.Body, a.Length = 416, nil, 0
	case 1:
		s := list[0]
		q.head = e.AppendPartial(q.head[:0], s)
		a.Status, a.Length = 206, s.Size()
		switch {
		case e.blob != nil:
			a.runs[0].Span = s
		case e.body != nil || e.partial:
			a.Body = e.cut(s)
		}
	default:
		var runs []rule.Run
		q.head, runs, a.Length = e.AppendMultipart(q.head[:0], list, e.hash)
		a.Status = 206
		if e.blob != nil {
			a.runs = runs
			break
		}
		a.Body, a.stored = make([]byte, 0, a.Length), false
		for _, r := range runs {
			a.Body = append(append(a.Body, r.Text...), e.body[r.First:r.Last+1]...)
		}
	}
	a.head = q.head
}
