package cli

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// TestOwnRoots: where the system has no authorities, those of weir count. Only one choice can be made in a
// process, so this is one of its own.
func TestOwnRoots(t *testing.T) {
	t.Parallel()
	if os.Getenv("WEIR_TEST_ROOTS") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwnRoots$", "-test.v")
		cmd.Env = append(os.Environ(), "WEIR_TEST_ROOTS=1", "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	var first *x509.Certificate
	for root := range bundle.Roots() {
		c, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		first = c
		break
	}
	options := x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := first.Verify(options); err == nil {
		t.Fatal("the system has authorities, which this test cannot do with")
	}
	if err := useOwnRoots(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Verify(options); err != nil {
		t.Errorf("an authority that weir contains: %v", err)
	}
}
