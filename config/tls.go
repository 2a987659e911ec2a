package config

import (
	"crypto/tls"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HSTS is what the field Strict-Transport-Security says of a listener with TLS.
type HSTS struct {
	// Enabled says whether the field is sent, with responses that have none.
	Enabled bool `toml:"enabled"`
	// MaxAge is for how long browsers come by https alone; "0s" ends that.
	MaxAge Duration `toml:"max_age"`
	// IncludeSubdomains makes it count for all names below, too.
	IncludeSubdomains bool `toml:"include_subdomains"`
	// Preload lets browsers have the name in a list of their own; it needs IncludeSubdomains and a year.
	Preload bool `toml:"preload"`
}

const year = 365 * 24 * time.Hour

func (h *HSTS) short() any { return &h.Enabled }

func (h *HSTS) setDefaults() { h.Enabled, h.MaxAge = true, Duration(year) }

func (h *HSTS) validate(at keyPath) {
	if h.Preload && (!h.IncludeSubdomains || h.MaxAge.D() < year) {
		at.wrong("preload", "true", "it with include_subdomains and a max_age of \"8760h\" or more, as https://hstspreload.org asks for")
	}
}

// Value is the value of the field; empty if it is not sent. nil is off.
func (h *HSTS) Value() string {
	if h == nil || !h.Enabled {
		return ""
	}
	value := "max-age=" + strconv.FormatInt(int64(h.MaxAge.D()/time.Second), 10)
	if h.IncludeSubdomains {
		value += "; includeSubDomains"
	}
	if h.Preload {
		value += "; preload"
	}
	return value
}

// Tickets are the session tickets of a listener. A ticket holds a session, encrypted by a key that
// only weir has.
type Tickets struct {
	// Enabled says whether clients get tickets.
	Enabled bool `toml:"enabled"`
	// Rotate is how long a key makes tickets, at least a second. They are accepted for as long
	// again.
	Rotate Duration `toml:"rotate"`
	// File has a secret in each line, at least 32 bytes long, from which the keys are derived by time, so
	// that nodes with the same file take up each other's sessions. The first makes tickets, all
	// are accepted. The file is read again when it changes. Empty means keys of the process's own.
	File string `toml:"file"`
}

func (t *Tickets) short() any { return &t.Enabled }

func (t *Tickets) setDefaults() { t.Enabled, t.Rotate = true, Duration(6*time.Hour) }

func (t *Tickets) validate(at keyPath) {
	if t.Enabled && t.Rotate.D() < time.Second {
		at.wrong("rotate", strconv.Quote(t.Rotate.String()), `"1s" or more`)
	}
	if t.File != "" {
		at.file("file", t.File)
	}
}

// validatePassThrough reports names that are none, and upstreams that TLS cannot be passed on to.
func (l *Listener) validatePassThrough(at keyPath) {
	at = at.key("pass_through")
	for _, name := range slices.Sorted(maps.Keys(l.PassThrough)) {
		host := strings.TrimPrefix(name, "*.")
		switch {
		case name == "*" && l.Secure():
			at.wrong(name, `"*" beside certificates`, "single names, or a listener without certificates")
			continue
		case name != "*" && !IsHostName(host), name != strings.ToLower(name):
			at.wrong(name, strconv.Quote(name), `a name in lower case such as "www.example.org", "*.example.org" or "*"`)
			continue
		}
		to := l.PassThrough[name]
		if !at.knownUpstream(name, to, to) {
			continue
		}
		for _, t := range at.check.config.Upstreams[to].Targets {
			if !t.IsSource() && !strings.HasPrefix(t.Origin(), "https:") && !strings.HasPrefix(t.URL, "unix:") {
				at.wrong(name, "an upstream with the target "+strconv.Quote(t.URL), `one whose targets end TLS: "https://host:port" or "unix:/path"`)
				break
			}
		}
	}
}

// TLSParameters are the versions, ciphers and key exchanges that one side of TLS agrees to.
type TLSParameters struct {
	// Min and Max are versions as crypto/tls has them; a Max of 0 means the newest.
	Min, Max uint16
	// Ciphers are those of TLS 1.2 and older; nil means Go's choice, which has those with CBC, too: versions
	// before TLS 1.2 know no others, and neither do some old targets.
	Ciphers []uint16
	// Curves are the key exchanges; nil means Go's choice, which has X25519MLKEM768.
	Curves []tls.CurveID
}

// Apply sets p in cfg.
func (p TLSParameters) Apply(cfg *tls.Config) {
	cfg.MinVersion, cfg.MaxVersion, cfg.CipherSuites, cfg.CurvePreferences = p.Min, p.Max, p.Ciphers, p.Curves
}

// TLS are the parameters of the listener.
func (l *Listener) TLS() TLSParameters {
	p := parametersOf(l.MinTLS, l.MaxTLS, l.Ciphers, l.Curves)
	if p.Ciphers == nil && p.Min >= tls.VersionTLS12 {
		p.Ciphers = goodCiphers
	}
	return p
}

// Parameters are those towards the targets.
func (t *UpstreamTLS) Parameters() TLSParameters {
	return parametersOf(t.MinTLS, t.MaxTLS, t.Ciphers, t.Curves)
}

func parametersOf(least, most string, ciphers, curves Strings) TLSParameters {
	p := TLSParameters{Min: tlsVersions[least], Max: tlsVersions[most]}
	if p.Min == 0 {
		p.Min = tls.VersionTLS12
	}
	for _, name := range ciphers {
		if c, ok := cipherOf(name); ok {
			p.Ciphers = append(p.Ciphers, c.ID)
		}
	}
	for _, name := range curves {
		if id, ok := curveOf(name); ok {
			p.Curves = append(p.Curves, id)
		}
	}
	return p
}

// tlsVersions are the versions by the names that users write; a configuration that is built in Go may
// leave them empty.
var tlsVersions = map[string]uint16{
	"": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// curves are the key exchanges by name, the best first, each with what OpenSSL calls it.
var curves = []struct {
	name, alias string
	id          tls.CurveID
}{
	{"X25519MLKEM768", "", tls.X25519MLKEM768},
	{"SecP256r1MLKEM768", "", tls.SecP256r1MLKEM768},
	{"SecP384r1MLKEM1024", "", tls.SecP384r1MLKEM1024},
	{"X25519", "", tls.X25519},
	{"P-256", "prime256v1", tls.CurveP256},
	{"P-384", "secp384r1", tls.CurveP384},
	{"P-521", "secp521r1", tls.CurveP521},
}

// CurveNames are the names of key exchanges.
func CurveNames() (names []string) {
	for _, c := range curves {
		names = append(names, c.name)
	}
	return names
}

func curveOf(name string) (tls.CurveID, bool) {
	for _, c := range curves {
		if strings.EqualFold(name, c.name) || c.alias != "" && strings.EqualFold(name, c.alias) {
			return c.id, true
		}
	}
	return 0, false
}

// cipherSuites are those of TLS 1.2 and older, the good ones first.
var cipherSuites = slices.DeleteFunc(append(tls.CipherSuites(), tls.InsecureCipherSuites()...), isTLS13)

// isTLS13 says whether a cipher is one of TLS 1.3, all of which are always on.
func isTLS13(c *tls.CipherSuite) bool {
	return slices.Equal(c.SupportedVersions, []uint16{tls.VersionTLS13})
}

// CipherNames are the names of ciphers, as IANA has them.
func CipherNames() (names []string) {
	for _, c := range cipherSuites {
		names = append(names, c.Name)
	}
	return names
}

// cipherOf finds a cipher by the name that IANA or OpenSSL has for it.
func cipherOf(name string) (*tls.CipherSuite, bool) {
	for _, c := range cipherSuites {
		if strings.EqualFold(name, c.Name) || strings.EqualFold(name, openSSLNames.Replace(c.Name)) {
			return c, true
		}
	}
	return nil, false
}

// goodCiphers are those of TLS 1.2 without a weakness.
var goodCiphers = func() (list []uint16) {
	for _, c := range cipherSuites {
		if WeakCipher(c.Name) == "" {
			list = append(list, c.ID)
		}
	}
	return list
}()

// openSSLNames turns "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" into "ECDHE-RSA-AES128-GCM-SHA256".
var openSSLNames = strings.NewReplacer("TLS_RSA_WITH_", "", "TLS_", "", "WITH_", "", "3DES_EDE_CBC", "DES-CBC3", "RC4_128", "RC4", "AES_128_CBC", "AES128",
	"AES_256_CBC", "AES256", "AES_128", "AES128", "AES_256", "AES256", "POLY1305_SHA256", "POLY1305", "_", "-")

// WeakCipher says why a cipher that an agreement may come to is weak; empty for a good one.
func WeakCipher(name string) string {
	c, ok := cipherOf(name)
	switch {
	case !ok:
		return ""
	case strings.Contains(c.Name, "_RC4_"):
		return "RC4 can be broken"
	case strings.Contains(c.Name, "_3DES_"):
		return "3DES has blocks of 64 bits, which repeat in long connections"
	case strings.HasPrefix(c.Name, "TLS_RSA_"):
		return "static RSA: who gets the key can read all that was recorded"
	case strings.Contains(c.Name, "_CBC_"):
		return "CBC has a history of attacks on its padding"
	}
	return ""
}

// parameters reports versions, ciphers and key exchanges that are not known, or that
// cannot be together.
func (p keyPath) parameters(least, most string, names, groups Strings) {
	for _, v := range []struct{ name, value string }{{"min_tls", least}, {"max_tls", most}} {
		value := v.value
		if value == "" {
			value = "1.2" // a configuration that is built in Go may leave it out
		}
		p.oneOf(v.name, value, "1.0", "1.1", "1.2", "1.3")
	}
	if most != "" && tlsVersions[least] > tlsVersions[most] {
		p.wrong("max_tls", strconv.Quote(most), "a version that is not older than min_tls, which is "+strconv.Quote(least))
	}
	for i, name := range names {
		at := p.key("ciphers").index(i)
		if slices.ContainsFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool { return isTLS13(c) && strings.EqualFold(c.Name, name) }) {
			at.wrong("", strconv.Quote(name), "a cipher of TLS 1.2 or older, because those of TLS 1.3 are all good and always on")
		} else if _, ok := cipherOf(name); !ok {
			at.unknown("", strconv.Quote(name), OneOf(CipherNames()), Nearest(name, CipherNames()))
		}
	}
	for i, name := range groups {
		if _, ok := curveOf(name); !ok {
			p.key("curves").index(i).unknown("", strconv.Quote(name), OneOf(CurveNames()), Nearest(name, CurveNames()))
		}
	}
}
