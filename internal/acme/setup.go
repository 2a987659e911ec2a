package acme

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"

	"weir/config"
)

// challengeWithin bounds how long a CA waits for the storage to tell what answers a challenge.
const challengeWithin = 5 * time.Second

// setup is how certificates of one kind are got, by one configuration.
type setup struct {
	settings   config.Certificates
	challenges []string
	storage    certmagic.Storage
	template   *certmagic.ACMEIssuer // nil without ACME
	decoy      net.Listener          // nil without ACME

	config   *certmagic.Config
	issuer   *certmagic.ACMEIssuer // nil without ACME
	anew     *certmagic.Config     // renews without telling the CA what is replaced; nil without ACME
	onDemand *demand               // nil: none
}

// newSetup makes a setup, which asks nobody anything yet. m.mu is held.
func (m *Manager) newSetup(kind string, cfg *config.Config) (_ *setup, err error) {
	s := &setup{settings: cfg.Certificates, challenges: cfg.Challenges()}
	if s.storage, err = m.storage(cfg.Certificates.Storage); err != nil {
		return nil, err
	}
	if kind == config.IssuerInternal {
		return s, nil
	}
	if s.template, err = s.newTemplate(m.log); err != nil {
		return nil, err
	}
	if s.decoy, err = openDecoy(); err != nil {
		return nil, err
	}
	s.template.ListenHost = "127.0.0.1"
	port := s.decoy.Addr().(*net.TCPAddr).Port
	s.template.AltHTTPPort, s.template.AltTLSALPNPort = port, port
	return s, nil
}

// Check reports what a start would refuse in what a configuration says of certificates, besides what
// package config finds, and whether it needs any. It asks no CA.
func Check(cfg *config.Config, folder string, openers map[string]Opener) (needed bool, err error) {
	if !slices.ContainsFunc(cfg.Listeners, func(l config.Listener) bool { return l.Issuer != "" }) {
		return false, nil
	}
	if _, err := Open(cfg.Certificates.Storage, folder, openers); err != nil {
		return true, err
	}
	s := setup{settings: cfg.Certificates, challenges: cfg.Challenges()}
	_, err = s.newTemplate(slog.New(slog.DiscardHandler))
	return true, err
}

// newTemplate returns the settings of issuers at a CA.
func (s *setup) newTemplate(log *slog.Logger) (*certmagic.ACMEIssuer, error) {
	c := &s.settings
	t := &certmagic.ACMEIssuer{
		CA: c.CA, Email: c.Email, Agreed: true, Profile: c.Profile, Logger: quiet(log),
		DisableHTTPChallenge:    !slices.Contains(s.challenges, config.ChallengeHTTP),
		DisableTLSALPNChallenge: !slices.Contains(s.challenges, config.ChallengeALPN),
	}
	if c.EAB.KeyID != "" {
		t.ExternalAccount = &acme.EAB{KeyID: c.EAB.KeyID, MACKey: c.EAB.Key()}
	}
	var err error
	if t.TrustedRoots, err = config.LoadAuthorities(c.CARoots); err != nil {
		return nil, fmt.Errorf("cannot use ca_roots: %w", err)
	}
	if !slices.Contains(s.challenges, config.ChallengeDNS) {
		return t, nil
	}
	provider, err := newProvider(&c.DNS)
	if err != nil {
		return nil, err
	}
	wait := c.DNS.Wait.D()
	if wait == 0 {
		wait = -1
	}
	t.DNS01Solver = &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: provider, TTL: recordTTL, PropagationTimeout: wait, Resolvers: c.DNS.Resolvers, Logger: quiet(log),
	}}
	return t, nil
}

// keyTypes are those of certmagic, by their names here.
var keyTypes = map[string]certmagic.KeyType{
	"p256": certmagic.P256, "p384": certmagic.P384, "rsa2048": certmagic.RSA2048, "rsa4096": certmagic.RSA4096,
}

// bind makes the setup use the cache of its source.
func (s *setup) bind(src *source) {
	base := certmagic.Config{
		Storage: s.storage, Logger: quiet(src.manager.log), OnEvent: src.event,
		KeySource: certmagic.StandardKeyGenerator{KeyType: keyTypes[s.settings.KeyType]},
		Issuers:   []certmagic.Issuer{},                        // none of the defaults
		OCSP:      certmagic.OCSPConfig{DisableStapling: true}, // listeners do it, and let no certificate wait for it
	}
	s.config = certmagic.New(src.cache, base)
	if s.template == nil {
		s.config.Issuers = append(s.config.Issuers, &localCA{storage: s.storage, log: src.manager.log})
		return
	}
	s.issuer = s.newIssuer(s.config)
	s.config.Issuers = append(s.config.Issuers, s.issuer)
	plain := base
	plain.DisableARI = true
	s.anew = certmagic.New(src.cache, plain)
	s.anew.Issuers = append(s.anew.Issuers, s.newIssuer(s.anew))
	if s.settings.OnDemand.Ask == "" {
		return
	}
	s.onDemand = newDemand(&s.settings.OnDemand, src)
	base.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: s.onDemand.ask}
	s.onDemand.config = certmagic.New(src.cache, base)
	s.onDemand.config.Issuers = append(s.onDemand.config.Issuers, s.newIssuer(s.onDemand.config))
}

// newIssuer returns the issuer of a configuration.
func (s *setup) newIssuer(c *certmagic.Config) *certmagic.ACMEIssuer {
	issuer := certmagic.NewACMEIssuer(c, *s.template)
	issuer.TestCA = "" // second attempts would go to the test CA of Let's Encrypt, with an account there
	return issuer
}

// configFor returns the configuration that renews a certificate.
func (s *setup) configFor(names []string, src *source) *certmagic.Config {
	if s.onDemand != nil && !slices.ContainsFunc(names, func(name string) bool { return (*src.names.Load())[name] != nil }) {
		return s.onDemand.config
	}
	return s.config
}

// close gives back what the setup holds.
func (s *setup) close() {
	if s.decoy != nil {
		s.decoy.Close()
	}
}

// acceptAgain is how long the decoy waits after it could not accept.
const acceptAgain = 100 * time.Millisecond

// openDecoy returns a socket that stands for the ports at which certmagic believes challenges to be
// answered: it would open those ports itself if it could, but weir's listeners answer.
func openDecoy() (net.Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot prepare for challenges: %w", err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // no descriptors are left
				time.Sleep(acceptAgain)
				continue
			}
			c.Close()
		}
	}()
	return l, nil
}

// challenge answers HTTP-01.
func (s *source) challenge(host, path string) (string, bool) {
	issuer := s.setup.Load().issuer
	ctx, done := within(challengeWithin)
	defer done()
	r := (&http.Request{Method: http.MethodGet, Host: host, URL: &url.URL{Path: path}}).WithContext(ctx)
	var answer strings.Builder
	ok := issuer.HandleHTTPChallenge(answerTo{&answer}, r)
	return answer.String(), ok
}

// answerTo is a response of which only the body counts.
type answerTo struct{ body *strings.Builder }

func (a answerTo) Header() http.Header            { return http.Header{} }
func (a answerTo) WriteHeader(int)                {}
func (a answerTo) Write(text []byte) (int, error) { return a.body.Write(text) }
