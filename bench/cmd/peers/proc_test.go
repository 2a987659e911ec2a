package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	check := func(in string, want stat) {
		t.Helper()
		got, err := parseStat([]byte(in))
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", in, got, err, want)
		}
	}
	check("42 (nginx) S 7 42 42 0 -1 4194304 1 2 3 4 11 22 33 44 20 0 1 0 5 6 7",
		stat{pid: 42, parent: 7, user: 11, system: 22, childUser: 33, childSystem: 44})
	// A name may hold what looks like the end of itself.
	check("1 (a) S 9 (b)) R 2 0 0 0 0 0 0 0 0 0 1 2 3 4 0 0 0",
		stat{pid: 1, parent: 2, user: 1, system: 2, childUser: 3, childSystem: 4})
}

func TestParseStatErrors(t *testing.T) {
	check := func(in string) {
		t.Helper()
		if got, err := parseStat([]byte(in)); err == nil {
			t.Errorf("%q: %+v, want an error", in, got)
		}
	}
	check("")
	check("42 nginx S 7")
	check("42 (nginx) S 7 1 2")
	check("x (nginx) S 7 42 42 0 -1 4194304 1 2 3 4 11 22 33 44 20 0 1 0 5 6 7")
	check("42 (nginx) S 7 42 42 0 -1 4194304 1 2 3 4 eleven 22 33 44 20 0 1 0 5 6 7")
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (nginx) S 7 42 42 0 -1 4194304 1 2 3 4 11 22 33 44 20 0 1 0 5 6 7")
	f.Add(") (")
	// Whatever a name begins with, the fields after it stay what they are.
	f.Fuzz(func(t *testing.T, in string) {
		want, err := parseStat([]byte(in))
		got, longerErr := parseStat([]byte(strings.Replace(in, "(", "(x) S 9 (", 1)))
		if err == nil && (longerErr != nil || got != want) {
			t.Errorf("%q: %+v, with a longer name %+v, %v", in, want, got, longerErr)
		}
	})
}

func TestTree(t *testing.T) {
	proc := t.TempDir()
	for pid, parent := range map[string]string{"10": "1", "11": "10", "12": "11", "20": "1", "21": "20"} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		line := pid + " (p) S " + parent + " 0 0 0 0 0 0 0 0 0 1 2 3 4 0 0 0"
		if err := os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tree(proc, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].pid != 10 || got[1].pid != 11 || got[2].pid != 12 {
		t.Errorf("tree of 10 is %+v, want 10, 11 and 12", got)
	}
	if _, err := tree(proc, 99); err == nil {
		t.Error("the tree of a process that does not exist was found")
	}
}

func TestParsePSS(t *testing.T) {
	const rollup = "55d0-7ffc ---p 00000000 00:00 0  [rollup]\nRss:   5000 kB\nPss:   1234 kB\nPss_Anon:  9 kB\n"
	if got, err := parsePSS([]byte(rollup)); err != nil || got != 1234<<10 {
		t.Errorf("%d, %v, want %d", got, err, 1234<<10)
	}
	if _, err := parsePSS([]byte("Rss: 5 kB\n")); err == nil {
		t.Error("memory was found where none is")
	}
}

// The clock of another process must agree with what this process says of itself.
func TestProcessClock(t *testing.T) {
	before, ok := processClock(os.Getpid())
	if !ok {
		t.Skip("no process clocks on this system")
	}
	sum := 0
	for i := range 20_000_000 {
		sum += i * i
	}
	after, ok := processClock(os.Getpid())
	if !ok || after <= before || after-before > time.Minute {
		t.Errorf("from %v to %v (%d), want a little growth", before, after, sum)
	}
}
