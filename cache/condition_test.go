package cache

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/cache/tier"
)

// TestCondition: each reason is logged once, until the tier works again.
func TestCondition(t *testing.T) {
	var log bytes.Buffer
	var c condition
	c.init("redis", slog.New(slog.NewTextHandler(&log, nil)))
	lines := func(want ...string) {
		t.Helper()
		found := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
		if len(found) != len(want) {
			t.Fatalf("found %d lines, want %d:\n%s", len(found), len(want), log.String())
		}
		for i, line := range found {
			if !strings.HasSuffix(line, want[i]) {
				t.Errorf("line %d is %q, want %q at its end", i, line, want[i])
			}
		}
		log.Reset()
	}
	for range 5 { // the same failure, as one side or the other sees it first
		c.set(connecting, errors.New("certificate required"))
		c.set(connecting, errors.New("connection reset"))
	}
	lines(`error="certificate required"`, `error="connection reset"`)
	c.set(writing, nil)
	c.set(connecting, nil)
	lines(`msg="cache tier works again" tier=redis`)
	c.set(connecting, errors.New("connection reset"))
	lines(`error="connection reset"`)
	// What writing failed for is over when the server is there again, though there is nothing to write.
	c.set(writing, errors.New("loading"))
	c.set(connecting, nil)
	lines(`error=loading`, `msg="cache tier works again" tier=redis`)
	// A server that refuses what is written goes on failing.
	c.set(writing, errors.New("out of memory"))
	c.set(connecting, nil)
	if lines(`error="out of memory"`); c.works() {
		t.Error("a tier that refuses what is written works")
	}
	c.set(writing, nil)
	lines(`msg="cache tier works again" tier=redis`)
	for i := range 100 {
		c.set(connecting, fmt.Errorf("port %d", i))
	}
	if n := strings.Count(log.String(), "\n"); n != maxTold {
		t.Errorf("found %d lines, want %d", n, maxTold)
	}
}

// TestUnheard: that a server did not answer what was written counts for a while.
func TestUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c condition
		c.init("redis", slog.New(slog.DiscardHandler))
		for range 3 { // each write fails
			c.set(writing, tier.Unanswered{Err: errors.New("no answer in time")})
			time.Sleep(forgetAfter - 1)
			if c.set(connecting, nil); c.works() {
				t.Fatal("what fails again and again works")
			}
		}
		time.Sleep(time.Nanosecond)
		if c.set(connecting, nil); !c.works() {
			t.Error("the tier is there, and nothing has failed for long")
		}
	})
}
