package acme_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"weir/admin"
	"weir/config"
	"weir/internal/acme"
	"weir/internal/testkit"
	"weir/server"
)

// node is a weir with listeners at an address of its own.
type node struct {
	t       *testing.T
	server  *server.Server
	manager *acme.Manager
	secure  string // where it speaks TLS
	plain   string // where it does not
	log     *logText
}

// logText is a log that may be read while it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// openers are the storages of the tests.
var openers = map[string]acme.Opener{"redis": acme.OpenRedis}

// configuration returns a configuration of a node: rest completes the TLS listener, and more follows. pebble
// chooses a profile by chance where none is named, and with it how long a certificate is valid.
func (ca *authority) configuration(address, storage, rest, more string) string {
	if !strings.Contains(more, "profile = ") {
		more = "profile = \"default\"\n" + more
	}
	return fmt.Sprintf(`
[[listeners]]
name = "secure"
address = "%[1]s:%[2]d"
tls = "acme"
timeouts.handshake = "1m"
%[3]s
[[listeners]]
name = "plain"
address = "%[1]s:%[4]d"
https_redirect = true
[certificates]
ca = %[5]q
ca_roots = %[6]q
storage = %[7]q
%[8]s
[[routes]]
respond = { body = "hello" }
[access_log]
output = "off"
`, address, ca.tlsPort, rest, ca.httpPort, ca.directory, ca.file, storage, more)
}

// parse reads a configuration.
func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("weir.toml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return cfg
}

// start starts a weir.
func start(t *testing.T, text string) *node {
	t.Helper()
	return startTrying(t, text, 20*time.Millisecond)
}

// startTrying starts a weir that tries again after retry.
func startTrying(t *testing.T, text string, retry time.Duration) *node {
	t.Helper()
	n := &node{t: t, log: new(logText)}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n.manager = acme.New(acme.Options{Log: log, Openers: openers, Retry: retry, Look: 50 * time.Millisecond})
	var err error
	if n.server, err = server.New(parse(t, text), server.WithIssuer(n.manager), server.WithLog(log)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.server.Close()
		if t.Failed() {
			t.Log(n.log)
		}
	})
	if err := n.server.Start(); err != nil {
		t.Fatal(err)
	}
	n.secure = n.server.Addr("secure").String()
	if a := n.server.Addr("plain"); a != nil {
		n.plain = a.String()
	}
	return n
}

// handshake returns the certificate that a client gets who asks for a name.
func (n *node) handshake(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	cfg := &tls.Config{ServerName: name, RootCAs: roots, InsecureSkipVerify: roots == nil}
	c, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: testkit.Limit}, Config: cfg}).Dial("tcp", n.secure)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// gets waits until clients get a good certificate for a name.
func (n *node) gets(name string, roots *x509.CertPool) (leaf *x509.Certificate) {
	n.t.Helper()
	var err error
	defer func() {
		if n.t.Failed() {
			n.t.Logf("the last handshake: %v", err)
		}
	}()
	testkit.Eventually(n.t, "there is a certificate for "+name, func() bool {
		leaf, err = n.handshake(name, roots)
		return err == nil
	})
	return leaf
}

func (n *node) metric(series string) string {
	var b bytes.Buffer
	n.server.WriteMetrics(&b)
	for line := range strings.Lines(b.String()) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func (n *node) state(name string) admin.Certificate {
	for _, c := range n.manager.Certificates() {
		if c.Name == name {
			return c
		}
	}
	return admin.Certificate{}
}

// HTTP-01 is answered before the redirect, and what is no challenge goes on to it.
func TestHTTP(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	folder := filepath.Join(t.TempDir(), "certificates")
	n := start(t, ca.configuration(address, folder, fmt.Sprintf("domains = [%q]", name), "challenges = \"http-01\"\nemail = \"a@example.org\"\nkey_type = \"p384\"\n"))
	leaf := n.gets(name, ca.roots(t))
	if bits := leaf.PublicKey; fmt.Sprintf("%T", bits) != "*ecdsa.PublicKey" {
		t.Errorf("the key is a %T", bits)
	}
	if got := n.metric(`weir_certificates_issued_total{result="obtained"}`); got != "1" {
		t.Errorf("%s certificates were obtained", got)
	}
	if got := n.metric(fmt.Sprintf("weir_certificate_expiry_timestamp_seconds{listener=%q,certificate=%q}", "secure", name)); got == "" {
		t.Error("no metric says when the certificate ends")
	}
	if s := n.state(name); s.Source != "acme" || s.NotAfter == nil || s.Issuer == "" || s.Error != "" || s.Listener != "secure" {
		t.Errorf("the state is %+v", s)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/", "/.well-known/acme-challenge/unknown"} {
		r, err := client.Get("http://" + n.plain + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 301 {
			t.Errorf("%s is answered with %d, want a redirect", path, r.StatusCode)
		}
	}
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "locks" { // which come and go
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// A second start needs no CA.
	n.server.Close()
	again := start(t, strings.Replace(ca.configuration(address, folder, fmt.Sprintf("domains = [%q]", name), ""), ca.directory, ca.directory, 1))
	second, err := again.handshake(name, ca.roots(t))
	if err != nil || second.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Errorf("the first client after the second start gets %v", err)
	}
}

// HTTP-01 is answered whatever routes and listeners ask of clients, for names in upper case and by another
// listener than the one for TLS; several listeners share a name.
func TestHTTPBehindProtection(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	text := ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q, %q]", strings.ToUpper(name), name+"."), `challenges = "http-01"`)
	text = strings.Replace(text, "https_redirect = true", "allow = [\"10.0.0.0/8\"]\nproxy_protocol = [\"10.0.0.0/8\"]", 1)
	text = strings.Replace(text, "[[routes]]", "[[listeners]]\nname = \"second\"\naddress = \""+address+":0\"\ntls = \"acme\"\n[[routes]]\nhost = \""+name+"\"\nbasic_auth.users = { a = \"$2y$04$vUPvNhVtFeN7CiKDLUKpZuWqGWhZYCHLK1T4Xg3OWs3U2xk8oOb3u\" }\nmax_body = \"1\"", 1)
	n := start(t, text)
	leaf := n.gets(name, ca.roots(t))
	if got := fmt.Sprint(leaf.DNSNames); got != "["+name+"]" {
		t.Errorf("the certificate is for %s", got)
	}
	n.secure = n.server.Addr("second").String()
	if second := n.gets(strings.ToUpper(name), nil); second.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Error("the second listener has another certificate")
	}
	if got := len(n.manager.Certificates()); got != 2 {
		t.Errorf("there are %d certificates", got)
	}
	if got := n.metric(`weir_certificates_issued_total{result="obtained"}`); got != "1" {
		t.Errorf("%s certificates were obtained", got)
	}
}

// TLS-ALPN-01 needs no listener but the one for TLS, whatever certificates clients must show.
func TestALPN(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	clients := testkit.NewAuthority(t)
	text := ca.configuration(address, t.TempDir(), fmt.Sprintf("client_ca = %q\nstrict_sni = true\ndomains = [%q]", clients.File, name), `challenges = "tls-alpn-01"`)
	n := start(t, text)
	pair := clients.Issue("client")
	testkit.Eventually(t, "a client gets in", func() bool {
		c, err := tls.Dial("tcp", n.secure, &tls.Config{ServerName: name, RootCAs: ca.roots(t), Certificates: []tls.Certificate{pair.Certificate}, NextProtos: []string{"http/1.1"}})
		if err != nil {
			return false
		}
		defer c.Close()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name)
		answer, _ := io.ReadAll(c)
		return strings.HasSuffix(string(answer), "hello")
	})
	if _, err := n.handshake("other.test", nil); err == nil {
		t.Error("a client that asks for another name gets a certificate")
	}
}

// DNS-01 sets records by signed updates, for wildcards too, and takes them away.
func TestDNS(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	n := start(t, ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q, %q]", "*."+name, name), fmt.Sprintf(`
[certificates.dns]
provider = "rfc2136"
server = %q
key_name = "weir"
key_secret = %q
resolvers = [%q]
`, ca.names.addr, updateKey, ca.names.addr)))
	leaf := n.gets("www."+name, ca.roots(t))
	if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "*."+name {
		t.Errorf("the certificate is for %q", leaf.DNSNames)
	}
	n.gets(name, ca.roots(t))
	record := "_acme-challenge." + name
	testkit.Eventually(t, "the records are gone", func() bool {
		left, sets := ca.names.records(record)
		return len(left) == 0 && sets >= 2
	})
}

// renewed waits until ok is true: certmagic tries again a minute after a renewal that failed, as it may on a machine
// that has much to do.
func renewed(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.EventuallyWithin(t, 4*testkit.Limit, what, ok)
}

// A certificate is renewed when the CA says so (ARI) or its time comes, while clients come in.
func TestRenewal(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	n := start(t, ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q]", name), "profile = \"short\"\nemail = \"renewal@example.org\""))
	first := n.gets(name, nil)
	renewed(t, "there is another certificate", func() bool {
		leaf, err := n.handshake(name, nil)
		if err != nil {
			t.Fatalf("a handshake fails: %v", err)
		}
		return leaf.SerialNumber.Cmp(first.SerialNumber) != 0
	})
	if got := n.metric(`weir_certificates_issued_total{result="renewed"}`); got == "0" || got == "" {
		t.Errorf("%q certificates were renewed", got)
	}
	if !strings.Contains(n.log.String(), "a certificate was renewed") {
		t.Error("no line says so")
	}
}

// A certificate is renewed by another account than the one that got it, which the CA does not let replace it.
func TestRenewalByAnotherAccount(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	folder := t.TempDir()
	text := ca.configuration(address, folder, fmt.Sprintf("domains = [%q]", name), "profile = \"short\"\nemail = \"one@example.org\"")
	n := start(t, text)
	n.gets(name, nil)
	first := accountOf(t, folder, name)
	if err := n.server.Reload(parse(t, strings.Replace(text, "one@", "two@", 1))); err != nil {
		t.Fatal(err)
	}
	renewed(t, "the other account has renewed it", func() bool { return accountOf(t, folder, name) != first })
}

// accountOf returns the account that got the certificate in a storage.
func accountOf(t *testing.T, folder, name string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "certificates", "*", name, name+".json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("found %q: %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var about struct {
		IssuerData struct{ Account string } `json:"issuer_data"`
	}
	if err := json.Unmarshal(text, &about); err != nil || about.IssuerData.Account == "" {
		t.Fatalf("%v: %s", err, text)
	}
	return about.IssuerData.Account
}

// Clients get what the CA says of a certificate (OCSP), and one that is revoked is replaced.
func TestRevoked(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	ca.answersOCSP(t)
	name, address := ca.host(t)
	folder := t.TempDir()
	with := func(rest string) string {
		return ca.configuration(address, folder, fmt.Sprintf("domains = [%q]\n%s\n", name, rest), "")
	}
	n := start(t, with("ocsp_stapling = false"))
	first := n.gets(name, ca.roots(t))
	ca.revoked.Store(first.SerialNumber.String(), true)
	if err := n.server.Reload(parse(t, with(""))); err != nil {
		t.Fatal(err)
	}
	renewed(t, "the certificate is replaced", func() bool {
		leaf, err := n.handshake(name, nil)
		return err == nil && leaf.SerialNumber.Cmp(first.SerialNumber) != 0
	})
	testkit.Eventually(t, "clients get a staple", func() bool {
		c, err := tls.Dial("tcp", n.secure, &tls.Config{ServerName: name, RootCAs: ca.roots(t)})
		if err != nil {
			return false
		}
		defer c.Close()
		r, err := ocsp.ParseResponse(c.ConnectionState().OCSPResponse, nil)
		return err == nil && r.Status == ocsp.Good
	})
	if log := n.log.String(); !strings.Contains(log, "a certificate in use is revoked") {
		t.Error("no line says so")
	}
}

// answersOCSP makes the responder of the CA answer.
func (ca *authority) answersOCSP(t *testing.T) {
	t.Helper()
	var der [2][]byte
	for i, path := range []string{"/intermediates/0", "/intermediate-keys/0"} {
		response, err := ca.client.Get(ca.manage + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		block, _ := pem.Decode(text)
		if err != nil || block == nil {
			t.Fatalf("%s: %v: %s", path, err, text)
		}
		der[i] = block.Bytes
	}
	cert, err := x509.ParseCertificate(der[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS1PrivateKey(der[1])
	if err != nil {
		t.Fatal(err)
	}
	ca.responder.SignBy(cert, key)
	ca.responder.Answer(func(serial *big.Int) ocsp.Response {
		if _, ok := ca.revoked.Load(serial.String()); ok {
			return ocsp.Response{Status: ocsp.Revoked}
		}
		return ocsp.Response{Status: ocsp.Good}
	})
}

// two starts two weirs with one storage at the same time, of which one gets the certificate.
func two(t *testing.T, storage string) {
	t.Helper()
	ca := pebble(t)
	name, address := ca.host(t)
	_, other := ca.host(t)
	domains := fmt.Sprintf("domains = [%q]", name)
	var nodes [2]*node
	nodes[0] = start(t, ca.configuration(address, storage, domains, ""))
	nodes[1] = start(t, ca.configuration(other, storage, domains, ""))
	roots := ca.roots(t)
	testkit.Eventually(t, "both show the same certificate", func() bool {
		a, errA := nodes[0].handshake(name, roots)
		b, errB := nodes[1].handshake(name, roots)
		return errA == nil && errB == nil && a.SerialNumber.Cmp(b.SerialNumber) == 0
	})
	const series = `weir_certificates_issued_total{result="obtained"}`
	if got := nodes[0].metric(series) + nodes[1].metric(series); got != "10" && got != "01" {
		t.Errorf("they asked for %s and %s certificates", nodes[0].metric(series), nodes[1].metric(series))
	}
}

func TestTwoWithFolder(t *testing.T) {
	t.Parallel()
	two(t, t.TempDir())
}

// Certificates on demand: those that the application allows, within the limit.
func TestOnDemand(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	for _, n := range []string{"one.", "two.", "no."} {
		ca.names.set(n+name, address)
	}
	var mu sync.Mutex
	asked := make(map[string]int)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		domain := r.URL.Query().Get("domain")
		if asked[domain]++; strings.HasPrefix(domain, "no.") || r.URL.Query().Get("key") != "k" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer application.Close()
	n := start(t, ca.configuration(address, t.TempDir(), "", fmt.Sprintf("[certificates.on_demand]\nask = %q\nper_minute = 1\n", application.URL+"/?key=k")))
	leaf, err := n.handshake("one."+name, ca.roots(t))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := n.handshake("one."+name, ca.roots(t)); err != nil || again.SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Errorf("the second client gets %v", err)
	}
	for range 2 {
		if _, err := n.handshake("no."+name, nil); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("a client that asks for a refused name gets %v", err)
		}
	}
	if _, err := n.handshake("two."+name, nil); err == nil {
		t.Error("there is no limit")
	}
	mu.Lock()
	defer mu.Unlock()
	if asked["one."+name] == 0 || asked["no."+name] != 1 {
		t.Errorf("the application was asked %v", asked)
	}
	if s := n.state("one." + name); s.NotAfter == nil {
		t.Errorf("the state is %+v", s)
	}
}

// No more certificates on demand are in memory than configured; the others are read from the storage again.
func TestOnDemandKeep(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	application := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer application.Close()
	n := start(t, ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q]", name), fmt.Sprintf("on_demand = { ask = %q, keep = 2 }", application.URL)))
	roots := ca.roots(t)
	n.gets(name, roots)
	names := []string{"one." + name, "two." + name, "three." + name}
	for _, name := range names {
		ca.names.set(name, address)
	}
	serials := make(map[string]string)
	for round := range 2 {
		for i, name := range names {
			leaf, err := n.handshake(name, roots)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if serial := leaf.SerialNumber.String(); round == 0 {
				serials[name] = serial
			} else if serials[name] != serial {
				t.Errorf("%s is not the one of the storage", name)
			}
			if left := len(n.manager.Certificates()); left != 1+min(2, 3*round+i+1) {
				t.Errorf("%d certificates are in memory", left)
			}
		}
	}
	if _, err := n.handshake(name, roots); err != nil {
		t.Errorf("the one that was not got on demand: %v", err)
	}
	if got := n.metric(`weir_certificates_issued_total{result="obtained"}`); got != "4" {
		t.Errorf("%s certificates were obtained", got)
	}
}

// A CA that is down at the start is no reason not to start: files are served, and the certificate comes when
// the CA does.
func TestCADown(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	relay := &relay{to: strings.TrimSuffix(strings.TrimPrefix(ca.directory, "https://"), "/dir")}
	relay.listen(t)
	text := strings.Replace(ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q]", name), ""), ca.directory, "https://"+relay.addr+"/dir", 1)
	own := testkit.NewAuthority(t)
	pair := own.Issue("file.test")
	text = strings.Replace(text, "tls = \"acme\"\n", fmt.Sprintf("tls = \"acme\"\ncertificates = [{ cert = %q, key = %q }]\n", pair.Cert, pair.Key), 1)
	n := start(t, text)
	if _, err := n.handshake("file.test", own.Pool); err != nil {
		t.Errorf("the certificate in a file: %v", err)
	}
	testkit.Eventually(t, "a warning says why", func() bool { return strings.Contains(n.log.String(), "cannot get a certificate") })
	if s := n.state(name); s.Error == "" {
		t.Errorf("the state is %+v", s)
	}
	relay.up.Store(true)
	n.gets(name, ca.roots(t))
	if s := n.state(name); s.Error != "" || s.Retry != nil {
		t.Errorf("the state is %+v", s)
	}
}

// A CA that has forgotten the account gives certificates at once all the same, new ones and renewals.
func TestAccountForgotten(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	first, address := ca.host(t)
	second, _ := ca.host(t)
	ca.names.set(second, address)
	folder := t.TempDir()
	forgotten := func() (before string) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(folder, "acme", "*", "users", "forgotten@example.org", "*.json"))
		if err != nil || len(found) != 1 {
			t.Fatalf("found %q: %v", found, err)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		var account map[string]any
		if err := json.Unmarshal(text, &account); err != nil {
			t.Fatal(err)
		}
		before = account["location"].(string)
		account["location"] = before + "0" // an account that the CA does not have
		if text, err = json.Marshal(account); err == nil {
			err = os.WriteFile(found[0], text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return before
	}
	// Without an address, certmagic takes one of another server of the same process.
	text := ca.configuration(address, folder, fmt.Sprintf("domains = [%q]", first), "profile = \"short\"\nemail = \"forgotten@example.org\"")
	n := startTrying(t, text, time.Hour)
	n.gets(first, ca.roots(t))
	n.server.Close()
	before := forgotten()
	n = startTrying(t, strings.Replace(text, fmt.Sprintf("[%q]", first), fmt.Sprintf("[%q, %q]", first, second), 1), time.Hour)
	n.gets(second, ca.roots(t))
	renewed(t, "another account has renewed it", func() bool { return accountOf(t, folder, first) != before })
}

// What a CA refuses does not keep other names from their certificates.
func TestCARefuses(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	n := start(t, ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [\"blocked.test\", %q]", name), ""))
	n.gets(name, ca.roots(t))
	testkit.Eventually(t, "the state says why", func() bool {
		s := n.state("blocked.test")
		return strings.Contains(s.Error, "rejectedIdentifier") && s.Retry != nil
	})
	if got := n.metric(`weir_certificates_issued_total{result="failed"}`); got == "0" {
		t.Error("the failure is not counted")
	}
	if _, err := n.handshake("blocked.test", nil); err == nil {
		t.Error("there is a certificate for a refused name")
	}
}

// A CA that is busy, or hangs, is asked again soon: only what it says of this account's rate takes long.
func TestCABusy(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	name, address := ca.host(t)
	u, err := url.Parse(ca.directory)
	testkit.Must(t, err)
	authority := testkit.NewAuthority(t)
	trusted, err := os.ReadFile(ca.file)
	testkit.Must(t, err)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	own, err := os.ReadFile(authority.File)
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(roots, append(trusted, own...), 0o600))
	pool, err := config.LoadAuthorities(roots)
	testkit.Must(t, err)
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = u.Scheme, u.Host, r.In.Host
		},
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: u.Hostname()}},
	}
	var orders atomic.Int32
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "order-plz") && orders.Add(1) <= 2 {
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"Service busy; retry later.","status":503}`)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Issue("127.0.0.1").Certificate}}
	front.StartTLS()
	t.Cleanup(front.Close)
	text := ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q]", name), "")
	text = strings.Replace(strings.Replace(text, ca.directory, front.URL+u.Path, 1), ca.file, roots, 1)
	n := startTrying(t, text, 200*time.Millisecond)
	n.gets(name, ca.roots(t))
	if orders.Load() < 3 {
		t.Errorf("%d orders", orders.Load())
	}
}

// The account may be tied to one that the CA knows.
func TestExternalAccount(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	name, address := ca.host(t)
	n := start(t, ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q]", name), fmt.Sprintf("eab = { key_id = \"known\", hmac = %q }", key)))
	n.gets(name, ca.roots(t))
	name, address = ca.host(t)
	n = start(t, ca.configuration(address, t.TempDir(), fmt.Sprintf("domains = [%q]", name), fmt.Sprintf("eab = { key_id = \"unknown\", hmac = %q }", key)))
	testkit.Eventually(t, "the state says why", func() bool { return n.state(name).Error != "" })
}

// Reloads add and remove names, and no handshake fails meanwhile.
func TestReload(t *testing.T) {
	t.Parallel()
	ca := pebble(t)
	first, address := ca.host(t)
	second, _ := ca.host(t)
	ca.names.set(second, address)
	folder := t.TempDir()
	with := func(names string) string { return ca.configuration(address, folder, "domains = ["+names+"]", "") }
	n := start(t, with(fmt.Sprintf("%q", first)))
	n.gets(first, ca.roots(t))
	roots := ca.roots(t)
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			if _, err := n.handshake(first, roots); err != nil {
				failed <- err
				return
			}
		}
	}()
	reload := func(text string) {
		t.Helper()
		if err := n.server.Reload(parse(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	reload(with(fmt.Sprintf("%q, %q", first, second)))
	n.gets(second, roots)
	reload(with(fmt.Sprintf("%q", first)) + "\n[metrics]\nper_route = false\n")
	reload(strings.Replace(with(fmt.Sprintf("%q", first)), "[certificates]", "[certificates]\nemail = \"b@example.org\"", 1))
	if leaf, err := n.handshake(second, nil); err == nil && leaf.DNSNames[0] == second {
		t.Error("a name that was removed is still served")
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("a handshake failed: %v", err)
	}
	if got := n.metric(`weir_certificates_issued_total{result="obtained"}`); got != "2" {
		t.Errorf("%s certificates were obtained", got)
	}
}

// The local CA needs no other, and all weirs with the storage have the same.
func TestLocal(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	text := fmt.Sprintf(`
[[listeners]]
name = "secure"
address = "127.0.0.1:0"
tls = "internal"
[certificates]
storage = %q
[[routes]]
host = "*.weir.test"
respond = { body = "hello" }
[access_log]
output = "off"
`, folder)
	roots := x509.NewCertPool()
	var issuers []string
	for range 2 {
		n := start(t, text)
		if len(issuers) == 0 {
			pem, err := os.ReadFile(filepath.Join(folder, "local", "root.crt"))
			if err != nil || !roots.AppendCertsFromPEM(pem) {
				t.Fatalf("the root: %v, %q", err, pem)
			}
		}
		for _, name := range []string{"localhost", "www.weir.test", "127.0.0.1"} {
			leaf, err := n.handshake(name, roots)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 13*time.Hour {
				t.Errorf("a certificate is valid for %s", life)
			}
			issuers = append(issuers, leaf.Issuer.CommonName)
		}
		n.server.Close()
	}
	if issuers[0] != issuers[5] {
		t.Errorf("the issuers are %q", issuers)
	}
}

// A handshake that waits for a certificate on demand ends in its time, and does not hold up a stop.
func TestOnDemandSlow(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
	}))
	defer application.Close()
	defer close(answer)
	n := start(t, fmt.Sprintf(`
[[listeners]]
name = "secure"
address = "127.0.0.1:0"
tls = "acme"
timeouts.handshake = "100ms"
[certificates]
storage = %q
on_demand = { ask = %q, timeout = "10m" }
[[routes]]
respond = { body = "hello" }
`, t.TempDir(), application.URL))
	if _, err := n.handshake("slow.test", nil); err == nil {
		t.Error("there is a certificate")
	}
	<-asked
	n.handshake("slow.test", nil)
	select {
	case <-asked:
		t.Error("the application was asked again before it has answered")
	default:
	}
	n.server.Close() // while it has not answered
}

// On demand, a name that is no host name goes neither to the application nor to the log.
func TestOnDemandNames(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("domain")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer application.Close()
	n := start(t, fmt.Sprintf(`
[[listeners]]
name = "secure"
address = "127.0.0.1:0"
tls = "acme"
[certificates]
storage = %q
on_demand = { ask = %q }
[[routes]]
respond = { body = "hello" }
`, t.TempDir(), application.URL))
	for _, name := range []string{
		strings.Repeat("a.", 130) + "test", strings.Repeat("a", 30_000), strings.Repeat("a", 64) + ".test", "a..test", ".test", "-a.test", "a_b.test", "*.a.test",
		"../../a", "a b.test", "a\x00.test", "b\xc3\xbccher.test", "xn--a\xc3.test", "xn--0.test",
	} {
		if _, err := n.handshake(name, nil); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%.20q gets %v", name, err)
		}
	}
	if text := n.log.String(); strings.Contains(text, "on demand") {
		t.Errorf("the log has %.200q", text)
	}
	for _, name := range []string{"a-b.test", "XN--bcher-kva.test"} {
		got := ""
		testkit.Eventually(t, "the application is asked", func() bool {
			n.handshake(name, nil)
			select {
			case got = <-asked:
				return true
			default:
				return false
			}
		})
		if got != strings.ToLower(name) {
			t.Errorf("the application was asked about %.20q", got)
		}
	}
}
