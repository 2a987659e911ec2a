package server

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
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
func weaknesses(cfg *config.Config, now time.Time) (problems config.Errors) {
	add := func(key, format string, args ...any) {
		problems = append(problems, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	parameters := func(least string, ciphers config.Strings, parts ...any) {
		at := func(more ...any) string { return config.Key(append(append([]any{}, parts...), more...)...) }
		if least == "1.0" || least == "1.1" {
			add(at("min_tls"), "TLS %s is weak (RFC 8996): want \"1.2\" or \"1.3\"", least)
		}
		for i, name := range ciphers {
			if why := config.WeakCipher(name); why != "" {
				add(at("ciphers", i), "%q is weak: %s", name, why)
			}
		}
	}
	secret := func(key, path string) {
		if path == "" {
			return
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
			add(key, "every user of this machine can read %q: want chmod o-r", path)
		}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		parameters(l.MinTLS, l.Ciphers, "listeners", i)
		secret(config.Key("listeners", i, "tickets", "file"), l.Tickets.File)
		for k, path := range l.ECH {
			secret(config.Key("listeners", i, "ech", k), path)
		}
		for k, files := range l.Certificates {
			secret(config.Key("listeners", i, "certificates", k, "key"), files.Key)
			if c, err := listener.LoadCertificate(files); err == nil {
				for _, why := range weakCertificate(c) {
					add(config.Key("listeners", i, "certificates", k), "certificate %q is weak: %s", files.Cert, why)
				}
			}
		}
		if revoked, err := secure.LoadRevocation(l.ClientCRL); err == nil {
			revoked.Ends(now, func(issuer pkix.Name, end time.Time) {
				add(config.Key("listeners", i, "client_crl"), "the revocation list of %q has expired on %s: its clients are refused", issuer, end.UTC().Format(expiryDay))
			})
		}
	}
	for name, u := range cfg.Upstreams {
		parameters(u.TLS.MinTLS, u.TLS.Ciphers, "upstreams", name, "tls")
		secret(config.Key("upstreams", name, "tls", "key"), u.TLS.Key)
		if u.TLS.InsecureSkipVerify {
			add(config.Key("upstreams", name, "tls", "insecure_skip_verify"), "targets are not verified, so anybody on the way can read and change everything: want ca, and server_name if the name differs")
		}
		if revoked, err := secure.LoadRevocation(u.TLS.CRL); err == nil {
			revoked.Ends(now, func(issuer pkix.Name, end time.Time) {
				add(config.Key("upstreams", name, "tls", "crl"), "the revocation list of %q has expired on %s: its targets are refused", issuer, end.UTC().Format(expiryDay))
			})
		}
	}
	return problems
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
