package disk_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestDamage: a damaged byte costs the record it is in, and no other; marks are all there.
func TestDamage(t *testing.T) {
	t.Parallel()
	const entries = 6
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	for i := range entries {
		f.set(t, fmt.Sprint("key", i), fmt.Sprint("value", i))
		if i == entries/2 {
			f.announce("mark")
		}
	}
	f.Close()
	whole, err := os.ReadFile(filepath.Join(dir, "00000001.weir"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x10
		f := open(t, folderWith(t, dir, flipped), 1<<20)
		there := 0
		for i := range entries {
			got, _, _ := f.Get([]byte(fmt.Sprint("key", i)))
			switch string(got) {
			case fmt.Sprint("value", i):
				there++
			case "":
			default:
				t.Fatalf("byte %d: key%d is %q", n, i, got)
			}
		}
		if lost := entries - there; lost > 1 || len(f.marks) == 0 || lost == 1 && len(f.marks) != 2 {
			t.Fatalf("byte %d: %d entries are lost, marks %q", n, lost, f.marks)
		}
		f.Close()
	}
}

// TestDamageCounted: what is lost is counted, on the way into the index and when it is read,
// once.
func TestDamageCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	for i := range 3 {
		f.set(t, fmt.Sprint("key", i), fmt.Sprint("value", i))
	}
	f.Close()
	whole, err := os.ReadFile(filepath.Join(dir, "00000001.weir"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, loaded int) {
		t.Helper()
		flipped := bytes.Clone(whole)
		flipped[bytes.Index(whole, []byte(what))] ^= 1
		f := open(t, folderWith(t, dir, flipped), 1<<20)
		defer f.Close()
		if f.damaged != loaded {
			t.Errorf("%s: %d damaged after the start, want %d", what, f.damaged, loaded)
		}
		f.check(t, "key0", "value0")
		f.check(t, "key2", "value2")
	}
	check("key1", 1)
	check("value1", 0) // it is not read yet
}

// TestForgedRecord: a body that looks like a record of another key is never taken for one, even
// if damage makes the tier look for the next record in it.
func TestForgedRecord(t *testing.T) {
	other := t.TempDir()
	f := open(t, other, 1<<20)
	f.set(t, "victim", "forged")
	f.Close()
	record, err := os.ReadFile(filepath.Join(other, "00000001.weir"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f = open(t, dir, 1<<20)
	f.set(t, "mine", "before "+string(record)+" after")
	f.set(t, "last", "there")
	f.Close()
	whole, err := os.ReadFile(filepath.Join(dir, "00000001.weir"))
	if err != nil {
		t.Fatal(err)
	}
	whole[bytes.Index(whole, []byte("mine"))] ^= 1
	f = open(t, folderWith(t, dir, whole), 1<<20)
	defer f.Close()
	f.check(t, "victim", "")
	f.check(t, "mine", "")
	f.check(t, "last", "there")
}

// folderWith makes a folder with the salt of another one and a segment.
func folderWith(t *testing.T, other string, segment []byte) string {
	t.Helper()
	salt, err := os.ReadFile(filepath.Join(other, "salt"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"00000001.weir": segment, "salt": salt} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestNotes: notes survive a restart and are replaced as a whole.
func TestNotes(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	check := func(name, want string) {
		t.Helper()
		if got, err := f.Kept(name); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	check("a.b", "")
	for _, err := range []error{f.Keep("a.b", []byte("one")), f.Extend("a.b", []byte(" two")), f.Extend("c", []byte("three"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	f = open(t, dir, 1<<20)
	defer f.Close()
	check("a.b", "one two")
	check("c", "three")
	for _, err := range []error{f.Keep("a.b", []byte("four")), f.Keep("c", nil), f.Keep("none", nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	check("a.b", "four")
	check("c", "")
}
