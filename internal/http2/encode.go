package http2

import (
	"strconv"
	"unsafe"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/head"
)

// encoder writes header blocks. Fields that are the same in many answers go into the table of
// the connection; those that change with each do not, because each would push out others. conn.mu
// guards it.
type encoder struct {
	hpack *hpack.Encoder
	block blockWriter
	name  []byte
	// known are the fields that the table may have, by name and value with a zero byte
	// between them.
	known map[string]hpack.HeaderField
}

// blockWriter gathers what hpack writes.
type blockWriter []byte

func (b *blockWriter) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

const (
	// maxKnown bounds the fields that are known, maxKnownField the length of each.
	maxKnown      = 48
	maxKnownField = 256
)

// ownFields are those that HTTP/2 does not have (RFC 9113 section 8.2.2), and the length,
// which the stream writes itself.
var ownFields = head.SetOf(head.Connection, head.KeepAlive, head.ProxyConnection, head.TransferEncoding, head.Upgrade,
	head.HTTP2Settings, head.ContentLength, head.TE)

// sendHead appends the head of an answer. length is what content-length says, or lengthUnsaid.
// c.mu is held.
func (c *conn) sendHead(s *stream, h *head.Head, status int, length int64) {
	e := &c.encoder
	e.begin()
	e.status(status)
	if length >= 0 {
		var text [20]byte
		e.literal([]byte("content-length"), strconv.AppendInt(text[:0], length, 10))
	}
	e.fields(h)
	s.last, s.round = len(c.out), c.round
	c.sendBlock(s.id, e.block, 0)
	e.end()
}

// trailerBlock returns the header block of a trailer section; nil if there is nothing in it.
func trailerBlock(h *head.Head) []byte {
	// Without the table, because the block may be sent after others that are made later.
	var e encoder
	for f := range h.All() {
		if !f.In(ownFields) {
			e.literal(e.lower(f.Name), f.Value)
		}
	}
	return e.block
}

// begin begins a block.
func (e *encoder) begin() {
	if e.hpack == nil {
		e.hpack = hpack.NewEncoder(&e.block)
		e.hpack.SetMaxDynamicTableSizeLimit(headerTable)
		e.known = make(map[string]hpack.HeaderField)
	}
	e.block = e.block[:0]
}

// end gives back what a large block has taken.
func (e *encoder) end() {
	if cap(e.block) > maxFrame {
		e.block = nil
	}
}

// tableSize is what the client allows the table to be.
func (e *encoder) tableSize(n uint32) {
	e.begin()
	e.hpack.SetMaxDynamicTableSize(min(n, headerTable))
}

var usualStatus = map[int]string{200: "200", 204: "204", 206: "206", 304: "304", 400: "400", 404: "404", 500: "500"}

// status comes first in a block: the encoder may have to say a new size of the table before it.
func (e *encoder) status(code int) {
	text, usual := usualStatus[code]
	if !usual {
		text = strconv.Itoa(code)
	}
	e.hpack.WriteField(hpack.HeaderField{Name: ":status", Value: text})
}

func (e *encoder) fields(h *head.Head) {
	for f := range h.All() {
		if f.In(ownFields) {
			continue
		}
		name := e.lower(f.Name)
		if f.In(changing) || len(name)+len(f.Value) > maxKnownField {
			e.literal(name, f.Value)
			continue
		}
		e.indexed(name, f.Value)
	}
}

// changing are the fields that are not the same in many answers.
var changing = head.SetOf(head.Date, head.ETag, head.LastModified, head.Age, head.Expires, head.SetCookie, head.Location,
	head.ContentRange, head.ContentLocation, head.RetryAfter, head.RequestID, head.CacheStatus)

// lower is name in lower case, until the next call.
func (e *encoder) lower(name []byte) []byte {
	e.name = e.name[:0]
	for _, b := range name {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		e.name = append(e.name, b)
	}
	return e.name
}

// indexed writes a field through the table. name is what lower has returned.
func (e *encoder) indexed(name, value []byte) {
	n := len(name)
	e.name = append(append(e.name, 0), value...)
	f, ok := e.known[string(e.name)]
	if !ok {
		if len(e.known) == maxKnown {
			e.literal(e.name[:n], value)
			return
		}
		key := string(e.name)
		f = hpack.HeaderField{Name: key[:n], Value: key[n+1:]}
		e.known[key] = f
	}
	e.hpack.WriteField(f)
}

// literal writes a field that is in no table (RFC 7541 section 6.2.2).
func (e *encoder) literal(name, value []byte) {
	if i := staticName(name); i > 0 {
		e.block = appendNumber(append(e.block, 0), 4, i)
	} else {
		e.block = append(e.block, 0)
		e.block = append(appendNumber(append(e.block, 0), 7, uint64(len(name))), name...)
	}
	e.block = append(appendNumber(append(e.block, 0), 7, uint64(len(value))), value...)
}

// appendNumber appends n with a prefix of so many bits, in the last byte of dst (RFC 7541 section
// 5.1).
func appendNumber(dst []byte, bits uint, n uint64) []byte {
	most := uint64(1)<<bits - 1
	last := len(dst) - 1
	if n < most {
		dst[last] |= byte(n)
		return dst
	}
	dst[last] |= byte(most)
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}

// staticName is the index in the static table (RFC 7541 appendix A) of a name that is often
// written as a literal; 0 for others.
func staticName(name []byte) uint64 {
	switch string(name) {
	case "age":
		return 21
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "date":
		return 33
	case "etag":
		return 34
	case "expires":
		return 36
	case "last-modified":
		return 44
	case "location":
		return 46
	case "retry-after":
		return 53
	case "set-cookie":
		return 55
	}
	return 0
}

// sendBlock appends a header block, in as many frames as it takes. c.mu is held.
func (c *conn) sendBlock(stream uint32, block []byte, flags h2.Flags) {
	kind := h2.FrameHeaders
	for {
		n := min(len(block), maxFrame)
		if n == len(block) {
			flags |= h2.FlagHeadersEndHeaders
		}
		c.frame(n, kind, flags, stream)
		c.out = append(c.out, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return
		}
		kind, flags = h2.FrameContinuation, 0
	}
}

// bytesOf returns the bytes of s, which are only read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
