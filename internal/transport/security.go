package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/config"
	"weir/internal/secure"
)

// security is how a target's connections are encrypted, and with whom. Files that change are read
// again, while there are connections.
type security struct {
	cfg     config.UpstreamTLS
	name    string // of the target
	watched *secure.Watched[*tls.Config]
	onFiles func(target string, err error)
	// onChange hears that connections with other authorities or another certificate are to be
	// made from now on. It is set before there is a connection.
	onChange []func()
}

func newSecurity(a address, cfg *config.UpstreamTLS, o Options) (*security, error) {
	s := &security{cfg: *cfg, name: a.host, onFiles: o.OnFiles}
	if s.cfg.ServerName == "" {
		s.cfg.ServerName = a.name
	}
	var err error
	s.watched, err = secure.Watch(s.load, cfg.CA, cfg.CRL, cfg.Cert, cfg.Key)
	return s, err
}

// load makes a configuration of what the files have now. Sessions of an older one are not resumed,
// because the target was verified by others, or knew weir by another certificate.
func (s *security) load() (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         s.cfg.ServerName,
		NextProtos:         protocolsHTTP1,
		InsecureSkipVerify: s.cfg.InsecureSkipVerify,
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}
	s.cfg.Parameters().Apply(c)
	var err error
	if c.RootCAs, err = loadAuthorities(s.cfg.CA); err != nil {
		return nil, err
	}
	revoked, err := secure.LoadRevocation(s.cfg.CRL)
	if err != nil {
		return nil, err
	}
	if revoked != nil { // this is called for sessions that are taken up, too
		c.VerifyConnection = func(state tls.ConnectionState) error { return revoked.Check(state.VerifiedChains, time.Now()) }
	}
	if c.Certificates, err = loadIdentity(&s.cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// offering is the configuration of a connection with these protocols of ALPN.
func (s *security) offering(protocols []string) *tls.Config {
	s.watched.Start(s.changed)
	base := s.watched.Value()
	if len(protocols) == 0 || slices.Equal(protocols, base.NextProtos) {
		return base
	}
	cfg := base.Clone()
	cfg.NextProtos = protocols
	return cfg
}

// changed reports that files were read again.
func (s *security) changed(err error) {
	if err == nil {
		for _, f := range s.onChange {
			f()
		}
	}
	if s.onFiles != nil {
		s.onFiles(s.name, err)
	}
}

// end ends the looks at files; nil has none.
func (s *security) end() {
	if s != nil {
		s.watched.End()
	}
}

// CheckTLS reports what is wrong with the files that an upstream's connections to https
// targets need. The keys are below the upstream's own.
func CheckTLS(cfg *config.Upstream) (problems config.Errors) {
	if !slices.ContainsFunc(cfg.Targets, func(t config.Target) bool { return strings.HasPrefix(t.Origin(), "https:") || t.IsSource() }) {
		return nil
	}
	if _, err := loadAuthorities(cfg.TLS.CA); err != nil {
		problems = append(problems, config.Problem{Key: config.Key("tls", "ca"), Message: err.Error()})
	}
	if _, err := secure.LoadRevocation(cfg.TLS.CRL); err != nil {
		problems = append(problems, config.Problem{Key: config.Key("tls", "crl"), Message: err.Error()})
	}
	if _, err := loadIdentity(&cfg.TLS); err != nil {
		problems = append(problems, config.Problem{Key: config.Key("tls", "cert"), Message: err.Error()})
	}
	return problems
}

// loadAuthorities reads the authorities to trust; nil, the system's, if path is empty.
func loadAuthorities(path string) (*x509.CertPool, error) {
	pool, err := config.LoadAuthorities(path)
	if err != nil {
		return nil, fmt.Errorf("cannot use ca: %w", err)
	}
	return pool, nil
}

// loadIdentity reads the client certificate; nil if there is none.
func loadIdentity(cfg *config.UpstreamTLS) ([]tls.Certificate, error) {
	if cfg.Cert == "" {
		return nil, nil
	}
	pair, err := config.LoadKeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use client certificate %q: %w", cfg.Cert, err)
	}
	return []tls.Certificate{pair}, nil
}
