package http1

import (
	"time"

	"weir/config"
	"weir/internal/listener"
)

// epoch is what the times of spare connections count from, in nanoseconds.
var epoch = time.Now()

// spareFrom is the time from which c is spare.
func (c *conn) spareFrom(cfg *config.Listener) int64 {
	return int64(c.since.Sub(epoch) + listener.SpareAfter(cfg, c.served))
}

// CloseSpare makes room for other clients: it ends connections that wait for a request, those
// first that have waited longest, and returns how many. A request that has arrived already is
// still served.
func (f *Front) CloseSpare() int {
	now := int64(time.Since(epoch))
	return f.conns.EndSpare(func(c *conn) (from int64, ok bool) {
		from = c.spare.Load()
		return from, from <= now && c.state.Load() == idle
	}, (*conn).wakeIdle)
}
