package forward

import (
	"bytes"
	"net/netip"
	"slices"

	"weir/internal/field"
	"weir/internal/head"
)

// Client returns the address of the client: the peer's, unless the peer is
// trusted; then the rightmost address of X-Forwarded-For (or of Forwarded, if
// there is no X-Forwarded-For) that is not itself trusted. If all are trusted it
// is the leftmost; what stands left of an element that is no address is not
// believed. It must be called before Apply and allocates only if there are more than
// eight lines.
func (f *Forwarder) Client(h *head.Head, p *Peer) netip.Addr {
	if !h.Has(forwardingFields) || !f.Trusts(p) {
		return p.Address
	}
	client := p.Address
	if h.Has(forField) {
		f.walk(h, head.XForwardedFor, &client, func(element []byte) []byte { return element })
	} else {
		f.walk(h, head.Forwarded, &client, forParameter)
	}
	return client
}

// walk sets client to the addresses of a list from right to left, as long as
// each is one and the one before was trusted.
func (f *Forwarder) walk(h *head.Head, n head.Name, client *netip.Addr, node func(element []byte) []byte) {
	var buf [8][]byte
	lines := buf[:0]
	for line := range h.Lines(n) {
		lines = append(lines, line)
	}
	for _, line := range slices.Backward(lines) {
		for len(line) > 0 {
			var element []byte
			if element, line = lastElement(line); len(element) == 0 {
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

// lastElement splits a list before its last element, and returns that element
// without the space around it.
func lastElement(list []byte) (element, rest []byte) {
	if comma := lastComma(list); comma >= 0 {
		return field.Trim(list[comma+1:]), list[:comma]
	}
	return field.Trim(list), nil
}

// lastComma returns the index of the last comma outside a quoted string, or -1. It looks
// from the right, where what a trusted peer has added stands.
func lastComma(b []byte) int {
	quoted := false
	for i := len(b) - 1; i >= 0; i-- {
		switch {
		case b[i] == '"':
			backslashes := 0
			for i > 0 && b[i-1] == '\\' {
				i--
				backslashes++
			}
			if backslashes%2 == 0 { // else the quote is escaped
				quoted = !quoted
			}
		case b[i] == ',' && !quoted:
			return i
		}
	}
	return -1
}

// cut splits b at the first separator outside a quoted string. ok is false if a quoted
// string in what is before does not end.
func cut(b []byte, separator byte) (before, after []byte, ok bool) {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == separator && !quoted:
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, !quoted
}

// Scheme returns "http" or "https", as the client had it: the peer's, unless the peer
// is trusted; then the first element of X-Forwarded-Proto, or the proto of the first
// element of Forwarded if there is no X-Forwarded-Proto. "ws" and "wss", which Traefik
// writes, mean the same two; nothing else is believed. It must be called before Apply.
func (f *Forwarder) Scheme(h *head.Head, p *Peer) []byte {
	if !h.Has(forwardingFields) || !f.Trusts(p) {
		return p.Scheme
	}
	said, ok := firstElement(h.Get(head.XForwardedProto))
	if !ok {
		_, said = firstForwarded(h)
	}
	switch {
	case field.EqualFold(said, "http"), field.EqualFold(said, "ws"):
		return httpScheme
	case field.EqualFold(said, "https"), field.EqualFold(said, "wss"):
		return httpsScheme
	}
	return p.Scheme
}

var comma, httpScheme, httpsScheme = []byte{','}, []byte("http"), []byte("https")

// Host returns the host as the client had it: that of the request, unless the peer is
// trusted; then the first element of X-Forwarded-Host, or the host of the first element of
// Forwarded if there is no X-Forwarded-Host. What is no host is not believed. It must be called
// before Apply.
func (f *Forwarder) Host(h *head.Head, p *Peer) []byte {
	own := h.Get(head.Host)
	if !h.Has(forwardingFields) || !f.Trusts(p) {
		return own
	}
	said, ok := firstElement(h.Get(head.XForwardedHost))
	if !ok {
		said, _ = firstForwarded(h)
	}
	if len(said) > 0 && head.ValidHost(said) {
		return said
	}
	return own
}

// AppendOtherOrigins adds to dst the hosts and schemes that fields tell targets besides those that
// Scheme and Host returned: the field Host, and the Forwarded of a trusted peer. It adds nothing if
// both tell the same.
func (f *Forwarder) AppendOtherOrigins(dst []byte, h *head.Head, p *Peer, scheme, host []byte) []byte {
	if !h.Has(forwardingFields) || !f.Trusts(p) {
		return dst
	}
	if own := h.Get(head.Host); !bytes.Equal(own, host) {
		dst = append(dst, own...)
	}
	toldHost, toldScheme := firstForwarded(h)
	if len(toldHost) > 0 && !bytes.Equal(toldHost, host) || len(toldScheme) > 0 && !bytes.Equal(toldScheme, scheme) {
		dst = append(append(dst, ' '), toldHost...)
		dst = append(append(dst, ' '), toldScheme...)
	}
	return dst
}

// firstElement returns the first element of a list, which may be empty; false without a list.
func firstElement(list []byte) ([]byte, bool) {
	first, _, _ := bytes.Cut(list, comma)
	return field.Trim(first), len(list) > 0
}

// firstForwarded is what the first element of Forwarded says of the client's host and scheme.
func firstForwarded(h *head.Head) (host, scheme []byte) {
	first, _, _ := cut(h.Get(head.Forwarded), ',')
	return parameter(first, "host="), parameter(first, "proto=")
}

// forParameter returns the value of "for" in an element of Forwarded.
func forParameter(element []byte) []byte { return parameter(element, "for=") }

// parameter returns the value of a parameter in an element of Forwarded (RFC 7239
// section 4), without quotes; nil without that parameter, with two of them, or if a quoted
// string does not end. name is in lower case and ends with "=".
func parameter(element []byte, name string) (value []byte) {
	for len(element) > 0 {
		pair, rest, ok := cut(element, ';')
		if !ok {
			return nil
		}
		pair, element = field.Trim(pair), rest
		if len(pair) <= len(name) || !field.EqualFold(pair[:len(name)], name) {
			continue
		}
		if value != nil {
			return nil
		}
		value = pair[len(name):]
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
	}
	return value
}
