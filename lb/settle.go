package lb

import (
	"math"
)

// never is a time that does not come.
const never = math.MaxInt64

// warm begins the slow start of l.
func (l *live) warm(now int64) {
	l.since.Store(now)
	l.bits.Or(bitSlow)
}

// settle does what time brings: ejections end, warm-ups end, an unreachable
// target may be tried again.
func (u *Upstream) settle(now int64) {
	u.core.mu.Lock()
	defer u.core.mu.Unlock()
	if now >= u.wake.Load() {
		u.settleLocked(now)
	}
}

func (u *Upstream) settleLocked(now int64) {
	u.mask.Store(blocking)
	u.wake.Store(never)
}

// unlimited says that no limit of running exchanges is configured.
func (u *Upstream) unlimited() bool { return true }

// targetLimit returns how many exchanges may run on t; 0 means no limit.
func (u *Upstream) targetLimit(t *Target) int64 { return 0 }

// learn takes in what an outcome says.
func (u *Upstream) learn(t *Target, o Outcome) {}
