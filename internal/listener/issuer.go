package listener

import (
	"crypto/tls"

	"weir/config"
)

// ProtocolChallenge is what a CA negotiates in place of HTTP to see whether a name is
// the listener's (TLS-ALPN-01, RFC 8737 section 3). No request follows.
const ProtocolChallenge = "acme-tls/1"

// Issuer has certificates that are in no files, for listeners whose configuration has tls.
type Issuer interface {
	// Certificate returns the certificate for a handshake, nil if there is none for the name. In a
	// handshake for ProtocolChallenge it is the one that the CA wants to see. It may take
	// as long as getting a certificate does.
	Certificate(cfg *config.Listener, hello *tls.ClientHelloInfo) (*tls.Certificate, error)
}

// certificate returns the certificate for the name that the client asks for, with what its authority says of it
// (OCSP).
func (s *settings) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	found, err := s.find(hello)
	if found == nil || s.staples == nil {
		return found, err
	}
	return s.staples.Add(hello.Context(), found), nil
}

// find finds the certificate for the name that the client asks for: one of the files with that
// name, else one of the issuer's, else the first of the files if the configuration allows that. With
// neither a certificate nor an error, crypto/tls sends the alert unrecognized_name.
func (s *settings) find(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.certificates != nil && !s.asksChallenge(hello) {
		if found := s.certificates.chooseExact(hello); found != nil {
			return found, nil
		}
	}
	if s.issuer != nil {
		if found, err := s.issuer.Certificate(&s.config, hello); found != nil || err != nil {
			return found, err
		}
	}
	if s.certificates == nil || s.config.StrictSNI {
		return nil, nil
	}
	return s.certificates.forOthers(hello), nil
}

// asksChallenge says whether a client is a CA that looks for its challenge.
func (s *settings) asksChallenge(hello *tls.ClientHelloInfo) bool {
	return s.issuer != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ProtocolChallenge
}

// challenge is the configuration for a CA that looks for its challenge: it shows no certificate of its
// own, whatever clients must show.
func (s *settings) challenge() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{ProtocolChallenge},
		SessionTicketsDisabled: true,
		GetCertificate:         s.certificate,
	}
}
