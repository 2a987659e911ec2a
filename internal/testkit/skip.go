package testkit

import "testing"

// Slow skips a test that takes long in "make test"; "make test-all" runs it.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("make test-all runs it: it takes long")
	}
}
