package forward

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"weir/config"
)

// Certificate is the certificate that a peer has shown. It is shared and never changed.
type Certificate struct {
	// Subject and Issuer are names (RFC 4514), Serial and Fingerprint digits in hexadecimal; the fingerprint is that of
	// SHA-256. SANs are the alternative names, such as "DNS:a.example.org, URI:spiffe://a/b".
	Subject, Issuer, Serial, Fingerprint, SANs []byte
	// Whole returns the certificate, and the chain between it and the authority, as RFC 9440 has them; the chain is
	// empty if the authority itself has signed the certificate.
	Whole func() (certificate, chain []byte)
	// Identity is what conditions of routes are compared with.
	Identity *config.ClientIdentity
}

// VerifiedOK is Peer.Verified of a certificate that is good.
const VerifiedOK = "ok"

// Identify notes the certificate that the client has shown, if it has; state is what it has
// agreed on by TLS, nil without TLS. verified is what became of its verification.
func (p *Peer) Identify(state *tls.ConnectionState, verified string) {
	p.Verified = []byte(verified)
	if state != nil && len(state.PeerCertificates) > 0 {
		p.Certificate = newCertificate(state.PeerCertificates[0], state.VerifiedChains)
	}
}

// Client is what the certificate of the client says if it is good, else nil.
func (p *Peer) Client() *config.ClientIdentity {
	if p.Certificate == nil || string(p.Verified) != VerifiedOK {
		return nil
	}
	return p.Certificate.Identity
}

// Value returns the value of a variable about the certificate; empty if c is nil.
func (c *Certificate) Value(variable string) []byte {
	if c == nil {
		return nil
	}
	switch variable {
	case ClientSubject:
		return c.Subject
	case ClientIssuer:
		return c.Issuer
	case ClientSerial:
		return c.Serial
	case ClientFingerprint:
		return c.Fingerprint
	case ClientSANs:
		return c.SANs
	case ClientCertificate:
		certificate, _ := c.Whole()
		return certificate
	}
	return nil
}

func newCertificate(c *x509.Certificate, chains [][]*x509.Certificate) *Certificate {
	identity := config.NewClientIdentity(c)
	return &Certificate{
		Subject: escapeControls(c.Subject.String()), Issuer: escapeControls(c.Issuer.String()),
		Serial:      hex.AppendEncode(nil, c.SerialNumber.Bytes()),
		Fingerprint: []byte(identity.Fingerprint()),
		SANs:        alternativeNames(c),
		Identity:    identity,
		Whole:       sync.OnceValues(func() (certificate, chain []byte) { return appendRaw(nil, c), appendChain(chains) }),
	}
}

// escapeControls escapes control bytes of a name as RFC 4514 section 2.4 says.
func escapeControls(name string) (out []byte) {
	for _, c := range []byte(name) {
		if c < ' ' || c == 0x7f {
			out = fmt.Appendf(out, `\%02X`, c)
		} else {
			out = append(out, c)
		}
	}
	return out
}

// appendRaw appends a certificate as a byte sequence (RFC 8941 section 3.3.5).
func appendRaw(dst []byte, c *x509.Certificate) []byte {
	dst = append(dst, ':')
	dst = base64.StdEncoding.AppendEncode(dst, c.Raw)
	return append(dst, ':')
}

// appendChain returns the certificates between the first and the authority of the first chain.
func appendChain(chains [][]*x509.Certificate) (list []byte) {
	if len(chains) == 0 || len(chains[0]) < 3 {
		return nil
	}
	for i, c := range chains[0][1 : len(chains[0])-1] {
		if i > 0 {
			list = append(list, ", "...)
		}
		list = appendRaw(list, c)
	}
	return list
}

// alternativeNames lists the alternative names of a certificate. What could be taken for the end of a
// name, or for a part of a field, is written as "%2C".
func alternativeNames(c *x509.Certificate) (list []byte) {
	add := func(kind, name string) {
		if len(list) > 0 {
			list = append(list, ", "...)
		}
		list = append(append(list, kind...), ':')
		for _, b := range []byte(name) {
			if b <= ' ' || b >= 0x7f || strings.IndexByte(`",\`, b) >= 0 {
				list = fmt.Appendf(list, "%%%02X", b)
			} else {
				list = append(list, b)
			}
		}
	}
	for _, name := range c.DNSNames {
		add("DNS", name)
	}
	for _, ip := range c.IPAddresses {
		add("IP", ip.String())
	}
	for _, address := range c.EmailAddresses {
		add("email", address)
	}
	for _, uri := range c.URIs {
		add("URI", uri.String())
	}
	return list
}

// ofCertificates are the variables that are about the client's certificate.
var ofCertificates = []string{ClientSubject, ClientIssuer, ClientSerial, ClientFingerprint, ClientSANs, ClientCertificate, ClientVerified}

// Claims are the names of the request fields by which any of the routes tells targets about the client's
// certificate: no route may pass them on as a client sent them.
func Claims(routes []config.Route) (names []string) {
	for i := range routes {
		rules := &routes[i].RequestHeaders
		for _, table := range []map[string]config.Template{rules.Set, rules.Add} {
			for name, value := range table {
				about := func(variable string) bool { return slices.Contains(ofCertificates, variable) }
				if slices.ContainsFunc(value.Names(), about) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// WithoutClaims is r with the removal of claims before all else.
func WithoutClaims(r config.HeaderRules, claims []string) config.HeaderRules {
	if len(claims) > 0 {
		r.Remove = append(slices.Clone(r.Remove), claims...)
	}
	return r
}
