package observe

import (
	"bytes"
	"strings"
	"sync"

	"weir/internal/encode"
	"weir/internal/head"
	"weir/proxy"
)

// recorder keeps what passes of one body for the rules that look into it.
type recorder struct {
	*choice
	x      *proxy.Exchange
	h      *head.Head
	coding string // of the body; empty for none
	// kept is the body so far, or the document of a stream that is not yet whole. It has at most
	// limit bytes; over says that there were more.
	kept []byte
	over bool
	// last are the documents for the rules that want the last one, by rule.
	last    [][]byte
	reading reading
	// onPiece and onDone are see and done.
	onPiece proxy.Tap
	onDone  func()
}

// choice are the rules that look into bodies of one type.
type choice struct {
	contentType string // as the head has it
	rules       []*rule
	limit       int // the largest of theirs
	stream      separator
}

// choose returns the rules of m that look into bodies of h's type. Those of the last type are kept: most messages of a
// route have the same.
func (m *messageRules) choose(h *head.Head) *choice {
	contentType := h.Get(head.ContentType)
	if last := m.last.Load(); last != nil && last.contentType == string(contentType) {
		return last
	}
	kind := mediaType(contentType)
	c := &choice{contentType: string(contentType), stream: separatorOf(kind)}
	for _, r := range m.body {
		if r.takes(kind) {
			c.rules = append(c.rules, r)
			c.limit = max(c.limit, r.limit)
		}
	}
	m.last.Store(c)
	return c
}

var recorders = sync.Pool{New: func() any { return new(recorder) }}

// maxPooled is how large a buffer may be that waits to be used again.
const maxPooled = 64 << 10

// newRecorder returns a recorder of the body that follows h, for those of m's rules that are about
// bodies of its type; nil if none is.
func newRecorder(x *proxy.Exchange, h *head.Head, m *messageRules) *recorder {
	if len(m.body) == 0 {
		return nil
	}
	chosen := m.choose(h)
	if len(chosen.rules) == 0 {
		return nil
	}
	c := recorders.Get().(*recorder)
	if c.onPiece == nil {
		c.onPiece, c.onDone = c.see, c.done
	}
	c.choice, c.x, c.h, c.coding = chosen, x, h, contentCoding(h)
	return c
}

// contentCoding is the name of a body's content coding (RFC 9110 section 8.4), empty for none.
func contentCoding(h *head.Head) string {
	switch name := strings.ToLower(string(bytes.TrimSpace(h.Get(head.ContentEncoding)))); name {
	case "identity":
		return ""
	case "x-gzip": // RFC 9110 section 8.4.1.3
		return encode.Gzip.String()
	default:
		return name
	}
}

// tapLimit is how many bytes the tap wants: one more than are kept, or all of a stream.
func (c *recorder) tapLimit() int64 {
	if c.stream != wholeBody && c.coding == "" {
		return 1<<63 - 1
	}
	return int64(c.limit) + 1
}

// see takes the next bytes of the body.
func (c *recorder) see(piece []byte, _ bool) {
	if c.stream == wholeBody || c.coding != "" {
		c.keep(piece)
		return
	}
	c.split(piece)
}

func (c *recorder) keep(piece []byte) {
	if room := c.limit - len(c.kept); len(piece) > room {
		piece, c.over = piece[:room], true
	}
	c.kept = append(c.kept, piece...)
}

// split takes bytes of a stream of documents, of which each ends with a line, or with an
// empty one.
func (c *recorder) split(piece []byte) {
	for len(piece) > 0 {
		i := bytes.IndexByte(piece, '\n')
		if i < 0 {
			c.keep(piece)
			return
		}
		c.keep(piece[:i+1])
		piece = piece[i+1:]
		if c.stream.ends(c.kept) || c.over && i == 0 {
			c.finishDocument()
		}
	}
}

// finishDocument observes what kept is, a document of a stream, or keeps it for the rules that
// want the last one.
func (c *recorder) finishDocument() {
	doc := c.stream.document(c.kept)
	over := c.over
	size := len(c.kept)
	for i, r := range c.rules {
		switch {
		case len(doc) == 0:
		case over || size > r.limit:
			if r.all {
				r.skip(tooLarge)
			}
		case r.all:
			if r.has(doc) {
				c.document(r, doc)
			}
		case r.has(doc):
			for len(c.last) < len(c.rules) {
				c.last = append(c.last, nil)
			}
			c.last[i] = append(c.last[i][:0], doc...)
		}
	}
	c.kept, c.over = c.kept[:0], false
}

// done observes what was kept, after the exchange, and gives the recorder back.
func (c *recorder) done() {
	switch {
	case c.stream != wholeBody && c.coding == "":
		c.endStream()
	case len(c.kept) == 0 && !c.over: // no body, as after HEAD
	case c.coding != "":
		c.decoded()
	default:
		c.whole(c.kept, c.over)
	}
	c.release()
}

// endStream ends a stream, whose last document may lack its end.
func (c *recorder) endStream() {
	if len(c.kept) > 0 {
		c.finishDocument()
	}
	seen := false
	for i, doc := range c.last {
		if len(doc) > 0 {
			seen = true
			c.document(c.rules[i], doc)
		}
	}
	for _, r := range c.rules {
		if !r.all && !seen {
			r.skip(missing)
		}
	}
}

// document makes r observe a document.
func (c *recorder) document(r *rule, doc []byte) {
	if parsed, ok := parse(doc); ok {
		r.parsed(c.x, c.h, parsed, &c.reading)
	} else {
		r.skip(notJSON)
	}
}

// whole observes a body that is one document, which is parsed once for all rules.
func (c *recorder) whole(body []byte, over bool) {
	if over {
		c.skipAll(tooLarge)
		return
	}
	doc, ok := parse(body)
	for _, r := range c.rules {
		switch {
		case len(body) > r.limit:
			r.skip(tooLarge)
		case !ok:
			r.skip(notJSON)
		default:
			r.parsed(c.x, c.h, doc, &c.reading)
		}
	}
}

// decoded observes a body that was compressed.
func (c *recorder) decoded() {
	if c.over {
		c.skipAll(tooLarge)
		return
	}
	coding := encode.Named(c.coding)
	if coding == encode.Identity {
		c.skipAll(unknownCoding)
		return
	}
	body, over, err := encode.Decode(coding, c.kept, c.limit)
	switch {
	case err != nil:
		c.skipAll(unknownCoding)
	case c.stream == wholeBody:
		c.whole(body, over)
	default:
		c.kept = nil
		c.split(body)
		c.over = c.over || over
		c.endStream()
	}
}

func (c *recorder) skipAll(why reason) {
	for _, r := range c.rules {
		r.skip(why)
	}
}

func (c *recorder) release() {
	kept := c.kept[:0]
	if cap(kept) > maxPooled {
		kept = nil
	}
	c.reading.reset()
	*c = recorder{kept: kept, reading: c.reading, onPiece: c.onPiece, onDone: c.onDone}
	recorders.Put(c)
}

// separator says how the documents of a body are told apart.
type separator uint8

const (
	// wholeBody: the body is one document.
	wholeBody separator = iota
	// byLine: each line is a document.
	byLine
	// byEvent: the data of each server-sent event is a document (HTML Living Standard, section 9.2).
	byEvent
)

func separatorOf(mediaType string) separator {
	switch mediaType {
	case "text/event-stream":
		return byEvent
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines":
		return byLine
	}
	return wholeBody
}

// ends says whether kept, which ends with a line, is a whole document.
func (s separator) ends(kept []byte) bool {
	if s == byLine {
		return true
	}
	line := bytes.TrimRight(kept[bytes.LastIndexByte(kept[:len(kept)-1], '\n')+1:], "\r\n")
	return len(line) == 0
}

// document takes a document out of its frame: the data lines of an event. Data that is no JSON,
// such as [DONE], and events without data are nil.
func (s separator) document(kept []byte) []byte {
	if s == byLine {
		return bytes.TrimSpace(kept)
	}
	data := kept[:0] // shorter than what it is made from
	for line := range bytes.Lines(kept) {
		if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			data = append(data, bytes.TrimRight(value, "\r\n")...)
			data = append(data, '\n')
		}
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 || data[0] != '{' && data[0] != '[' || string(data) == "[DONE]" {
		return nil
	}
	return data
}
