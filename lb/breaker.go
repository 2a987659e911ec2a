package lb

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/config"
)

// breaker stops sending to an upstream that mostly fails. Closed, everything
// passes and is counted; open, nothing passes; half open, a few pass, and all
// of them must succeed. While it is closed it costs one load per exchange and
// one count per outcome.
type breaker struct {
	// until is when an open breaker becomes half open; 0 means closed.
	until atomic.Int64
	// permits counts the exchanges let through half open.
	permits atomic.Int64
	// times is how often it has opened: what a permit says, so that no exchange counts as a
	// trial that began before.
	times atomic.Int64

	all, failures window

	// why is why it opened last; nil means that nothing is known.
	why atomic.Pointer[string]

	mu sync.Mutex
	// wins counts successes half open; opened how often it opened in a row.
	wins, opened int
}

// BreakerState is the state of an upstream's circuit breaker.
type BreakerState uint8

// The states of a circuit breaker.
const (
	BreakerClosed BreakerState = iota
	BreakerHalfOpen
	BreakerOpen
)

// String returns the state's name.
func (s BreakerState) String() string {
	switch s {
	case BreakerClosed:
		return "closed"
	case BreakerHalfOpen:
		return "half_open"
	case BreakerOpen:
		return "open"
	}
	panic("BUG: a breaker's state has no name")
}

// Breaker returns the state of the circuit breaker.
func (u *Upstream) Breaker() BreakerState { return u.core.breaker.state(u.now()) }

func (b *breaker) state(now int64) BreakerState {
	switch until := b.until.Load(); {
	case until == 0:
		return BreakerClosed
	case now < until:
		return BreakerOpen
	}
	return BreakerHalfOpen
}

// allow says whether an exchange may pass. Half open, the exchange gets a permit, for report;
// else permit is 0.
func (b *breaker) allow(cfg *config.Breaker, now int64) (permit int64, ok bool) {
	times, until := b.times.Load(), b.until.Load()
	if until == 0 {
		return 0, true
	}
	if now < until {
		return 0, false
	}
	// Permits that endless exchanges hold are given out anew after a while. What
	// succeeded meanwhile counts on: there may be few requests.
	if now-until > int64(cfg.Open) && b.until.CompareAndSwap(until, now) {
		b.mu.Lock()
		b.permits.Store(int64(b.wins))
		b.mu.Unlock()
	}
	if b.permits.Add(1) > int64(max(1, cfg.HalfOpen)) {
		b.permits.Add(-1)
		return 0, false
	}
	return times, true
}

// report counts the outcome of an exchange that had this permit. It reports whether the breaker has
// opened, or closed, because of it.
func (b *breaker) report(cfg *config.Breaker, v verdict, permit, now int64) (changed bool) {
	if b.until.Load() == 0 {
		return b.count(cfg, v, now)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if permit != b.times.Load() || b.until.Load() == 0 {
		return false // it began before the breaker was half open
	}
	switch v {
	case unjudged:
		b.permits.Add(-1)
	case erred, failed:
		b.open(cfg, now, "an exchange that was let through failed")
		return true
	case succeeded:
		if b.wins++; b.wins >= max(1, cfg.HalfOpen) {
			b.opened = 0
			b.all.clear()
			b.failures.clear()
			b.until.Store(0)
			return true
		}
	}
	return false
}

// count counts an outcome while the breaker is closed, and reports whether it has opened because of it.
func (b *breaker) count(cfg *config.Breaker, v verdict, now int64) (opened bool) {
	if v == unjudged {
		return false
	}
	width := max(1, int64(cfg.Window)/windowSlots)
	b.all.add(now, width, 1)
	if v == succeeded {
		return false
	}
	b.failures.add(now, width, 1)
	all, failures := b.all.sum(now, width), b.failures.sum(now, width)
	if all < cfg.Requests || float64(failures) < cfg.Failures*float64(all) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() != 0 {
		return false
	}
	b.open(cfg, now, fmt.Sprintf("%d of %d exchanges within %s failed", failures, all, cfg.Window))
	return true
}

// open opens the breaker because of why, for longer each time in a row. mu must be held.
func (b *breaker) open(cfg *config.Breaker, now int64, why string) {
	const longest = 10
	factor := min(int64(1)<<min(b.opened, 10), longest)
	b.opened++
	b.wins = 0
	b.times.Add(1)
	b.permits.Store(0)
	b.why.Store(&why)
	b.until.Store(now + max(1, int64(cfg.Open)*factor))
}

// tellBreaker logs that the circuit breaker has opened or closed.
func (u *Upstream) tellBreaker() {
	if state, left, why := u.BreakerReason(); state == BreakerClosed {
		u.o.Log.Info("circuit breaker closes", "upstream", u.name)
	} else {
		u.o.Log.Warn("circuit breaker opens: nothing is sent", "upstream", u.name, "for", left.Round(time.Millisecond), "reason", why)
	}
}

// BreakerReason returns the state of the circuit breaker, for how long an open one stays so, and why it opened; the
// reason is empty if it is closed.
func (u *Upstream) BreakerReason() (state BreakerState, left time.Duration, reason string) {
	b, now := &u.core.breaker, u.now()
	if state = b.state(now); state == BreakerClosed {
		return state, 0, ""
	}
	if why := b.why.Load(); why != nil {
		reason = *why
	}
	return state, max(0, time.Duration(b.until.Load()-now)), reason
}

// WhyOpen returns ErrBreakerOpen as an error that says why. Like Why it is cheap until its text is read.
func (u *Upstream) WhyOpen() error { return openBreaker{u} }

// openBreaker is ErrBreakerOpen of an upstream.
type openBreaker struct{ u *Upstream }

func (e openBreaker) Unwrap() error { return ErrBreakerOpen }

// Error says for how long the breaker is open, and what has opened it.
func (e openBreaker) Error() string {
	state, left, why := e.u.BreakerReason()
	text := ErrBreakerOpen.Error()
	switch state {
	case BreakerOpen:
		text += fmt.Sprintf(" for another %s", left.Round(time.Millisecond))
	case BreakerHalfOpen:
		text = "circuit breaker half open, and as many exchanges as may find out whether the upstream is well do so"
	}
	if why != "" {
		text += ": " + why
	}
	return text
}
