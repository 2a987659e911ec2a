package lb

import (
	"slices"
	"time"
)

// maxTried bounds the attempts of one exchange.
const maxTried = 8

// maxWarmupSkips is how often one pick passes over targets that warm up.
const maxWarmupSkips = 4

// Pick is what one exchange asks of Acquire, over all its attempts. The zero
// value is ready; Reset makes it so again. It belongs to one goroutine at a time.
type Pick struct {
	// Now is the time in Monotonic nanoseconds, if the caller has it at hand;
	// 0 makes Acquire read the clock. It is to be set anew for each attempt.
	Now int64
	// Sticky is the value of the sticky cookie that the client sent; empty
	// means none. Acquire does not keep it.
	Sticky []byte
	// Prefer are targets that keep something for the client, such as a connection that it has
	// authenticated: one of them is picked before all others, if it can be.
	Prefer []Identity
	// Once says that the exchange is lost if its target fails: it cannot be repeated elsewhere.
	// Others are preferred to a target in doubt, and it is no early trial of one that is ejected.
	Once bool
	// Queued is set by Acquire if the exchange had to go through the queue.
	Queued bool
	// Cancel ends a wait in the queue when it is closed; nil never does.
	Cancel <-chan struct{}
	// Within bounds a wait in the queue besides the configured bound; 0 does not.
	Within time.Duration
	// NoWait says that Acquire must not wait: the attempt is not needed.
	NoWait bool

	key    uint64
	hasKey bool

	tried [maxTried]*live
	n     int
	stage stage

	// The rest is set by each Acquire for Admits and the algorithms.

	u *Upstream
	// mask is what blocks a target: less in panic mode.
	mask uint32
	// lifts are the bits that let p through to a target that is out.
	lifts uint32
	// wary says that others are preferred to targets in doubt, and doubtful that there was one.
	wary, doubtful bool
	// maskOnly says that the state bits decide alone: it is the first attempt, and
	// targets have no limits.
	maskOnly bool
	// full says that a target was ruled out only by its limit of running exchanges.
	full bool
	// warmupSkips is how often a target that warms up may still be passed over.
	warmupSkips int
	now         int64
}

// stage is how far an exchange has come with its attempts.
type stage uint8

const (
	// stageFirst: it has had no target yet.
	stageFirst stage = iota
	// stageLater: it has had one. If it has one now, its place among the running exchanges
	// goes with that.
	stageLater
	// stageBetween: it has a place among the running exchanges, and no target. It has kept the
	// place for its next attempt, or is about to get a target.
	stageBetween
)

// Reset makes p as good as new. It must not have kept a place.
func (p *Pick) Reset() { *p = Pick{} }

// Forget makes all targets look untried, for an exchange that begins again. Key, cookie
// and a place that was kept stay.
func (p *Pick) Forget() { p.tried, p.n = [maxTried]*live{}, 0 }

// SetKey gives the bytes that balance = "hash" makes its choice by.
func (p *Pick) SetKey(value []byte) { p.key, p.hasKey = Hash(value), true }

// Key returns the hash of what SetKey was given, and whether it was.
func (p *Pick) Key() (key uint64, ok bool) { return p.key, p.hasKey }

// Attempt returns how many targets were acquired with p.
func (p *Pick) Attempt() int { return p.n }

// trials returns the bits that let p through to a target that is out.
func (p *Pick) trials() uint32 {
	if p.Once {
		return bitTrial
	}
	return bitTrials
}

// Admits reports whether t may be picked: it is usable, was not tried before
// and has room, and there is no doubt about it while others will do. Pickers call it; it changes nothing they can see.
func (p *Pick) Admits(t *Target) bool {
	if !t.usable(p.mask, p.lifts) || p.wary && p.doubts(t.live) {
		return false
	}
	if p.maskOnly {
		return true
	}
	if slices.Contains(p.tried[:p.n], t.live) {
		return false
	}
	if p.u.ceiling > 0 && t.live.inFlight.Load() >= p.u.targetLimit(t) {
		p.full = true
		return false
	}
	return true
}

// Warmth returns the part of its share, above 0 and up to 1, that t shall get
// because it warms up after it joined or recovered. Pickers that compare loads
// divide by it.
func (p *Pick) Warmth(t *Target) float64 { return t.warmth(p.now, p.u.slowStart) }

// Load returns the running exchanges of t relative to the share that t shall get
// now.
func (p *Pick) Load(t *Target) float64 {
	return float64(t.live.inFlight.Load()) / (float64(t.weight) * p.Warmth(t))
}

// Latency returns the moving average of the time to a response's head as it
// counts now: while nothing new is known of t it fades into the average of the
// whole upstream, so that a target that once was slow gets another chance. It is
// 0 if nothing is known of any target.
func (p *Pick) Latency(t *Target) time.Duration {
	return time.Duration(t.live.latency.at(p.now, p.u.core.averageLatency()))
}

// Takes is Admits for algorithms that offer targets in turn or by chance: Takes
// passes over a target that warms up now and then, by the chance that draw
// stands for.
func (p *Pick) Takes(t *Target, draw uint64) bool {
	if !p.Admits(t) {
		return false
	}
	if t.live.bits.Load()&bitSlow == 0 || p.warmupSkips <= 0 {
		return true
	}
	if chance := float64(Mix(draw)>>11) / (1 << 53); chance < p.Warmth(t) {
		return true
	}
	p.warmupSkips--
	return false
}
