package lb

import (
	"math"
	"time"
)

// State is what a target is good for. Logs, metrics and the admin pages use its
// name.
type State uint8

// The states of a target. A target in several of them at once shows the last one.
const (
	// Healthy targets get their share.
	Healthy State = iota
	// SlowStart targets joined or recovered a short time ago and get a growing part of their share.
	SlowStart
	// Ejected targets failed exchanges; they come back by themselves.
	Ejected
	// Unreachable targets could not be connected to; one dial at a time finds out when they can.
	Unreachable
	// Down targets fail their probes.
	Down
	// Draining targets get no new exchanges, by the wish of the operator.
	Draining
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case SlowStart:
		return "slow_start"
	case Ejected:
		return "ejected"
	case Unreachable:
		return "unreachable"
	case Down:
		return "down"
	case Draining:
		return "draining"
	}
	panic("BUG: a target's state has no name")
}

// The bits of live.bits. A target with none of them is healthy, so that looking
// at a candidate is one load and one comparison.
const (
	bitDown uint32 = 1 << iota
	bitEjected
	bitUnreachable
	bitDrain
	// bitTrial lets exactly one exchange through to a target that is ejected or
	// unreachable: the exchange that clears it.
	bitTrial
	// bitEarly does the same for an exchange that can be repeated if it fails.
	bitEarly
	// bitSlow says that the target warms up since live.since.
	bitSlow

	blocking = bitDown | bitEjected | bitUnreachable | bitDrain
	// panicking is what still blocks in panic mode.
	panicking = blocking &^ bitEjected

	bitTrials = bitTrial | bitEarly
)

// Target is one address weir sends to, as one generation knows it. It is
// immutable but for the live part, which all generations share that have a
// target of the same identity: counts, health and connections.
type Target struct {
	name string
	url  string
	// weight is the share relative to the others in this set; own is that in the units of the
	// configuration, of which the target has one part of sharers, and configured is own
	// without the operator's.
	weight     int
	own        int
	configured int
	sharers    int
	priority   int
	// drained is the wish of the configuration or of discovery, while
	// bitDrain is that of the operator.
	drained bool
	cookie  string
	live    *live
	// twin is handed out in place of the target for an exchange that is a trial;
	// it shares live, and its field trial is true.
	twin  *Target
	trial bool
	// permit is what the circuit breaker gave the exchange that has this Target; 0: nothing.
	permit int64
}

// withPermit returns t for an exchange that the circuit breaker lets through as a trial.
func (t *Target) withPermit(permit int64) *Target {
	c := *t
	c.permit = permit
	return &c
}

// Name returns the target's name in metrics and logs: its URL without user
// information.
func (t *Target) Name() string { return t.name }

// URL returns the target's URL as it was configured or discovered.
func (t *Target) URL() string { return t.url }

// Weight returns the target's share relative to the others, for algorithms; at least 1. If targets
// share a weight, the weights of all are multiplied so that the shares are whole numbers.
func (t *Target) Weight() int { return t.weight }

// OwnWeight returns the weight in the units of the configuration, and how many targets share it, at
// least 1. One that SetWeight gave is shared with none.
func (t *Target) OwnWeight() (weight, sharers int) { return t.own, t.sharers }

// ConfiguredWeight returns the weight that the configuration or discovery gave the target,
// which SetWeight overrides.
func (t *Target) ConfiguredWeight() int { return t.configured }

// Priority returns the number of the target's group; 0 is used first.
func (t *Target) Priority() int { return t.priority }

// InFlight returns the number of running exchanges, of all generations.
func (t *Target) InFlight() int { return int(t.live.inFlight.Load()) }

// Transport returns the connections to the target, as Options.NewTransport made
// them. They may be used between Acquire and Release.
func (t *Target) Transport() Transport { return t.live.transport }

// Attachment returns what Options.NewAttachment made for the target. It may be used
// between Acquire and Release.
func (t *Target) Attachment() Attachment { return t.live.attachment }

// Latency returns the moving average of the time to a response's head, 0 if
// there was none yet.
func (t *Target) Latency() time.Duration { return time.Duration(t.live.latency.value()) }

// Counts returns how many exchanges succeeded and failed since the target
// exists, and how many failed in a row since the last success.
func (t *Target) Counts() (good, bad, inARow int64) {
	return t.live.good.Load(), t.live.bad.Load(), t.live.fails.Load()
}

// Reason returns why the target is not Healthy, or "" if it is.
func (t *Target) Reason() string {
	if r := t.live.reason.Load(); r != nil && t.State() != Healthy {
		return *r
	}
	return ""
}

// Down reports whether the probes of t fail, whatever else its state is.
func (t *Target) Down() bool { return t.live.bits.Load()&bitDown != 0 }

// Reachable reports whether connections to t come about as far as is known.
func (t *Target) Reachable() bool { return t.live.bits.Load()&bitUnreachable == 0 }

// Probed reports whether SetUp or SetDown was ever called for t.
func (t *Target) Probed() bool { return t.live.probed.Load() }

// Identity is what a target is, however many generations know it. Identities can be
// compared. A target that was gone and comes back has another one.
type Identity struct{ live *live }

// Identity returns the identity of t.
func (t *Target) Identity() Identity { return Identity{t.live} }

// Same reports whether t and o are the same target, perhaps as different
// generations know it.
func (t *Target) Same(o *Target) bool { return t.live == o.live }

// State returns what the target is good for now.
func (t *Target) State() State { return t.state(t.live.bits.Load()) }

func (t *Target) state(bits uint32) State {
	switch {
	case t.drained || bits&bitDrain != 0:
		return Draining
	case bits&bitDown != 0:
		return Down
	case bits&bitUnreachable != 0:
		return Unreachable
	case bits&bitEjected != 0:
		return Ejected
	case bits&bitSlow != 0:
		return SlowStart
	}
	return Healthy
}

// blockedBy returns the bits of mask that the target has.
func (t *Target) blockedBy(mask uint32) uint32 {
	bits := t.live.bits.Load()
	if t.drained {
		bits |= bitDrain
	}
	return bits & mask
}

// usable says whether nothing of mask is in the way, or one of trials is due.
func (t *Target) usable(mask, trials uint32) bool {
	bits := t.live.bits.Load()
	if bits&trials != 0 {
		mask &^= bitEjected | bitUnreachable
	}
	return bits&mask == 0 && !t.drained
}

// warmth returns the part of its share that a target gets: 1 if it is not
// warming up, else growing evenly from a tenth to 1.
func (t *Target) warmth(now, slowStart int64) float64 {
	if t.live.bits.Load()&bitSlow == 0 || slowStart <= 0 {
		return 1
	}
	part := float64(now-t.live.since.Load()) / float64(slowStart)
	return math.Min(1, math.Max(0.1, part))
}
