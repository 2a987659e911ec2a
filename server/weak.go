package server

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"weir/config"
	"weir/internal/listener"
	"weir/internal/secure"
)

// NewECH makes a key of Encrypted Client Hello for a listener's key ech. file is what the key's file has, and
// list the value of the parameter ech of an HTTPS record, before base64. publicName is the
// name that observers see.
func NewECH(publicName string) (file, list []byte, err error) { return secure.NewECH(publicName) }

// weaknesses reports what of the TLS of a configuration is weak.
func weaknesses(cfg *config.Config, now time.Time) config.Errors {
	w := weak{now: now}
	for i := range cfg.Listeners {
		w.listener(&cfg.Listeners[i], "listeners", i)
	}
	for name, u := range cfg.Upstreams {
		w.upstream(&u.TLS, "upstreams", name, "tls")
	}
	return w.problems
}

// weak gathers what is weak at a time. Its methods take the key of what they look at.
type weak struct {
	now      time.Time
	problems config.Errors
}

func (w *weak) add(text string, key ...any) { w.problems = append(w.problems, warning(text, key...)) }

func (w *weak) listener(l *config.Listener, key ...any) {
	below := func(parts ...any) []any { return slices.Concat(key, parts) }
	w.parameters(l.MinTLS, l.Ciphers, key)
	w.secret(l.Tickets.File, below("tickets", "file"))
	for k, path := range l.ECH {
		w.secret(path, below("ech", k))
	}
	for k, files := range l.Certificates {
		w.secret(files.Key, below("certificates", k, "key"))
		c, err := listener.LoadCertificate(files)
		if err != nil {
			continue // an error of CheckFiles
		}
		for _, why := range weakCertificate(c) {
			w.add(fmt.Sprintf("certificate %q is weak: %s", files.Cert, why), below("certificates", k)...)
		}
	}
	w.revocation(l.ClientCRL, "clients", below("client_crl"))
}

func (w *weak) upstream(t *config.UpstreamTLS, key ...any) {
	below := func(part string) []any { return slices.Concat(key, []any{part}) }
	w.parameters(t.MinTLS, t.Ciphers, key)
	w.secret(t.Key, below("key"))
	if c, err := config.LoadKeyPair(t.Cert, t.Key); t.Cert != "" && err == nil {
		if text := judgeExpiry(c.Leaf.NotBefore, c.Leaf.NotAfter, w.now); text != "" {
			w.add(fmt.Sprintf("certificate %q %s", t.Cert, text), below("cert")...)
		}
	}
	if t.InsecureSkipVerify {
		w.add("targets are not verified, so anybody on the way can read and change everything: want ca, and server_name if the name differs", below("insecure_skip_verify")...)
	}
	w.revocation(t.CRL, "targets", below("crl"))
}

// parameters looks at the oldest version of TLS and the ciphers.
func (w *weak) parameters(oldest string, ciphers config.Strings, key []any) {
	if oldest == "1.0" || oldest == "1.1" {
		w.add(fmt.Sprintf("TLS %s is weak (RFC 8996): want \"1.2\" or \"1.3\"", oldest), slices.Concat(key, []any{"min_tls"})...)
	}
	for i, name := range ciphers {
		if why := config.WeakCipher(name); why != "" {
			w.add(fmt.Sprintf("%q is weak: %s", name, why), slices.Concat(key, []any{"ciphers", i})...)
		}
	}
}

// secret looks at a file that nobody else is to read.
func (w *weak) secret(path string, key []any) {
	if path == "" {
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		w.add(fmt.Sprintf("every user of this machine can read %q: want chmod o-r", path), key...)
	}
}

// revocation looks at a file of revocation lists; whose says in a warning whose certificates the
// lists are about.
func (w *weak) revocation(file, whose string, key []any) {
	revoked, err := secure.LoadRevocation(file)
	if err != nil {
		return // an error of CheckFiles
	}
	revoked.Ends(w.now, func(issuer pkix.Name, end time.Time) {
		w.add(fmt.Sprintf("the revocation list of %q has expired on %s: its %s are refused", issuer, end.UTC().Format(expiryDay), whose), key...)
	})
}

// weakCertificate says what is weak about a certificate and those that come with it.
func weakCertificate(c *tls.Certificate) (why []string) {
	for i, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		which := ""
		if i > 0 {
			which = fmt.Sprintf("in its chain, %q: ", cert.Subject)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
			why = append(why, fmt.Sprintf("%sits RSA key has %d bits, want 2048 at least", which, key.N.BitLen()))
		}
		if signed := cert.SignatureAlgorithm.String(); (strings.Contains(signed, "SHA1") || strings.Contains(signed, "MD5")) && cert.Issuer.String() != cert.Subject.String() {
			why = append(why, which+"it is signed by "+signed+", which browsers refuse")
		}
	}
	return why
}

// warnOfRevocation logs the revocation lists that expire within a day, or have expired.
func (s *Server) warnOfRevocation(now time.Time) {
	cfg := s.current.Load().config
	warn := func(file, whose, of, name string) {
		revoked, err := secure.LoadRevocation(file)
		if err != nil {
			return // the listener or upstream goes on with the lists that it has, and has said so
		}
		revoked.Ends(now.Add(24*time.Hour), func(issuer pkix.Name, end time.Time) {
			s.log.Warn("a revocation list of "+whose+" expires, and then its "+whose+" are refused", of, name, "issuer", issuer.String(), "expires", end.UTC().Format(expiryDay))
		})
	}
	for i := range cfg.Listeners {
		warn(cfg.Listeners[i].ClientCRL, "clients", "listener", cfg.Listeners[i].Label())
	}
	for name, u := range cfg.Upstreams {
		warn(u.TLS.CRL, "targets", "upstream", name)
	}
}
