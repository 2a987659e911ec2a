// Package refs counts the holders of a thing, so that the last one closes it, exactly
// once. It knows nothing of the thing. Packages lb and proxy count the holders
// of targets and of upstreams with it.
package refs

import (
	"math"
	"sync/atomic"
)

// closed is the count of a thing that is closed: so far below 0 that no number of
// Holds at once lifts it above.
const closed = math.MinInt64 / 2

// Count is the number of holders. The zero Count has none, and is open.
type Count struct{ n atomic.Int64 }

// Hold counts one more holder. It returns false, and counts none, if the thing is
// closed.
func (c *Count) Hold() bool {
	if c.n.Add(1) > 0 {
		return true
	}
	c.n.Add(-1)
	return false
}

// Release counts one holder less. It returns true to the last one, which has to
// close the thing: no later Hold succeeds.
//
// 1. A releases: the count is 0. 2. B holds: the count is 1. 3. A finds that it is 0
// no more and closes nothing; B will.
func (c *Count) Release() (last bool) {
	return c.n.Add(-1) == 0 && c.n.CompareAndSwap(0, closed)
}
