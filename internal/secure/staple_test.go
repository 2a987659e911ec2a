package secure_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"weir/internal/secure"
	"weir/internal/testkit"
)

// stapling is a server whose certificate names a responder.
type stapling struct {
	t         *testing.T
	authority *testkit.Authority
	responder *testkit.Responder
	staples   *secure.Staples
	cert      *tls.Certificate
	changes   chan error // what OnChange has heard
	revoked   chan struct{}
}

// mustStaple makes a certificate say that it needs a staple.
func mustStaple(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
}

func newStapling(t *testing.T, change ...func(*x509.Certificate)) *stapling {
	s := &stapling{t: t, authority: testkit.NewAuthority(t).Intermediate("between"), changes: make(chan error, 100), revoked: make(chan struct{}, 100)}
	s.responder = s.authority.Responder()
	pair := s.authority.IssueWith(func(c *x509.Certificate) {
		c.OCSPServer = []string{s.responder.URL}
		for _, f := range change {
			f(c)
		}
	}, "www.example.org")
	s.cert = &pair.Certificate
	s.staples = secure.NewStaples(secure.StaplesOptions{
		Retry:     5 * time.Millisecond,
		OnChange:  func(_ *x509.Certificate, err error) { s.changes <- err },
		OnRevoked: func(*x509.Certificate) { s.revoked <- struct{}{} },
	})
	t.Cleanup(s.staples.Close)
	return s
}

// handshake returns the staple that a client gets; nil if none.
func (s *stapling) handshake() []byte {
	s.t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ctx, done := context.WithTimeout(s.t.Context(), testkit.Limit)
	defer done()
	server := tls.Server(a, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return s.staples.Add(hello.Context(), s.cert), nil
	}, SessionTicketsDisabled: true})
	go server.HandshakeContext(ctx)
	client := tls.Client(b, &tls.Config{RootCAs: s.authority.Pool, ServerName: "www.example.org"})
	if err := client.HandshakeContext(ctx); err != nil {
		s.t.Fatal(err)
	}
	return client.ConnectionState().OCSPResponse
}

// hears waits until OnChange hears of something.
func (s *stapling) hears(what string, is func(err error) bool) {
	s.t.Helper()
	limit := time.After(testkit.Limit)
	for {
		select {
		case err := <-s.changes:
			if is(err) {
				return
			}
		case <-limit:
			s.t.Fatalf("in vain waited until it was told %s", what)
		}
	}
}

func isGood(err error) bool { return err == nil }

// Clients get what the responder says, which is asked again in time.
func TestStaple(t *testing.T) {
	t.Parallel()
	s := newStapling(t)
	s.responder.Answer(func(*big.Int) ocsp.Response {
		return ocsp.Response{Status: ocsp.Good, NextUpdate: time.Now().Add(2 * time.Second).Truncate(time.Second)}
	})
	var first []byte
	testkit.Eventually(t, "clients get a staple", func() bool { first = s.handshake(); return first != nil })
	if r, err := ocsp.ParseResponse(first, nil); err != nil || r.Status != ocsp.Good {
		t.Errorf("the staple is %v, %v", r, err)
	}
	testkit.Eventually(t, "clients get a newer one", func() bool { next := s.handshake(); return next != nil && string(next) != string(first) })
	s.hears("that it works", isGood)
}

// While the responder does not answer, the last staple is shown as long as it counts, and no handshake waits.
func TestStapleResponderDown(t *testing.T) {
	t.Parallel()
	s := newStapling(t)
	s.responder.Answer(func(*big.Int) ocsp.Response {
		return ocsp.Response{Status: ocsp.Good, NextUpdate: time.Now().Add(3 * time.Second)}
	})
	testkit.Eventually(t, "clients get a staple", func() bool { return s.handshake() != nil })
	s.responder.AnswerBy(func(w http.ResponseWriter, _ *big.Int) { w.WriteHeader(http.StatusServiceUnavailable) })
	testkit.Eventually(t, "the old staple counts no more", func() bool { return s.handshake() == nil })
	s.hears("that it fails", func(err error) bool { return err != nil && strings.Contains(err.Error(), "503") })
	s.responder.AnswerBy(nil)
	testkit.Eventually(t, "clients get a staple", func() bool { return s.handshake() != nil })
	s.hears("that it works again", isGood)
}

// What is no good response is never shown.
func TestStapleNonsense(t *testing.T) {
	t.Parallel()
	other := testkit.NewAuthority(t).Responder()
	good := ocsp.Response{Status: ocsp.Good}
	for name, answer := range map[string]func(s *stapling, serial *big.Int) []byte{
		"not OCSP":            func(*stapling, *big.Int) []byte { return []byte("<html>") },
		"nothing":             func(*stapling, *big.Int) []byte { return nil },
		"try later":           func(*stapling, *big.Int) []byte { return ocsp.TryLaterErrorResponse },
		"too long":            func(*stapling, *big.Int) []byte { return make([]byte, 1<<20) },
		"another authority":   func(_ *stapling, n *big.Int) []byte { return other.Sign(good, n) },
		"another certificate": func(s *stapling, _ *big.Int) []byte { return s.responder.Sign(good, big.NewInt(1)) },
		"unknown":             func(s *stapling, n *big.Int) []byte { return s.responder.Sign(ocsp.Response{Status: ocsp.Unknown}, n) },
		"expired": func(s *stapling, n *big.Int) []byte {
			return s.responder.Sign(ocsp.Response{Status: ocsp.Good, ThisUpdate: time.Now().Add(-2 * time.Hour), NextUpdate: time.Now().Add(-time.Hour)}, n)
		},
		"of the future": func(s *stapling, n *big.Int) []byte {
			return s.responder.Sign(ocsp.Response{Status: ocsp.Good, ThisUpdate: time.Now().Add(time.Hour)}, n)
		},
		"by a certificate without the right": func(s *stapling, n *big.Int) []byte { return s.delegated(n, x509.ExtKeyUsageServerAuth) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStapling(t)
			s.responder.AnswerBy(func(w http.ResponseWriter, serial *big.Int) { w.Write(answer(s, serial)) })
			s.handshake()
			s.hears("that it fails", func(err error) bool { return err != nil && !errors.Is(err, secure.ErrRevoked) })
			if s.handshake() != nil {
				t.Error("clients get it")
			}
			s.responder.AnswerBy(nil)
			testkit.Eventually(t, "clients get a staple", func() bool { return s.handshake() != nil })
		})
	}
}

// delegated returns a good response that is signed by a certificate of the authority with a right.
func (s *stapling) delegated(serial *big.Int, right x509.ExtKeyUsage) []byte {
	signer := s.authority.IssueWith(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{right} }, "responder")
	issuer, err := x509.ParseCertificate(s.cert.Certificate[1])
	if err != nil {
		s.t.Error(err)
		return nil
	}
	response, err := ocsp.CreateResponse(issuer, signer.Certificate.Leaf, ocsp.Response{
		Status: ocsp.Good, SerialNumber: serial, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour), Certificate: signer.Certificate.Leaf,
	}, signer.Certificate.PrivateKey.(crypto.Signer))
	if err != nil {
		s.t.Error(err)
	}
	return response
}

// An authority may let another certificate sign for it.
func TestStapleDelegated(t *testing.T) {
	t.Parallel()
	s := newStapling(t)
	s.responder.AnswerBy(func(w http.ResponseWriter, serial *big.Int) {
		w.Write(s.delegated(serial, x509.ExtKeyUsageOCSPSigning))
	})
	testkit.Eventually(t, "clients get a staple", func() bool { return s.handshake() != nil })
}

// A certificate that is revoked is shown without the good response from before.
func TestStapleRevoked(t *testing.T) {
	t.Parallel()
	s := newStapling(t)
	s.responder.Answer(func(*big.Int) ocsp.Response {
		return ocsp.Response{Status: ocsp.Good, NextUpdate: time.Now().Add(2 * time.Second)}
	})
	testkit.Eventually(t, "clients get a staple", func() bool { return s.handshake() != nil })
	s.responder.Answer(func(*big.Int) ocsp.Response { return ocsp.Response{Status: ocsp.Revoked} })
	testkit.Eventually(t, "it is told", func() bool { s.handshake(); return len(s.revoked) > 0 })
	if s.handshake() != nil {
		t.Error("clients get a staple")
	}
	s.hears("so", func(err error) bool { return errors.Is(err, secure.ErrRevoked) })
}

// The first client that gets a certificate which needs a staple gets one.
func TestStapleMust(t *testing.T) {
	t.Parallel()
	s := newStapling(t, mustStaple)
	if !secure.NeedsStaple(s.cert.Leaf) {
		t.Error("it is not known that the certificate needs a staple")
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	s.responder.AnswerBy(func(w http.ResponseWriter, serial *big.Int) {
		close(asked)
		<-answer
		w.Write(s.responder.Sign(ocsp.Response{Status: ocsp.Good}, serial))
	})
	go func() {
		<-asked
		close(answer)
	}()
	if s.handshake() == nil {
		t.Error("the first client gets none")
	}
	down := newStapling(t, mustStaple)
	down.responder.AnswerBy(func(w http.ResponseWriter, _ *big.Int) { w.WriteHeader(http.StatusInternalServerError) })
	if down.handshake() != nil {
		t.Error("a client gets a staple from a responder that is down")
	}
}

// A responder that never answers holds up no handshake and no end.
func TestStapleSlow(t *testing.T) {
	t.Parallel()
	s := newStapling(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s.responder.AnswerBy(func(http.ResponseWriter, *big.Int) { <-release })
	for range 3 {
		if s.handshake() != nil {
			t.Error("a client gets a staple")
		}
	}
	testkit.Eventually(t, "it was asked", func() bool { return s.responder.Asked() > 0 })
	s.staples.Close()
	if len(s.changes) > 0 {
		t.Errorf("it was told %v", <-s.changes)
	}
}

// Certificates without a responder are as they were, and files without the authority are told of.
func TestStapleNone(t *testing.T) {
	t.Parallel()
	s := newStapling(t, func(c *x509.Certificate) { c.OCSPServer = nil })
	if got := s.staples.Add(t.Context(), s.cert); got != s.cert {
		t.Error("it is another one")
	}
	s = newStapling(t)
	s.cert.Certificate = s.cert.Certificate[:1]
	s.staples.Add(t.Context(), s.cert)
	s.hears("so", func(err error) bool { return err != nil && strings.Contains(err.Error(), "chain") })
}
