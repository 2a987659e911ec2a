package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// processClock is the CPU time of all threads of another process, ended ones
// included, in nanoseconds: its CPU clock (clock_getcpuclockid(3)).
func processClock(pid int) (time.Duration, bool) {
	const cpuclockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuclockSched), &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
