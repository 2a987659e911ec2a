package server

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weir/admin"
	"weir/config"
	"weir/internal/listener"
	"weir/internal/secure"
)

// Issuer gets certificates by itself, for listeners whose configuration has tls. weir's own is in
// package internal/acme. Any goroutine may call its methods.
type Issuer interface {
	listener.Issuer
	// Use puts a configuration into force. It may wait until certificates that were got before are loaded,
	// but not for new ones. What the configuration does not need any more stays until drop is called. On an
	// error nothing has changed.
	Use(cfg *config.Config) (drop func(), err error)
	// Challenge returns the answer to a request of a CA for a path below
	// "/.well-known/acme-challenge/" of a host (RFC 8555 section 8.3); ok is false for other requests.
	Challenge(host, path string) (answer string, ok bool)
	// Revoked hears, again and again, that the CA says that a certificate is revoked. It may be one of files.
	Revoked(leaf *x509.Certificate)
	// Certificates returns how the certificates of all listeners with tls are.
	Certificates() []admin.Certificate
	// WriteMetrics writes what the issuer counts, in the format of Prometheus.
	WriteMetrics(w io.Writer)
	// Close ends what runs in the background; certificates that are there are still served. Calling it
	// again does nothing.
	Close()
}

// WithIssuer makes i get the certificates of listeners with tls; without it such a listener is an error.
// The server closes i in the end.
func WithIssuer(i Issuer) Option { return func(o *options) { o.issuer = i } }

// checkIssuer reports listeners that need an Issuer if there is none.
func checkIssuer(cfg *config.Config, o *options) (problems config.Errors) {
	if o.issuer != nil {
		return nil
	}
	for i := range cfg.Listeners {
		if t := cfg.Listeners[i].Issuer; t != "" {
			problems = append(problems, config.Problem{Key: config.Key("listeners", i, "tls"), Found: fmt.Sprintf("%q", t), Want: "nothing: this program gets no certificates by itself"})
		}
	}
	return cfg.Locate(problems)
}

// listenerIssuer returns what listeners ask for certificates; nil for nothing.
func (s *Server) listenerIssuer() listener.Issuer {
	if s.options.issuer == nil {
		return nil
	}
	return s.options.issuer
}

// useIssuer makes the issuer use a configuration. drop lets go of what it does not need any more.
func (s *Server) useIssuer(cfg *config.Config) (drop func(), err error) {
	if s.options.issuer == nil {
		return func() {}, nil
	}
	return s.options.issuer.Use(cfg)
}

// restoreIssuer makes the issuer use the configuration that stays in force.
func (s *Server) restoreIssuer(cfg *config.Config) {
	drop, err := s.useIssuer(cfg)
	if err != nil {
		s.log.Error("cannot restore what certificates to get", "error", err)
		return
	}
	drop()
}

// closeIssuer ends the issuer, if there is one.
func (s *Server) closeIssuer() {
	if s.options.issuer != nil {
		s.options.issuer.Close()
	}
}

// logStaple logs whether authorities tell of a certificate (OCSP), or what they say if it is bad.
func (s *Server) logStaple(leaf *x509.Certificate, err error) {
	name := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		name = leaf.DNSNames[0]
	}
	switch {
	case err == nil:
		s.log.Debug("the authority says that a certificate is good, clients are shown that", "certificate", name)
	case errors.Is(err, secure.ErrRevoked):
		s.log.Error("a certificate in use is revoked", "certificate", name, "serial", fmt.Sprintf("%x", leaf.SerialNumber))
	case secure.NeedsStaple(leaf):
		s.log.Warn("cannot learn whether a certificate is revoked, and clients may refuse it without an answer", "certificate", name, "error", err)
	default:
		s.log.Info("cannot learn whether a certificate is revoked, clients are shown it without an answer", "certificate", name, "error", err)
	}
}

// replaceRevoked tells the issuer of a certificate that is revoked.
func (s *Server) replaceRevoked(leaf *x509.Certificate) {
	if s.options.issuer != nil {
		s.options.issuer.Revoked(leaf)
	}
}

// answerChallenge returns what answers challenges of a CA; nil if a configuration asks none.
func (s *Server) answerChallenge(cfg *config.Config) func(host, path string) (string, bool) {
	if s.options.issuer == nil || !cfg.UsesACME() {
		return nil
	}
	return s.options.issuer.Challenge
}

// certificates returns the certificates in use, and those that are lacking, in the order of the listeners' names.
func (s *Server) certificates() []admin.Certificate {
	list := []admin.Certificate{}
	s.eachCertificate(func(listener, file string, leaf *x509.Certificate) {
		list = append(list, admin.Certificate{
			Name: file, Listener: listener, Source: "file", Issuer: leaf.Issuer.CommonName, NotBefore: &leaf.NotBefore, NotAfter: &leaf.NotAfter,
		})
	})
	if s.options.issuer != nil {
		list = append(list, s.options.issuer.Certificates()...)
	}
	slices.SortStableFunc(list, func(a, b admin.Certificate) int { return strings.Compare(a.Listener, b.Listener) })
	return list
}

// Certificates returns how the certificates of all listeners are, for the admin API.
func (o operator) Certificates() []admin.Certificate { return o.s.certificates() }

// warnOfExpiry logs the certificates in use that are not valid, or soon will not be.
func (s *Server) warnOfExpiry(now time.Time) {
	for _, c := range s.certificates() {
		if c.NotAfter == nil {
			continue
		}
		if text := judgeExpiry(*c.NotBefore, *c.NotAfter, now); text != "" {
			s.log.Warn("a certificate in use "+text, "listener", c.Listener, "certificate", c.Name, "error", cmp.Or(c.Error, "none"))
		}
	}
}
