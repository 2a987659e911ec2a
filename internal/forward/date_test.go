package forward_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"weir/internal/forward"
	"weir/internal/head"
)

func TestDates(t *testing.T) {
	var dates forward.Dates
	now := time.Date(1994, time.November, 6, 9, 49, 37, 999, time.FixedZone("CET", 3600))
	check := func(in, want string) {
		t.Helper()
		for kind, make := range responses {
			h := make(t, in)
			dates.Complete(h, now)
			if got := text(h); got != want {
				t.Errorf("%s from\n%s\ngot\n%s\nwant\n%s", kind, in, got, want)
			}
		}
	}
	check("Server: x", "Server: x\nDate: Sun, 06 Nov 1994 08:49:37 GMT")
	// The origin's own Date stays, right or wrong.
	check("date: x\nServer: x", "date: x\nServer: x")
	now = now.Add(time.Second)
	check("Server: x", "Server: x\nDate: Sun, 06 Nov 1994 08:49:38 GMT")
	// Two goroutines may have read the clock in another order than they ask.
	now = now.Add(-time.Second)
	check("Server: x", "Server: x\nDate: Sun, 06 Nov 1994 08:49:37 GMT")
}

func TestDatesTogether(t *testing.T) {
	var dates forward.Dates
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for second := range int64(100) {
				now := time.Unix(second+int64(i), 0)
				if got, want := string(dates.Text(now)), now.UTC().Format(http.TimeFormat); got != want {
					t.Errorf("date %q, want %q", got, want)
				}
			}
		})
	}
	group.Wait()
}

func TestDatesAllocate(t *testing.T) {
	var dates forward.Dates
	now := time.Now()
	template := response(t, "Server: x")
	var h head.Head
	if n := testing.AllocsPerRun(100, func() {
		template.CopyTo(&h)
		dates.Complete(&h, now)
	}); n != 0 {
		t.Errorf("%v allocations within a second", n)
	}
}
