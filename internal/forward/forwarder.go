package forward

import (
	"bytes"
	"net/netip"
	"strconv"

	"weir/config"
	"weir/internal/head"
)

// forwardingFields are the fields that make claims about the client.
var forwardingFields = head.AllXForwarded | head.SetOf(head.Forwarded)

// certificateFields are those of RFC 9440: a client's own are never passed on, those of
// trusted peers neither, because most do not remove what clients send.
var certificateFields = head.SetOf(head.ClientCert, head.ClientCertChain)

var (
	viaField    = head.SetOf(head.Via)
	forField    = head.SetOf(head.XForwardedFor)
	peersFields = head.SetOf(head.XForwardedFor, head.XForwardedProto) // those of Peer.lines
)

// Written are the request fields that weir writes or ends itself, without the request id; a
// name may end in "*".
func Written() []string {
	return []string{
		"X-Forwarded-*", "X-Real-IP", "Forwarded", "Via", "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "HTTP2-Settings",
		"Proxy-Authorization", "Client-Cert", "Client-Cert-Chain",
	}
}

// Forwarder tells targets who the client was, and believes only trusted peers
// about it. It is never changed after NewForwarder and may be used by any number
// of goroutines.
type Forwarder struct {
	trusted    []netip.Prefix
	xForwarded bool
	forwarded  bool
	via        []received // by head.Version; nil sends no Via
	clientCert bool
	requestID  head.Name // without text no request id is sent
}

// received is weir's element of Via for messages of one version.
type received struct {
	element []byte
	line    head.Lines // the same as the only element of the field
}

// viaVersions are the versions as Via has them: the minor one is left out where the
// version has none (RFC 9110 sections 2.5 and 7.6.3).
var viaVersions = [...]string{head.HTTP11: "1.1", head.HTTP10: "1.0", head.HTTP2: "2", head.HTTP3: "3"}

// NewForwarder compiles c, whose syntax config has checked. An error is always of
// type config.Errors, with keys below those of c.
func NewForwarder(c config.Forwarding) (*Forwarder, error) {
	f := &Forwarder{xForwarded: c.XForwarded, forwarded: c.Forwarded, clientCert: c.ClientCert, requestID: head.NewName(c.RequestID)}
	for _, p := range c.TrustedProxies {
		f.trusted = append(f.trusted, p.Prefix)
	}
	if !f.requestID.Is(head.RequestID) && head.Lookup([]byte(c.RequestID)) != 0 {
		return nil, config.Errors{{Key: "request_id", Found: strconv.Quote(c.RequestID),
			Want: `the name of a field that has no other meaning, such as "X-Request-Id"`}}
	}
	if c.Via != "" {
		f.via = make([]received, len(viaVersions))
		for version, text := range viaVersions {
			f.via[version].element = []byte(text + " " + c.Via)
			f.via[version].line.Add(head.Via, f.via[version].element)
		}
	}
	return f, nil
}

// Trusts says whether the peer's forwarding fields are believed. Peers on unix
// sockets have no address and are not trusted.
func (f *Forwarder) Trusts(p *Peer) bool { return f.trusts(p.Address) }

func (f *Forwarder) trusts(a netip.Addr) bool {
	for i := range f.trusted {
		if f.trusted[i].Contains(a) {
			return true
		}
	}
	return false
}

// Apply writes the forwarding fields, Via and the request id into a request. It
// must be called after Clean and before the Host is changed. id is what RequestID
// returned. Fields of a trusted peer are added to (X-Forwarded-For, Forwarded), made what
// weir believes of them (X-Forwarded-Proto, X-Forwarded-Host) or kept (the other
// X-Forwarded-*); those of others are replaced or removed, also if
// weir itself sends none. What is written of the client's scheme and host is what Scheme and
// Host return.
func (f *Forwarder) Apply(h *head.Head, p *Peer, id []byte) {
	scheme := f.Scheme(h, p)
	host := f.Host(h, p)
	if h.Has(forwardingFields) && !f.Trusts(p) {
		h.DelSet(forwardingFields)
	}
	h.DelSet(certificateFields)
	if f.clientCert && p.Certificate != nil {
		addCertificate(h, p.Certificate)
	}
	believe(h, head.XForwardedProto, scheme)
	believe(h, head.XForwardedHost, host)
	if f.xForwarded {
		addXForwarded(h, p, scheme, host)
	}
	if f.forwarded {
		var buf [256]byte
		if len(h.Get(head.Forwarded)) > 0 {
			scheme = p.Scheme // of weir's hop: the first element has the client's
		}
		h.Append(head.Forwarded, appendForwarded(buf[:0], p, scheme, h.Get(head.Host)))
	}
	f.Via(h)
	if f.requestID.String() != "" {
		replace(h, f.requestID, id)
	}
}

// addCertificate writes Client-Cert and Client-Cert-Chain (RFC 9440).
func addCertificate(h *head.Head, c *Certificate) {
	certificate, chain := c.Whole()
	h.Add(head.ClientCert, certificate)
	if len(chain) > 0 {
		h.Add(head.ClientCertChain, chain)
	}
}

// believe makes a field of a trusted peer, if it is there, say what weir takes it for, so that
// targets take it for the same.
func believe(h *head.Head, n head.Name, value []byte) {
	if said := h.Joined(n); len(said) > 0 && !bytes.Equal(said, value) {
		replace(h, n, value)
	}
}

// addXForwarded writes X-Forwarded-For, -Proto and -Host. Those that are there
// come from a trusted peer.
func addXForwarded(h *head.Head, p *Peer, scheme, host []byte) {
	if !h.Has(peersFields) && bytes.Equal(scheme, p.Scheme) {
		h.AddLines(&p.lines)
	} else {
		h.Append(head.XForwardedFor, p.Text)
		if len(h.Get(head.XForwardedProto)) == 0 {
			replace(h, head.XForwardedProto, scheme)
		}
	}
	if len(h.Get(head.XForwardedHost)) == 0 && len(host) > 0 {
		replace(h, head.XForwardedHost, host)
	}
}

// appendForwarded appends one element of Forwarded (RFC 7239 section 4).
func appendForwarded(dst []byte, p *Peer, scheme, host []byte) []byte {
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
	return append(dst, scheme...)
}

// Via writes weir's element of Via (RFC 9110 section 7.6.3) into a response. Apply
// does the same for a request.
func (f *Forwarder) Via(h *head.Head) {
	switch {
	case f.via == nil:
	case h.Has(viaField):
		h.Append(head.Via, f.via[h.Version].element)
	default:
		h.AddLines(&f.via[h.Version].line)
	}
}

// replace makes "n: value" the only line of its name and the last line of h.
// Unlike Head.Set it writes the name as n has it.
func replace(h *head.Head, n head.Name, value []byte) {
	h.Del(n)
	h.Add(n, value)
}
