package cache

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
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
	for i := range 100 {
		c.set(connecting, fmt.Errorf("port %d", i))
	}
	if n := strings.Count(log.String(), "\n"); n != maxTold-1 {
		t.Errorf("found %d lines, want %d", n, maxTold-1)
	}
}
