package static

import (
	"os"
	"testing"
)

// withoutPrivileges skips the test if its user may read all files.
func withoutPrivileges(t *testing.T, _ string) {
	if os.Geteuid() == 0 {
		t.Skip("only on Linux a thread can give its rights up")
	}
}
