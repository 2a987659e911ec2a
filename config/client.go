package config

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// ClientPattern is what the certificate of a client must say. All keys that are there must fit; of a list one value is
// enough, and "*" is any value.
type ClientPattern struct {
	// CN is the common name of the subject; none means any, as with all of these.
	CN Strings `toml:"cn"`
	// O is an organization of the subject.
	O Strings `toml:"o"`
	// OU is an organizational unit of the subject.
	OU Strings `toml:"ou"`
	// DNS is an alternative name such as "web.example.org", or "*.example.org" for all names below one.
	DNS Strings `toml:"dns"`
	// Email is an alternative name such as "ann@example.org", or "*@example.org" for all of a host.
	Email Strings `toml:"email"`
	// URI is an alternative name such as "spiffe://example.org/web", or "spiffe://example.org/*" for all below a path.
	URI Strings `toml:"uri"`
	// Issuer is the name of the authority that has signed the certificate, as {client_issuer} has it:
	// "CN=Clients,O=Example".
	Issuer Strings `toml:"issuer"`
	// Fingerprint is the SHA-256 of the certificate in hexadecimal digits, with or without colons.
	Fingerprint Strings `toml:"fingerprint"`
}

// ClientIdentity is what a certificate says that a ClientPattern asks for.
type ClientIdentity struct {
	values [8][]string // in the order of ClientPattern.lists
}

// NewClientIdentity returns what c says.
func NewClientIdentity(c *x509.Certificate) *ClientIdentity {
	var cn, uris []string
	if c.Subject.CommonName != "" {
		cn = []string{c.Subject.CommonName}
	}
	for _, u := range c.URIs {
		uris = append(uris, u.String())
	}
	sum := sha256.Sum256(c.Raw)
	return &ClientIdentity{[8][]string{
		cn, c.Subject.Organization, c.Subject.OrganizationalUnit, c.DNSNames, c.EmailAddresses, uris,
		{c.Issuer.String()}, {hex.EncodeToString(sum[:])},
	}}
}

// Fingerprint is the SHA-256 of the certificate in hexadecimal digits.
func (i *ClientIdentity) Fingerprint() string { return i.values[len(i.values)-1][0] }

// clientList is what a ClientPattern says of one key.
type clientList struct {
	key    string
	values Strings
	// fits compares a value that is not "*" with one of a certificate.
	fits func(want, got string) bool
	// want says what a value must look like that check refuses; check is nil if all are good.
	want  string
	check func(value string) bool
}

func (p *ClientPattern) lists() [8]clientList {
	equal := func(want, got string) bool { return want == got }
	return [8]clientList{
		{key: "cn", values: p.CN, fits: equal},
		{key: "o", values: p.O, fits: equal},
		{key: "ou", values: p.OU, fits: equal},
		{key: "dns", values: p.DNS, fits: fitsDNS, want: `a name such as "web.example.org", or "*.example.org"`, check: func(v string) bool {
			return IsHostName(strings.TrimPrefix(v, "*."))
		}},
		{key: "email", values: p.Email, fits: fitsEmail, want: `an address such as "ann@example.org", or "*@example.org"`, check: func(v string) bool {
			local, host, ok := strings.Cut(v, "@")
			return ok && local != "" && IsHostName(host)
		}},
		{key: "uri", values: p.URI, fits: fitsURI, want: `a URI such as "spiffe://example.org/web", or "spiffe://example.org/web/*"`, check: func(v string) bool {
			v = strings.TrimSuffix(v, "/*")
			scheme, rest, ok := strings.Cut(v, ":")
			return ok && scheme != "" && rest != "" && !strings.ContainsAny(v, " *")
		}},
		{key: "issuer", values: p.Issuer, fits: equal},
		{key: "fingerprint", values: p.Fingerprint, want: "64 hexadecimal digits, the SHA-256 of a certificate", check: func(v string) bool {
			b, err := hex.DecodeString(digits(v))
			return err == nil && len(b) == sha256.Size
		}, fits: func(want, got string) bool { return digits(want) == got }},
	}
}

// digits are the digits of a fingerprint as a ClientIdentity has them.
func digits(fingerprint string) string {
	return strings.ToLower(strings.ReplaceAll(fingerprint, ":", ""))
}

func fitsDNS(want, got string) bool {
	if suffix, below := strings.CutPrefix(want, "*."); below {
		before, ok := len(got)-len(suffix), len(got) > len(suffix)+1
		return ok && got[before-1] == '.' && strings.EqualFold(got[before:], suffix)
	}
	return strings.EqualFold(want, got)
}

// fitsEmail compares addresses, whose local parts differ in upper and lower case (RFC 5280 section 7.5).
func fitsEmail(want, got string) bool {
	i, j := strings.LastIndexByte(want, '@'), strings.LastIndexByte(got, '@')
	return i > 0 && j > 0 && strings.EqualFold(want[i:], got[j:]) && (want[:i] == "*" || want[:i] == got[:j])
}

var unescapeDots = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/")

func fitsURI(want, got string) bool {
	prefix, below := strings.CutSuffix(want, "*")
	if !below {
		return want == got
	}
	rest, ok := strings.CutPrefix(got, prefix)
	// A URI with dot segments, escaped ones too, stands for another one.
	segments := strings.Split(unescapeDots.Replace(rest), "/")
	return ok && rest != "" && !slices.ContainsFunc(segments, func(s string) bool { return s == "." || s == ".." })
}

// Fits says whether a client with this identity is one that p asks for; nil, a client without a certificate that is good,
// never is.
func (p *ClientPattern) Fits(id *ClientIdentity) bool {
	if id == nil {
		return false
	}
	for i, l := range p.lists() {
		if len(l.values) > 0 && !l.fitOne(id.values[i]) {
			return false
		}
	}
	return true
}

// fitOne says whether one of the values of a certificate is one of l.
func (l *clientList) fitOne(values []string) bool {
	return slices.ContainsFunc(values, func(got string) bool {
		return slices.ContainsFunc(l.values, func(want string) bool { return want == "*" || l.fits(want, got) })
	})
}

// Keys are the names of the keys that p has.
func (p *ClientPattern) Keys() (keys []string) {
	if p == nil {
		return nil
	}
	for _, l := range p.lists() {
		if len(l.values) > 0 {
			keys = append(keys, l.key)
		}
	}
	return keys
}

// Implies says whether every client that fits o fits p too, as far as their keys and values tell.
func (p *ClientPattern) Implies(o *ClientPattern) bool {
	switch {
	case p == nil:
		return true
	case o == nil:
		return false
	}
	others := o.lists()
	for i, l := range p.lists() {
		narrow := others[i].values
		if len(l.values) == 0 || len(narrow) > 0 && slices.Contains(l.values, "*") {
			continue
		}
		if len(narrow) == 0 || slices.ContainsFunc(narrow, func(v string) bool { return !slices.Contains(l.values, v) }) {
			return false
		}
	}
	return true
}

// String lists what p asks for: "cn alice or bob, o Example".
func (p *ClientPattern) String() string {
	var list []string
	for _, l := range p.lists() {
		if len(l.values) > 0 {
			list = append(list, l.key+" "+strings.Join(l.values, " or "))
		}
	}
	return strings.Join(list, ", ")
}

func (p *ClientPattern) validate(at keyPath) {
	if len(p.Keys()) == 0 {
		at.wrong("", "nothing", `at least one of cn, o, ou, dns, email, uri, issuer and fingerprint, such as cn = "*"`)
	}
	for _, l := range p.lists() {
		for i, v := range l.values {
			switch {
			case v == "":
				at.key(l.key).index(i).wrong("", `""`, `a value, or "*" for any`)
			case v != "*" && l.check != nil && !l.check(v):
				at.key(l.key).index(i).wrong("", strconv.Quote(v), l.want+`, or "*" for any`)
			}
		}
	}
}

// verifies says whether certificates of clients are verified on l.
func (l *Listener) verifies() bool { return l.Secure() && l.ClientCA != "" }

// validateClient reports what asks for certificates of clients on listeners that verify none. A program may bring listeners of
// its own.
func (r *Route) validateClient(at keyPath) {
	c := at.check.config
	if r.Client == nil && !r.ClientCertificate || c.source == nil {
		return
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.verifies() && (len(r.Listener) == 0 || slices.Contains(r.Listener, l.Label())) {
			return
		}
	}
	if r.ClientCertificate {
		at.wrong("client_certificate", "it where no listener of the route verifies certificates of clients, so that nobody would be let in", "a listener with certificates and client_ca")
	}
	if r.Client != nil {
		at.wrong("client", "a condition that never holds: no listener of the route verifies certificates of clients", "a listener with certificates and client_ca")
	}
}
