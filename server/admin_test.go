package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/testkit"
)

// The admin API by TLS: a token or a certificate of client_ca opens it, and a reload changes who may.
func TestAdminDoor(t *testing.T) {
	t.Parallel()
	ours, others := testkit.NewAuthority(t), testkit.NewAuthority(t)
	pair := ours.Issue("127.0.0.1")
	const secret = "a-token-that-nobody-can-guess-1"
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	text := func(admin string) string {
		return "[[routes]]\nrespond = { body = \"x\" }\n[admin]\naddress = \"127.0.0.1:0\"\n" + admin
	}
	secure := fmt.Sprintf("client_ca = %q\nclient_role = \"read\"\ncertificates = [{ cert = %q, key = %q }]\ntokens = [{ name = \"ops\", file = %q, role = \"write\" }]\n", ours.File, pair.Cert, pair.Key, token)
	w := run(t, "%s", text(secure))
	ask := func(certificate *tls.Certificate, token, method, path string, want string) {
		t.Helper()
		cfg := &tls.Config{RootCAs: ours.Pool}
		if certificate != nil {
			cfg.Certificates = []tls.Certificate{*certificate}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		r, err := http.NewRequest(method, "https://"+w.AdminAddr().String()+path, strings.NewReader(`{"upstream":"u","target":"t","on":true}`))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		got := ""
		if response, err := client.Do(r); err != nil {
			got = "refused: " + err.Error()
		} else {
			defer response.Body.Close()
			b, _ := io.ReadAll(response.Body)
			got = fmt.Sprint(response.StatusCode, " ", string(b))
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s %s is %.200s, want %s", method, path, got, want)
		}
	}
	good, foreign := ours.Issue("someone").Certificate, others.Issue("someone").Certificate
	ask(nil, "", "GET", "/status", "401")
	ask(nil, secret, "GET", "/status", "200")
	ask(nil, secret, "POST", "/drain", "404") // the token may, but there is no upstream
	ask(&good, "", "GET", "/status", "200")
	ask(&good, "", "POST", "/drain", "403")
	ask(&foreign, "", "GET", "/status", "refused: ")
	// A reload that no longer believes in an authority.
	reload := func(admin string) {
		t.Helper()
		cfg, err := config.Parse("test.toml", []byte("[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n"+text(admin)))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Reload(cfg); err != nil {
			t.Fatal(err)
		}
	}
	reload(strings.Replace(secure, ours.File, others.File, 1))
	ask(&good, "", "GET", "/status", "refused: ")
	ask(&foreign, "", "GET", "/status", "200")
	// One without any of it: plain again, and open on this machine.
	reload("")
	response, err := http.Get("http://" + w.AdminAddr().String() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	equal(t, "status", response.StatusCode, 200)
	// One that cannot be read changes nothing.
	cfg, err := config.Parse("test.toml", []byte("[[listeners]]\naddress = \"127.0.0.1:0\"\n"+text("tokens = [{ name = \"a\", credential = \"none\" }]\n")))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Reload(cfg); err == nil || !strings.Contains(err.Error(), "cannot read") {
		t.Errorf("the reload says %v", err)
	}
}
