package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/cache/disk"
	"weir/cache/tier"
	"weir/config"
)

// folder is a tier on a folder, with the announcements it made on starting.
type folder struct {
	*disk.Tier
	mu      sync.Mutex
	marks   []string
	damaged int
	heard   func() // for each announcement, if not nil
}

func (f *folder) Follow(message []byte) {
	if f.heard != nil {
		f.heard()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marks = append(f.marks, string(message))
}

func (f *folder) Damaged(error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.damaged++
}

func (f *folder) Lost(int64)      {}
func (f *folder) CaughtUp(string) {}
func (f *folder) Report(error)    {}

// announce makes a purge.
func (f *folder) announce(message string) error {
	return f.Announce(context.Background(), tier.Announcement{Message: []byte(message), Purge: true})
}

func open(t testing.TB, dir string, size config.Size) *folder {
	t.Helper()
	d, err := disk.New(&config.CachePersist{Folder: dir, Size: size, MaxObject: size})
	if err != nil {
		t.Fatal(err)
	}
	f := &folder{Tier: d}
	if err := d.Start(f, ""); err != nil {
		t.Fatal(err)
	}
	f.ready()
	return f
}

// ready waits until the folder was read.
func (f *folder) ready() {
	for {
		if _, _, err := f.Get([]byte("?")); !errors.Is(err, tier.ErrUnavailable) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *folder) set(t testing.TB, key, value string) {
	t.Helper()
	if err := f.Set([]byte(key), []byte(value), nil, time.Hour); err != nil && !errors.Is(err, tier.ErrDropped) {
		t.Fatal(err)
	}
}

func (f *folder) check(t testing.TB, key, want string) {
	t.Helper()
	got, _, err := f.Get([]byte(key))
	if string(got) != want || err != nil {
		t.Errorf("%s: %.40q, %v, want %.40q", key, got, err, want)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	f.set(t, "a", "old")
	f.set(t, "b", strings.Repeat("b", 100_000))
	f.set(t, "a", "new")
	if err := f.announce("purge"); err != nil {
		t.Fatal(err)
	}
	if err := f.Set([]byte("gone"), []byte("x"), nil, -time.Second); err != nil {
		t.Fatal(err)
	}
	f.check(t, "a", "new")
	f.check(t, "gone", "")

	// No other tier may use the folder meanwhile.
	other, err := disk.New(&config.CachePersist{Folder: dir, Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(f, ""); err == nil {
		t.Fatal("two tiers on one folder")
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = open(t, dir, 1<<20)
		f.check(t, "a", "new")
		f.check(t, "b", strings.Repeat("b", 100_000))
		f.check(t, "gone", "")
		if len(f.marks) != 2 || f.marks[0] != "purge" { // there are two records of each
			t.Errorf("announcements: %q", f.marks)
		}
	}
	f.Close()
	if _, _, err := f.Get([]byte("a")); !errors.Is(err, tier.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// TestTorn: whatever is left of the last record, or of any byte of it, no
// damaged one is ever returned, and those before it are.
func TestTorn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	f.set(t, "a", "first")
	f.announce("mark")
	f.set(t, "b", "second")
	f.Close()
	name := filepath.Join(dir, "00000001.weir")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	salt, err := os.ReadFile(filepath.Join(dir, "salt"))
	if err != nil {
		t.Fatal(err)
	}
	try := func(content []byte) {
		t.Helper()
		other := t.TempDir()
		for name, content := range map[string][]byte{"00000001.weir": content, "salt": salt} {
			if err := os.WriteFile(filepath.Join(other, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f := open(t, other, 1<<20)
		defer f.Close()
		for key, want := range map[string]string{"a": "first", "b": "second"} {
			if got, _, _ := f.Get([]byte(key)); len(got) > 0 && string(got) != want {
				t.Errorf("%d bytes: %s is %q", len(content), key, got)
			}
		}
		for _, m := range f.marks {
			if m != "mark" {
				t.Errorf("mark %q", m)
			}
		}
		f.set(t, "c", "third")
		f.check(t, "c", "third")
	}
	for n := range whole {
		try(whole[:n])
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x10
		try(flipped)
	}
	// What precedes the torn one is there.
	if err := os.Truncate(name, int64(len(whole)-1)); err != nil {
		t.Fatal(err)
	}
	f = open(t, dir, 1<<20)
	f.check(t, "a", "first")
	f.check(t, "b", "")
	f.Close()
}

func TestBound(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	defer f.Close()
	value := strings.Repeat("x", 10_000)
	for i := range 1000 {
		f.set(t, fmt.Sprint(i), value)
		if n := f.Bytes(); n > 1<<20 {
			t.Fatalf("%d bytes", n)
		}
	}
	f.check(t, "999", value)
	f.check(t, "0", "")
	var sum int64
	names, _ := filepath.Glob(filepath.Join(dir, "*.weir"))
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	if sum != f.Bytes() || sum < 900_000 {
		t.Errorf("%d bytes in files, %d counted", sum, f.Bytes())
	}
	// One that would push out the rest is not kept.
	f.set(t, "huge", strings.Repeat("x", 1<<19))
	f.check(t, "huge", "")
	f.check(t, "999", value)
}

// TestKilled: a process that is killed while it writes loses nothing that its
// writes had returned for.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("WEIR_TEST_DISK"); dir != "" {
		f := open(t, dir, 64<<20)
		for i := 0; ; i++ {
			f.set(t, strconv.Itoa(i), strings.Repeat(strconv.Itoa(i), 1000))
			fmt.Println(i)
		}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	cmd.Env = append(os.Environ(), "WEIR_TEST_DISK="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	read := 0
	var lines []byte
	for read < 20_000 {
		n, err := out.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		read += n
		lines = append(lines, b[:n]...)
	}
	cmd.Process.Kill()
	cmd.Wait()
	list := strings.Fields(string(lines[:bytes.LastIndexByte(lines, '\n')]))
	last, err := strconv.Atoi(list[len(list)-1])
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, dir, 64<<20)
	defer f.Close()
	for i := range last + 1 {
		f.check(t, strconv.Itoa(i), strings.Repeat(strconv.Itoa(i), 1000))
	}
}

// A folder is free once its tier has closed, although a process that is just being made has copies of all descriptors.
func TestFolderIsFree(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, 1<<20)
	copied := false
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not list descriptors")
	}
	for _, d := range descriptors {
		if name, _ := os.Readlink("/proc/self/fd/" + d.Name()); name != filepath.Join(dir, "lock") {
			continue
		}
		fd, _ := strconv.Atoi(d.Name())
		if fd, err = unix.Dup(fd); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		copied = true
		break // the copy may have a number that the list has, too
	}
	if !copied {
		t.Fatal("no descriptor of the lock was found")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, 1<<20).Close()
}
