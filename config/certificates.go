package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Certificates is about the certificates that weir gets by itself, for listeners with tls.
type Certificates struct {
	// Storage is where certificates, their keys and the account at the CA are kept: the path of a
	// folder, "redis://HOST:PORT/DB" ("rediss://" with TLS) or "etcd://HOST:PORT/PREFIX". All weirs with
	// the same storage have one account, and one of them gets or renews each certificate. Empty
	// means the folder "certificates" in the state folder that systemd gives, else in $XDG_DATA_HOME/weir or ~/.local/share/weir.
	Storage string `toml:"storage"`
	// Email is where the CA writes to if something is wrong; empty means nowhere.
	Email string `toml:"email"`
	// CA is the URL of the CA's directory (RFC 8555 section 7.1.1).
	CA string `toml:"ca"`
	// CARoots is a PEM file of the authorities to trust when weir asks a private CA; empty means the
	// system's.
	CARoots string `toml:"ca_roots"`
	// EAB ties the account to one that the CA knows already, if the CA asks for that.
	EAB ExternalAccount `toml:"eab"`
	// KeyType is the kind of the certificates' keys: "p256", "p384", "rsa2048" or "rsa4096".
	KeyType string `toml:"key_type"`
	// Profile is the name of one of the CA's certificate profiles, such as "shortlived"; empty means
	// the CA's default.
	Profile string `toml:"profile"`
	// Challenges are the ways to prove to the CA that a name is weir's: "http-01", "tls-alpn-01" and
	// "dns-01". Empty means "dns-01" if there is a dns.provider, else "http-01" if a listener speaks
	// plain HTTP, and "tls-alpn-01".
	Challenges Strings `toml:"challenges"`
	// DNS is how weir sets records for "dns-01".
	DNS DNSChallenge `toml:"dns"`
	// OnDemand gets certificates in the handshakes of clients that ask for names which no listener has.
	OnDemand OnDemand `toml:"on_demand"`
}

// ExternalAccount is an account that a CA knows already (RFC 8555 section 7.3.4).
type ExternalAccount struct {
	// KeyID names the account's key, and HMAC is the key as the CA gives it, in base64url.
	KeyID string `toml:"key_id"`
	HMAC  string `toml:"hmac" secret:"true"`
}

// DNSChallenge is how weir sets records for the challenge "dns-01".
type DNSChallenge struct {
	// Provider is "rfc2136" for a name server that takes updates (BIND, Knot, PowerDNS), "cloudflare", or
	// "exec" for a command that does it. Empty means that weir cannot set records.
	Provider string `toml:"provider"`
	// Command is what "exec" runs, the program first. weir adds three arguments: "set" or "delete",
	// the name of the record with a dot at its end, and its value. Status 0 means that it was done.
	Command []string `toml:"command"`
	// Server is the "host:port" of the server for "rfc2136".
	Server string `toml:"server"`
	// KeyName, KeySecret and KeyAlgorithm sign updates of "rfc2136" (TSIG, RFC 8945): the name of
	// the key, the key in base64, and "hmac-sha256" or another of its kind. An empty name means no signature.
	KeyName      string `toml:"key_name"`
	KeySecret    string `toml:"key_secret" secret:"true"`
	KeyAlgorithm string `toml:"key_algorithm"`
	// Token is the API token for "cloudflare", which needs Zone:Read and DNS:Edit.
	Token string `toml:"token" secret:"true"`
	// Resolvers are "host:port" of the name servers by which weir finds the zone of a name, and sees
	// that the record is there; empty means the system's, and the zone's own.
	Resolvers []string `toml:"resolvers"`
	// Wait is how long weir waits for a record to be seen before it asks the CA to look; 0 means not at all.
	Wait Duration `toml:"wait"`
}

// OnDemand gets certificates in the handshakes of clients that ask for names which no listener has.
type OnDemand struct {
	// Ask is the URL that is asked whether to get a certificate for a name, by GET with the query
	// "domain=NAME". Only status 200 means yes. Empty means that there are no certificates on demand.
	Ask string `toml:"ask"`
	// Timeout bounds one such question.
	Timeout Duration `toml:"timeout"`
	// PerMinute bounds the new certificates that are asked of the CA within a minute.
	PerMinute int `toml:"per_minute"`
	// Keep is how many of these certificates are in memory at most. Beyond that the certificate that was used least
	// recently leaves the memory, and is read from the storage when a client asks for its name again.
	Keep int `toml:"keep"`
}

// The values of a listener's tls.
const (
	IssuerACME     = "acme"
	IssuerInternal = "internal"
)

// The challenges of RFC 8555 and RFC 8737.
const (
	ChallengeHTTP = "http-01"
	ChallengeALPN = "tls-alpn-01"
	ChallengeDNS  = "dns-01"
)

// The providers of records.
const (
	DNSUpdate     = "rfc2136"
	DNSCloudflare = "cloudflare"
	DNSExec       = "exec"
)

func (c *Certificates) setDefaults() {
	c.CA = "https://acme-v02.api.letsencrypt.org/directory"
	c.KeyType = "p256"
}

func (d *DNSChallenge) setDefaults() {
	d.KeyAlgorithm = "hmac-sha256"
	d.Wait = Duration(2 * time.Minute)
}

func (o *OnDemand) setDefaults() {
	o.Timeout = Duration(5 * time.Second)
	o.PerMinute = 10
	o.Keep = 10_000
}

func (c *Certificates) validate(at keyPath) {
	if strings.Contains(c.Storage, "://") {
		u, err := url.Parse(c.Storage)
		if err != nil || u.Host == "" || !slices.Contains([]string{"redis", "rediss", "etcd"}, u.Scheme) {
			at.wrong("storage", "a URL that is none of these", `a folder, "redis://HOST:PORT/DB", "rediss://HOST:PORT/DB" or "etcd://HOST:PORT/PREFIX"`)
		}
	}
	if c.Email != "" && (strings.Count(c.Email, "@") != 1 || strings.ContainsAny(c.Email, " ,;:")) {
		at.wrong("email", strconv.Quote(c.Email), `one address such as "admin@example.org"`)
	}
	at.httpURL("ca", c.CA, "https")
	if c.CARoots != "" {
		at.file("ca_roots", c.CARoots)
	}
	at.oneOf("key_type", c.KeyType, "p256", "p384", "rsa2048", "rsa4096")
	for i, challenge := range c.Challenges {
		at.key("challenges").index(i).oneOf("", challenge, ChallengeHTTP, ChallengeALPN, ChallengeDNS)
	}
	switch dns := slices.Contains(c.Challenges, ChallengeDNS); {
	case dns && len(c.Challenges) > 1:
		at.wrong("challenges", `"dns-01" beside others`, `"dns-01" alone, or the others`)
	case dns && c.DNS.Provider == "":
		at.key("dns").wrong("provider", "nothing", `a provider, because "dns-01" needs one`)
	}
}

// httpURL reports a text that is no URL of one of these schemes.
func (p keyPath) httpURL(name, text string, schemes ...string) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Fragment != "" || !slices.Contains(schemes, u.Scheme) {
		p.wrong(name, strconv.Quote(text), fmt.Sprintf("a URL such as %q", schemes[0]+"://example.org/path"))
	}
}

func (e *ExternalAccount) validate(at keyPath) {
	switch {
	case e.KeyID != "" && e.HMAC == "":
		at.wrong("hmac", "nothing", "the key that key_id names")
	case e.KeyID == "" && e.HMAC != "":
		at.wrong("key_id", "nothing", "the name of the key in hmac")
	case e.HMAC != "" && e.Key() == "":
		at.wrong("hmac", "a text that is no base64", "the key as the CA shows it, in base64url (RFC 8555 section 7.3.4)")
	}
}

// Key is HMAC as ACME clients want it: base64url without padding. It is empty if HMAC is no base64.
func (e *ExternalAccount) Key() string {
	key := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(e.HMAC, "="))
	if _, err := base64.RawURLEncoding.DecodeString(key); err != nil {
		return ""
	}
	return key
}

func (d *DNSChallenge) validate(at keyPath) {
	at.oneOf("provider", d.Provider, "", DNSUpdate, DNSCloudflare, DNSExec)
	need := func(provider, key string, missing bool, want string) {
		if d.Provider == provider && missing {
			at.wrong(key, "nothing", want)
		}
	}
	need(DNSExec, "command", len(d.Command) == 0, `a list with a program, because the provider is "exec"`)
	need(DNSUpdate, "server", d.Server == "", `"host:port", because the provider is "rfc2136"`)
	need(DNSUpdate, "key_secret", d.KeyName != "" && d.KeySecret == "", "the key that key_name names")
	need(DNSCloudflare, "token", d.Token == "", `an API token, because the provider is "cloudflare"`)
	if _, err := base64.StdEncoding.DecodeString(d.KeySecret); err != nil {
		at.wrong("key_secret", "a text that is no base64", "the key as the name server's files have it")
	}
	at.oneOf("key_algorithm", d.KeyAlgorithm, "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
	if d.Server != "" && !hostPort(d.Server) {
		at.wrong("server", strconv.Quote(d.Server), `"host:port"`)
	}
	for i, r := range d.Resolvers {
		if !hostPort(r) {
			at.key("resolvers").index(i).wrong("", strconv.Quote(r), `"host:port"`)
		}
	}
}

// hostPort says whether a text is a host and a port number.
func hostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && host != "" && validTargetPort(port)
}

func (o *OnDemand) validate(at keyPath) {
	if o.Ask != "" {
		at.httpURL("ask", o.Ask, "http", "https")
	}
	at.positive("timeout", o.Timeout)
	at.between("per_minute", o.PerMinute, 1, 1_000_000)
	at.between("keep", o.Keep, 1, 10_000_000)
}

// Secure says whether the listener speaks TLS.
func (l *Listener) Secure() bool { return len(l.Certificates) > 0 || l.Issuer != "" }

// UsesACME says whether a listener gets its certificates from a CA.
func (c *Config) UsesACME() bool {
	return slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Issuer == IssuerACME })
}

// Challenges returns the ways to prove to the CA that a name is weir's, as the keys and the
// listeners say.
func (c *Config) Challenges() []string {
	switch {
	case len(c.Certificates.Challenges) > 0:
		return c.Certificates.Challenges
	case c.Certificates.DNS.Provider != "":
		return []string{ChallengeDNS}
	case slices.ContainsFunc(c.Listeners, func(l Listener) bool { return !l.Secure() }):
		return []string{ChallengeHTTP, ChallengeALPN}
	}
	return []string{ChallengeALPN}
}

// localNames are those that a listener with the local CA always has a certificate for.
var localNames = []string{"localhost", "127.0.0.1", "::1"}

// canonicalName is a host name or an address as certificates have it.
func canonicalName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	return name
}

// IsLocalName says whether a name is one that no CA of the internet gives a certificate for (RFC 6761, RFC 6762, RFC 8375).
func IsLocalName(name string) bool {
	name = "." + canonicalName(name)
	return slices.ContainsFunc([]string{".localhost", ".local", ".internal", ".test", ".home.arpa"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// UnlikelyDomains returns the names for which the listener asks a CA of the internet, though no such CA gives
// certificates for them.
func (c *Config) UnlikelyDomains(l *Listener) (list []string) {
	if u, err := url.Parse(c.Certificates.CA); err != nil || l.Issuer != IssuerACME || !slices.ContainsFunc(publicCAs, func(end string) bool { return strings.HasSuffix("."+u.Hostname(), end) }) {
		return nil
	}
	for _, name := range c.Domains(l) {
		ip, err := netip.ParseAddr(name)
		switch {
		case err == nil && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast()):
		case err == nil:
			continue
		case IsLocalName(name), !strings.Contains(name, "."), strings.Contains(name, "_"):
		default:
			continue
		}
		list = append(list, name)
	}
	return list
}

// publicCAs are the ends of the names of CAs of the internet.
var publicCAs = []string{".letsencrypt.org", ".pki.goog", ".zerossl.com", ".ssl.com", ".buypass.com"}

// Domains returns the names that weir itself gets certificates for, in lower case: those that the
// listener names, else the hosts of its routes, if it has no certificates in files.
func (c *Config) Domains(l *Listener) []string {
	if l.Issuer == "" {
		return nil
	}
	var list []string
	add := func(name string) {
		if name = canonicalName(name); !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	for _, name := range l.Domains {
		add(name)
	}
	wildcards := l.Issuer == IssuerInternal || slices.Contains(c.Challenges(), ChallengeDNS)
	for i := range c.Routes {
		r := &c.Routes[i]
		if len(l.Domains) > 0 || len(l.Certificates) > 0 || r.Scheme == "http" || len(r.Listener) > 0 && !slices.Contains(r.Listener, l.Label()) {
			continue
		}
		for _, host := range r.Host {
			if wildcards || !strings.HasPrefix(host, "*.") {
				add(host)
			}
		}
	}
	if l.Issuer == IssuerInternal {
		for _, name := range localNames {
			add(name)
		}
	}
	return list
}

// validateDomains checks what a listener gets certificates for.
func (c *Config) validateDomains(l *Listener, at keyPath) {
	if l.Issuer == "" {
		if len(l.Domains) > 0 {
			at.wrong("domains", "it without tls", `it on a listener with tls = "acme" or "internal"`)
		}
		return
	}
	for i, name := range l.Domains {
		at := at.key("domains").index(i)
		_, err := netip.ParseAddr(name)
		rest, wildcard := strings.CutPrefix(name, "*.")
		switch {
		case err != nil && !IsHostName(rest):
			at.wrong("", strconv.Quote(name), `a name such as "www.example.org" or "*.example.org" (international names in their "xn--" form), or an address`)
		case err == nil && l.Issuer == IssuerACME && slices.Contains(c.Challenges(), ChallengeDNS):
			at.wrong("", strconv.Quote(name), `a name, because "dns-01" proves no addresses (RFC 8738)`)
		case wildcard && l.Issuer == IssuerACME && !slices.Contains(c.Challenges(), ChallengeDNS):
			at.wrong("", strconv.Quote(name), `a name without "*.", or certificates.dns.provider: CAs prove wildcards by "dns-01" alone`)
		}
	}
	if l.Issuer == IssuerACME && c.Certificates.OnDemand.Ask == "" && len(l.Certificates) == 0 && len(c.Domains(l)) == 0 {
		at.wrong("tls", `"acme" without names`, "domains, a route with host, or certificates.on_demand.ask")
	}
}
