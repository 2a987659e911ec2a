package listener_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"weir/config"
	"weir/internal/listener"
	"weir/internal/testkit"
)

// authority signs the test's certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	a.key, der = sign(t, template, template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	a.pool.AddCert(cert)
	return a
}

// sign makes a key and a certificate for it, signed by parent's key or by its own.
func sign(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// pems returns a certificate for the DNS names, recognised by its subject, and its key.
func (a *authority) pems(t *testing.T, subject string, names ...string) (cert, key []byte) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	k, der := sign(t, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: subject}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, a.cert, a.key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// write makes the files of a certificate.
func (a *authority) write(t *testing.T, subject string, names ...string) config.Certificate {
	t.Helper()
	files := config.Certificate{Cert: filepath.Join(a.dir, subject+".crt"), Key: filepath.Join(a.dir, subject+".key")}
	cert, key := a.pems(t, subject, names...)
	replace(t, files.Cert, cert)
	replace(t, files.Key, key)
	return files
}

// replace puts a file in place as certificate tools do.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// client is a client's side of TLS that trusts a and no other authority.
func (a *authority) client(name string) *tls.Config {
	return &tls.Config{RootCAs: a.pool, ServerName: name, NextProtos: []string{"http/1.1"}}
}

// subjectOf connects and returns the subject of the certificate that it was
// shown, which need not fit.
func subjectOf(t *testing.T, l *listener.Listener, sni string) string {
	t.Helper()
	conn := tls.Client(dial(t, l), &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	defer conn.Close()
	if err := conn.Handshake(); err != nil {
		t.Fatalf("%q: %v", sni, err)
	}
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	conns := make(chan *listener.Conn, 1)
	l := start(t, cfg, listener.Options{}, func(c *listener.Conn) {
		conns <- c
		greet(c)
	})
	raw := dial(t, l)
	client := tls.Client(raw, ca.client("www.example.org"))
	if got := line(t, client); got != "127.0.0.1" {
		t.Errorf("greeted as %q", got)
	}
	c := <-conns
	state := c.TLS()
	if state == nil || state.ServerName != "www.example.org" || state.NegotiatedProtocol != "http/1.1" || state.Version != tls.VersionTLS13 {
		t.Errorf("state %+v", state)
	}
	if secure, ok := c.NetConn().(*tls.Conn); !ok || secure.NetConn() != c.Raw() {
		t.Errorf("NetConn is a %T over a %T", c.NetConn(), c.Raw())
	}
	if c.RemoteAddr().String() != raw.LocalAddr().String() {
		t.Errorf("RemoteAddr is %v", c.RemoteAddr())
	}
	// No deadline of the handshake is left: it would cut the connection later.
	io.WriteString(client, "more\n")
	if got := line(t, client); got != "more" {
		t.Errorf("got %q", got)
	}
}

func TestTLSAfterProxyHeader(t *testing.T) {
	ca := newAuthority(t)
	cfg := proxied("127.0.0.0/8")
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	l := start(t, cfg, listener.Options{}, greet)
	conn := dial(t, l)
	send(t, conn, "PROXY TCP4 192.0.2.1 198.51.100.1 1000 443\r\n")
	if got := line(t, tls.Client(conn, ca.client("www.example.org"))); got != "192.0.2.1" {
		t.Errorf("greeted as %q", got)
	}
}

func TestServerName(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{
		ca.write(t, "default", "example.com"),
		ca.write(t, "wild", "*.example.org"),
		ca.write(t, "exact", "www.example.org", "example.org"),
	}
	l := start(t, cfg, listener.Options{}, greet)
	check := func(sni, want string) {
		t.Helper()
		if got := subjectOf(t, l, sni); got != want {
			t.Errorf("%q: got %q, want %q", sni, got, want)
		}
	}
	check("example.com", "default")
	check("www.example.org", "exact")       // before the wildcard
	check("WWW.Example.ORG", "exact")       // names have no case
	check("example.org", "exact")           // a wildcard does not stand for nothing
	check("api.example.org", "wild")        // one label
	check("a.api.example.org", "default")   // not two
	check("unknown.example.net", "default") // the first
	check("", "default")
}

// Clients that ask for another name, or for none, get the first certificate or another for its name, whichever they can
// use, and never one because it has no name either.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "rsa"}, DNSNames: []string{"www.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	other := config.Certificate{Cert: filepath.Join(ca.dir, "rsa.crt"), Key: filepath.Join(ca.dir, "rsa.key")}
	replace(t, other.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	replace(t, other.Key, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "first", "www.example.org"), ca.write(t, ""), ca.write(t, "more", "more.example.org"), other}
	subject := func(l *listener.Listener, sni string, cipher uint16) string {
		conn := tls.Client(dial(t, l), &tls.Config{ServerName: sni, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{cipher}})
		defer conn.Close()
		if err := conn.Handshake(); err != nil {
			return err.Error()
		}
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	l := start(t, cfg, listener.Options{}, greet)
	for _, sni := range []string{"", "unknown.example.net", "www.example.org"} {
		if got := subject(l, sni, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256); got != "first" {
			t.Errorf("%q with ECDSA: got %q", sni, got)
		}
		if got := subject(l, sni, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256); got != "rsa" {
			t.Errorf("%q with RSA: got %q", sni, got)
		}
	}
	cfg.StrictSNI = true
	if got := subject(start(t, cfg, listener.Options{}, greet), "", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256); !strings.Contains(got, "unrecognized name") {
		t.Errorf("no name with strict_sni: got %q", got)
	}
}

func TestMinTLS(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	r := make(refusals, 10)
	l := start(t, cfg, r.options(), greet)
	old := ca.client("www.example.org")
	old.MaxVersion = tls.VersionTLS12
	line(t, tls.Client(dial(t, l), old))

	strict := *cfg
	strict.MinTLS = "1.3"
	if err := l.Update(&strict); err != nil {
		t.Fatal(err)
	}
	if err := tls.Client(dial(t, l), old).Handshake(); err == nil {
		t.Error("TLS 1.2 passed")
	}
	r.expect(t, listener.RefusedHandshake)
	line(t, tls.Client(dial(t, l), ca.client("www.example.org")))
}

func TestHandshakeFailures(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	r := make(refusals, 10)
	l := start(t, cfg, r.options(), func(*listener.Conn) { t.Error("the handler was called") })

	// A client that speaks HTTP is told what is wrong.
	plain := dial(t, l)
	send(t, plain, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	got, err := io.ReadAll(plain)
	head, body, _ := strings.Cut(string(got), "\r\n\r\n")
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 400 ") || body != "this port speaks https only\n" ||
		!strings.Contains(head, fmt.Sprintf("Content-Length: %d\r\n", len(body))) {
		t.Errorf("got %q, %v", got, err)
	}
	r.expect(t, listener.RefusedPlainHTTP)

	garbage := dial(t, l)
	send(t, garbage, "\x00\x01\x02\x03\x04\x05\x06\x07")
	io.Copy(io.Discard, garbage)
	if got := r.expect(t, listener.RefusedHandshake); got.err == nil {
		t.Error("no error was reported")
	}

	// A protocol that weir does not speak.
	foreign := ca.client("www.example.org")
	foreign.NextProtos = []string{"imap"}
	if err := tls.Client(dial(t, l), foreign).Handshake(); err == nil {
		t.Error("imap passed")
	}
	r.expect(t, listener.RefusedHandshake)

	dial(t, l).Close()
	r.expect(t, listener.RefusedGone)

	// Shutdown does not wait for handshakes.
	dial(t, l)
	until(t, "it is in its handshake", func() bool { return l.Stats().Open == 1 })
	l.Close()
	l.Abort()
	r.expect(t, listener.RefusedShutdown)
}

func TestHandshakeTimeout(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	cfg.Timeouts.Handshake = config.Duration(time.Millisecond)
	r := make(refusals, 10)
	l := start(t, cfg, r.options(), greet)
	client := dial(t, l)
	closed(t, client)
	r.expect(t, listener.RefusedTimeout)
}

func TestMissingCertificates(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	one, two := ca.write(t, "one", "a.example.org"), ca.write(t, "two", "b.example.org")
	cfg.Certificates = []config.Certificate{one, {Cert: one.Cert, Key: two.Key}, {Cert: "/nonexistent.crt", Key: two.Key}}
	_, err := listener.Open(cfg, listener.Options{})
	// Both broken ones are named at once.
	if err == nil || !strings.Contains(err.Error(), two.Key) || !strings.Contains(err.Error(), "/nonexistent.crt") {
		t.Errorf("got %v", err)
	}
}

// Certificates change while clients connect; none of them may notice anything
// but the new certificate.
func TestCertificateRotation(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	files := ca.write(t, "old", "www.example.org")
	cfg.Certificates = []config.Certificate{files}
	reports := make(chan error, 10)
	l := start(t, cfg, listener.Options{
		CertificateInterval: -1, // the test says when
		OnCertificates:      func(err error) { reports <- err },
	}, greet)

	var clients sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := tls.Dial("tcp", l.Addrs()[0].String(), ca.client("www.example.org"))
				if err != nil {
					t.Errorf("while rotating: %v", err)
					return
				}
				conn.Close()
			}
		})
	}
	check := func(want string) {
		t.Helper()
		l.RefreshCertificates()
		if got := subjectOf(t, l, "www.example.org"); got != want {
			t.Errorf("shown certificate is %q, want %q", got, want)
		}
	}
	report := func() error {
		t.Helper()
		select {
		case err := <-reports:
			return err
		default:
			t.Fatal("nothing was reported")
			return nil
		}
	}

	check("old")
	// Between the two moves the pair does not fit: the old one stays in use.
	cert, key := ca.pems(t, "new", "www.example.org")
	replace(t, files.Cert, cert)
	check("old")
	if err := report(); err == nil || !strings.Contains(err.Error(), files.Cert) {
		t.Errorf("half a pair: %v", err)
	}
	check("old")
	if len(reports) > 0 {
		t.Error("an unchanged broken pair was reported twice")
	}
	replace(t, files.Key, key)
	check("new")
	if err := report(); err != nil {
		t.Error(err)
	}
	// A file that goes away, and one that is rubbish.
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	check("new")
	if err := report(); err == nil {
		t.Error("a missing key was not reported")
	}
	replace(t, files.Key, bytes.Repeat([]byte("x"), 100))
	check("new")
	if err := report(); err == nil {
		t.Error("a broken key was not reported")
	}
	ca.write(t, "newer", "www.example.org") // other files: nothing happens
	check("new")
	cert, key = ca.pems(t, "newest", "www.example.org")
	replace(t, files.Cert, cert)
	replace(t, files.Key, key)
	check("newest")
	if err := report(); err != nil {
		t.Error(err)
	}
	// What could not be read is read again, without a change that could be seen.
	cert, key = ca.pems(t, "last", "www.example.org")
	replace(t, files.Cert, cert)
	replace(t, files.Key, bytes.Repeat([]byte("x"), len(key)))
	check("newest")
	if err := report(); err == nil {
		t.Error("a broken key was not reported")
	}
	info, err := os.Stat(files.Key)
	if err == nil {
		err = errors.Join(os.WriteFile(files.Key, key, 0o600), os.Chtimes(files.Key, time.Time{}, info.ModTime()))
	}
	if err != nil {
		t.Fatal(err)
	}
	check("last")
	if err := report(); err != nil {
		t.Error(err)
	}
	close(stop)
	clients.Wait()
}

// The watch finds changes by itself.
func TestCertificateWatch(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	files := ca.write(t, "old", "www.example.org")
	cfg.Certificates = []config.Certificate{files}
	l := start(t, cfg, listener.Options{CertificateInterval: time.Millisecond}, greet)
	cert, key := ca.pems(t, "new", "www.example.org")
	replace(t, files.Cert, cert)
	replace(t, files.Key, key)
	until(t, "the new certificate is shown", func() bool { return subjectOf(t, l, "www.example.org") == "new" })
}

// An update keeps the session ticket keys: clients that come back need no full
// handshake.
func TestTicketsSurviveUpdate(t *testing.T) {
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	l := start(t, cfg, listener.Options{}, greet)
	client := ca.client("www.example.org")
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := func() bool {
		conn := tls.Client(dial(t, l), client)
		defer conn.Close()
		line(t, conn) // the ticket comes with the first bytes
		return conn.ConnectionState().DidResume
	}
	if resumed() {
		t.Error("the first handshake resumed something")
	}
	if err := l.Update(cfg); err != nil {
		t.Fatal(err)
	}
	if !resumed() {
		t.Error("the second handshake was a full one")
	}
}

// Certificates in files are shown with what their authority says, changed ones too, unless the configuration says no.
func TestStapling(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t).Intermediate("between")
	responder := authority.Responder()
	issue := func() (config.Certificate, *big.Int) {
		pair := authority.IssueWith(func(c *x509.Certificate) { c.OCSPServer = []string{responder.URL} }, "www.example.org")
		var chain []byte
		for _, der := range pair.Certificate.Certificate {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		if err := os.WriteFile(pair.Cert, chain, 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Certificate{Cert: pair.Cert, Key: pair.Key}, pair.Serial()
	}
	files, serial := issue()
	cfg := local()
	cfg.Certificates = []config.Certificate{files}
	l := start(t, cfg, listener.Options{CertificateInterval: -1}, greet)
	staple := func() []byte {
		c, err := tls.Dial("tcp", l.Addrs()[0].String(), &tls.Config{RootCAs: authority.Pool, ServerName: "www.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().OCSPResponse
	}
	if staple() != nil || responder.Asked() > 0 {
		t.Error("the responder is asked, which is off")
	}
	cfg.OCSPStapling = true
	if err := l.Update(cfg); err != nil {
		t.Fatal(err)
	}
	shows := func(serial *big.Int) func() bool {
		return func() bool {
			r, err := ocsp.ParseResponse(staple(), nil)
			return err == nil && r.Status == ocsp.Good && r.SerialNumber.Cmp(serial) == 0
		}
	}
	testkit.Eventually(t, "clients get a staple", shows(serial))
	_, serial = issue() // in the same files
	l.RefreshCertificates()
	testkit.Eventually(t, "clients get the one of the changed certificate", shows(serial))
	cfg.OCSPStapling = false
	if err := l.Update(cfg); err != nil {
		t.Fatal(err)
	}
	if staple() != nil {
		t.Error("clients get a staple, which is off")
	}
}
