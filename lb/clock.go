package lb

import "time"

// epoch lies before the process began, so that no reading is 0. It never changes.
var epoch = time.Now().Add(-time.Hour)

// Monotonic returns nanoseconds on a clock that only goes forward and is never
// 0. Readings mean something within one process only. It is what Pick.Now and
// every now in this package are in, unless Options.Now says otherwise.
func Monotonic() int64 { return int64(time.Since(epoch)) }

// MonotonicAt returns what Monotonic returned at t, which has a monotonic reading.
func MonotonicAt(t time.Time) int64 { return int64(t.Sub(epoch)) }
