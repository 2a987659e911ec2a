package listener

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// LoadClientCA reads the authorities whose certificates clients must show; nil if path is empty.
func LoadClientCA(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot use client_ca %q: no certificate in it", path)
	}
	return pool, nil
}

// askForCertificates makes handshakes ask for certificates if the configuration says so.
func (s *settings) askForCertificates() (err error) {
	if s.tls.ClientCAs, err = LoadClientCA(s.config.ClientCA); err != nil || s.tls.ClientCAs == nil {
		return err
	}
	s.tls.ClientAuth = tls.RequireAndVerifyClientCert
	if s.config.ClientAuth == "optional" {
		s.tls.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return nil
}

// Outdated says whether the listener asks for certificates of other authorities now than when
// the client's certificate was verified, or for the first time.
func (c *Conn) Outdated() bool {
	s := c.listener.settings.Load()
	if s.tls == nil {
		return c.clientCA != nil
	}
	return c.clientCA != s.tls.ClientCAs && !s.tls.ClientCAs.Equal(c.clientCA)
}
