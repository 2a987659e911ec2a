package config_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/config"
	"weir/internal/testkit"
)

// A file of authorities is used whole or not at all, and what is wrong with it is said with its place.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ca.pem")
	check := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pool, err := config.LoadAuthorities(path)
		if want == "" && (err != nil || pool == nil) || want != "" && (pool != nil || err == nil || !strings.Contains(err.Error(), fmt.Sprintf(want, path))) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	authority := testkit.NewAuthority(t)
	one, pair := read(authority.File), authority.Issue("a.test")
	two := read(pair.Cert)
	block := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("none")}))
	}

	check(one, "")
	check("Subject: CN = a\n"+one+two, "")
	check(read(pair.Key)+two, "")
	check("", "%q: no certificate in it")
	check("\x30\x82\n", "%q: no certificate in it")
	check(read(pair.Key), "%q: no certificate in it")
	check(one+block("CERTIFICATE"), "block 2 of %q: ")
	check(block("CERTIFICATE")+one, "block 1 of %q: ")
	check(one+two+block("TRUSTED CERTIFICATE"), "block 3 of %q: found a \"TRUSTED CERTIFICATE\"")
	check(one+block("CERTIFICATE REQUEST"), "block 2 of %q: found a \"CERTIFICATE REQUEST\"")
	check(one+two[:len(two)/2], "found 2 blocks of PEM in %q")

	if pool, err := config.LoadAuthorities(""); pool != nil || err != nil {
		t.Errorf("without a file: %v, %v", pool, err)
	}
	pool := x509.NewCertPool()
	if err := config.AddAuthorities(pool, authority.File); err != nil || !pool.Equal(authority.Pool) {
		t.Errorf("other authorities were read, or none: %v", err)
	}
}
