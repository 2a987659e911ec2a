package frames

import (
	"math/bits"
	"strconv"

	"weir/internal/head"
)

// Encoder writes header blocks. Fields that are the same in many messages go into the table of
// the connection; those that change with each do not, because each would take room from others. The table
// is filled once: what has entered it stays. The zero value is ready.
type Encoder struct {
	block []byte
	name  []byte
	// known are the fields in the table, in the order in which they entered it, and places where they are there by their lines.
	known  []knownField
	places map[string]int
	// last is the known field that was written last in this block, -1 for none; first is the one that the last block began with.
	last, first int
	// values counts the known fields of a name.
	values map[string]uint8
	// size is what the known fields take of the table (RFC 7541 section 4.1), less is by how many bytes the
	// peer wants it to be smaller than HeaderTable.
	size, less int
	// resized says that the peer has to be told of another size of the table.
	resized bool
}

// knownField is a field in the table.
type knownField struct {
	// line is the line as it came, with its end; fields that come without one have their name and value with a zero byte between them.
	line string
	// then is the known field that follows most likely, because it did the last time: heads have their lines in the same order.
	then int
}

const (
	// maxKnown bounds the fields that are known, maxKnownField the length of the line of each.
	maxKnown      = 48
	maxKnownField = 256
	// maxValues bounds the fields of one name that are known: one with more values is hardly
	// ever the same twice.
	maxValues = 4
	// fieldOverhead is what a field takes of the table beyond its name and value (RFC 7541 section 4.1).
	fieldOverhead = 32
	// staticFields is the number of fields in the static table (RFC 7541 appendix A), which come before others.
	staticFields = 61
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
	e.block = e.block[:0]
	if e.places == nil {
		e.places, e.values = make(map[string]int), make(map[string]uint8)
	}
	e.last = -1
	e.block = e.appendSize(e.block)
}

// AfterSize is a block that was made without the table, after the table's new size if the peer has
// to be told of one: no block may come before that (RFC 7541 section 4.2).
func (e *Encoder) AfterSize(block []byte) []byte {
	if !e.resized {
		return block
	}
	return append(e.appendSize(nil), block...)
}

// appendSize appends the table's new size, if the peer has to be told of one.
func (e *Encoder) appendSize(dst []byte) []byte {
	if !e.resized {
		return dst
	}
	e.resized = false
	dst = append(dst, sizeUpdate) // of 0, because nothing of the table is kept
	return appendNumber(append(dst, sizeUpdate), 5, uint64(HeaderTable-e.less))
}

// End gives back what a large block has taken.
func (e *Encoder) End() {
	if cap(e.block) > MaxFrame {
		e.block = nil
	}
}

// TableSize is what the peer allows the table to be.
func (e *Encoder) TableSize(n uint32) {
	less := HeaderTable - int(min(n, HeaderTable))
	if less == e.less {
		return
	}
	e.less, e.resized, e.size = less, true, 0
	e.known, e.first, e.last = e.known[:0], 0, -1
	clear(e.places)
	clear(e.values)
}

// Status comes first in the block of a response: nothing may come before a new size of the table.
func (e *Encoder) Status(code int) {
	switch code {
	case 200:
		e.static(8)
	case 204:
		e.static(9)
	case 206:
		e.static(10)
	case 304:
		e.static(11)
	case 400:
		e.static(12)
	case 404:
		e.static(13)
	case 500:
		e.static(14)
	default:
		e.Indexed(":status", strconv.AppendInt(nil, int64(code), 10))
	}
}

// Method comes first in the block of a request, as Status in that of a response.
func (e *Encoder) Method(method []byte) {
	switch string(method) {
	case "GET":
		e.static(2)
	case "POST":
		e.static(3)
	default:
		e.Indexed(":method", method)
	}
}

// Scheme is "http", or "https" if secure.
func (e *Encoder) Scheme(secure bool) {
	if secure {
		e.static(7)
	} else {
		e.static(6)
	}
}

// Path is the target of a request.
func (e *Encoder) Path(target []byte) {
	if string(target) == "/" {
		e.static(4)
		return
	}
	e.Literal([]byte(":path"), target)
}

// static writes a field of the static table.
func (e *Encoder) static(i byte) { e.block = append(e.block, isIndexed|i) }

// Indexed writes a field that is the same in many messages. name is in lower case.
func (e *Encoder) Indexed(name string, value []byte) {
	e.name = append(e.name[:0], name...)
	n := len(e.name)
	e.name = append(append(e.name, 0), value...)
	e.indexed(e.name[:n], value, e.name)
}

// Length writes content-length.
func (e *Encoder) Length(n int64) {
	var text [20]byte
	e.Literal([]byte("content-length"), strconv.AppendInt(text[:0], n, 10))
}

// Fields writes the fields of a head but those that HTTP/2 does not have, content-length, te, and
// those of the set without, which is the same for all heads of an Encoder.
func (e *Encoder) Fields(h *head.Head, without head.Set) {
	without |= ownFields
	for w := h.Walk(); ; {
		if then := *e.then(); then < len(e.known) && w.Pass(e.known[then].line) {
			e.again(then)
			continue
		}
		f, line, ok := w.Next()
		switch {
		case !ok:
			return
		case f.In(without):
		case f.In(secret):
			e.literal(neverIndexed, 4, e.lower(f.Name), f.Value)
		case f.In(changing):
			e.block = append(e.block, changingNames[bits.TrailingZeros64(uint64(f.Set()))]...)
			e.text(f.Value)
		case len(line) > maxKnownField:
			e.Literal(e.lower(f.Name), f.Value)
		default:
			e.indexed(f.Name, f.Value, line)
		}
	}
}

// then is the known field that most likely comes next.
func (e *Encoder) then() *int {
	if e.last < 0 {
		return &e.first
	}
	return &e.known[e.last].then
}

// again writes a known field.
func (e *Encoder) again(i int) {
	e.block = appendNumber(append(e.block, isIndexed), 7, uint64(staticFields+len(e.known)-i))
	*e.then() = i
	e.last = i
}

// Block is what was written since Begin.
func (e *Encoder) Block() []byte { return e.block }

// changing are the fields that are not the same in many messages, and changingNames what each begins with, by their bits in the set.
var changing, changingNames = func() (all head.Set, begins [64][]byte) {
	for _, n := range []head.Name{head.XForwardedFor, head.XRealIP, head.Date, head.ETag, head.LastModified, head.Age, head.Expires, head.SetCookie,
		head.Location, head.ContentRange, head.ContentLocation, head.RetryAfter, head.RequestID, head.CacheStatus, head.Forwarded,
		head.IfNoneMatch, head.IfModifiedSince, head.Range, head.IdempotencyKey} {
		var e Encoder
		e.fieldName(notIndexed, 4, e.lower([]byte(n.String())))
		bit := head.SetOf(n)
		all |= bit
		begins[bits.TrailingZeros64(uint64(bit))] = e.block
	}
	return all, begins
}()

// secret are the fields that no table of a connection with messages of several clients may have:
// a client who sees the sizes of blocks could guess them (RFC 7541 section 7.1).
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

// indexed writes a field through the table. line is as in knownField.
func (e *Encoder) indexed(name, value, line []byte) {
	if i, ok := e.places[string(line)]; ok {
		e.again(i)
		return
	}
	name = e.lower(name)
	size, values := len(name)+len(value)+fieldOverhead, e.values[string(name)]
	if len(e.known) == maxKnown || values == maxValues || e.size+size > HeaderTable-e.less {
		e.Literal(name, value)
		return
	}
	e.size += size
	e.values[string(name)] = values + 1
	known := knownField{line: string(line)}
	e.places[known.line] = len(e.known)
	e.known = append(e.known, known)
	e.literal(entering, 6, name, value)
}

// How the first byte of a field, or of a new size of the table, says what it is (RFC 7541 section 6).
const (
	isIndexed    = 0x80
	entering     = 0x40 // a literal that enters the table
	sizeUpdate   = 0x20
	notIndexed   = 0 // a literal that does not
	neverIndexed = 0x10
)

// Literal writes a field that is in no table. name is in lower case.
func (e *Encoder) Literal(name, value []byte) { e.literal(notIndexed, 4, name, value) }

// literal writes a field of this kind, whose first byte has so many bits, prefix, for the index of its name.
func (e *Encoder) literal(kind byte, prefix uint, name, value []byte) {
	e.fieldName(kind, prefix, name)
	e.text(value)
}

func (e *Encoder) fieldName(kind byte, prefix uint, name []byte) {
	if i := staticName(name); i > 0 {
		e.block = appendNumber(append(e.block, kind), prefix, i)
		return
	}
	e.block = append(e.block, kind)
	e.text(name)
}

// text writes a name or a value.
func (e *Encoder) text(s []byte) {
	e.block = append(appendNumber(append(e.block, 0), 7, uint64(len(s))), s...)
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

// staticName is the index in the static table (RFC 7541 appendix A) of a name; 0 for names that are not
// there, and for those that no message of HTTP/2 has.
func staticName(name []byte) uint64 {
	switch string(name) {
	case ":authority":
		return 1
	case ":method":
		return 2
	case ":path":
		return 4
	case ":scheme":
		return 6
	case ":status":
		return 8
	case "accept-charset":
		return 15
	case "accept-encoding":
		return 16
	case "accept-language":
		return 17
	case "accept-ranges":
		return 18
	case "accept":
		return 19
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "authorization":
		return 23
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
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
	case "expect":
		return 35
	case "expires":
		return 36
	case "from":
		return 37
	case "if-match":
		return 39
	case "if-modified-since":
		return 40
	case "if-none-match":
		return 41
	case "if-range":
		return 42
	case "if-unmodified-since":
		return 43
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "max-forwards":
		return 47
	case "proxy-authenticate":
		return 48
	case "proxy-authorization":
		return 49
	case "range":
		return 50
	case "referer":
		return 51
	case "refresh":
		return 52
	case "retry-after":
		return 53
	case "server":
		return 54
	case "set-cookie":
		return 55
	case "strict-transport-security":
		return 56
	case "user-agent":
		return 58
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return 0
}
