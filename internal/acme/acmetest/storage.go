// Package acmetest tests storages of certificates: what certmagic asks of each.
package acmetest

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// Storage tests a storage that two processes have open.
func Storage(t *testing.T, one, other certmagic.Storage) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := one.Load(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
	if _, err := one.Stat(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) || one.Exists(ctx, "a/b") {
		t.Errorf("a key that is not there: %v", err)
	}
	value := "text\nwith \x00 bytes"
	for _, key := range []string{"a/b", "a/c/d", "a/c/e*", "ab/c"} {
		must(one.Store(ctx, key, []byte(value+key)))
	}
	got, err := other.Load(ctx, "a/b")
	must(err)
	if string(got) != value+"a/b" {
		t.Errorf("loaded %q", got)
	}
	info, err := other.Stat(ctx, "a/b")
	must(err)
	if !info.IsTerminal || info.Size != int64(len(got)) || time.Since(info.Modified).Abs() > time.Hour {
		t.Errorf("stat says %+v", info)
	}
	if info, err := other.Stat(ctx, "a/c"); err != nil || info.IsTerminal {
		t.Errorf("stat of what has keys below it: %+v, %v", info, err)
	}
	list := func(path string, recursive bool, want ...string) {
		t.Helper()
		found, err := other.List(ctx, path, recursive)
		must(err)
		found = slices.DeleteFunc(found, func(key string) bool { return recursive && key == "a/c" }) // a folder of files
		slices.Sort(found)
		if !slices.Equal(found, want) {
			t.Errorf("below %q are %q, want %q", path, found, want)
		}
	}
	list("a", false, "a/b", "a/c")
	list("a", true, "a/b", "a/c/d", "a/c/e*")
	list("a/c", false, "a/c/d", "a/c/e*")
	must(other.Delete(ctx, "a/c"))
	if one.Exists(ctx, "a/c/d") || !one.Exists(ctx, "a/b") || !one.Exists(ctx, "ab/c") {
		t.Error("what was deleted is there, or what was not is gone")
	}
	locks(t, one, other)
}

// locks tests that one process at a time has a lock.
func locks(t *testing.T, one, other certmagic.Storage) {
	t.Helper()
	ctx := t.Context()
	if err := one.Lock(ctx, "x y/z"); err != nil {
		t.Fatal(err)
	}
	short, done := context.WithTimeout(ctx, 100*time.Millisecond)
	defer done()
	if err := other.Lock(short, "x y/z"); err == nil {
		t.Fatal("two have the lock")
	}
	taken := make(chan error, 1)
	go func() { taken <- other.Lock(ctx, "x y/z") }()
	if err := one.Lock(ctx, "another"); err != nil {
		t.Errorf("another lock: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := one.Unlock(context.WithoutCancel(gone), "x y/z"); err != nil {
		t.Errorf("unlock: %v", err)
	}
	if err := <-taken; err != nil {
		t.Errorf("the lock after the other has given it back: %v", err)
	}
	for _, err := range []error{other.Unlock(ctx, "x y/z"), one.Unlock(ctx, "another")} {
		if err != nil {
			t.Errorf("unlock: %v", err)
		}
	}
}
