package listener

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/config"
	"weir/internal/secure"
)

// LoadClientCA reads the authorities whose certificates clients must show; nil if path is empty.
func LoadClientCA(path string) (*x509.CertPool, error) {
	pool, err := config.LoadAuthorities(path)
	if err != nil {
		return nil, fmt.Errorf("cannot use client_ca: %w", err)
	}
	return pool, nil
}

// clientTrust is what a listener demands of the certificates of clients. A clientTrust never changes.
type clientTrust struct {
	pool    *x509.CertPool // the authorities; nil: no certificate is verified
	revoked *secure.Revocation
	allow   []config.ClientPattern // empty: all whose certificates are good
	// ask is what handshakes ask clients for.
	ask tls.ClientAuthType
}

// loadTrust reads the files that a listener's configuration names.
func loadTrust(cfg *config.Listener) (*clientTrust, error) {
	pool, err := LoadClientCA(cfg.ClientCA)
	if err != nil {
		return nil, err
	}
	revoked, err := secure.LoadRevocation(cfg.ClientCRL)
	if err != nil {
		return nil, err
	}
	return &clientTrust{pool, revoked, cfg.ClientAllow, askedFor(cfg.ClientAuth, pool)}, nil
}

// askedFor is what handshakes ask for where client_auth is auth and pool has the authorities.
func askedFor(auth string, pool *x509.CertPool) tls.ClientAuthType {
	switch {
	case auth == config.ClientAuthRequest:
		return tls.RequestClientCert
	case pool == nil:
		return tls.NoClientCert
	case auth == config.ClientAuthOptional:
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}

// askForCertificates makes the handshakes of cfg ask for certificates if the configuration says so, and verify
// them by what s.trust has now.
func (s *settings) askForCertificates(cfg *tls.Config) {
	s.trusted = s.trust.Value()
	cfg.ClientCAs, cfg.ClientAuth = s.trusted.pool, s.trusted.ask
	verifies := s.trusted.ask == tls.VerifyClientCertIfGiven || s.trusted.ask == tls.RequireAndVerifyClientCert
	if verifies && (s.trusted.revoked != nil || len(s.trusted.allow) > 0) {
		// This one is called for sessions that are taken up, too.
		cfg.VerifyConnection = s.trusted.check
	}
}

var (
	errNotAllowed    = errors.New("client_allow has no client with this certificate")
	errNoCertificate = errors.New("the client has shown no certificate")
)

// check says why a client is not let in whose certificate, if it has shown one, was issued by an authority.
func (t *clientTrust) check(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		if t.ask == tls.RequireAndVerifyClientCert {
			return errNoCertificate
		}
		return nil
	}
	if err := t.revoked.Check(state.VerifiedChains, time.Now()); err != nil {
		return err
	}
	if len(t.allow) == 0 {
		return nil
	}
	id := config.NewClientIdentity(state.PeerCertificates[0])
	if !slices.ContainsFunc(t.allow, func(p config.ClientPattern) bool { return p.Fits(id) }) {
		return errNotAllowed
	}
	return nil
}

// judge says what the certificate of a client is worth, whom the handshake let in, as forward.Peer's
// Verified has it. A certificate that is not good is not in the state afterwards.
func (t *clientTrust) judge(state *tls.ConnectionState) string {
	switch {
	case t.ask == tls.NoClientCert:
		return ""
	case len(state.PeerCertificates) == 0:
		return "none"
	case t.pool == nil:
		return "unverified"
	case t.ask != tls.RequestClientCert:
		return "ok"
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	chains, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil {
		state.VerifiedChains = chains
		err = t.check(*state)
	}
	if err != nil {
		state.PeerCertificates, state.VerifiedChains = nil, nil
		return "failed: " + err.Error()
	}
	return "ok"
}

// Verified is what became of the verification of the client's certificate, as forward.Peer has it.
func (c *Conn) Verified() string { return c.verified }

// AsksForCertificates says whether l asks clients for certificates.
func (l *Listener) AsksForCertificates() bool { return l.settings.Load().trusted != nil }

// Outdated says whether the client would not be let in with the certificate that it has shown, or with none, because
// the listener has other authorities now, requires a certificate or asks for one for the first time, or the
// certificate was revoked.
func (c *Conn) Outdated() bool {
	now, before := c.listener.settings.Load().trusted, c.trust.Load()
	switch {
	case now == before:
		return false
	case now == nil:
		return before.pool != nil
	case before == nil:
		return now.pool != nil
	case !now.pool.Equal(before.pool):
		return true
	case now.check(*c.state) != nil:
		return true
	}
	c.trust.Store(now)
	return false
}
