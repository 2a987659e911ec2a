package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	Lacks(t, names[0]+", which .ci/run installs")
	return ""
}

// Lacks skips a test for which this machine lacks something, or fails it where the variable CI is set.
func Lacks(t testing.TB, what any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("this machine lacks what the test needs: ", what)
	}
	t.Skip("this machine lacks what the test needs: ", what)
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

// Soak is a number of a long test: small, unless the environment has a variable with another one, as "make soak" does.
func Soak(t testing.TB, variable string, small int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return small
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// Slow skips a test that takes long in "make test"; "make test-all" runs it.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("make test-all runs it: it takes long")
	}
}
