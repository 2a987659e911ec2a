package lb

import (
	"math"
	"time"
)

// Release ends an exchange on t that Acquire began and tells how it went.
func (u *Upstream) Release(t *Target, o Outcome) {
	u.Report(t, o)
	u.core.inFlight.Add(-1)
	u.leave(t)
}

// ReleaseBetween is Release for an exchange that may go on with another attempt of p: it
// keeps its place among the running exchanges for the next Acquire. Leave gives the place
// back if there is none.
func (u *Upstream) ReleaseBetween(t *Target, p *Pick, o Outcome) {
	u.Report(t, o)
	p.stage = stageBetween
	u.leave(t)
}

// Leave gives back the place that ReleaseBetween has kept for p, or an Acquire that panicked, if p
// still has it.
func (u *Upstream) Leave(p *Pick) {
	if p.stage == stageBetween {
		p.stage = stageLater
		u.core.inFlight.Add(-1)
		u.core.queue.wake(1)
	}
}

// leave gives back the place at t.
func (u *Upstream) leave(t *Target) {
	t.live.inFlight.Add(-1)
	switch {
	case u.core.queue.waiting.Load() == 0:
	case u.adaptive: // the limit may have grown by more than this place
		u.core.queue.wakeAll()
	default:
		u.core.queue.wake(1)
	}
	t.live.release()
}

// Report takes in how an exchange on t goes before it ends, for instance when
// the head of an endless response is there. Release is then given
// AlreadyReported, of which Report takes in nothing. The exchange must be running.
func (u *Upstream) Report(t *Target, o Outcome) {
	if o.Kind == AlreadyReported {
		return
	}
	now := u.now()
	l := t.live
	v := o.judge(&u.failures)
	good := int64(0)
	switch v {
	case succeeded:
		good = l.good.Add(1)
		if l.fails.Load() != 0 {
			l.fails.Store(0)
		}
	case erred, failed:
		l.bad.Add(1)
	}
	if o.Kind == Success {
		u.heard(l, o.Latency)
	}
	u.reportLatency(l, o, v, good, now)
	if u.cfg.Breaker.Failures > 0 {
		if u.core.breaker.report(&u.cfg.Breaker, v, t.permit, now) {
			u.tellBreaker()
		}
	}
	if v == failed {
		u.reportFailure(t, o, now)
	}
	if u.o.OnJudged != nil {
		u.tellJudged(t, v)
	}
	if t.trial || o.Kind == Success && v != failed && l.bits.Load()&bitUnreachable != 0 {
		u.endTrial(t, o, v)
	}
}

// tellJudged tells the owner of the upstream how an exchange went, if that is news.
func (u *Upstream) tellJudged(t *Target, v verdict) {
	switch {
	case v == failed:
		t.live.failing.Store(true)
		u.o.OnJudged(t, true)
	case v == succeeded && t.live.failing.Load():
		t.live.failing.Store(false)
		u.o.OnJudged(t, false)
	}
}

// Blame counts a failure of t that others have seen, as if an exchange on it had failed.
func (u *Upstream) Blame(t *Target, err error) {
	t.live.bad.Add(1)
	u.reportFailure(t, Outcome{Kind: Reset, Err: err}, u.now())
}

// reportLatency feeds everything that follows latencies. good counts the successes of l.
func (u *Upstream) reportLatency(l *live, o Outcome, v verdict, good, now int64) {
	sample := float64(o.Latency)
	switch o.Kind {
	case Success:
		u.core.average(sample)
		if u.cfg.Retry.Hedge > 0 {
			u.core.quantiles.observe(o.Latency, now)
		}
	case Reset, Timeout, BadResponse:
	default:
		return
	}
	if v != succeeded {
		// A target that fails fast must not look like a fast one, nor become slower with each failure.
		sample = max(sample, 2*u.usually(l))
	}
	age := l.latency.observe(sample, now)
	if v == succeeded {
		l.usual.observe(float64(o.Latency), age, good)
	}
	if u.adaptive {
		dropped := o.Kind == Timeout || o.Status == 503 || o.Status == 429
		l.limit.observe(int64(o.Latency), dropped, l.inFlight.Load(), u.ceiling, now)
	}
}

// average moves the upstream's average latency. Two at once may lose one sample.
func (c *core) average(sample float64) {
	if old := c.averageLatency(); old != 0 {
		sample = old + (sample-old)/32
	}
	c.latency.Store(math.Float64bits(max(sample, 1)))
}

// Latency returns the average time to a response's head, of all targets; 0 if
// there was none yet.
func (u *Upstream) Latency() time.Duration { return time.Duration(u.core.averageLatency()) }

func (c *core) averageLatency() float64 { return math.Float64frombits(c.latency.Load()) }

// reportFailure counts a failure and takes the target out if it is unreachable.
func (u *Upstream) reportFailure(t *Target, o Outcome, now int64) {
	if o.Kind == ConnectFailed {
		u.unreachable(t, o)
		return
	}
	t.live.failedAt.Store(now)
	t.live.costly.Store(!u.retry.asked(&Try{Kind: o.Kind, Status: o.Status}))
	inARow := t.live.fails.Add(1)
	if w := u.core.watcher.Load(); w != nil && w.Failed != nil {
		w.Failed(t, o, inARow)
	}
}

// endTrial draws the consequence of a trial, or of an exchange that shows that
// an unreachable target can be reached.
func (u *Upstream) endTrial(t *Target, o Outcome, v verdict) {
	reason := "a trial succeeded"
	if v == failed {
		reason = "a trial failed: " + o.String()
	}
	u.update(t, reason, func(l *live, now int64) {
		bits := l.bits.Load()
		switch {
		case v == succeeded, v == erred:
			if t.trial && bits&bitEjected != 0 {
				l.bits.And(^bitEjected)
				l.ejectedUntil = now
			}
			l.reachable(now)
		case o.Kind == ConnectFailed:
			// unreachable has set the next trial.
		case v == failed && bits&bitEjected != 0 && now < l.ejectedUntil:
			l.reachable(now)
			l.earlyAt.Store(now + l.ejectedFor/earlyTrials)
		case v == failed && bits&bitEjected != 0:
			l.reachable(now)
			u.eject(l, now)
		case v == failed && bits&bitUnreachable != 0:
			l.reachable(now)
		case bits&(bitEjected|bitUnreachable) != 0:
			// Nothing was learnt: the next exchange may try.
			l.offerAgain(now)
		}
	})
}
