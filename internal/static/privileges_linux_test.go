package static

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// withoutPrivileges makes the test's thread open files as a user who owns none of those below
// root, if it is one who may read all. That user may read root itself.
func withoutPrivileges(t *testing.T, root string) {
	if os.Geteuid() != 0 {
		return
	}
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Error(err)
			return // the thread ends with its goroutine
		}
		runtime.UnlockOSThread()
	})
}
