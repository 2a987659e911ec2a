package main

import (
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	check := func(line, wantErr string) {
		t.Helper()
		_, err := parseFlags(strings.Fields(line))
		if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
			t.Errorf("%q: error %v, want %q", line, err, wantErr)
		}
	}
	check("", "")
	check("-warmup 0 -open 0 -rounds 1", "")
	check("-scale all -rounds 1 -out=", "")
	check("-nonsense", "-nonsense (-h lists all flags)")
	check("all", `"all": only flags`)
	check("-rounds 0", "-rounds 0: want above 0")
	check("-closed -1", "-closed -1: want above 0")
	check("-closed NaN", "-closed NaN: want above 0")
	check("-warmup -1", "-warmup -1: want 0 to")
	check("-limit 0 -compare HEAD", "-limit 0: want above 0")
	// An empty variable of a Makefile must not start something else.
	check("-compare=", "empty -compare")
	check("-scale=", "empty -scale")
	check("-compare HEAD -scale all", "-scale together with -compare")
	check("-compare HEAD -peers weir", "-peers together with -compare")
	check("-scale all -scenarios hit-1k", "-scenarios together with -scale")
	check("-limit 2", "-limit without -compare")
	check("-observe -rounds 3 -scenarios log,all", "")
	check("-observe -origin nginx", "-origin together with -observe")
	check("-observe -scale all", "-observe together with -scale")
}

func TestFlagsOfModes(t *testing.T) {
	parse := func(line string) flags {
		t.Helper()
		f, err := parseFlags(strings.Fields(line))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return f
	}
	// A run that is not to be quoted leaves the recorded results alone.
	if f := parse("-quick"); f.out != "" || f.run.Rounds != 1 {
		t.Errorf("-quick: results in %q after %d rounds, want nowhere after 1", f.out, f.run.Rounds)
	}
	if f := parse("-quick -out there -rounds 2"); f.out != "there" || f.run.Rounds != 2 {
		t.Errorf("-quick with more: %+v, want what was given", f)
	}
	if f := parse("-compare HEAD"); f.run.Rounds < 5 || f.run.Open != 0 {
		t.Errorf("-compare: %d rounds, %g s at a fixed rate, want several and none", f.run.Rounds, f.run.Open)
	}
}
