package listener_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/listener"
	"weir/internal/testkit"
)

// openssl are listeners whose client is openssl s_client.
type openssl struct {
	t         *testing.T
	program   string
	authority *testkit.Authority
	files     config.Certificate
}

func newOpenSSL(t *testing.T) *openssl {
	t.Helper()
	o := &openssl{t: t, program: testkit.Program(t, "openssl"), authority: testkit.NewAuthority(t)}
	pair := o.authority.Issue("www.example.org")
	o.files = config.Certificate{Cert: pair.Cert, Key: pair.Key}
	return o
}

// configuration is that of a listener with TLS.
func (o *openssl) configuration(change func(*config.Listener)) *config.Listener {
	cfg := local()
	cfg.Certificates, cfg.MinTLS, cfg.MaxTLS = []config.Certificate{o.files}, "1.2", "1.3"
	change(cfg)
	return cfg
}

// served is what clients get who come through.
const served = "you are served"

// start starts a listener that says served.
func (o *openssl) start(change func(*config.Listener)) *listener.Listener {
	o.t.Helper()
	return start(o.t, o.configuration(change), listener.Options{CertificateInterval: -1}, func(c *listener.Conn) {
		io.WriteString(c.NetConn(), served+"\n")
		if closer, ok := c.NetConn().(interface{ CloseWrite() error }); ok {
			closer.CloseWrite()
		}
		io.Copy(io.Discard, c.NetConn())
	})
}

// client returns what openssl says of a connection.
func (o *openssl) client(l *listener.Listener, flags ...string) string {
	o.t.Helper()
	ctx, done := context.WithTimeout(o.t.Context(), testkit.Limit)
	defer done()
	args := append([]string{"s_client", "-connect", l.Addrs()[0].String(), "-servername", "www.example.org", "-CAfile", o.authority.File, "-verify_return_error", "-ign_eof"}, flags...)
	said, _ := exec.CommandContext(ctx, o.program, args...).CombinedOutput() // its status differs by version
	return string(said)
}

// get fails the test unless openssl is served, and says all of want.
func (o *openssl) get(l *listener.Listener, flags string, want ...string) {
	o.t.Helper()
	said := o.client(l, strings.Fields(flags)...)
	for _, w := range append(want, served) {
		if !strings.Contains(said, w) {
			o.t.Errorf("with %s: not %q:\n%s", flags, w, said)
		}
	}
}

// refused fails the test unless openssl is refused, and says want.
func (o *openssl) refused(l *listener.Listener, flags, want string) {
	o.t.Helper()
	if said := o.client(l, strings.Fields(flags)...); strings.Contains(said, served) || !strings.Contains(said, want) {
		o.t.Errorf("with %s: not refused by %q:\n%s", flags, want, said)
	}
}

func TestOpenSSLParameters(t *testing.T) {
	t.Parallel()
	o := newOpenSSL(t)
	l := o.start(func(*config.Listener) {})
	o.get(l, "-tls1_3", "TLSv1.3", "Verify return code: 0 (ok)")
	o.get(l, "-tls1_2", "TLSv1.2")
	o.refused(l, "-tls1_1 -cipher ALL:@SECLEVEL=0", "alert protocol version")
	o.refused(l, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", "alert handshake failure") // CBC

	l = o.start(func(cfg *config.Listener) { cfg.Protocols = config.Strings{config.ProtocolH1, config.ProtocolH2} })
	o.get(l, "-alpn h2,http/1.1", "ALPN protocol: h2")
	o.get(l, "-alpn http/1.1", "ALPN protocol: http/1.1")
	l = o.start(func(cfg *config.Listener) {
		cfg.Ciphers, cfg.Curves = config.Strings{"ECDHE-ECDSA-AES128-GCM-SHA256"}, config.Strings{"P-384"}
	})
	o.get(l, "-tls1_2 -groups P-256:P-384", "ECDHE-ECDSA-AES128-GCM-SHA256", "secp384r1")
	o.refused(l, "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "alert handshake failure")
	o.refused(l, "-tls1_3 -groups X25519:P-256", "alert handshake failure")

	l = o.start(func(cfg *config.Listener) { cfg.MinTLS = "1.0" })
	o.get(l, "-tls1_1 -cipher ALL:@SECLEVEL=0", "TLSv1.1")
	l = o.start(func(cfg *config.Listener) { cfg.MinTLS = "1.3" })
	o.refused(l, "-tls1_2", "alert protocol version")
}

// Sessions are taken up after a reload, and by another node with the same secret.
func TestOpenSSLTickets(t *testing.T) {
	t.Parallel()
	o := newOpenSSL(t)
	dir := t.TempDir()
	secret := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat(text, 48)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	with := func(file string) func(*config.Listener) {
		return func(cfg *config.Listener) {
			cfg.Tickets = config.Tickets{Enabled: true, Rotate: config.Duration(24 * time.Hour), File: file}
		}
	}
	one, same := o.start(with(secret("one", "a"))), o.start(with(secret("same", "a")))
	other, none := o.start(with(secret("other", "b"))), o.start(func(cfg *config.Listener) { cfg.Tickets.Enabled = false })
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		session := filepath.Join(dir, "session"+version)
		o.get(one, version+" -sess_out "+session, "New, ")
		o.get(one, version+" -sess_in "+session, "Reused, ")
		o.get(same, version+" -sess_in "+session, "Reused, ")
		o.get(other, version+" -sess_in "+session, "New, ")
		o.get(none, version+" -sess_in "+session, "New, ")
		if err := one.Update(o.configuration(func(cfg *config.Listener) { with(filepath.Join(dir, "one"))(cfg); cfg.Name = version })); err != nil {
			t.Fatal(err)
		}
		o.get(one, version+" -sess_in "+session, "Reused, ")
	}
}

// A client is refused without a certificate, with that of a stranger, and with one that is revoked, also by a session
// from before.
func TestOpenSSLClients(t *testing.T) {
	t.Parallel()
	o := newOpenSSL(t)
	clients, strangers := testkit.NewAuthority(t), testkit.NewAuthority(t)
	good, bad, stranger := clients.Issue("good"), clients.Issue("bad"), strangers.Issue("stranger")
	dir := t.TempDir()
	crl := filepath.Join(dir, "clients.crl")
	revoke := func(list []byte) {
		if err := os.WriteFile(crl, list, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	soon := time.Now().Add(time.Hour)
	revoke(clients.Revoke(soon))
	l := o.start(func(cfg *config.Listener) {
		cfg.ClientCA, cfg.ClientCRL, cfg.ClientAuth = clients.File, crl, config.ClientAuthRequire
	})
	as := func(p testkit.Pair) string { return " -cert " + p.Cert + " -key " + p.Key }
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		revoke(clients.Revoke(soon))
		l.RefreshCertificates()
		session := filepath.Join(dir, "session"+version)
		o.get(l, version+as(good))
		o.get(l, version+as(bad)+" -sess_out "+session)
		o.get(l, version+as(bad)+" -sess_in "+session, "Reused, ")
		o.refused(l, version, "alert")
		o.refused(l, version+as(stranger), "alert")
		revoke(clients.Revoke(soon, bad.Serial()))
		l.RefreshCertificates()
		o.refused(l, version+as(bad), "alert")
		o.refused(l, version+as(bad)+" -sess_in "+session, "alert")
		o.get(l, version+as(good))
	}
}

// Clients that ask get what the responder says.
func TestOpenSSLStatus(t *testing.T) {
	t.Parallel()
	o := newOpenSSL(t)
	between := o.authority.Intermediate("between")
	responder := between.Responder()
	pair := between.IssueWith(func(c *x509.Certificate) { c.OCSPServer = []string{responder.URL} }, "www.example.org")
	var chain []byte
	for _, der := range pair.Certificate.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(pair.Cert, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	o.files = config.Certificate{Cert: pair.Cert, Key: pair.Key}
	l := o.start(func(cfg *config.Listener) { cfg.OCSPStapling = true })
	testkit.Eventually(t, "openssl believes the staple", func() bool {
		said := o.client(l, "-status")
		return strings.Contains(said, "OCSP Response Status: successful") && strings.Contains(said, "Cert Status: good")
	})
}
