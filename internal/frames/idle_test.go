package frames_test

import (
	"testing"
	"time"

	"weir/internal/frames"
)

// Frames that move nothing are bounded if they come faster than one a second.
func TestIdle(t *testing.T) {
	t.Parallel()
	now := time.Now()
	idle := frames.NewIdle(now)
	taken := func(most int, pace time.Duration) int {
		for n := range most {
			if now = now.Add(pace); !idle.Take(now) {
				return n
			}
		}
		return most
	}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d frames are allowed, want %d", what, got, want)
		}
	}
	check("a week of PINGs every ten seconds", taken(7*24*360, 10*time.Second), 7*24*360)
	idle = frames.NewIdle(now)
	check("frames at once", taken(5000, 0), 1000)
	// Of what is given back, the one that was beyond the bound has had one.
	idle.GiveBack(17)
	check("frames after something has moved", taken(5000, 0), 16)
	now = now.Add(31 * time.Second)
	check("frames after half a minute", taken(5000, 0), 30)
	now = now.Add(24 * time.Hour)
	check("frames after a day", taken(5000, 0), 999)
	idle = frames.NewIdle(now)
	check("two frames a second", taken(5000, time.Second/2), 2000)
}
