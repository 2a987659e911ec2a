package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/cache/disk"
	"weir/cache/tier"
	"weir/config"
)

// body is a body whose bytes say where they are.
func body(n int) []byte {
	b := make([]byte, 0, n+8)
	for i := uint64(0); len(b) < n; i++ {
		b = binary.BigEndian.AppendUint64(b, i)
	}
	return b[:n]
}

// write stores a blob of n bytes under key.
func (f *folder) write(t testing.TB, key string, n int) tier.Blob {
	t.Helper()
	b, err := f.Blobs().Create()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for rest := body(n); len(rest) > 0; {
		chunk := rest[:min(len(rest), tier.ChunkSize)]
		if err := b.Append(chunk); err != nil {
			t.Fatal(err)
		}
		rest = rest[len(chunk):]
	}
	if err := errors.Join(b.Finish(), b.Seal(), f.Set([]byte(key), []byte("head of "+key), b, time.Hour)); err != nil {
		t.Fatal(err)
	}
	return b
}

// read gets a blob and reads all of it; nothing but the right bytes come.
func (f *folder) read(t testing.TB, key string, n int) (whole bool) {
	t.Helper()
	value, b, err := f.Get([]byte(key))
	if err != nil || b == nil {
		return false
	}
	if string(value) != "head of "+key || b.Length() != int64(n) {
		t.Fatalf("%s: %q and %d bytes", key, value, b.Length())
	}
	if err := b.Open(); err != nil {
		return false
	}
	defer b.Close()
	buf := make([]byte, tier.ChunkSize)
	want := body(n)
	for at := 0; at < n; {
		p, err := b.Read(buf, int64(at))
		if err != nil {
			return false
		}
		if len(p) == 0 || !bytes.HasPrefix(want[at:], p) {
			t.Fatalf("%s: wrong bytes at %d", key, at)
		}
		at += len(p)
	}
	return true
}

func (f *folder) files(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.blob*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestBlob(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 16<<20)
	check := func(what, key string, n int, want bool, files int) {
		t.Helper()
		if got := f.read(t, key, n); got != want {
			t.Errorf("%s: %s is there: %v", what, key, got)
		}
		if names := f.files(t, dir); len(names) != files {
			t.Errorf("%s: files %q, want %d", what, names, files)
		}
	}
	for i, n := range []int{1, tier.ChunkSize - 1, tier.ChunkSize, tier.ChunkSize + 1, 3*tier.ChunkSize + 7} {
		f.write(t, fmt.Sprint(n), n)
		check("written", fmt.Sprint(n), n, true, i+1)
	}
	// Replaced: by another blob, by a value without one; and kept by a value
	// for the same.
	b := f.write(t, "1", 2)
	check("replaced", "1", 2, true, 5)
	if err := f.Set([]byte("1"), []byte("head of 1"), b, time.Hour); err != nil {
		t.Fatal(err)
	}
	check("updated", "1", 2, true, 5)
	if err := f.Set([]byte("variant"), []byte("head of variant"), b, time.Hour); err != nil {
		t.Fatal(err)
	}
	f.set(t, "1", "small")
	check("shared", "variant", 2, true, 5)
	f.Close()
	f = open(t, dir, 16<<20)
	check("restarted", "variant", 2, true, 5)
	f.check(t, "1", "small")
	f.set(t, "variant", "small")
	check("replaced by a small one", "variant", 0, false, 4)
	f.Close()
	f = open(t, dir, 16<<20)
	check("not back", "variant", 0, false, 4)

	// A blob that nothing refers to goes with Discard; one that something
	// refers to does not.
	_, b, err := f.Get([]byte(fmt.Sprint(tier.ChunkSize)))
	if err != nil {
		t.Fatal(err)
	}
	b.Discard()
	check("discarded in vain", fmt.Sprint(tier.ChunkSize), tier.ChunkSize, true, 4)
	if err := b.Open(); err != nil {
		t.Fatal(err)
	}
	b.Drop()
	check("dropped", fmt.Sprint(tier.ChunkSize), tier.ChunkSize, false, 3)
	buf := make([]byte, tier.ChunkSize)
	if p, err := b.Read(buf, 0); err != nil || !bytes.Equal(p, body(tier.ChunkSize)) {
		t.Errorf("who had it open: %d bytes, %v", len(p), err)
	}
	b.Close()
	if err := b.Open(); !errors.Is(err, tier.ErrDropped) {
		t.Errorf("opened after it was dropped: %v", err)
	}
	if err := f.Set([]byte("late"), []byte("x"), b, time.Hour); !errors.Is(err, tier.ErrDropped) {
		t.Fatal(err)
	}
	f.check(t, "late", "")

	// Swept: what has ended, and what is expired.
	if err := f.Set([]byte(fmt.Sprint(tier.ChunkSize-1)), []byte("x"), f.write(t, "y", 9), -time.Second); err != nil {
		t.Fatal(err)
	}
	f.Blobs().Sweep(func(value []byte) bool { return string(value) == "head of y" })
	check("swept", "y", 9, false, 2)

	// What was not finished is gone after a restart, and was never found.
	half, err := f.Blobs().Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := half.Append(body(tier.ChunkSize)); err != nil {
		t.Fatal(err)
	}
	check("half", "y", 9, false, 3)
	f.Close()
	if err := half.Append(body(9)); err == nil {
		t.Error("written to a tier that is closed")
	}
	f = open(t, dir, 16<<20)
	check("half, restarted", "y", 9, false, 2)
	f.Close()
}

// TestBlobBound: blobs that are written, whole or in use never take more than
// there is.
func TestBlobBound(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 4<<20)
	if n := f.Blobs().Largest(); n != 1<<20 {
		t.Fatalf("the largest has %d bytes", n)
	}
	for i := range 20 {
		f.write(t, fmt.Sprint(i), 900_000)
		f.set(t, fmt.Sprint("small", i), strings.Repeat("x", 40_000))
		if n := f.Bytes(); n > 4<<20 {
			t.Fatalf("%d bytes", n)
		}
	}
	for i, want := range map[int]bool{15: false, 17: true, 18: true, 19: true} {
		if got := f.read(t, fmt.Sprint(i), 900_000); got != want {
			t.Errorf("%d is there: %v", i, got)
		}
	}
	f.check(t, "small19", strings.Repeat("x", 40_000))
	// Those that are not whole push out all others, and then there is no room.
	var writing []tier.Blob
	var err error
	for err == nil && len(writing) < 100 {
		var b tier.Blob
		if b, err = f.Blobs().Create(); err != nil {
			break
		}
		writing = append(writing, b)
		for i := 0; i < 7 && err == nil; i++ {
			err = b.Append(body(tier.ChunkSize))
		}
	}
	if len(writing) != 5 || f.Bytes() > 4<<20 || f.read(t, "19", 900_000) {
		t.Errorf("%d are being written, %v, %d bytes", len(writing), err, f.Bytes())
	}
	for _, b := range writing {
		b.Discard()
		b.Close()
	}
	if names := f.files(t, dir); len(names) != 0 {
		t.Errorf("left behind: %q", names)
	}
	var sum int64
	segments, _ := filepath.Glob(filepath.Join(dir, "*.weir"))
	for _, name := range segments {
		if info, err := os.Stat(name); err == nil {
			sum += info.Size()
		}
	}
	if f.Bytes() != sum {
		t.Errorf("%d bytes counted, %d there", f.Bytes(), sum)
	}
	// A smaller bound next time.
	f.write(t, "last", 900_000)
	f.Close()
	f = open(t, dir, 1<<20)
	defer f.Close()
	if n := f.Bytes(); n > 1<<20 {
		t.Errorf("%d bytes", n)
	}
}

// FuzzBlob: whatever becomes of a byte of the file or of its length, no other
// bytes are read than were written, and all of it only if nothing changed.
func FuzzBlob(f *testing.F) {
	const n = 2*tier.ChunkSize + 100
	dir := f.TempDir()
	d := open(f, dir, 4<<20)
	d.write(f, "key", n)
	d.Close()
	name := d.files(f, dir)[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	for _, at := range []int{0, tier.ChunkSize, n - 1, n, n + 4, n + 12, n + 20, len(whole) - 1} {
		f.Add(at, byte(1), len(whole))
	}
	f.Add(0, byte(0), len(whole)-1)
	f.Add(0, byte(0), len(whole)+1)
	f.Add(0, byte(0), 0)
	f.Fuzz(func(t *testing.T, at int, flip byte, size int) {
		if at < 0 || size < 0 || at >= len(whole) || size > len(whole)+100 {
			return
		}
		changed := append(bytes.Clone(whole), make([]byte, 100)...)
		changed[at] ^= flip
		if err := os.WriteFile(name, changed[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.WriteFile(name, whole, 0o600)
		d := open(t, dir, 4<<20)
		defer d.Close()
		if got, want := d.read(t, "key", n), flip == 0 && size == len(whole); got != want {
			t.Errorf("byte %d changed by %#x, %d bytes: read whole is %v", at, flip, size, got)
		}
	})
}

// TestBlobsWhileLoading: what is written before it is known which blobs there
// are does not push out the records that say so.
func TestBlobsWhileLoading(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 4<<20)
	for i := range 4 {
		f.write(t, fmt.Sprint(i), 900_000)
	}
	if err := f.announce("purge"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	d, err := disk.New(&config.CachePersist{Folder: dir, Size: 4 << 20, MaxObject: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	f = &folder{Tier: d}
	loading, goOn := make(chan struct{}), make(chan struct{})
	f.heard = sync.OnceFunc(func() {
		close(loading)
		<-goOn
	})
	if err := f.Start(f, ""); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	<-loading
	for i := range 20 {
		f.set(t, fmt.Sprint("small", i), strings.Repeat("x", 60_000))
		if n := f.Bytes(); n > 4<<20 {
			t.Fatalf("%d bytes", n)
		}
	}
	close(goOn)
	f.ready()
	for i := range 4 {
		if !f.read(t, fmt.Sprint(i), 900_000) {
			t.Errorf("%d is not there any more", i)
		}
	}
}
