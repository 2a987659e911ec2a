package frames

import (
	"strconv"

	"golang.org/x/net/http2/hpack"

	"weir/internal/head"
)

// Encoder writes header blocks. Fields that are the same in many messages go into the table of
// the connection; those that change with each do not, because each would push out others. The
// zero value is ready.
type Encoder struct {
	hpack *hpack.Encoder
	block blockWriter
	name  []byte
	// known are the fields that the table may have, by name and value with a zero byte
	// between them.
	known map[string]hpack.HeaderField
	// values counts the known fields of a name.
	values map[string]uint8
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
	// maxValues bounds the fields of one name that are known: one with more values is hardly
	// ever the same twice.
	maxValues = 4
)

// ownFields are those that HTTP/2 does not have (RFC 9113 section 8.2.2), and the length,
// which the stream writes itself.
var ownFields = head.SetOf(head.Connection, head.KeepAlive, head.ProxyConnection, head.TransferEncoding, head.Upgrade,
	head.HTTP2Settings, head.ContentLength, head.TE)

// TrailerBlock returns the header block of a trailer section; nil if there is nothing in it.
func TrailerBlock(h *head.Head) []byte {
	// Without the table, because the block may be sent after others that are made later.
	var e Encoder
	for f := range h.All() {
		if !f.In(ownFields) {
			e.Literal(e.lower(f.Name), f.Value)
		}
	}
	return e.block
}

// Begin begins a block.
func (e *Encoder) Begin() {
	if e.hpack == nil {
		e.hpack = hpack.NewEncoder(&e.block)
		e.hpack.SetMaxDynamicTableSizeLimit(HeaderTable)
		e.known, e.values = make(map[string]hpack.HeaderField), make(map[string]uint8)
	}
	e.block = e.block[:0]
}

// End gives back what a large block has taken.
func (e *Encoder) End() {
	if cap(e.block) > MaxFrame {
		e.block = nil
	}
}

// TableSize is what the peer allows the table to be.
func (e *Encoder) TableSize(n uint32) {
	e.Begin()
	e.hpack.SetMaxDynamicTableSize(min(n, HeaderTable))
}

var usualStatus = map[int]string{200: "200", 204: "204", 206: "206", 304: "304", 400: "400", 404: "404", 500: "500"}

// Status comes first in the block of a response: the encoder may have to say a new size of the
// table before it.
func (e *Encoder) Status(code int) {
	text, usual := usualStatus[code]
	if !usual {
		text = strconv.Itoa(code)
	}
	e.hpack.WriteField(hpack.HeaderField{Name: ":status", Value: text})
}

// Method comes first in the block of a request, as Status in that of a response.
func (e *Encoder) Method(method []byte) {
	text := ""
	switch string(method) {
	case "GET":
		text = "GET"
	case "POST":
		text = "POST"
	default:
		text = string(method)
	}
	e.hpack.WriteField(hpack.HeaderField{Name: ":method", Value: text})
}

// Scheme is "http", or "https" if secure.
func (e *Encoder) Scheme(secure bool) {
	text := "http"
	if secure {
		text = "https"
	}
	e.hpack.WriteField(hpack.HeaderField{Name: ":scheme", Value: text})
}

// Path is the target of a request.
func (e *Encoder) Path(target []byte) {
	if string(target) == "/" {
		e.hpack.WriteField(hpack.HeaderField{Name: ":path", Value: "/"})
		return
	}
	e.Literal([]byte(":path"), target)
}

// Indexed writes a field that is the same in many messages. name is in lower case.
func (e *Encoder) Indexed(name string, value []byte) {
	e.name = append(e.name[:0], name...)
	e.indexed(e.name, value)
}

// Length writes content-length.
func (e *Encoder) Length(n int64) {
	var text [20]byte
	e.Literal([]byte("content-length"), strconv.AppendInt(text[:0], n, 10))
}

// Fields writes the fields of a head but those that HTTP/2 does not have, content-length, te, and
// those of the set without.
func (e *Encoder) Fields(h *head.Head, without head.Set) {
	without |= ownFields
	for f := range h.All() {
		if f.In(without) {
			continue
		}
		name := e.lower(f.Name)
		switch {
		case f.In(secret):
			e.literal(neverIndexed, name, f.Value)
		case f.In(changing) || len(name)+len(f.Value) > maxKnownField:
			e.Literal(name, f.Value)
		default:
			e.indexed(name, f.Value)
		}
	}
}

// Block is what was written since Begin.
func (e *Encoder) Block() []byte { return e.block }

// changing are the fields that are not the same in many messages.
var changing = head.SetOf(head.XForwardedFor, head.XRealIP, head.Date, head.ETag, head.LastModified, head.Age, head.Expires, head.SetCookie,
	head.Location, head.ContentRange, head.ContentLocation, head.RetryAfter, head.RequestID, head.CacheStatus, head.Forwarded,
	head.IfNoneMatch, head.IfModifiedSince, head.Range, head.IdempotencyKey)

// secret are the fields that no table of a connection with messages of several clients may have:
// who sees the sizes of blocks could guess them (RFC 7541 section 7.1).
var secret = head.SetOf(head.Authorization, head.Cookie)

// lower is name in lower case, until the next call.
func (e *Encoder) lower(name []byte) []byte {
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
func (e *Encoder) indexed(name, value []byte) {
	n := len(name)
	e.name = append(append(e.name, 0), value...)
	f, ok := e.known[string(e.name)]
	if !ok {
		values := e.values[string(name)]
		if len(e.known) == maxKnown || values == maxValues {
			e.Literal(e.name[:n], value)
			return
		}
		key := string(e.name)
		e.values[key[:n]] = values + 1
		f = hpack.HeaderField{Name: key[:n], Value: key[n+1:]}
		e.known[key] = f
	}
	e.hpack.WriteField(f)
}

// How the first byte of a literal says that the field does not enter the table (RFC 7541
// sections 6.2.2 and 6.2.3).
const (
	notIndexed   = 0
	neverIndexed = 0x10
)

// Literal writes a field that is in no table. name is in lower case.
func (e *Encoder) Literal(name, value []byte) { e.literal(notIndexed, name, value) }

func (e *Encoder) literal(kind byte, name, value []byte) {
	if i := staticName(name); i > 0 {
		e.block = appendNumber(append(e.block, kind), 4, i)
	} else {
		e.block = append(e.block, kind)
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
	case ":path":
		return 4
	case "age":
		return 21
	case "authorization":
		return 23
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "cookie":
		return 32
	case "date":
		return 33
	case "etag":
		return 34
	case "expires":
		return 36
	case "if-modified-since":
		return 40
	case "if-none-match":
		return 41
	case "last-modified":
		return 44
	case "location":
		return 46
	case "retry-after":
		return 53
	case "range":
		return 50
	case "set-cookie":
		return 55
	case "user-agent":
		return 58
	}
	return 0
}
