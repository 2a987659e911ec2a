package listener_test

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"weir/config"
	"weir/internal/listener"
	"weir/internal/secure"
)

// overtaken starts a listener whose clients wait before the first byte of TLS until next is in force.
func overtaken(t *testing.T, cfg, next *config.Listener, handle func(*listener.Conn)) (*listener.Listener, net.Conn) {
	t.Helper()
	waits := make(chan struct{}, 1)
	l := start(t, cfg, listener.Options{UnderTLS: func(socket net.Conn) net.Conn {
		waits <- struct{}{}
		return socket
	}}, handle)
	conn := dial(t, l)
	<-waits
	if err := l.Update(next); err != nil {
		t.Fatal(err)
	}
	return l, conn
}

// A client is judged by the settings that its handshake let it in by, though it was accepted under others.
func TestJudgedByHandshake(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	strict := local()
	strict.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	strict.ClientAuth, strict.ClientCA = config.ClientAuthRequire, ca.write(t, "ca").Cert
	open := *strict
	open.ClientAuth, open.ClientCA = config.ClientAuthRequest, ""
	files := other.write(t, "stranger")
	stranger, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *listener.Conn, 1)
	_, raw := overtaken(t, strict, &open, func(c *listener.Conn) {
		conns <- c
		greet(c)
	})
	client := ca.client("www.example.org")
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
	line(t, tls.Client(raw, client))
	if c := <-conns; c.Verified() != "unverified" || c.Outdated() {
		t.Errorf("a client that nobody vouches for is %q, outdated %v", c.Verified(), c.Outdated())
	}
}

// A handshake fails, and nothing else, if an update that ends TLS overtakes it.
func TestNoMoreTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cfg := local()
	cfg.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	l, raw := overtaken(t, cfg, local(), greet)
	_, list, err := secure.NewECH("public.example.org")
	if err != nil {
		t.Fatal(err)
	}
	client := ca.client("www.example.org")
	client.EncryptedClientHelloConfigList = list
	if err := tls.Client(raw, client).Handshake(); err == nil {
		t.Error("the handshake was done")
	}
	until(t, "the client is refused", func() bool { return l.Stats().Refused[listener.RefusedHandshake] == 1 })
}

// A connection from before TLS is not outdated until clients need certificates, whatever updates come.
func TestOutdatedWithoutTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	conns := make(chan *listener.Conn, 1)
	l := start(t, local(), listener.Options{}, func(c *listener.Conn) {
		conns <- c
		greet(c)
	})
	line(t, dial(t, l))
	c := <-conns
	secured := local()
	secured.Certificates = []config.Certificate{ca.write(t, "one", "www.example.org")}
	strict := *secured
	strict.ClientAuth, strict.ClientCA = config.ClientAuthRequire, filepath.Join(ca.dir, "one.crt")
	check := func(cfg *config.Listener, want bool) {
		t.Helper()
		if err := l.Update(cfg); err != nil {
			t.Fatal(err)
		}
		if c.Outdated() != want {
			t.Errorf("outdated is %v", !want)
		}
	}
	check(secured, false)
	check(secured, false) // the authorities are other values, though none as before
	check(&strict, true)
	check(local(), false)
}
