package server_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// What a start would refuse in the files that a configuration names, a check refuses.
func TestCheckFiles(t *testing.T) {
	t.Parallel()
	ca := testkit.NewAuthority(t)
	a, b := ca.Issue("a.example"), ca.Issue("b.example")
	folder := t.TempDir()
	file := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 such keys are what the check must find
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	locked := file("locked.key", pem.EncodeToMemory(block))
	sealed := file("sealed.key", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}))
	der := file("der.crt", a.Certificate.Certificate[0])
	empty := file("empty.pem", nil)

	check := func(text, want string) {
		t.Helper()
		text = "[[listeners]]\naddress = ':80'\n[[routes]]\nupstream = 'u'\n" + text
		if !strings.Contains(text, "[upstreams.u]") {
			text += "\n[upstreams.u]\ntargets = ['demo:a']"
		}
		_, err := config.Parse("f", []byte(text), server.CheckParts, server.CheckFiles)
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.Contains(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
	pair := func(cert, key, want string) {
		t.Helper()
		check(fmt.Sprintf("[[listeners]]\naddress = ':443'\ncertificates = [{ cert = %q, key = %q }]", cert, key), want)
	}
	pair(a.Cert, a.Key, "")
	pair(a.Cert, b.Key, "f:7: listeners[1].certificates[0]: cannot load certificate")
	pair(a.Cert, b.Key, "private key does not match public key")
	pair(a.Key, a.Cert, "listeners[1].certificates[0]")
	pair(a.Cert, locked, "the key has a pass phrase: want a key without one")
	pair(a.Cert, sealed, "the key has a pass phrase: want a key without one")
	pair(der, a.Key, "failed to find any PEM data")
	pair(empty, a.Key, "failed to find any PEM data")
	pair(a.Cert, empty, "failed to find any PEM data")

	upstream := func(tls, want string) {
		t.Helper()
		check("[upstreams.u]\ntargets = ['https://a']\n[upstreams.u.tls]\n"+tls, want)
	}
	upstream(fmt.Sprintf("ca = %q\ncert = %q\nkey = %q", ca.File, a.Cert, a.Key), "")
	upstream(fmt.Sprintf("ca = %q", a.Key), "f:8: upstreams.u.tls.ca: cannot use ca")
	upstream(fmt.Sprintf("cert = %q\nkey = %q", a.Cert, b.Key), "upstreams.u.tls.cert: cannot use client certificate")
	upstream(fmt.Sprintf("cert = %q\nkey = %q", a.Cert, locked), "upstreams.u.tls.cert: cannot use client certificate")

	output := func(path, want string) {
		t.Helper()
		check(fmt.Sprintf("[access_log]\noutput = %q", path), want)
	}
	output(filepath.Join(folder, "access.log"), "")
	output("stderr", "")
	output(filepath.Join(folder, "no", "access.log"), "access_log.output: cannot make access log")
	output(folder, "the path is that of a folder")
	output(filepath.Join(empty, "access.log"), "not a directory")
	output("none", `did you mean "off"?`)
	output("stdoout", `did you mean "stdout"?`)
	output("syslog:local0", `found "syslog:local0": want "syslog:/dev/log" or another socket`)
	output("udp://127.0.0.1:514", "want \"stdout\"")
	if left, err := os.ReadDir(folder); err != nil || len(left) != 4 {
		t.Errorf("the check made files: %v, %v", left, err)
	}

	check("[cache]\npolicy = 'lfu'", "cache.policy: cannot use cache policy")
	check("[cache]\nsize = '1MiB'", "cache.max_object: cannot use max_object 8MiB")
	check("[[routes]]\npath = '/c'\nupstream = 'u'\ncache.heuristic = 101", "f:8: routes[1].cache.heuristic: found 101: want 0 to 100 percent")
	route := func(cache, want string) {
		t.Helper()
		check("[[routes]]\npath = '/c'\nupstream = 'u'\n[routes.cache]\nstatus = false\n"+cache, want)
	}
	route("fill = 'hole'", `f:10: routes[1].cache.fill: found "hole": want one of "asked", "condition", "whole"; did you mean "whole"?`)
	route("set_cookie = ''", `f:10: routes[1].cache.set_cookie: found "": want one of "never", "shared", "always"`)
	route("targeted = ['a', '']", `f:10: routes[1].cache.targeted[1]: found "": want the name of a header field`)
	route("ignore_vary = ['a b']", `f:10: routes[1].cache.ignore_vary[0]: found "a b": want the name of a header field`)
	route("key.headers = ['a:']\nfill = ''", `f:10: routes[1].cache.key.headers[0]: found "a:": want the name of a header field`)
	route("key.headers = ['a:']\nfill = ''", `f:11: routes[1].cache.fill: found ""`)
	route("[routes.cache.key]\nignore_query = ['a']\nkeep_query = ['b']", "f:10: routes[1].cache.key: found ignore_query and keep_query together: want one of them")
	check("[[routes]]\npath = '/api/*'\nupstream = 'u'", `routes[1].path[0]: found "/api/*": want a path without "*"`)
	check("[[routes]]\npath = '/api/**'\nupstream = 'u'", `want a path without "*"`)
	check("[[routes]]\npath = '/*.php'\nupstream = 'u'", `want a path without "*"`)
	check("[[routes]]\npath = '/api*/x'\nupstream = 'u'", `want a path without "*"`)
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	ca := testkit.NewAuthority(t)
	pair, wild := ca.Issue("a.example", "127.0.0.1"), ca.Issue("*.wild.example")
	warnings := func(now time.Time, text string, args ...any) string {
		t.Helper()
		cfg, err := config.Parse("f", fmt.Appendf(nil, text, args...), server.CheckParts, server.CheckFiles)
		if err != nil {
			t.Fatal(err)
		}
		return server.Warnings(cfg, now).Error()
	}
	const routes = `
[[listeners]]
address = ":443"
certificates = [{ cert = %q, key = %q }, { cert = %q, key = %q }]
[[listeners]]
address = ":80"
[[routes]]
host = ["A.example", "[::1]", "b.example", "x.wild.example", "*.wild.example", "x.y.wild.example", "*.other.example", "127.0.0.1"]
upstream = "u"
[[routes]]
host = "plain.example"
listener = ":80"
upstream = "u{{"
[upstreams.u]
targets = ["demo:a"]
[upstreams."u{"]
targets = ["demo:a"]
`
	now := time.Now()
	text := fmt.Sprintf(routes, pair.Cert, pair.Key, wild.Cert, wild.Key)
	equal(t, "hosts", warnings(now, "%s", text), `f:8: routes[0].host[1]: no certificate covers "[::1]"
f:8: routes[0].host[2]: no certificate covers "b.example"
f:8: routes[0].host[5]: no certificate covers "x.y.wild.example"
f:8: routes[0].host[6]: no certificate covers "*.other.example"`)

	none := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(none, []byte("# nobody yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "no users", warnings(now, "[[listeners]]\naddress = ':80'\n[[routes]]\nrespond.status = 200\nbasic_auth.file = %q", none),
		fmt.Sprintf("f:5: routes[0].basic_auth: %q has no users, so nobody is let in", none))

	const one = "[[listeners]]\naddress = ':443'\ncertificates = [{ cert = %q, key = %q }]\n[[routes]]\nupstream = 'u'\n[upstreams.u]\ntargets = ['demo:a']"
	expiry := func(after time.Duration, want string) {
		t.Helper()
		got := warnings(now.Add(after), one, pair.Cert, pair.Key)
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s from now: %q, want %q", after, got, want)
		}
	}
	expiry(0, "") // good for a day
	expiry(25*time.Hour, "f:3: listeners[0].certificates[0]: certificate")
	expiry(25*time.Hour, "has expired on ")
	expiry(23*time.Hour, "expires on ")
	expiry(-2*time.Hour, "is not valid before ")

	equal(t, "upstreams", warnings(now, `
[[listeners]]
address = ":80"
[[routes]]
path = "/{service}/{version}/"
upstream = "{service}/v{version}"
[[routes]]
upstream = "plain"
[upstreams.plain]
targets = ["demo:a"]
[upstreams."a/v1"]
targets = ["demo:a"]
[upstreams."a/1"]
targets = ["demo:a"]
[upstreams."a/b/v1"]
targets = ["demo:a"]
[upstreams.alone]
targets = ["demo:a"]
`), `f:13: upstreams."a/1": no route sends to this upstream
f:15: upstreams."a/b/v1": no route sends to this upstream
f:17: upstreams.alone: no route sends to this upstream`)
}

// The cost of a check grows with the number of routes and upstreams, not with its square.
func TestCheckIsLinear(t *testing.T) {
	testkit.Slow(t)
	bytes := func(n int, upstream func(i int) string) float64 {
		t.Helper()
		var text strings.Builder
		text.WriteString("[[listeners]]\naddress = ':80'\n")
		for i := range n {
			fmt.Fprintf(&text, "[[routes]]\npath = '/s%d/{x}/'\nupstream = '%s'\n[upstreams.u%d]\ntargets = ['demo:a']\n", i, upstream(i), i)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cfg, err := config.Parse("f", []byte(text.String()), server.CheckParts, server.CheckFiles)
		if err != nil {
			t.Fatal(err)
		}
		server.Warnings(cfg, time.Now())
		s, err := server.New(cfg, server.WithChecked())
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		s.Close()
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	check := func(upstream func(i int) string) {
		t.Helper()
		const n = 250
		bytes(n, upstream) // what is allocated only once
		if small, large := bytes(n, upstream), bytes(4*n, upstream); large > 6*small {
			t.Errorf("%s: %.0f bytes for %d, %.0f for %d", upstream(0), small, n, large, 4*n)
		}
	}
	check(func(i int) string { return fmt.Sprintf("u%d", i) })
	check(func(int) string { return "u{x}" })
	check(func(i int) string { return fmt.Sprintf("u{x}%d", i%10) })
}
