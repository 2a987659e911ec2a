package http1

import (
	"cmp"
	"slices"
	"time"

	"weir/config"
)

// epoch is what the times of spare connections count from, in nanoseconds.
var epoch = time.Now()

// busyClient is how long a client that was served must have been silent for its connection to
// be spare: clients at work are silent for less between two requests.
const busyClient = time.Second

// spareFrom is the time from which c is spare. A client that has not been served may take as
// long as its request's head may.
func (c *conn) spareFrom(cfg *config.Listener) int64 {
	patience := busyClient
	if !c.served {
		patience = cfg.Timeouts.Header.D()
	}
	return int64(c.since.Sub(epoch) + patience)
}

// spareShare is the part of the spare connections that CloseSpare ends at once, so that
// looking for them costs little for each.
const spareShare = 64

// CloseSpare makes room for other clients: it ends connections that wait for a request, those
// first that have waited longest, and returns how many. A request that has arrived already is
// still served.
func (f *Front) CloseSpare() int {
	type spare struct {
		c    *conn
		from int64
	}
	var list []spare
	now := int64(time.Since(epoch))
	f.mu.Lock()
	for c := range f.conns {
		if from := c.spare.Load(); from <= now && c.state.Load() == idle {
			list = append(list, spare{c, from})
		}
	}
	f.mu.Unlock()
	slices.SortFunc(list, func(a, b spare) int { return cmp.Compare(a.from, b.from) })
	list = list[:(len(list)+spareShare-1)/spareShare]
	for _, s := range list {
		s.c.wakeIdle()
	}
	return len(list)
}
