package header

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/valyala/fasthttp"

	"weir/config"
	"weir/internal/wire"
)

// Forwarder tells targets who the client was, and believes only trusted peers
// about it. It is never changed after NewForwarder and may be used by any number
// of goroutines.
type Forwarder struct {
	trusted    []netip.Prefix
	xForwarded bool
	forwarded  bool
	via        string
	requestID  fieldName // its text is empty for none
}

// fieldName is a name as fasthttp writes it, so that fasthttp need not spell it
// again with each message.
type fieldName struct {
	text string
	key  []byte // the same; never changed
}

func newFieldName(name string) fieldName {
	key := fasthttp.AppendNormalizedHeaderKey(nil, name)
	return fieldName{text: string(key), key: key}
}

// The names of forwarding fields.
var (
	nameFor       = newFieldName(fasthttp.HeaderXForwardedFor)
	nameProto     = newFieldName(fasthttp.HeaderXForwardedProto)
	nameForHost   = newFieldName(fasthttp.HeaderXForwardedHost)
	nameForwarded = newFieldName(fasthttp.HeaderForwarded)
	nameVia       = newFieldName(fasthttp.HeaderVia)
)

// NewForwarder compiles c. An error is always of type config.Errors, with keys
// below those of c.
func NewForwarder(c config.Forwarding) (*Forwarder, error) {
	f := &Forwarder{xForwarded: c.XForwarded, forwarded: c.Forwarded, via: c.Via, requestID: newFieldName(c.RequestID)}
	for _, p := range c.TrustedProxies {
		f.trusted = append(f.trusted, p.Prefix)
	}
	var problems config.Errors
	if c.RequestID != "" && (!token(c.RequestID) || wire.Lookup([]byte(c.RequestID)) != 0 || special(c.RequestID)) {
		problems = append(problems, config.Problem{Key: "request_id", Message: strconv.Quote(c.RequestID) +
			": want the name of a field that has no other meaning, such as \"X-Request-Id\""})
	}
	if i := bytes.IndexAny([]byte(c.Via), " \t\r\n,;()\"\x00"); i >= 0 {
		problems = append(problems, config.Problem{Key: "via", Message: strconv.Quote(c.Via) +
			": want a name without spaces, commas, quotes or parentheses"})
	}
	if problems != nil {
		return nil, problems
	}
	return f, nil
}

// Trusts says whether the peer's forwarding fields are believed. Peers on unix
// sockets have no address and are not.
func (f *Forwarder) Trusts(p *Peer) bool { return f.trusts(p.Address) }

func (f *Forwarder) trusts(a netip.Addr) bool {
	for i := range f.trusted {
		if f.trusted[i].Contains(a) {
			return true
		}
	}
	return false
}

// Client returns the address of the client: the peer's, unless the peer is
// trusted; then the rightmost address of X-Forwarded-For (or of Forwarded, if
// there is no X-Forwarded-For) that is not itself trusted. If all are trusted it
// is the leftmost; what stands left of an element that is no address is not
// believed. It must be called before Apply and does not allocate.
func (f *Forwarder) Client(h *fasthttp.RequestHeader, present wire.Fields, p *Peer) netip.Addr {
	if present&(wire.FieldXForwarded|wire.FieldForwarded) == 0 || !f.Trusts(p) {
		return p.Address
	}
	client := p.Address
	if lines := h.PeekAll(nameFor.text); len(lines) > 0 {
		f.walk(lines, &client, func(element []byte) []byte { return element })
	} else {
		f.walk(h.PeekAll(nameForwarded.text), &client, forParameter)
	}
	return client
}

// walk sets client to the addresses of a list from right to left, as long as
// each is one and the one before was trusted.
func (f *Forwarder) walk(lines [][]byte, client *netip.Addr, node func(element []byte) []byte) {
	for i := len(lines) - 1; i >= 0; i-- {
		for line := lines[i]; len(line) > 0; {
			var element []byte
			if comma := lastComma(line); comma >= 0 {
				element, line = line[comma+1:], line[:comma]
			} else {
				element, line = line, nil
			}
			if element = trim(element); len(element) == 0 {
				continue
			}
			a, ok := parseAddress(node(element))
			if !ok {
				return
			}
			if *client = a; !f.trusts(a) {
				return
			}
		}
	}
}

// lastComma returns the index of the last comma outside a quoted string, or -1.
func lastComma(b []byte) int {
	quoted := false
	for i := len(b) - 1; i >= 0; i-- {
		switch {
		case b[i] == '"' && (i == 0 || b[i-1] != '\\'):
			quoted = !quoted
		case b[i] == ',' && !quoted:
			return i
		}
	}
	return -1
}

// forParameter returns the value of "for" in an element of Forwarded (RFC 7239
// section 4), without quotes; nil if there is none.
func forParameter(element []byte) []byte {
	for len(element) > 0 {
		pair := element
		if i := bytes.IndexByte(element, ';'); i >= 0 {
			pair, element = element[:i], element[i+1:]
		} else {
			element = nil
		}
		pair = trim(pair)
		if len(pair) > 4 && equalFold(pair[:4], "for=") {
			value := pair[4:]
			if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			return value
		}
	}
	return nil
}

// Apply writes the forwarding fields, Via and the request id into a request. It
// must be called after CleanRequest and before the Host is changed. id is
// what RequestID returned. Fields of a trusted peer are added to
// (X-Forwarded-For, Forwarded) or kept (the other X-Forwarded-*); those of
// others are replaced or removed, also if weir itself sends none.
func (f *Forwarder) Apply(h *fasthttp.RequestHeader, present wire.Fields, p *Peer, id []byte) {
	trusted := f.Trusts(p)
	if !trusted {
		if present&(wire.FieldXForwarded|wire.FieldForwarded) != 0 {
			removeForwarding(h, present)
		}
		present &^= wire.FieldXForwarded | wire.FieldForwarded
	}
	if f.xForwarded {
		f.applyXForwarded(h, present, p)
	}
	if f.forwarded {
		var buf [256]byte
		appendRequest(h, nameForwarded, present&wire.FieldForwarded != 0, appendForwarded(buf[:0], p, h.Host()))
	}
	if f.via != "" {
		var buf [128]byte
		appendRequest(h, nameVia, present&wire.FieldVia != 0, f.appendVia(buf[:0], h.Protocol()))
	}
	if f.requestID.text != "" {
		setRequest(h, f.requestID, id)
	}
}

// applyXForwarded writes X-Forwarded-*; those that are present come from a
// trusted peer.
func (f *Forwarder) applyXForwarded(h *fasthttp.RequestHeader, present wire.Fields, p *Peer) {
	there := present&wire.FieldXForwarded != 0
	appendRequest(h, nameFor, there, p.Text)
	if !there || len(h.PeekCanonical(nameProto.key)) == 0 {
		h.SetCanonical(nameProto.key, p.Scheme)
	}
	if host := h.Host(); len(host) > 0 && (!there || len(h.PeekCanonical(nameForHost.key)) == 0) {
		h.SetCanonical(nameForHost.key, host)
	}
}

// appendForwarded appends one element of Forwarded (RFC 7239 section 4).
func appendForwarded(dst []byte, p *Peer, host []byte) []byte {
	dst = append(dst, "for="...)
	dst = append(dst, p.node...)
	if len(host) > 0 {
		dst = append(dst, `;host="`...)
		for _, b := range host {
			if b == '"' || b == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, b)
		}
		dst = append(dst, '"')
	}
	dst = append(dst, ";proto="...)
	return append(dst, p.Scheme...)
}

// appendVia appends one element of Via (RFC 9110 section 7.6.3).
func (f *Forwarder) appendVia(dst, protocol []byte) []byte {
	version, ok := bytes.CutPrefix(protocol, []byte("HTTP/"))
	if !ok {
		version = []byte("1.1")
	}
	dst = append(dst, version...)
	dst = append(dst, ' ')
	return append(dst, f.via...)
}

// appendRequest adds an element to a list: to its only line, as a line of its
// own if there are several, which keeps their order.
func appendRequest(h *fasthttp.RequestHeader, name fieldName, there bool, element []byte) {
	if !there {
		h.SetCanonical(name.key, element)
		return
	}
	switch lines := h.PeekAll(name.text); len(lines) {
	case 0:
		h.SetCanonical(name.key, element)
	case 1:
		var buf [512]byte
		h.SetCanonical(name.key, appendElement(buf[:0], lines[0], element))
	default:
		h.AddBytesKV(name.key, element)
	}
}

func appendElement(dst, list, element []byte) []byte {
	dst = append(dst, list...)
	if len(dst) > 0 {
		dst = append(dst, ", "...)
	}
	return append(dst, element...)
}

// ApplyResponse writes Via into a response.
func (f *Forwarder) ApplyResponse(h *fasthttp.ResponseHeader, present wire.Fields) {
	if f.via == "" {
		return
	}
	var buf [128]byte
	element := f.appendVia(buf[:0], h.Protocol())
	if present&wire.FieldVia == 0 {
		h.SetCanonical(nameVia.key, element)
		return
	}
	switch lines := h.PeekAll(nameVia.text); len(lines) {
	case 0:
		h.SetCanonical(nameVia.key, element)
	case 1:
		var joined [512]byte
		h.SetCanonical(nameVia.key, appendElement(joined[:0], lines[0], element))
	default:
		h.AddBytesKV(nameVia.key, element)
	}
}

// removeForwarding removes Forwarded, X-Real-IP and every X-Forwarded-* field.
func removeForwarding(h *fasthttp.RequestHeader, present wire.Fields) {
	repeated := repeatedInRequest(h)
	if present&wire.FieldForwarded != 0 {
		h.Del(nameForwarded.text)
	}
	if present&wire.FieldXForwarded != 0 {
		h.Del(nameFor.text)
		h.Del(nameProto.text)
		h.Del(nameForHost.text)
		for rest := h.RawHeaders(); len(rest) > 0; {
			var name []byte
			if name, rest = nextLine(rest); wire.Lookup(name) == wire.FieldXForwarded {
				h.DelBytes(name)
			}
		}
	}
	if repeated != nil {
		repeated.restoreRequest(h)
	}
}
