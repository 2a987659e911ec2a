package cache

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"weir/cache/tier"
)

// part is something that can fail in a tier by itself.
type part uint8

const (
	connecting part = iota // and being told by the tier
	writing                // entries
	announcing             // purges and invalidations
	parts
)

// maxTold bounds the reasons that are logged while a tier does not work.
const maxTold = 16

// forgetAfter is how long a failure to write counts that the server did not answer, if the tier is connected and nothing
// was written since.
const forgetAfter = 5 * time.Second

// condition is whether a tier works. Only what was tried changes it.
type condition struct {
	name string
	log  *slog.Logger

	mu      sync.Mutex
	reasons [parts]string   // why the part fails; empty if it does not
	unheard time.Time       // when writing failed last, if the server did not answer that; else zero
	told    map[string]bool // the reasons that were logged since the tier worked
}

func (c *condition) init(name string, log *slog.Logger) {
	c.name, c.log, c.told = name, log, make(map[string]bool)
}

// set says how something ended. What it changes is logged: a reason once, for one failure often
// shows now as one and now as another, and the end of the last one.
func (c *condition) set(p part, err error) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.reasons
	c.reasons[p] = reason
	switch p {
	case writing:
		c.unheard = time.Time{}
		if _, ok := errors.AsType[tier.Unanswered](err); ok {
			c.unheard = time.Now()
		}
	case connecting:
		// There may be nothing to write for long, and what it failed for is over.
		if reason == "" && (before[p] != "" || !c.unheard.IsZero() && time.Since(c.unheard) >= forgetAfter) {
			c.reasons[writing], c.unheard = "", time.Time{}
		}
	}
	if c.reasons == before {
		return
	}
	switch {
	case reason != "":
		if c.told[reason] || len(c.told) == maxTold {
			return
		}
		c.told[reason] = true
		c.log.Warn("cache tier fails", "tier", c.name, "error", reason)
	case c.reasons == [parts]string{}:
		clear(c.told)
		c.log.Info("cache tier works again", "tier", c.name)
	}
}

// works says that nothing has failed when it was tried last.
func (c *condition) works() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reasons == [parts]string{}
}
