package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// warns checks what is warned of a configuration, what being the lines of it that matter.
func warns(t *testing.T, what string, text []byte, want []string) {
	t.Helper()
	cfg, err := config.Parse("f", text, server.CheckParts, server.CheckFiles)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if found := server.Warnings(cfg, time.Now()); len(found) > 0 {
		got = found.Error()
	}
	equal(t, what, got, strings.Join(want, "\n"))
}

// TestUnusedKeys: a key that another one would have to switch on is warned of, with its line.
func TestUnusedKeys(t *testing.T) {
	t.Parallel()
	check := func(lines string, want ...string) {
		t.Helper()
		warns(t, lines, []byte(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "u"
[upstreams.u]
targets = ["http://127.0.0.1:1"]
`+lines), want)
	}
	check("")
	check(`health = { path = "/health", interval = "1s" }`,
		`f:8: upstreams.u.health.path: changes nothing, because health.probe is "off": want "http", "tcp" or "grpc" there`,
		`f:8: upstreams.u.health.interval: changes nothing, because health.probe is "off": want "http", "tcp" or "grpc" there`)
	check(`health = { probe = "http", path = "/health", interval = "1s" }`)
	check(`health = { path = "/" }`) // which it is anyway
	check(`tls.server_name = "a.example"`, `f:8: upstreams.u.tls.server_name: changes nothing, because no target is reached by https: want targets such as "https://host"`)
	check(`health.passive.outlier_requests = 5`, `f:8: upstreams.u.health.passive.outlier_requests: changes nothing, because health.passive.outlier is 0: want more there`)
	check(`health.passive = { outlier = 1.1, outlier_requests = 5 }`)
	check(`hash.by = "path"`, `f:8: upstreams.u.hash.by: changes nothing, because balance is "round_robin": want "hash" there`)
	check("balance = \"hash\"\nhash.by = \"path\"")
	check(`sticky = { secure = "always" }`, `f:8: upstreams.u.sticky.secure: changes nothing, because sticky.cookie is empty: want the name of a cookie there`)
	check(`sticky = { cookie = "c", secure = "always" }`)
	check(`retry.hedge_min = "1s"`, `f:8: upstreams.u.retry.hedge_min: changes nothing, because retry.hedge is 0: want a share such as 0.95 there`)
	check(`retry = { hedge = 0.9, hedge_min = "1s" }`)
	check("[upstreams.u.breaker]\nopen = \"1s\"", `f:9: upstreams.u.breaker.open: changes nothing, because breaker.failures is 0: want a share such as 0.5 there`)
	check("[upstreams.u.breaker]\nopen = \"1s\"\nfailures = 0.5")
}

// A key of a listener's TLS that changes nothing is warned of, and a key of Encrypted Client Hello whose public name has no
// certificate.
func TestUnusedTLSKeys(t *testing.T) {
	t.Parallel()
	pair := testkit.NewAuthority(t).Issue("weir.test")
	check := func(lines string, want ...string) {
		t.Helper()
		warns(t, lines, fmt.Appendf(nil, "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificates = [{ cert = %q, key = %q }]\n%s\n[[routes]]\nrespond = {}\n",
			pair.Cert, pair.Key, lines), want)
	}
	check(`min_tls = "1.2"`)
	check(`tls = "acme"`, `f:4: listeners[0].tls: changes nothing, because the listener has certificates and no domains: want domains there, or certificates.on_demand.ask`)
	check("tls = \"acme\"\ndomains = [\"www.example.org\"]")
	check("tls = \"acme\"\n[certificates]\non_demand.ask = \"http://127.0.0.1:1/\"")
	check(`tls = "internal"`) // it has local names
	check("min_tls = \"1.3\"\nciphers = \"ECDHE-RSA-AES128-GCM-SHA256\"", `f:5: listeners[0].ciphers: changes nothing, because min_tls is "1.3", whose ciphers are always on: want "1.2" there`)
	check(`ciphers = "ECDHE-RSA-AES128-GCM-SHA256"`)
	check(`client_auth = "optional"`, `f:4: listeners[0].client_auth: changes nothing, because there is no client_ca: want the authorities of clients there`)
	check(`client_auth = "request"`) // which verifies nothing then
	key := func(name string) string {
		file, _, err := server.NewECH(name)
		path := filepath.Join(t.TempDir(), "ech.pem")
		if err == nil {
			err = os.WriteFile(path, file, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("ech = %q", path)
	}
	check(key("weir.test"))
	check(key("public.test"), `f:4: listeners[0].ech: no certificate covers "public.test", its public name: clients with an old key could not learn the new one`)
}
