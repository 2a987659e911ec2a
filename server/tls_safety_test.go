package server_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// Strict-Transport-Security is in every answer by TLS that has none of its own, whatever made it, and in
// none without TLS.
func TestHSTS(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.1")
	origin := testkit.Listen(t, testkit.Answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n"))
	text := func(keys string) string {
		return secureListener(pair, keys) + "[[listeners]]\nname = \"plain\"\naddress = \"localhost:0\"\n" +
			"[[routes]]\npath = \"/fixed\"\nrespond = { status = 200 }\n[[routes]]\npath = \"/own\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [\"" + origin.URL + "\"]\n"
	}
	w := run(t, "%s", text("hsts = true"))
	check := func(path, want string) {
		t.Helper()
		equal(t, path, testkit.DialTLS(t, w.addr, tlsClient(authority)).Get(path).Get("Strict-Transport-Security"), want)
		cfg := tlsClient(authority)
		cfg.NextProtos = []string{"h2"}
		two := testkit.DialFrames(t, w.addr, cfg)
		two.Get(1, path)
		equal(t, path+" by HTTP/2", two.Whole(1).Field("strict-transport-security"), want)
		equal(t, path+" without TLS", testkit.Dial(t, w.Addr("plain")).Get("/fixed").Get("Strict-Transport-Security"), "")
	}
	check("/fixed", "max-age=31536000")
	check("/none", "max-age=31536000") // 404
	check("/own", "max-age=1")
	use := func(keys, want string) {
		t.Helper()
		if err := w.Reload(parse(t, text(keys))); err != nil {
			t.Fatal(err)
		}
		check("/fixed", want)
	}
	use(`hsts = { max_age = "48h" }`, "max-age=172800")
	use(`hsts = { max_age = "17520h", include_subdomains = true, preload = true }`, "max-age=63072000; includeSubDomains; preload")
	use(`hsts = { max_age = "0s" }`, "max-age=0")
	use(`hsts = false`, "")
	use("", "")
	for keys, want := range map[string]string{
		"hsts = { preload = true }": "hsts.preload: found true: want it with include_subdomains and a max_age of",
		"hsts = 7":                  "hsts: found integer 7: want",
	} {
		if _, err := config.Parse("f", []byte(text(keys))); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", keys, err)
		}
	}
	if _, err := config.Parse("f", []byte("[[listeners]]\naddress = \":1\"\nhsts = true\n"+answers200)); !strings.Contains(fmt.Sprint(err), "hsts: found it without certificates") {
		t.Errorf("without TLS: %v", err)
	}
}

// A client with Encrypted Client Hello asks for its name in secret; one with an old key gets the new
// one, and one without is served as ever.
func TestEncryptedClientHello(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	outer, inner := authority.Issue("public.test"), authority.Issue("secret.test")
	dir := t.TempDir()
	key := func(name string) []byte {
		t.Helper()
		file, list, err := server.NewECH("public.test")
		if err != nil {
			t.Fatal(err)
		}
		replaceFile(t, filepath.Join(dir, name), file)
		return list
	}
	first, other := key("one"), key("two")
	var logs textLog
	w := launch(t, fmt.Sprintf(`
[[listeners]]
name = "main"
address = "127.0.0.1:0"
certificates = [{ cert = %q, key = %q }, { cert = %q, key = %q }]
ech = ['%[5]s/one']
%[6]s`, outer.Cert, outer.Key, inner.Cert, inner.Key, dir, answers200), server.WithLog(logs.logger()))
	dial := func(list []byte) (*tls.Conn, error) {
		cfg := &tls.Config{RootCAs: authority.Pool, ServerName: "secret.test", EncryptedClientHelloConfigList: list}
		if list != nil {
			cfg.MinVersion = tls.VersionTLS13
		}
		return tls.Dial("tcp", w.addr.String(), cfg)
	}
	accepted := func(what string, list []byte, want bool) {
		t.Helper()
		c, err := dial(list)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer c.Close()
		state := c.ConnectionState()
		equal(t, what, fmt.Sprint(state.ECHAccepted, " ", state.PeerCertificates[0].Subject.CommonName), fmt.Sprint(want, " secret.test"))
	}
	accepted("with the key", first, true)
	accepted("without", nil, false)
	_, err := dial(other)
	var rejected *tls.ECHRejectionError
	if !errors.As(err, &rejected) {
		t.Fatalf("with another key: %v, want a rejection", err)
	}
	accepted("with the key that it was told", rejected.RetryConfigList, true)
	second := key("one")
	logs.await(t, "keys of Encrypted Client Hello were read again")
	accepted("with the new key", second, true)
	if _, err := dial(first); !errors.As(err, &rejected) {
		t.Errorf("with the old key: %v, want a rejection", err)
	}
	replaceFile(t, filepath.Join(dir, "one"), []byte("no key"))
	logs.await(t, "cannot use changed keys of Encrypted Client Hello, the old ones stay")
	accepted("with the new key", second, true)
}

// What is weak is warned of, and what is not is left alone.
func TestWeakTLS(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	good := authority.Issue("weir.test")
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weak"}, DNSNames: []string{"weak.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, dir+"/weak.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	replaceFile(t, dir+"/weak.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	if err := os.Chmod(dir+"/weak.key", 0o644); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, dir+"/crl", authority.Revoke(time.Now().Add(-time.Minute)), authority.Revoke(time.Now().Add(-time.Hour)))
	warnings := func(text string) string {
		t.Helper()
		cfg, err := config.Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(fmt.Sprint(server.Warnings(cfg, time.Now())), dir, "DIR")
	}
	listener := func(cert, key, keys, targets string) string {
		return fmt.Sprintf("[[listeners]]\naddress = \":1\"\ncertificates = [{ cert = %q, key = %q }]\n%s\n[[routes]]\nupstream = \"o\"\n[upstreams.o]\ntargets = [\"https://localhost\"]\n%s", cert, key, keys, targets)
	}
	got := warnings(listener(dir+"/weak.crt", dir+"/weak.key", fmt.Sprintf(`
min_tls = "1.1"
ciphers = ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-GCM-SHA256"]
client_ca = %q
client_crl = "%s/crl"
`, authority.File, dir), "tls = { insecure_skip_verify = true, min_tls = \"1.0\" }\n"))
	for _, want := range []string{
		`listeners[0].min_tls: TLS 1.1 is weak (RFC 8996): want "1.2" or "1.3"`,
		`listeners[0].ciphers[0]: "AES128-GCM-SHA256" is weak: static RSA`,
		`listeners[0].ciphers[1]: "ECDHE-RSA-AES128-SHA" is weak: CBC`,
		`listeners[0].certificates[0]: certificate "DIR/weak.crt" is weak: its RSA key has 1024 bits, want 2048 at least`,
		`listeners[0].certificates[0].key: every user of this machine can read "DIR/weak.key": want chmod o-r`,
		`listeners[0].client_crl: the revocation list of "CN=testkit" has expired on `,
		`upstreams.o.tls.min_tls: TLS 1.0 is weak`,
		`upstreams.o.tls.insecure_skip_verify: targets are not verified`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the warnings lack %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "ciphers[2]") || strings.Count(got, "revocation list") != 1 {
		t.Errorf("what is good, or superseded, is warned of:\n%s", got)
	}
	if got := warnings(listener(good.Cert, good.Key, "", "")); strings.Contains(got, "weak") || strings.Contains(got, "every user") {
		t.Errorf("a good configuration: %s", got)
	}
}

// Each complete file of docs/tls.md is served.
func TestTLSDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/tls.md")
	if err != nil {
		t.Fatal(err)
	}
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("example.org")
	dir := t.TempDir()
	replaceFile(t, dir+"/tickets", []byte(strings.Repeat("s", 64)))
	replaceFile(t, dir+"/clients.crl", authority.Revoke(time.Now().Add(time.Hour)))
	ech, _, err := server.NewECH("example.org")
	if err != nil {
		t.Fatal(err)
	}
	replaceFile(t, dir+"/ech.pem", ech)
	files := strings.NewReplacer(
		"/etc/weir/example.org.crt", pair.Cert, "/etc/weir/example.org.key", pair.Key, "/etc/weir/internal-ca.pem", authority.File,
		"/etc/weir/clients.pem", authority.File, "/etc/weir", dir, "127.0.0.1:8443", "127.0.0.1:0", "127.0.0.1:8080", "localhost:0",
	)
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 5 {
		t.Fatalf("only %d blocks were found", len(blocks))
	}
	for _, b := range blocks {
		text := strings.Replace(files.Replace(b[1]), "[[listeners]]", "[[listeners]]\nname = \"main\"", 1)
		w := launch(t, text)
		c, err := tls.Dial("tcp", w.addr.String(), &tls.Config{RootCAs: authority.Pool, ServerName: "example.org", Certificates: []tls.Certificate{pair.Certificate}})
		if err != nil {
			t.Errorf("%s\n%v", b[1], err)
			continue
		}
		c.Close()
	}
}
