package config_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/config"
)

// Who may use the admin API must be said where others than this machine can reach it.
func TestAdminAddress(t *testing.T) {
	t.Parallel()
	check := func(admin, want string) {
		t.Helper()
		_, err := config.Parse("f", []byte("[[listeners]]\naddress = \":80\"\n[[routes]]\nrespond = {}\n[admin]\n"+admin))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\n%v, want %q", admin, err, want)
		}
	}
	const open = `or tokens or client_ca that say who may use it`
	for _, address := range []string{"127.0.0.1:9", "[::1]:9", "localhost:9", "127.8.8.8:9", "unix:/run/weir"} {
		check(fmt.Sprintf("address = %q", address), "")
	}
	for _, address := range []string{":9", "0.0.0.0:9", "[::]:9", "192.0.2.1:9", "weir.example.org:9"} {
		check(fmt.Sprintf("address = %q", address), open)
		check(fmt.Sprintf("address = %q\ntokens = [{ name = \"a\", credential = \"a\" }]", address), "")
	}
	check("client_ca = \"admin.go\"", "certificates beside it")
	check("client_role = \"admin\"", `admin.client_role: found "admin": want one of "read", "write"`)
	check("hosts = [\"a:1\"]", "want a host name without a port")
	check("tokens = [{ name = \"a\" }]", "file, or credential")
	check("tokens = [{ name = \"a\", file = \"admin.go\", credential = \"x\" }]", "either file or credential")
	check("tokens = [{ name = \"a\", file = \"nowhere\" }]", "no such file")
	check("tokens = [{ name = \"a\", credential = \"../x\" }]", "without a slash")
	check("tokens = [{ credential = \"x\" }]", "want a name for the log")
	check("tokens = [{ name = \"a\", credential = \"x\" }, { name = \"a\", credential = \"y\" }]", "another than at admin.tokens[0]")
	check("tokens = [{ name = \"a\", credential = \"x\", role = \"root\" }]", `want one of "read", "write"`)
}

// What is recorded: a route's own words count before those of [inspect].
func TestInspected(t *testing.T) {
	t.Parallel()
	check := func(inspect, route, want string) {
		t.Helper()
		cfg, err := config.Parse("f", []byte("[[listeners]]\naddress = \":80\"\n[inspect]\n"+inspect+"\n[[routes]]\nrespond = {}\n"+route))
		got := fmt.Sprint(err)
		if err == nil {
			got = "off"
			if r := cfg.Inspected(&cfg.Routes[0]); r != nil {
				got = fmt.Sprint(r.Sample, " ", r.Body, " ", r.Slow.D())
			}
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s, %s: %s, want %s", inspect, route, got, want)
		}
	}
	check("", "", "off")
	check("sample = 0.5", "", "0.5 64KiB 1s")
	check("sample = 0.5", "inspect = false", "off")
	check("body = \"1MiB\"", "inspect = true", "1 1MiB 1s")
	check("", "inspect = { sample = 0.0, slow = \"2s\" }", "0 64KiB 2s")
	check("sample = 1", "inspect = { body = \"1KiB\" }", "1 1KiB 1s")
	check("sample = 2", "", "inspect.sample: found 2: want 0 to 1")
	check("memory = \"1KiB\"", "", "inspect.memory")
	check("body = \"1GiB\"", "", "inspect.body")
	check("secrets = [\"a b\"]", "", "inspect.secrets[0]")
	check("secrets = [\"*\"]", "", "inspect.secrets[0]")
	check("", "inspect = { sample = -1.0 }", "routes[0].inspect.sample: found -1: want 0 to 1")
}
