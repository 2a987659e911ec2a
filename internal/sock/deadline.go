package sock

import (
	"errors"
	"net"
	"time"
)

// LongAgo is a deadline that interrupts whatever waits.
var LongAgo = time.Unix(1, 0)

// TimedOut says whether err is a deadline that passed.
func TimedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// maxSlack is how much later than asked for a deadline may be.
const maxSlack = time.Second

// Rearm decides about the deadline for a wait of at most limit from now, where
// armed is the deadline that is set already and the zero time stands for none.
// set says whether the returned deadline is to be set. Setting one costs more
// than reading a small message, so a deadline that is later than asked for is
// left alone, if it is by no more than an eighth of limit, and by no more than
// a second. limit 0 is no bound.
func Rearm(armed, now time.Time, limit time.Duration) (deadline time.Time, set bool) {
	if limit <= 0 {
		return time.Time{}, !armed.IsZero()
	}
	slack := min(limit/8, maxSlack)
	if left := armed.Sub(now); left >= limit && left <= limit+slack {
		return armed, false
	}
	return now.Add(limit + slack), true
}
