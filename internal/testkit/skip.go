package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program returns the first of these that is installed: the name of a program, or the path of a file. If none is, the
// test is skipped, or fails where the variable CI is set.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if filepath.IsAbs(name) {
			if _, err := os.Stat(name); err == nil {
				return name
			}
		} else if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed: .ci/run installs it", names[0])
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// Programs is Program for programs that a test needs all of.
func Programs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		Program(t, name)
	}
}

// Rounds says how often a test tries something: few times in "make test", which is enough to notice a step that is
// broken, and all times in "make test-all".
func Rounds(few, all int) int {
	if testing.Short() {
		return few
	}
	return all
}

// Slow skips a test that takes long in "make test"; "make test-all" runs it.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("make test-all runs it: it takes long")
	}
}
