package lb

import (
	"math"
	"sync/atomic"
	"time"
)

// A target is in doubt while it is silent, or if its last answer was a failure. Others are
// preferred to it: always for an exchange that cannot be repeated, and but for a few that find
// out for any other one if the target is silent. Doubt is cheap and may be wrong; what is sure
// is ejection.
//
// A target is silent if it has been asked and has given no sign of life for much longer than
// its answers usually take. A sign of life is an answer that did not take as long as that.
const (
	// silenceLeast is the shortest silence, in nanoseconds: less may be any process's pause.
	silenceLeast = int64(20 * time.Millisecond)
	// silenceTimes is how many times its usual latency a silent target has taken.
	silenceTimes = 4
)

// usual is the latency that a target usually has: the mean of its first answers, and a moving
// average of about a minute later. It neither jumps nor fades as latency does.
type usual struct{ bits atomic.Uint64 } // of a float64, in nanoseconds; 0 means no sample yet

const (
	// usualMemory is how long a sample matters, in nanoseconds.
	usualMemory = 60e9
	// usualStep is how many samples one stands for, once there are many.
	usualStep = 8
)

// observe adds the n-th sample, age nanoseconds after the one before.
func (v *usual) observe(sample, age float64, n int64) {
	share := 1 / float64(max(n, 1))
	if n > 2*usualStep {
		if n%usualStep != 0 {
			return
		}
		share = max(share, usualStep*age/(usualStep*age+usualMemory))
	}
	old := v.value()
	v.bits.Store(math.Float64bits(max(1, old+(sample-old)*share)))
}

func (v *usual) value() float64 { return math.Float64frombits(v.bits.Load()) }

// usually returns the latency that l usually has, that of all targets if l has not succeeded
// yet; 0 if none has.
func (u *Upstream) usually(l *live) float64 {
	if v := l.usual.value(); v != 0 {
		return v
	}
	return u.core.averageLatency()
}

// tolerance returns how long l may take before it is silent, in nanoseconds.
func (u *Upstream) tolerance(l *live) int64 {
	usually := u.usually(l)
	if usually == 0 {
		return never
	}
	return max(silenceLeast, int64(silenceTimes*usually))
}

// silence returns for how long l has been silent; 0 if it is not.
func (u *Upstream) silence(l *live, now int64) int64 {
	waited := now - l.asked.Load()
	if waited <= silenceLeast || waited <= u.tolerance(l) || l.inFlight.Load() == 0 {
		return 0
	}
	return waited
}

// ask notes that an exchange is sent to l, on which so many are running now.
func (l *live) ask(now, running int64) {
	if running == 1 || l.asked.Load() == never {
		l.asked.Store(now)
	}
}

// heard notes an answer of l.
func (u *Upstream) heard(l *live, latency time.Duration) {
	if l.asked.Load() != never && (int64(latency) <= silenceLeast || int64(latency) <= u.tolerance(l)) {
		l.asked.Store(never)
	}
}

// Overdue reports whether an answer of t that has not come after waited is late by what answers of t usually
// take, or by a second if that is not known yet.
func (u *Upstream) Overdue(t *Target, waited time.Duration) bool {
	limit := u.tolerance(t.live)
	if limit == never {
		limit = int64(time.Second)
	}
	return int64(waited) > limit
}

// Heard says that the head of a response has come from t, that much time after the attempt
// began, and that its end will take longer. For other responses Report or Release is enough.
func (u *Upstream) Heard(t *Target, latency time.Duration) { u.heard(t.live, latency) }

// doubts reports whether p is to prefer others to l. Most targets are not looked at closely.
func (p *Pick) doubts(l *live) bool {
	return (p.now-l.asked.Load() > silenceLeast || p.Once && l.fails.Load() != 0) && p.mistrusts(l)
}

// mistrusts is doubts for a target that may be in doubt. Now and then one that is gets an
// exchange, to find out whether it is well again: one that can be repeated, after a time that
// doubles while l is silent; any other one only if there are none of these.
func (p *Pick) mistrusts(l *live) bool {
	silence := p.u.silence(l, p.now)
	failed := p.Once && l.fails.Load() != 0
	if silence == 0 && !failed {
		return false
	}
	p.doubtful = true
	if p.now < l.retryAt.Load() {
		return true
	}
	passive := &p.u.cfg.Health.Passive
	return p.Once && (silence != 0 && silence < int64(passive.EjectMax) || failed && p.now-l.failedAt.Load() < int64(passive.Eject))
}

// dare takes the right to find out about l, which one exchange has at a time. It reports false
// if another one took it.
func (p *Pick) dare(l *live) bool {
	wait := p.u.silence(l, p.now)
	if p.Once && l.fails.Load() != 0 {
		wait = max(wait, int64(p.u.cfg.Health.Passive.Eject))
	}
	old := l.retryAt.Load()
	return wait == 0 || p.now >= old && l.retryAt.CompareAndSwap(old, p.now+wait)
}
