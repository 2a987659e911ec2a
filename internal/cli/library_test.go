package cli

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLibraryLog(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1e9, 0)
	library := log.New(&libraryLog{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}, "", 0)
	check := func(lines int, last string) {
		t.Helper()
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		out.Reset()
		if len(got) != lines || !strings.HasSuffix(got[len(got)-1], last) {
			t.Errorf("got %d lines, the last %q: want %d, the last with %q", len(got), got[len(got)-1], lines, last)
		}
	}
	library.Println("one\ntwo")
	check(1, `level=WARN msg="a library says" text="one\ntwo"`)
	for n := range 1000 {
		library.Println(fmt.Sprint("again ", n))
	}
	check(9, `text="again 8"`)
	now = now.Add(time.Minute)
	library.Println("later")
	check(1, "text=later left_out=991")
	library.Println("later still")
	check(1, `text="later still"`)
}
