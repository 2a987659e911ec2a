package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// weir ech writes a key that only its owner can read, never over a file that is there.
func TestECHCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ech.pem")
	out, stderr, code := weir(t, "ech", "--public-name", "example.org", "--output", path)
	if code != 0 || !strings.HasPrefix(out, `ech="`) || !strings.HasSuffix(out, "\"\n") {
		t.Fatalf("got %d, %q, %q", code, out, stderr)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v", info.Mode())
	}
	if _, stderr, code := weir(t, "ech", "--public-name", "example.org", "--output", path); code == 0 || !strings.Contains(stderr, "exists") {
		t.Errorf("over a file: %d, %q", code, stderr)
	}
	if out, _, _ := weir(t, "ech", "--public-name", "example.org"); !strings.Contains(out, "BEGIN ECHCONFIG") || !strings.Contains(out, "\nech=\"") {
		t.Errorf("without a file: %q", out)
	}
	for _, name := range []string{"a b", "192.0.2.1", "example.org.", "-a", "b\u00fccher.test", strings.Repeat("a", 300)} {
		if out, stderr, code := weir(t, "ech", "--public-name", name); code != 2 || out != "" || !strings.Contains(stderr, "want a host name") {
			t.Errorf("--public-name %.20q ended with %d, %q", name, code, stderr)
		}
	}
	if _, stderr, code := weir(t, "ech"); code == 0 || !strings.Contains(stderr, "--public-name") {
		t.Errorf("without a name: %d, %q", code, stderr)
	}
}
