package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// sharpen makes the calling thread's sleeps end on time: the kernel may delay
// them by 50 us otherwise. The caller has locked its thread.
func sharpen() {
	// A refusal only makes starts later, which the latency then shows.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// nap sleeps without the runtime's timers, whose grain is a millisecond.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early: the caller looks at the clock again
}
