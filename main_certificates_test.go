package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"weir/internal/testkit"
)

// rootOf reads the certificate of the local CA.
func rootOf(t *testing.T, storage string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(storage, "local", "root.crt"))
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("the certificate of the CA: %v, %q", err, pem)
	}
	return roots
}

// One line is all that https takes: HTTP/2, a redirect, a certificate of weir's own CA for a local name.
func TestRunDomain(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Forwarded-Proto")) }))
	defer origin.Close()
	storage := filepath.Join(t.TempDir(), "certificates")
	c := start(t, "run", "--to", origin.URL, "--domain", "shop.localhost", "--listen", "127.0.0.1:0", "--redirect-from", "127.0.0.2:0", "--storage", storage)
	plain := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(c.logged("listener=http"))[1]
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: rootOf(t, storage), ServerName: "shop.localhost"}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get("https://" + c.addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || string(body) != "https" || r.Proto != "HTTP/2.0" {
		t.Errorf("%s %q, %v", r.Proto, body, err)
	}
	request, err := http.NewRequest("GET", "http://"+plain+"/x?y", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "shop.localhost"
	if r, err = client.Do(request); err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 301 || r.Header.Get("Location") != "https://shop.localhost/x?y" {
		t.Errorf("%d, %q", r.StatusCode, r.Header.Get("Location"))
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)

	cfg := file(t, fmt.Sprintf("listeners = [{ address = \"127.0.0.1:0\", tls = \"internal\" }]\nroutes = [{ respond = {} }]\ncertificates.storage = %q\n", storage))
	stdout, stderr, code := weir(t, "trust", "--config", cfg)
	if code != 0 || !strings.Contains(stdout, "sudo cp "+storage+"/local/root.crt /usr/local/share/ca-certificates/") || !strings.Contains(stdout, "certutil") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	stdout, stderr, code = weir(t, "trust", "--pem", "--config", cfg)
	if code != 0 || !strings.HasPrefix(stdout, "-----BEGIN CERTIFICATE-----\n") || strings.Contains(stdout, "PRIVATE KEY") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	write(t, cfg, strings.Replace("listeners = [{ address = \"127.0.0.1:0\", tls = \"internal\" }]\nroutes = [{ respond = {} }]\ncertificates.storage = '/x'\n", "/x", t.TempDir(), 1))
	if _, stderr, code = weir(t, "trust", "--config", cfg); code != 1 || !strings.Contains(stderr, "there is no CA in ") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

func TestRunDomainUsage(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"need --to URL":                          {"--domain", "example.org"},
		"beside names of the internet":           {"--domain", "example.org", "--domain", "localhost", "--to", "http://127.0.0.1:1"},
		"--redirect-from: found \"80\"":          {"--domain", "example.org", "--to", "http://127.0.0.1:1", "--redirect-from", "80"},
		"wildcards by \"dns-01\" alone":          {"--domain", "*.example.org", "--to", "http://127.0.0.1:1"},
		"want a URL such as \"https://example.o": {"--domain", "example.org", "--to", "http://127.0.0.1:1", "--acme-ca", "http://example.org"},
	} {
		if _, stderr, code := weir(t, append([]string{"run"}, args...)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
}

// weir check looks at what certificates need, and asks no CA.
func TestCheckCertificates(t *testing.T) {
	t.Parallel()
	ca, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	asked := make(chan struct{}, 1)
	go func() {
		if c, err := ca.Accept(); err == nil {
			c.Close()
			asked <- struct{}{}
		}
	}()
	folder := t.TempDir()
	path := file(t, "")
	check := func(more string) (string, int) {
		t.Helper()
		write(t, path, fmt.Sprintf("listeners = [{ address = \"127.0.0.1:0\", tls = \"acme\" }]\nroutes = [{ host = \"example.org\", respond = {} }]\n[certificates]\nca = \"https://%s/dir\"\n%s", ca.Addr(), more))
		stdout, stderr, code := weir(t, "check", "--config", path)
		return stdout + stderr, code
	}
	if text, code := check("storage = '" + folder + "/new'\n"); code != 0 || !strings.Contains(text, "is fine") {
		t.Errorf("exit code %d, %s", code, text)
	}
	if _, err := os.Stat(folder + "/new"); err == nil {
		t.Error("weir check has made the folder")
	}
	for more, want := range map[string]string{
		"storage = '" + path + "'\n":            "certificates.storage: cannot use folder",
		"storage = 'etcd://127.0.0.1:1/weir'\n": "built without etcd",
		"ca_roots = '" + path + "'\n":           "no certificate in it",
		"dns = { provider = 'exec', command = ['/nowhere/x'] }\nstorage='" + folder + "'\n": "/nowhere/x",
	} {
		if text, code := check(more); code != 1 || !strings.Contains(text, want) {
			t.Errorf("%s: exit code %d, %s, want %s", more, code, text, want)
		}
	}
	select {
	case <-asked:
		t.Error("the CA was asked")
	default:
	}
}

// An upgrade goes on with the certificates that there are, and no handshake fails.
func TestUpgradeCertificates(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	storage := t.TempDir()
	u := startUpgrading(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
tls = "internal"
[[routes]]
respond = { body = "four" }
[certificates]
storage = %q
`, storage))
	secured := &tls.Config{RootCAs: rootOf(t, storage), ServerName: "localhost"}
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", u.addr(), secured)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before, first := serial(), u.pid()
	stop := make(chan struct{})
	wait := loads(t, stop, 50, map[string]*tls.Config{u.addr(): secured})
	u.upgrade()
	if u.pid() == first || serial() != before {
		t.Errorf("process %d after %d shows certificate %s, before it was %s", u.pid(), first, serial(), before)
	}
	close(stop)
	wait()
	u.stop()
}
