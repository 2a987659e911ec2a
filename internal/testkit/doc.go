// Package testkit is what tests of the whole proxy share: origins that follow a
// script byte by byte, clients that say exactly what they sent and got, and
// certificates. It parses HTTP/1.1 by a reader of its own, which is stricter than
// any program needs to be, so that a test does not ask the code under test
// whether it is right. Only tests call it.
package testkit

import (
	"testing"
	"time"
)

// Limit bounds each wait of a test. It only passes when something is wrong, so it
// is long.
const Limit = time.Minute

// Eventually asks again and again whether ok is true, and fails the test if it
// does not become so within Limit.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	EventuallyWithin(t, Limit, what, ok)
}

// EventuallyWithin is Eventually with a limit of its own, for what may rightly take longer than Limit.
func EventuallyWithin(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(limit)
	// The processor that ok takes is missing where it is waited for.
	for pause := time.Millisecond; !ok(); pause = min(2*pause, 16*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited until %s", what)
		}
		time.Sleep(pause)
	}
}
